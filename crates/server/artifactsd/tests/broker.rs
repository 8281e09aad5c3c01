//! The broker as a process: its folder, its first operator, its keys, its end.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![cfg(feature = "broker")]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use base::ca::{Authority, Order};
use base::peer::TrustDomain;
use base::{Clock, SystemClock};
use registry::documents::{EPOCH_FILE, EPOCH_TYPE, EpochDocument, Pins, sign};
use serde_json::{Value, json};
use vault::{DeviceKey, SignEs256};

const PROGRAM: &str = env!("CARGO_BIN_EXE_artifactsd");

/// A broker's folder, and what it needs from others.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let domain: TrustDomain = "artifacts".parse().unwrap();
        let now = SystemClock.now();
        let authority = Authority::open_or_make(&place.path(""), &domain, now).unwrap();
        let order = Order {
            role: Some("broker"),
            names: &["127.0.0.1".to_owned()],
            lifetime: Duration::from_secs(3600),
        };
        let issued = authority.issue(&order, now).unwrap();
        issued
            .write(&place.path("broker.pem"), &place.path("broker-key.pem"))
            .unwrap();
        let deployment = DeviceKey::generate().unwrap();
        let pins = Pins::new(deployment.public_jwk().clone(), []).unwrap();
        std::fs::write(place.path("pins.json"), pins.to_json()).unwrap();
        std::fs::create_dir(place.path("documents")).unwrap();
        let epoch = EpochDocument {
            version: 1,
            epoch: 1,
        };
        let epoch = sign(EPOCH_TYPE, &epoch, &deployment).unwrap();
        std::fs::write(place.path("documents").join(EPOCH_FILE), epoch).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// A command of the role, on this folder.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("broker").args(words).stdin(Stdio::null());
        command.env("ARTIFACTS_BROKER_DATA", self.data());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    fn serve(&self) -> Running {
        let mut command = self.command(&["serve"]);
        command
            .args([
                "--listen",
                "127.0.0.1:0",
                "--internal-listen",
                "127.0.0.1:0",
            ])
            .arg("--internal-certificate")
            .arg(self.path("broker.pem"))
            .arg("--internal-key")
            .arg(self.path("broker-key.pem"))
            .arg("--internal-ca")
            .arg(self.path("ca.pem"))
            .arg("--registry-documents")
            .arg(self.path("documents"))
            .arg("--registry-pins")
            .arg(self.path("pins.json"));
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = child.unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        Running { child, ready }
    }
}

/// A server that is killed when the test is done with it.
struct Running {
    child: Child,
    ready: Value,
}

impl Running {
    fn url(&self) -> &str {
        self.ready["endpoint"].as_str().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn post(url: String, body: &Value) -> (u16, Value) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client
        .post(url)
        .body(body.to_string())
        .send()
        .await
        .unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o777
}

#[tokio::test]
async fn the_first_operator_logs_in_and_what_is_left_on_the_disk_is_private() {
    let place = Place::new();
    let running = place.serve();
    let made = place.run(&["bootstrap"]);
    assert!(made.status.success());
    let token = String::from_utf8(made.stdout).unwrap();
    let body = json!({ "token": token.trim() });
    let path = format!("{}/v1/bootstrap", running.url());
    let (status, answer) = post(path.clone(), &body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(post(path, &body).await.0, 401);
    let ready = place.run(&["health", "--url", running.url()]);
    assert!(ready.status.success());
    drop(running);
    assert_eq!(mode(&place.data()), 0o700);
    for file in ["broker.db", "audit.jsonl", "keys/keys.json"] {
        assert_eq!(mode(&place.data().join(file)), 0o600, "{file}");
    }
    let whole = place.run(&["audit"]);
    let verdict: Value = serde_json::from_slice(&whole.stdout).unwrap();
    assert_eq!(verdict["records"], 2);
    let audit = place.data().join("audit.jsonl");
    let text = std::fs::read_to_string(&audit).unwrap();
    assert!(text.contains("session.bootstrap"));
    let session = answer["access_token"].as_str().unwrap();
    assert!(!text.contains(session) && !text.contains(token.trim()));
    std::fs::write(&audit, text.replace("\"done\"", "\"d0ne\"")).unwrap();
    let broken = place.run(&["audit"]);
    assert_eq!(broken.status.code(), Some(1));
    let said = String::from_utf8(broken.stderr).unwrap();
    assert!(said.starts_with("error: record 1 of "), "{said}");
}

#[tokio::test]
async fn keys_rotate_under_a_server_that_runs() {
    let place = Place::new();
    let early = place.run(&["keys", "rotate"]);
    assert_eq!(early.status.code(), Some(1));
    let running = place.serve();
    let keys = async || {
        let url = format!("{}/jwks.json", running.url());
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let text = client.get(url).send().await.unwrap().text().await.unwrap();
        let keys: Value = serde_json::from_str(&text).unwrap();
        let keys = keys["keys"].as_array().unwrap().iter();
        keys.map(|key| key["kid"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(keys().await.len(), 1);
    let rotated = place.run(&["keys", "rotate"]);
    let rotated: Value = serde_json::from_slice(&rotated.stdout).unwrap();
    let both = keys().await;
    assert_eq!(both.len(), 2);
    assert!(both.contains(&rotated["kid"].as_str().unwrap().to_owned()));
    let again = place.run(&["keys", "rotate"]);
    let said = String::from_utf8(again.stderr).unwrap();
    assert!(said.starts_with("error: a rotation is under way"), "{said}");
    let replaced = place.run(&["keys", "rotate", "--compromised"]);
    let replaced: Value = serde_json::from_slice(&replaced.stdout).unwrap();
    assert_eq!(keys().await, [replaced["kid"].as_str().unwrap()]);
    for entry in std::fs::read_dir(place.data().join("keys")).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}
