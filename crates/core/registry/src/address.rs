//! Addresses of others.

use reqwest::{Client, ClientBuilder, Url};

/// Whether an address may be asked: TLS, or this machine.
pub(crate) fn check(url: &Url) -> Result<(), String> {
    let local = match url.host_str() {
        Some("localhost") => true,
        Some(host) => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host.parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback())
        }
        None => false,
    };
    match url.scheme() {
        "https" => Ok(()),
        "http" if local => Ok(()),
        "http" => Err("http:// is for this machine only".into()),
        other => Err(format!("{other}:// is not understood")),
    }
}

/// How these are asked. What is said in clear stays on this machine: it goes through no proxy,
/// whatever the environment says.
pub(crate) fn client<'a>(urls: impl IntoIterator<Item = &'a Url>) -> ClientBuilder {
    let client = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("artifacts/", env!("CARGO_PKG_VERSION")));
    match urls.into_iter().any(|url| url.scheme() == "http") {
        true => client.no_proxy(),
        false => client,
    }
}

/// An error with its causes, and without the address: there may be a key in it.
pub(crate) fn words(error: &reqwest::Error) -> String {
    let mut text = match (error.is_timeout(), error.is_connect()) {
        (true, _) => "no answer in time".to_owned(),
        (_, true) => "cannot connect".to_owned(),
        _ => "the exchange failed".to_owned(),
    };
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
