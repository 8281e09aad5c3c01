//! A signer's program in a folder of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use base::mutual::{Identity, client};
use serde_json::Value;

use super::PROGRAM;

pub(crate) const PASSPHRASE: &str = "correct horse battery";

/// The words of a server on a free port.
pub(crate) const SERVE: [&str; 3] = ["serve", "--listen", "127.0.0.1:0"];

/// A folder with an authority, a passphrase and a signer's data.
pub(crate) struct Place(pub(crate) tempfile::TempDir);

/// Killed when the test is done with it.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) ready: Value,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.secret("passphrase", PASSPHRASE);
        let ca = place.path("ca");
        good(&run(&["ca", "init", "--data", text(&ca)]));
        for (role, names) in [
            ("signer", &["127.0.0.1", "localhost"][..]),
            ("worker", &[]),
            ("operator-admin", &[]),
        ] {
            place.issue(role, names);
        }
        place
    }

    pub(crate) fn issue(&self, role: &str, names: &[&str]) {
        let (ca, identity) = (self.path("ca"), self.identity(role));
        let (certificate, key) = (text(&identity.certificate), text(&identity.key));
        let mut arguments = vec!["ca", "issue", "--data", text(&ca), "--role", role];
        arguments.extend(["--certificate", certificate, "--key", key]);
        arguments.extend(names.iter().flat_map(|name| ["--name", *name]));
        good(&run(&arguments));
    }

    pub(crate) fn identity(&self, role: &str) -> Identity {
        Identity {
            ca: self.path("ca").join("ca.pem"),
            certificate: self.path(&format!("{role}.pem")),
            key: self.path(&format!("{role}-key.pem")),
            trust_domain: "artifacts".parse().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn secret(&self, name: &str, content: &str) {
        fs::write(self.path(name), format!("{content}\n")).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// A command on the sealed file, with its passphrase.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        self.command_of(Path::new(PROGRAM), words)
    }

    pub(crate) fn command_of(&self, program: &Path, words: &[&str]) -> Command {
        let mut command = self.unopened(program, words);
        command
            .arg("--passphrase-file")
            .arg(self.path("passphrase"));
        command
    }

    /// A command on the sealed file, without what opens it.
    pub(crate) fn unopened(&self, program: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.arg("signer").args(words).stdin(Stdio::null());
        command.arg("--data").arg(self.path("data"));
        command
    }

    pub(crate) fn did(&self, words: &[&str]) -> Value {
        let output = self.command(words).output().unwrap();
        good(&output);
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub(crate) fn serve(&self) -> Command {
        self.serve_by(Path::new(PROGRAM))
    }

    pub(crate) fn serve_by(&self, program: &Path) -> Command {
        self.served(self.command_of(program, &SERVE))
    }

    /// A command that serves, with the rest of what it needs.
    pub(crate) fn served(&self, mut command: Command) -> Command {
        let own = self.identity("signer");
        command.args([
            "--internal-listen",
            "127.0.0.1:0",
            "--broker",
            "http://127.0.0.1:9",
        ]);
        command.arg("--internal-certificate").arg(own.certificate);
        command.arg("--internal-key").arg(own.key);
        command.arg("--internal-ca").arg(own.ca);
        command.stderr(Stdio::piped()).stdout(Stdio::piped());
        command
    }
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready = serde_json::from_str(&line).unwrap();
        Self { child, ready }
    }

    pub(crate) fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap()
    }

    pub(crate) fn locked_kib(&self) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmLck:"));
        line.unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap()
    }

    pub(crate) fn epoch(&self, identity: &Identity) -> Value {
        let url = format!("{}/v1/epoch", self.ready["internal"].as_str().unwrap());
        let client = client(identity, "signer").unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let answer = client.build().unwrap().get(url).send().await.unwrap();
            serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
        })
    }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub(crate) fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

pub(crate) fn good(output: &Output) {
    assert!(output.status.success(), "{}", said(output));
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
