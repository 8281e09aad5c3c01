//! Servers of the program under test, and requests to them.

#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod balancer;
pub(crate) mod follower;
#[cfg(feature = "signer")]
pub(crate) mod kms;
#[cfg(all(feature = "signer", feature = "ca"))]
pub(crate) mod signer;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_artifactsd");

/// A server that is killed when the test is done with it.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) address: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn database(folder: &Path) -> String {
    format!("sqlite://{}", folder.join("orchestrator.db").display())
}

pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).stdin(Stdio::null());
    // What the caller of the tests has set is not part of them.
    for variable in ["DATABASE", "CONFIG", "LISTEN", "PUBLIC_URL", "SIGNING_KEY"] {
        command.env_remove(format!("ARTIFACTS_ORCHESTRATOR_{variable}"));
    }
    command
}

/// An orchestrator on a free port, with its database in the folder.
pub(crate) fn start(folder: &Path) -> Running {
    start_with(folder, |_| {})
}

/// The same, with more arguments or variables.
pub(crate) fn start_with(folder: &Path, prepare: impl FnOnce(&mut Command)) -> Running {
    let database = database(folder);
    let arguments = [
        "orchestrator",
        "--listen",
        "127.0.0.1:0",
        "--database",
        &database,
    ];
    let mut command = program(&arguments);
    prepare(&mut command);
    launch(&mut command)
}

/// Starts a server that prints a JSON line when it is ready.
pub(crate) fn launch(command: &mut Command) -> Running {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    let endpoint = ready["endpoint"].as_str().unwrap();
    Running {
        child,
        address: endpoint.strip_prefix("http://").unwrap().to_owned(),
    }
}

/// A store that makes keys, with the testkit's keys as its administrator's.
pub(crate) fn start_store(data: &Path) -> Running {
    let mut command = program(&[
        "dev",
        "--store-only",
        "--listen",
        "127.0.0.1:0",
        "--durability",
        "process",
    ]);
    command
        .arg("--data")
        .arg(data)
        .env("ARTIFACTS_DEV_ACCESS_KEY_ID", testkit::ACCESS_KEY_ID)
        .env(
            "ARTIFACTS_DEV_SECRET_ACCESS_KEY",
            testkit::SECRET_ACCESS_KEY,
        );
    launch(&mut command)
}

impl Running {
    /// Status and body of the answer to a request.
    pub(crate) fn call(&self, method: &str, path: &str, token: &str, body: &str) -> (u16, String) {
        self.send(method, path, token, ("application/json", body))
    }

    /// The same with a body of another type.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        token: &str,
        (kind, body): (&str, &str),
    ) -> (u16, String) {
        request(&self.address, method, path, token, (kind, body)).unwrap()
    }
}

/// A request on a connection of its own. An answer that is cut off is an error.
pub(crate) fn request(
    address: &str,
    method: &str,
    path: &str,
    token: &str,
    (kind, body): (&str, &str),
) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         authorization: Bearer {token}\r\ncontent-type: {kind}\r\n\
         content-length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(cut)?;
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    });
    if length.is_some_and(|length| body.len() < length) {
        return Err(cut());
    }
    Ok((status.ok_or_else(cut)?, body.to_owned()))
}

pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Output {
    let database = database(folder);
    program(&[arguments, &["--database", &database]].concat())
        .output()
        .unwrap()
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The session of the first operator.
pub(crate) fn operator(folder: &Path, server: &Running) -> String {
    let made = run(folder, &["orchestrator", "bootstrap"]);
    assert!(made.status.success(), "{}", said(&made));
    let token = String::from_utf8(made.stdout).unwrap();
    let token = token.trim();
    assert!(
        token.starts_with("artboot_") && !String::from_utf8_lossy(&made.stderr).contains(token)
    );
    let body = format!(r#"{{"token":"{token}"}}"#);
    let (status, answer) = server.call("POST", "/bootstrap", "", &body);
    assert_eq!(status, 200, "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    answer["access_token"].as_str().unwrap().to_owned()
}
