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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::process::Command;
    use std::time::Duration;

    use crate::chain::{Patience, Rpc};
    use crate::documents::Source;

    /// Tells the test that it runs a second time.
    const AGAIN: &str = "ARTIFACTS_TEST_BEHIND_A_PROXY";

    /// Answers "not found" to everybody.
    fn nothing_there() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 4096]);
                let answer =
                    "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        url
    }

    #[tokio::test]
    async fn what_stays_on_this_machine_goes_through_no_proxy() {
        if std::env::var_os(AGAIN).is_none() {
            // A test does not change its own environment.
            let name = std::thread::current().name().unwrap().to_owned();
            let mut again = Command::new(std::env::current_exe().unwrap());
            let nobody = "http://127.0.0.1:1";
            again
                .args(["--exact", &name, "--nocapture"])
                .env(AGAIN, "1");
            for variable in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
                again.env(variable, nobody);
            }
            again.env_remove("NO_PROXY").env_remove("no_proxy");
            assert!(again.status().unwrap().success());
            return;
        }
        let url = nothing_there();
        let source = Source::parse(&url).unwrap();
        assert!(source.is_missing("epoch.jws").await.unwrap());
        let patience = Patience {
            one: Duration::from_secs(2),
            all: Duration::from_secs(2),
        };
        let rpc = Rpc::new(vec![url.parse().unwrap()], 1, patience).unwrap();
        let error = rpc.check().await.unwrap_err().to_string();
        assert!(error.contains("404"), "{error}");
    }
}
