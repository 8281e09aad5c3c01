//! The socket: who may ask, and what a worker's refusals lead to.

#![allow(clippy::print_stderr, reason = "a skip must be seen")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::vault::Reason;
use artifacts_sidecar::{Daemon, server};
use credentials::{Folder, Paths};
use model::ServiceName;
use secrets::{Kind, SecretStore, SecretValue, SidecarStore};
use support::{Broker, FakeWorker};
use tempfile::TempDir;

struct Scene {
    home: TempDir,
    broker: Arc<Broker>,
    worker: FakeWorker,
    store: SidecarStore,
    socket: PathBuf,
    daemon: Arc<Daemon>,
}

async fn scene(policy: Option<&str>) -> Scene {
    let home = tempfile::tempdir().expect("a temporary folder");
    let paths = Paths::under(home.path());
    if let Some(policy) = policy {
        let folder = Folder::create(paths.config()).expect("made");
        folder
            .replace("daemon-policy.toml", policy.as_bytes())
            .expect("written");
    }
    let (broker, worker) = (Broker::new(), FakeWorker::default());
    let upstream = broker.clone();
    let daemon = Daemon::new(
        upstream,
        "https://broker".into(),
        worker.start().await,
        paths,
    );
    let daemon = Arc::new(daemon);
    let socket = home.path().join("run/daemon.sock");
    let others = daemon.policy().expect("good").names_others();
    let bound = server::bind(&socket, others).await.expect("bound");
    tokio::spawn(server::serve(bound, daemon.clone()));
    Scene {
        store: SidecarStore::new(socket.clone()),
        home,
        broker,
        worker,
        socket,
        daemon,
    }
}

fn service(name: &str) -> ServiceName {
    name.parse().expect("a name")
}

impl Scene {
    async fn read(&self, name: &str) -> secrets::Result<String> {
        let read = self.store.read(&service(name), false).await?;
        Ok(String::from_utf8(read.value.expose().to_vec()).expect("text"))
    }
}

#[tokio::test]
async fn a_secret_comes_through_and_each_request_has_a_proof_of_its_own() {
    let scene = scene(None).await;
    for _ in 0..2 {
        scene.worker.will_give("openrouter", "sk-or-1", 3);
        assert_eq!(scene.read("OpenRouter").await.expect("read"), "sk-or-1");
    }
    let seen = scene.worker.seen.lock().expect("unpoisoned").clone();
    assert_eq!(seen[0].0, seen[1].0, "one capability");
    assert_ne!(seen[0].1, seen[1].1, "two proofs");
    assert_eq!(scene.broker.given(), 1);
    let status = scene.store.status().await.expect("one");
    assert_eq!((status.capabilities, status.has_policy), (1, false));
}

#[tokio::test]
async fn a_held_capability_that_is_refused_is_asked_for_anew_once() {
    for reason in [
        Reason::CapExpired,
        Reason::EpochMismatch,
        Reason::ScopeDenied,
        Reason::CapSignatureInvalid,
    ] {
        let scene = scene(None).await;
        scene.worker.will_give("a", "one", 1);
        scene.read("a").await.expect("read");
        scene.worker.will_refuse(reason);
        scene.worker.will_give("a", "two", 2);
        assert_eq!(scene.read("a").await.expect("read"), "two", "{reason}");
        let caps = scene.worker.caps();
        assert_eq!(caps[0], caps[1]);
        assert_ne!(caps[1], caps[2], "{reason}");
        scene.worker.will_refuse(reason);
        scene.worker.will_refuse(reason);
        let error = scene.read("a").await.expect_err("refused twice");
        assert_eq!((error.reason, error.kind), (Some(reason), Kind::Denied));
        assert_eq!(scene.worker.caps().len(), 5, "{reason}: no third try");
    }
}

#[tokio::test]
async fn another_refusal_is_told_at_once_and_drops_nothing() {
    let scene = scene(None).await;
    scene.worker.will_give("a", "one", 1);
    scene.read("a").await.expect("read");
    for (reason, kind) in [
        (Reason::DeviceRevoked, Kind::Denied),
        (Reason::NotFound, Kind::NotFound),
        (Reason::SignerUnavailable, Kind::Temporary),
    ] {
        scene.worker.will_refuse(reason);
        let error = scene.read("a").await.expect_err("refused");
        assert_eq!((error.reason, error.kind), (Some(reason), kind));
        assert_eq!(error.message, format!("no: {reason}"));
        assert!(!error.hint.is_empty());
    }
    assert_eq!(scene.broker.given(), 1);
}

#[tokio::test]
async fn an_older_generation_than_was_seen_is_refused_whatever_the_worker_says() {
    let scene = scene(None).await;
    scene.worker.will_give("a", "new", 5);
    scene.read("a").await.expect("read");
    scene.worker.will_give("a", "old", 4);
    let error = scene.read("a").await.expect_err("a rollback");
    assert_eq!(error.reason, Some(Reason::EnvelopeRollback));
    assert_eq!(error.kind, Kind::Conflict);
    scene.worker.will_give("a", "old", 4);
    let read = scene
        .store
        .read(&service("a"), true)
        .await
        .expect("accepted");
    assert_eq!(read.generation, 4);
}

#[tokio::test]
async fn a_worker_that_stores_a_lower_generation_lowers_nothing() {
    let scene = scene(None).await;
    let value = || SecretValue::new(zeroize::Zeroizing::new(b"new".to_vec())).expect("a value");
    scene.worker.will_give("a", "new", 5);
    scene.read("a").await.expect("read");
    for generation in [0, 4, u64::MAX] {
        scene.worker.will_store("a", generation);
        let error = scene.store.store(&service("a"), &value(), None).await;
        let reason = error.err().and_then(|error| error.reason);
        let expected = match generation {
            u64::MAX => Reason::EnvelopeInvalid,
            _ => Reason::EnvelopeRollback,
        };
        assert_eq!(reason, Some(expected), "{generation}");
        scene.worker.will_give("a", "old", 4);
        let error = scene.read("a").await.expect_err("a rollback");
        assert_eq!(error.reason, Some(Reason::EnvelopeRollback), "{generation}");
    }
    scene.worker.will_store("a", 6);
    let stored = scene.store.store(&service("a"), &value(), None).await;
    assert_eq!(stored.expect("stored").generation, 6);
}

#[tokio::test]
async fn the_policy_counts_from_the_next_request_on() {
    let scene = scene(None).await;
    scene.worker.will_give("a", "one", 1);
    scene.read("a").await.expect("read");
    let own = std::env::current_exe().expect("a program");
    let program = own.display();
    // This test's program is the daemon's too, so its parent is looked at.
    let text = format!("[[allow]]\nprogram = \"{program}-other\"\nservices = [\"*\"]\n");
    let folder = Folder::create(Paths::under(scene.home.path()).config()).expect("made");
    folder
        .replace("daemon-policy.toml", text.as_bytes())
        .expect("written");
    let error = scene.read("a").await.expect_err("refused");
    assert_eq!(error.kind, Kind::Denied);
    assert!(error.message.contains("policy does not let"), "{error}");
    folder
        .replace("daemon-policy.toml", b"allow = 3")
        .expect("written");
    let error = scene.read("a").await.expect_err("refused");
    assert!(error.message.contains("nobody gets anything"), "{error}");
    assert_eq!(scene.worker.caps().len(), 1, "the worker was not asked");
}

#[tokio::test]
async fn the_socket_is_its_owners_and_two_daemons_do_not_share_one() {
    let scene = scene(None).await;
    let mode = |path: &Path| path.metadata().expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&scene.socket), 0o600);
    assert_eq!(mode(scene.socket.parent().expect("a folder")), 0o700);
    let error = server::bind(&scene.socket, false)
        .await
        .err()
        .expect("refused");
    assert_eq!(error.kind, Kind::Conflict);
    scene.store.stop().await.expect("told");
    scene.daemon.end().cancelled().await;
    for _ in 0..200 {
        if !scene.socket.exists() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let error = scene.read("a").await.expect_err("nobody is there");
    assert_eq!(error.kind, Kind::Temporary);
    assert!(
        error.hint.contains("artifacts daemon start"),
        "{}",
        error.hint
    );
    // What a killed daemon leaves is taken over.
    std::os::unix::net::UnixListener::bind(&scene.socket)
        .map(drop)
        .expect("left behind");
    drop(
        server::bind(&scene.socket, false)
            .await
            .expect("taken over"),
    );
}

/// What a thread of another user hears at the socket, to this line or to none.
fn as_user(uid: u32, socket: PathBuf, line: Option<&'static str>) -> std::io::Result<String> {
    use std::io::{BufRead, BufReader, Write};
    let asked = std::thread::spawn(move || {
        let user = rustix::process::Uid::from_raw(uid);
        rustix::thread::set_thread_res_uid(user, user, user)?;
        let mut stream = std::os::unix::net::UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(std::time::Duration::from_secs(5)))?;
        if let Some(line) = line {
            writeln!(stream, "{line}")?;
        }
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        Ok(answer)
    });
    asked.join().expect("no panic")
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_is_refused_by_the_socket_and_by_the_kernels_word() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can become another user");
        return;
    }
    const STRANGER: u32 = 65_534;
    let closed = scene(None).await;
    open_up(&closed);
    let refused = as_user(STRANGER, closed.socket.clone(), None).expect_err("closed");
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);

    // A policy for one other user opens the socket; all others are told no by their number.
    let policy = "[[allow]]\nuid = 65533\nservices = [\"a\"]\n";
    let scene = scene(Some(policy)).await;
    open_up(&scene);
    // Before they have said anything, so that they keep no place by saying nothing.
    let answer = as_user(STRANGER, scene.socket.clone(), None).expect("an answer");
    assert!(answer.contains("\"kind\":\"denied\""), "{answer}");
    assert!(answer.contains("does not serve user 65534"), "{answer}");
    assert_eq!(scene.worker.caps().len(), 0, "the worker was not asked");
    scene.worker.will_give("a", "one", 1);
    let named = |line| as_user(65_533, scene.socket.clone(), Some(line)).expect("an answer");
    let answer = named("{\"op\":\"fetch\",\"service\":\"a\"}");
    assert!(answer.contains("fetched"), "{answer}");
    let answer = named("{\"op\":\"fetch\",\"service\":\"a\",\"accept_older\":true}");
    assert!(answer.contains("\"kind\":\"denied\""), "{answer}");
    assert!(answer.contains("take an older secret"), "{answer}");
    assert_eq!(scene.worker.caps().len(), 1, "the worker was not asked");
}

/// Lets other users as far as the socket.
fn open_up(scene: &Scene) {
    for folder in [scene.home.path(), scene.socket.parent().expect("a folder")] {
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder, open).expect("chmod");
    }
}
