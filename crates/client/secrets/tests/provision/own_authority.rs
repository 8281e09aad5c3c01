//! A store whose certificate comes from an authority of the operator's own.

use std::sync::Arc;

use artifacts_secrets::Kind;
use artifacts_secrets::provision::{
    Admin, Authorities, Plan, Seen, StoreKind, Target, Verdict, apply, verify,
};
use embedded::{AccessKey, Durability, Options, Server};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::tokens::{Broker, Tokens, ada, admin_keys, target};

/// Takes TLS off in front of a store; its address, and the certificate to be trusted.
async fn tls_in_front_of(store: std::net::SocketAddr) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider();
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // Ends with the test's process.
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut outside) = acceptor.accept(stream).await else {
                    return;
                };
                let mut inside = TcpStream::connect(store).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
            });
        }
    });
    (format!("https://{address}"), made.cert.pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn its_store_sts_and_iam_are_believed_and_otherwise_not() {
    let folder = tempfile::tempdir().unwrap();
    let root = AccessKey {
        id: testkit::ACCESS_KEY_ID.into(),
        secret: testkit::SECRET_ACCESS_KEY.to_owned().into(),
    };
    let options = Options {
        root: Some(root),
        durability: Durability::Process,
        ..Options::new(folder.path())
    };
    let server = Server::start(options).await.unwrap();
    let (endpoint, pem) = tls_in_front_of(server.address()).await;
    let broker = Broker::start();
    let strange = target(StoreKind::Embedded, &endpoint, &broker.issuer);
    let trusting = Target {
        ca: Some(Authorities::from_pem(pem.as_bytes()).unwrap()),
        ..strange.clone()
    };
    let plan = Plan::of(&trusting);
    let admin = Admin::new(&strange, &admin_keys());
    let refused = apply(&admin, &plan, |_, _| {}).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Temporary);
    assert!(refused.message.contains("certificate"), "{refused}");

    // S3 and IAM.
    let admin = Admin::new(&trusting, &admin_keys());
    let mut done = 0;
    apply(&admin, &plan, |_, _| done += 1).await.unwrap();
    assert_eq!(done, plan.steps.len());
    // The STS. (The store itself is reached without TLS, so what asks for TLS is refused there.)
    let tokens = Tokens {
        broker: &broker,
        actor: ada(),
    };
    let report = verify(&trusting, &tokens, Seen::Asked(&admin))
        .await
        .unwrap();
    let passed = |name: &str| {
        let check = report.checks.iter().find(|check| check.name.contains(name));
        assert_eq!(check.unwrap().verdict, Verdict::Passed, "{report:#?}");
    };
    passed("a token is exchanged for keys");
    passed("trusts tagged tokens");
    passed("policy of bucket");
}

#[test]
fn what_is_no_certificate_is_refused() {
    for wrong in [
        "",
        "geheim",
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
    ] {
        let refused = Authorities::from_pem(wrong.as_bytes()).unwrap_err();
        assert_eq!(refused.kind, Kind::Usage, "{wrong}");
        assert!(refused.message.contains("vault.ca_file"), "{refused}");
    }
}
