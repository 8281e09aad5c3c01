//! Who gets through mTLS, as what, and who does not.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use api::Timestamp;
use artifacts_base as base;
use axum::Router;
use axum::routing::{get, post};
use base::ca::{Authority, Order};
use base::mutual::{Identity, client};
use base::peer::{Peer, PeerRole, TrustDomain, only};
use base::{ClientCa, Clock, Listener, SystemClock, Tls, serve};
use reqwest::StatusCode;
use tokio_util::sync::CancellationToken;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// An authority with a folder for what it issues.
struct Town {
    folder: tempfile::TempDir,
    authority: Authority,
    trust_domain: TrustDomain,
}

impl Town {
    fn of(domain: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let trust_domain: TrustDomain = domain.parse().unwrap();
        let now = SystemClock.now();
        let authority = Authority::open_or_make(folder.path(), &trust_domain, now).unwrap();
        Self {
            folder,
            authority,
            trust_domain,
        }
    }

    fn issue(&self, role: &str, names: &[&str], at: Timestamp, lifetime: Duration) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let order = Order {
            role: Some(role),
            names: &names,
            lifetime,
        };
        let identity = self.identity(role);
        let issued = self.authority.issue(&order, at).unwrap();
        issued.write(&identity.certificate, &identity.key).unwrap();
        identity
    }

    fn identity(&self, role: &str) -> Identity {
        Identity {
            ca: self.ca(),
            certificate: self.folder.path().join(format!("{role}.pem")),
            key: self.folder.path().join(format!("{role}-key.pem")),
            trust_domain: self.trust_domain.clone(),
        }
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn worker(&self) -> Identity {
        self.issue("worker", &[], SystemClock.now(), DAY)
    }

    /// A signer that says who asks.
    async fn serve(&self) -> String {
        let server = self.issue("signer", &["127.0.0.1"], SystemClock.now(), DAY);
        let tls = Tls {
            certificate: server.certificate,
            key: server.key,
            clients: Some(ClientCa {
                file: self.ca(),
                trust_domain: self.trust_domain.clone(),
            }),
        };
        let address = "127.0.0.1:0".parse().unwrap();
        let listener = Listener::bind(address, Some(&tls), false).await.unwrap();
        let url = format!("https://{}", listener.address());
        let who = async |PeerRole(role): PeerRole, peer: Peer| format!("{role:?} {}", peer.key());
        let router = Router::new()
            .route("/who", get(who))
            .route("/derive", only(&["worker"], post(async || "derived")));
        tokio::spawn(serve(listener, router, CancellationToken::new()));
        url
    }
}

async fn ask(identity: &Identity, url: &str) -> Result<(StatusCode, String), String> {
    let client = client(identity, "signer").unwrap().build().unwrap();
    let answer = client.post(format!("{url}/derive")).send().await;
    let answer = answer.map_err(|error| format!("{error:?}"))?;
    Ok((answer.status(), answer.text().await.unwrap()))
}

/// The alert with which the server ended the handshake.
fn alert(answer: &Result<(StatusCode, String), String>) -> &str {
    answer.as_ref().expect_err("the handshake fails")
}

#[tokio::test]
async fn a_worker_gets_in_and_another_role_is_told_that_it_may_not() {
    let town = Town::of("town");
    let url = town.serve().await;
    let answer = ask(&town.worker(), &url).await.unwrap();
    assert_eq!(answer, (StatusCode::OK, "derived".to_owned()));
    let broker = town.issue("broker", &[], SystemClock.now(), DAY);
    let (status, text) = ask(&broker, &url).await.unwrap();
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(text.contains("this is not for the role broker"), "{text}");
}

#[tokio::test]
async fn another_authority_of_the_same_name_does_not_get_a_connection() {
    let (town, other) = (Town::of("town"), Town::of("town"));
    let url = town.serve().await;
    let mut stranger = other.worker();
    stranger.ca = town.ca();
    let answer = ask(&stranger, &url).await;
    assert!(alert(&answer).contains("DecryptError"), "{answer:?}");
}

#[tokio::test]
async fn nobody_gets_in_without_a_certificate() {
    let town = Town::of("town");
    let url = town.serve().await;
    let ca = std::fs::read(town.ca()).unwrap();
    let ca = reqwest::Certificate::from_pem(&ca).unwrap();
    let client = reqwest::Client::builder()
        .tls_certs_only([ca])
        .build()
        .unwrap();
    let error = client.get(format!("{url}/who")).send().await.unwrap_err();
    assert!(
        format!("{error:?}").contains("CertificateRequired"),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_ended_certificate_does_not_get_a_connection() {
    let town = Town::of("town");
    let url = town.serve().await;
    let worker = town.issue("worker", &[], SystemClock.now().minus(2 * DAY), DAY);
    // Our own client does not even begin with it.
    let refused = client(&worker, "signer").err().unwrap().to_string();
    assert!(
        refused.contains("worker.pem cannot be used for TLS: it ended at"),
        "{refused}"
    );
    let read = |path: &Path| std::fs::read(path).unwrap();
    let pem = [read(&worker.certificate), read(&worker.key)].concat();
    let ca = reqwest::Certificate::from_pem(&read(&town.ca())).unwrap();
    let client = reqwest::Client::builder()
        .tls_certs_only([ca])
        .identity(reqwest::Identity::from_pem(&pem).unwrap());
    let client = client.build().unwrap();
    let error = client.get(format!("{url}/who")).send().await.unwrap_err();
    assert!(
        format!("{error:?}").contains("CertificateExpired"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_certificate_of_another_trust_domain_is_no_role() {
    let town = Town::of("town");
    // The same authority, but the name in the certificate is of another domain.
    let other = Town::of("village");
    let both = town.folder.path().join("both.pem");
    let text = [town.ca(), other.ca()].map(|path| std::fs::read_to_string(path).unwrap());
    std::fs::write(&both, text.concat()).unwrap();
    let server = town.issue("signer", &["127.0.0.1"], SystemClock.now(), DAY);
    let tls = Tls {
        certificate: server.certificate,
        key: server.key,
        clients: Some(ClientCa {
            file: both,
            trust_domain: town.trust_domain.clone(),
        }),
    };
    let address = "127.0.0.1:0".parse().unwrap();
    let listener = Listener::bind(address, Some(&tls), false).await.unwrap();
    let url = format!("https://{}", listener.address());
    let router = Router::new().route("/derive", only(&["worker"], post(async || "derived")));
    tokio::spawn(serve(listener, router, CancellationToken::new()));
    let mut stranger = other.worker();
    (stranger.ca, stranger.trust_domain) = (town.ca(), town.trust_domain.clone());
    let (status, text) = ask(&stranger, &url).await.unwrap();
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(
        text.contains("names no role of this trust domain"),
        "{text}"
    );
}

#[tokio::test]
async fn a_server_of_another_role_is_not_believed() {
    let town = Town::of("town");
    let url = town.serve().await;
    let worker = town.worker();
    let client = client(&worker, "broker").unwrap().build().unwrap();
    let error = client.get(format!("{url}/who")).send().await.unwrap_err();
    let text = format!("{error:?}");
    assert!(text.contains("ApplicationVerificationFailure"), "{text}");
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_up_by_server_and_client() {
    let town = Town::of("town");
    let url = town.serve().await;
    let worker = town.worker();
    let client = client(&worker, "signer").unwrap();
    let client = client.pool_max_idle_per_host(0).build().unwrap();
    let who = async || {
        let answer = client.get(format!("{url}/who")).send().await.unwrap();
        answer.text().await.unwrap()
    };
    let before = who().await;
    assert!(before.starts_with("Some(\"worker\") "), "{before}");
    assert_eq!(before, who().await);
    town.worker();
    town.issue("signer", &["127.0.0.1"], SystemClock.now(), DAY);
    assert_ne!(before, who().await);
}

#[test]
fn a_key_is_private_and_an_authority_is_of_one_domain() {
    let town = Town::of("town");
    let worker = town.worker();
    let mode = |path: &Path| {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).unwrap().mode() & 0o777
    };
    assert_eq!(mode(&worker.key), 0o600);
    assert_eq!(mode(&town.folder.path().join("ca-key.pem")), 0o600);
    let other = "village".parse().unwrap();
    let refused = Authority::open_or_make(town.folder.path(), &other, SystemClock.now());
    let text = refused.err().unwrap().to_string();
    assert!(
        text.ends_with("is the authority of town, not of village"),
        "{text}"
    );
}
