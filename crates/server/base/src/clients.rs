//! HTTP clients for servers that are not called over mTLS.
//!
//! What goes without TLS stays on this machine, so it never goes through a proxy that the
//! environment names: the proxy would read it, or answer in the server's place. HTTPS may go
//! through one, which then sees nothing of it.

use reqwest::{Client, ClientBuilder, Url, redirect};

/// Whether an address may be asked for what is then trusted: TLS, or this machine.
pub fn is_safe(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else {
        return false;
    };
    match url.scheme() {
        "https" => url.has_host(),
        // A name before the host makes people take it for the host.
        "http" => url.username().is_empty() && url.password().is_none() && is_here(&url),
        _ => false,
    }
}

fn is_here(url: &Url) -> bool {
    let Some(host) = url.host_str() else {
        return false;
    };
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let address = address.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// What a client of one address is built of. It follows no redirect.
pub fn to(url: &str) -> ClientBuilder {
    let client = Client::builder().redirect(redirect::Policy::none());
    match in_clear(url) {
        true => client.no_proxy(),
        false => client,
    }
}

fn in_clear(url: &str) -> bool {
    let scheme = url.get(..8);
    !scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"))
}

/// A client of several addresses.
#[derive(Debug, Clone)]
pub struct Clients {
    tls: Client,
    clear: Client,
}

impl Clients {
    /// Both built alike, of what [`to`] begins with.
    ///
    /// # Errors
    /// What the library says.
    pub fn new(set: impl Fn(ClientBuilder) -> ClientBuilder) -> reqwest::Result<Self> {
        Ok(Self {
            tls: set(to("https://")).build()?,
            clear: set(to("http://")).build()?,
        })
    }

    /// The one for this address.
    pub fn for_url(&self, url: &str) -> &Client {
        if in_clear(url) {
            &self.clear
        } else {
            &self.tls
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Tells the test that it runs a second time.
    const AGAIN: &str = "ARTIFACTS_TEST_BEHIND_A_PROXY";

    #[tokio::test]
    async fn what_stays_on_this_machine_goes_through_no_proxy() {
        if std::env::var_os(AGAIN).is_none() {
            // A test does not change its own environment.
            let name = std::thread::current().name().unwrap().to_owned();
            let mut again = Command::new(std::env::current_exe().unwrap());
            again
                .args(["--exact", &name, "--nocapture"])
                .env(AGAIN, "1");
            for variable in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
                again.env(variable, "http://127.0.0.1:1");
            }
            again.env_remove("NO_PROXY").env_remove("no_proxy");
            assert!(again.status().unwrap().success());
            return;
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let router = axum::Router::new().route("/", axum::routing::get("here"));
        tokio::spawn(async { axum::serve(listener, router).await });
        let clients = Clients::new(|client| client).unwrap();
        for client in [clients.for_url(&url), &to(&url).build().unwrap()] {
            let answer = client.get(&url).send().await.unwrap();
            assert_eq!(answer.text().await.unwrap(), "here");
        }
    }

    #[test]
    fn only_tls_or_this_machine_is_safe() {
        for good in [
            "https://a",
            "https://127.0.0.1.evil.example/x",
            "http://127.0.0.1:1/x",
            "http://localhost",
            "http://[::1]:8",
        ] {
            assert!(is_safe(good), "{good}");
        }
        for bad in [
            "http://a",
            "http://127.0.0.1.evil.example",
            "http://localhost.evil.example/jwks.json",
            "http://localhost@evil.example",
            "http://127.0.0.1@evil.example",
            "http://127.0.0.1:80@evil.example/",
            "http://evil@127.0.0.1",
            "ftp://a",
            "https://",
            "127.0.0.1",
        ] {
            assert!(!is_safe(bad), "{bad}");
        }
    }
}
