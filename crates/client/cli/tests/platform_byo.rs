//! In bring-your-own mode the orchestrator knows names and places and never a key: every byte
//! between the program and the server is recorded and searched.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod mounting;
mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use mounting::{eventually, mounts_under};
use serde_json::Value;
use support::platform::Platform;

/// The user's own key. Long enough that a part of it is found in nothing by chance.
const KEY_ID: &str = "AKIAQX7RECORDEDKEYID";
const SECRET: &str = "qX7vRecordedSecretThatNoServerEverSees+/9z";

/// Passes every byte on, in both directions, and keeps it.
struct Recorder {
    address: String,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Recorder {
    fn before(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (seen, server) = (Arc::<Mutex<Vec<u8>>>::default(), server.to_owned());
        let kept = Arc::clone(&seen);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, kept) = (client.unwrap(), Arc::clone(&kept));
                let server = TcpStream::connect(&server).unwrap();
                let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let also = Arc::clone(&kept);
                thread::spawn(move || pass(client, server, &kept));
                thread::spawn(move || pass(back.0, back.1, &also));
            }
        });
        Self { address, seen }
    }

    fn bytes(&self) -> Vec<u8> {
        self.seen.lock().unwrap().clone()
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, seen: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        seen.lock().unwrap().extend_from_slice(&buffer[..count]);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// Whether a text, or any eight characters of it in a row, is there.
fn has_part_of(bytes: &[u8], secret: &str) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let parts = secret.as_bytes().windows(8);
    let parts = parts.map(|part| std::str::from_utf8(part).unwrap());
    parts
        .into_iter()
        .find(|part| text.contains(part))
        .map(str::to_owned)
}

#[test]
fn neither_a_key_nor_a_part_of_it_ever_goes_to_the_orchestrator() {
    require_fuse!();
    let platform = Platform::start();
    let server = platform.url.strip_prefix("http://").unwrap();
    let recorder = Recorder::before(server);
    let through = format!("http://{}", recorder.address);
    // A bucket of the user's own, in a store that the orchestrator has nothing to do with.
    let own = support::store::Store::start_with(|options| {
        options.root = Some(embedded::AccessKey {
            id: KEY_ID.to_owned(),
            secret: SECRET.into(),
        });
    });
    let mut machine = platform.machine();
    machine
        .set_keys(KEY_ID, SECRET)
        .set("ARTIFACTS_S3_ENDPOINT", &own.server.endpoint());
    make_bucket(&own.server.endpoint());
    platform.let_in(&machine, &format!("login {through} --manual-code"));

    let root = tempfile::tempdir().unwrap();
    let folder = root.path().canonicalize().unwrap().join("mnt");
    let line = format!(
        "workspace create cases {} --bucket mine --prefix work",
        folder.display()
    );
    let said = machine.run_openly(&line);
    assert_eq!(said.code, 0, "{}", said.err);
    for words in [
        "Phase 1: reserving artifacts://ada/cases",
        "Phase 3: confirming artifacts://ada/cases",
        "Cached BYO credentials at",
    ] {
        assert!(said.err.contains(words), "{words}: {}", said.err);
    }
    fs::write(folder.join("hello"), "1").unwrap();
    machine.run(&format!("flush {}", folder.display())).ok();
    eventually(Duration::from_secs(8), "it is announced", || {
        String::from_utf8_lossy(&recorder.bytes()).contains("work/hello")
    });
    for line in [
        "whoami",
        "workspace list --remote",
        "workspace show ada/cases",
        "status",
        "storage show",
        "doctor cases",
        &format!("unmount {}", folder.display()),
        &format!("mount ada/cases {}", folder.display()),
        &format!("unmount {}", folder.display()),
        "platform key list",
    ] {
        let said = machine.run_openly(line);
        assert_eq!(said.code, 0, "{line}: {}{}", said.out, said.err);
    }
    // From the cache file as well as from the environment.
    machine.unset_keys();
    machine
        .run(&format!("mount cases {}", folder.display()))
        .ok();
    machine.run(&format!("unmount {}", folder.display())).ok();
    // Nobody issues keys to a bucket that is the user's own.
    assert_eq!(platform.live_keys(&machine).len(), 0);
    machine.run("workspace delete cases --everywhere").ok();
    machine.run("logout").ok();

    let seen = recorder.bytes();
    assert!(seen.len() > 10_000, "{} bytes were recorded", seen.len());
    let text = String::from_utf8_lossy(&seen);
    assert!(text.contains("\"bucket\":\"mine\"") && text.contains("authorization: Bearer "));
    for secret in [KEY_ID, SECRET] {
        assert_eq!(has_part_of(&seen, secret), None);
    }
    // The search finds what is there.
    assert!(has_part_of(b"xx7vRecordedxx", SECRET).is_some());
    // Nor is it anywhere that the orchestrator writes.
    for file in fs::read_dir(platform.folder()).unwrap() {
        let path = file.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        for secret in [KEY_ID, SECRET] {
            assert_eq!(has_part_of(&bytes, secret), None, "{}", path.display());
        }
    }
    let audit = platform.call("GET", "/audit?limit=1000", Value::Null, 200);
    assert!(audit.to_string().contains("WorkspaceCreated"));
    assert_eq!(has_part_of(audit.to_string().as_bytes(), SECRET), None);
    assert!(mounts_under(root.path()).is_empty());
}

fn make_bucket(endpoint: &str) {
    use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .force_path_style(true)
        .credentials_provider(Credentials::new(KEY_ID, SECRET, None, None, "test"))
        .build();
    let client = aws_sdk_s3::Client::from_conf(config);
    support::store::block_on(client.create_bucket().bucket("mine").send()).unwrap();
}
