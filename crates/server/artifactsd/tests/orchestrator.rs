//! The role as a program: what it says when ready, what it refuses, and what it keeps through
//! `kill -9`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![cfg(feature = "orchestrator")]

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Stdio;

use common::{PROGRAM, Running, database, launch, operator, program, run, said, start};
use serde_json::Value;

#[test]
fn what_was_answered_survives_kill_9_and_sessions_do_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = start(folder.path());
    let session = operator(folder.path(), &server);
    let body = r#"{"handle":"ada","backend":"byo"}"#;
    let (status, made) = server.call("POST", "/tenants", &session, body);
    assert_eq!(status, 201, "{made}");
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    // The port is another one now, and with it the issuer: the key alone does not make a token
    // count. With a fixed address it does.
    let other = start(folder.path());
    let (status, answer) = other.call("GET", "/tenants", &session, "");
    assert_eq!(status, 401, "{answer}");
    let database = database(folder.path());
    let (mut same, address) = (other, server.address.clone());
    same.child.kill().unwrap();
    same.child.wait().unwrap();
    let arguments = [
        "orchestrator",
        "--listen",
        &address,
        "--database",
        &database,
    ];
    let ready = folder.path().join("ready.json");
    let child = program(&arguments)
        .arg("--ready-file")
        .arg(&ready)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let again = Running { child, address };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !ready.exists() {
        assert!(std::time::Instant::now() < deadline, "not ready");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let (status, listed) = again.call("GET", "/tenants", &session, "");
    assert_eq!(status, 200, "{listed}");
    assert!(listed.contains(r#""handle":"ada""#), "{listed}");
}

#[test]
fn a_second_bootstrap_is_refused_once_there_is_an_operator() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    operator(folder.path(), &server);
    let again = run(folder.path(), &["orchestrator", "bootstrap"]);
    assert!(!again.status.success() && again.stdout.is_empty());
    assert!(
        said(&again).contains("there is an operator already\nhint: "),
        "{}",
        said(&again)
    );
}

#[test]
fn the_audit_is_verified_and_exported() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    operator(folder.path(), &server);
    let checked = run(folder.path(), &["audit", "verify"]);
    let text = String::from_utf8(checked.stdout).unwrap();
    let (rows, last) = text.split_once('\n').unwrap();
    assert_eq!(rows, "2 rows, each follows from the one before");
    let seen = last.trim().strip_prefix("last ").unwrap();
    assert!(seen.starts_with("2:") && seen.len() == 2 + 64, "{seen}");
    let again = run(folder.path(), &["audit", "verify", "--seen", seen]);
    assert!(again.status.success(), "{}", said(&again));
    // One more than there is, as after a cut at the end; and another history.
    let cut = format!("3{}", &seen[1..]);
    let other = format!("2:{}", "0".repeat(64));
    for seen in [cut, other] {
        let refused = run(folder.path(), &["audit", "verify", "--seen", &seen]);
        assert_eq!(refused.status.code(), Some(1));
        let text = said(&refused);
        assert!(text.contains("is not the one that was seen"), "{text}");
    }
    let exported = run(folder.path(), &["audit", "export"]);
    let lines = String::from_utf8(exported.stdout).unwrap();
    let actions: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["action"].clone())
        .collect();
    assert_eq!(actions, ["BootstrapTokenCreated", "OperatorBootstrapped"]);
    let rest = run(folder.path(), &["audit", "export", "--after", "1"]);
    assert_eq!(
        Some(rest.stdout.as_slice()),
        lines
            .lines()
            .last()
            .map(|l| [l.as_bytes(), b"\n"].concat())
            .as_deref()
    );
}

#[test]
fn what_must_not_be_is_refused_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let remote = run(folder.path(), &["orchestrator", "--listen", "0.0.0.0:0"]);
    assert!(
        said(&remote).contains("there is no TLS\nhint: "),
        "{}",
        said(&remote)
    );
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "nothing was changed"
    );
    let wrong = program(&["orchestrator", "--database", "mysql://root:secret@h/d"])
        .output()
        .unwrap();
    let text = said(&wrong);
    assert!(
        text.contains("hint: ") && !text.contains("secret"),
        "{text}"
    );
    let unreachable = "postgres://root:secret@127.0.0.1:1/d";
    let bootstrap = ["orchestrator", "bootstrap"];
    let shown = program(&[&bootstrap[..], &["--database", unreachable]].concat())
        .output()
        .unwrap();
    let text = said(&shown);
    assert!(
        text.contains("hint: put the URL into ARTIFACTS_ORCHESTRATOR_DATABASE")
            && !text.contains("secret"),
        "{text}"
    );
    let hidden = program(&bootstrap)
        .env("ARTIFACTS_ORCHESTRATOR_DATABASE", unreachable)
        .output()
        .unwrap();
    let text = said(&hidden);
    assert!(
        text.contains("127.0.0.1") && !text.contains("secret"),
        "{text}"
    );
    let config = folder.path().join("config.toml");
    std::fs::write(&config, "sesion_hours = 1\n").unwrap();
    let config = config.display().to_string();
    let arguments = [
        "orchestrator",
        "--listen",
        "127.0.0.1:0",
        "--config",
        &config,
    ];
    let text = said(&run(folder.path(), &arguments));
    assert!(text.contains("unknown field `sesion_hours`"), "{text}");
}

#[test]
fn health_is_what_the_exit_code_says() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = start(folder.path());
    let ask = |address: &str| {
        let url = format!("http://{address}");
        let mut command = program(&["orchestrator", "health", "--url", &url]);
        // Whatever proxy the environment names, this machine is asked directly.
        command.env("http_proxy", "http://127.0.0.1:1");
        command.output().unwrap()
    };
    let well = ask(&server.address);
    assert!(well.status.success(), "{}", said(&well));
    assert!(well.stdout.is_empty() && well.stderr.is_empty());
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let gone = ask(&server.address);
    assert_eq!(gone.status.code(), Some(1));
    let text = said(&gone);
    assert!(
        text.contains("cannot be reached: Connection refused"),
        "{text}"
    );
    assert!(
        text.contains("\nhint: check that the server runs"),
        "{text}"
    );
    // A server whose database is away.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 1_024];
        let length = stream.read(&mut head).unwrap();
        let answer = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer).unwrap();
        String::from_utf8_lossy(&head[..length]).into_owned()
    });
    let unready = ask(&address);
    assert_eq!(unready.status.code(), Some(1));
    let text = said(&unready);
    assert!(
        text.contains("/readyz answers 503 Service Unavailable\nhint: the server runs"),
        "{text}"
    );
    let asked = answering.join().unwrap();
    assert!(asked.starts_with("GET /readyz HTTP/1.1\r\n"), "{asked}");
}

#[test]
fn it_takes_more_connections_than_the_soft_limit_of_open_files() {
    let folder = tempfile::tempdir().unwrap();
    let database = database(folder.path());
    let arguments = ["--listen", "127.0.0.1:0", "--database", &database];
    let mut command = std::process::Command::new("sh");
    command
        .args([
            "-c",
            "ulimit -S -n 64; exec \"$@\"",
            "sh",
            PROGRAM,
            "orchestrator",
        ])
        .args(arguments);
    let server = launch(&mut command);
    let open = || TcpStream::connect(&server.address).unwrap();
    let mut connections: Vec<_> = (0..100).map(|_| open()).collect();
    for connection in &mut connections {
        let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
        connection.write_all(request).unwrap();
        let patience = std::time::Duration::from_secs(10);
        connection.set_read_timeout(Some(patience)).unwrap();
        let mut begin = [0; 15];
        connection.read_exact(&mut begin).unwrap();
        assert_eq!(&begin, b"HTTP/1.1 200 OK");
    }
}

#[test]
fn sigterm_ends_it_well_and_lets_no_half_request_hold_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = start(folder.path());
    // Half a head, and then nothing.
    let mut half = TcpStream::connect(&server.address).unwrap();
    half.write_all(b"GET /healthz HTTP/1.1\r\nhost:").unwrap();
    assert_eq!(server.call("GET", "/readyz", "", "").0, 200);
    let pid = rustix::process::Pid::from_child(&server.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(server.child.wait().unwrap().success());
    half.shutdown(Shutdown::Both).ok();
}
