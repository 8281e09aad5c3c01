//! An operator's side: a store, an orchestrator that makes buckets and keys in it, and the
//! person who lets machines in. The orchestrator is the real program, beside ours.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::Machine;
use super::store::Store;

/// A running platform with the tenant `ada`.
pub(crate) struct Platform {
    pub(crate) store: Store,
    pub(crate) url: String,
    pub(crate) operator: String,
    pub(crate) tenant: String,
    folder: tempfile::TempDir,
    server: Server,
}

/// The orchestrator's process, killed when the test is done with it.
struct Server {
    child: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, which stands beside ours in the build's folder.
fn artifactsd() -> PathBuf {
    let own = Path::new(env!("CARGO_BIN_EXE_artifacts"));
    let program = own.with_file_name("artifactsd");
    assert!(
        program.exists(),
        "{} is missing: build the workspace first (cargo build --workspace)",
        program.display()
    );
    program
}

impl Platform {
    pub(crate) fn start() -> Self {
        let store = Store::start();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let server = Server::start(folder.path(), &store.server.endpoint(), "127.0.0.1:0");
        let mut platform = Self {
            url: format!("http://{}", server.address),
            operator: String::new(),
            tenant: String::new(),
            store,
            folder,
            server,
        };
        platform.operator = platform.bootstrap();
        let me = platform.call("GET", "/whoami", Value::Null, 200);
        let owner = json!({ "handle": "ada", "owner": { "actor": me["identity"]["actor"] } });
        let made = platform.call("POST", "/tenants", owner, 201);
        platform.tenant = made["tenant_id"].as_str().expect("a number").to_owned();
        platform
    }

    fn bootstrap(&self) -> String {
        let made = self.program(&["orchestrator", "bootstrap"]).output();
        let made = made.expect("started");
        assert!(made.status.success(), "{made:?}");
        let token = String::from_utf8(made.stdout).expect("UTF-8");
        let body = json!({ "token": token.trim() });
        let answer = self.call("POST", "/bootstrap", body, 200);
        answer["access_token"].as_str().expect("a token").to_owned()
    }

    fn program(&self, words: &[&str]) -> Command {
        let mut command = Command::new(artifactsd());
        command
            .args(words)
            .arg("--database")
            .arg(database(self.folder.path()))
            .stdin(Stdio::null());
        command
    }

    /// Kills the orchestrator.
    pub(crate) fn stop(&mut self) {
        self.server.child.kill().expect("killed");
        self.server.child.wait().expect("ended");
    }

    /// Starts it again at the same address.
    pub(crate) fn start_again(&mut self) {
        let address = self.server.address.clone();
        let endpoint = self.store.server.endpoint();
        self.server = Server::start(self.folder.path(), &endpoint, &address);
    }

    /// What the operator's session is answered.
    #[track_caller]
    pub(crate) fn call(&self, method: &str, path: &str, body: Value, status: u16) -> Value {
        self.call_as(&self.operator, method, path, body, status)
    }

    /// What somebody's session is answered.
    #[track_caller]
    pub(crate) fn call_as(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Value,
        status: u16,
    ) -> Value {
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let length = body.len();
        let mut stream = TcpStream::connect(&self.server.address).expect("connected");
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
             authorization: Bearer {token}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        )
        .expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let answered = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        assert_eq!(answered, Some(status), "{method} {path}: {body}");
        serde_json::from_str(body).unwrap_or_default()
    }

    /// A machine that nobody has logged in on.
    pub(crate) fn machine(&self) -> Machine {
        Machine::new()
    }

    /// A machine that the operator has let in, for the tenant.
    pub(crate) fn logged_in(&self) -> Machine {
        let machine = self.machine();
        self.let_in(&machine, &format!("login {} --manual-code", self.url));
        machine
    }

    /// Runs a command that asks to be let in, and lets it in.
    #[track_caller]
    pub(crate) fn let_in(&self, machine: &Machine, line: &str) -> String {
        self.answer(machine, line, "approve", 0)
    }

    /// The same for a session in this tenant.
    #[track_caller]
    pub(crate) fn let_in_to(&self, machine: &Machine, line: &str, tenant: &str) -> String {
        self.answer_for(machine, line, ("approve", tenant), 0)
    }

    /// Runs a command that asks to be let in, gives this answer, and gives what it said on
    /// standard error.
    #[track_caller]
    pub(crate) fn answer(&self, machine: &Machine, line: &str, how: &str, code: i32) -> String {
        self.answer_for(machine, line, (how, &self.tenant), code)
    }

    #[track_caller]
    fn answer_for(
        &self,
        machine: &Machine,
        line: &str,
        (how, tenant): (&str, &str),
        code: i32,
    ) -> String {
        let mut child = machine
            .artifacts(line)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let stderr = child.stderr.take().expect("a pipe");
        let mut said = String::new();
        for text in BufReader::new(stderr).lines() {
            let text = text.expect("UTF-8");
            said.push_str(&text);
            said.push('\n');
            if is_code(text.trim()) {
                let body = json!({ "user_code": text.trim(), "tenant_id": tenant });
                self.call("POST", &format!("/device/{how}"), body, 204);
            }
        }
        let ended = child.wait_with_output().expect("ended");
        assert_eq!(ended.status.code(), Some(code), "{line}: {said}");
        said
    }

    /// The keys that are alive, as the operator's session for the tenant sees them.
    pub(crate) fn live_keys(&self, machine: &Machine) -> Vec<Value> {
        let said = machine.run("platform key list --format json").ok();
        let list: Value = serde_json::from_str(&said).expect("JSON");
        let items = list["items"].as_array().expect("a list").clone();
        let is_live = |key: &Value| key["state"] == "active";
        items.into_iter().filter(is_live).collect()
    }

    /// The orchestrator's own files and its log.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Server {
    fn start(folder: &Path, store: &str, listen: &str) -> Self {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(folder.join("log"))
            .expect("a log");
        let mut child = Command::new(artifactsd())
            .args(["orchestrator", "--listen", listen])
            .arg("--database")
            .arg(database(folder))
            .args(["--provider", "embedded", "--endpoint", store])
            .env("ARTIFACTS_PROVIDER_ACCESS_KEY_ID", testkit::ACCESS_KEY_ID)
            .env(
                "ARTIFACTS_PROVIDER_SECRET_ACCESS_KEY",
                testkit::SECRET_ACCESS_KEY,
            )
            .env("ARTIFACTS_LOG", "trace")
            .env("RUST_LOG", "trace")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("started");
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
        out.read_line(&mut line).expect("a line");
        let ready: Value = serde_json::from_str(&line).expect("JSON");
        let endpoint = ready["endpoint"].as_str().expect("an address");
        let address = endpoint.strip_prefix("http://").expect("plain HTTP");
        Self {
            child,
            address: address.to_owned(),
        }
    }
}

fn database(folder: &Path) -> String {
    format!("sqlite://{}", folder.join("orchestrator.db").display())
}

/// Whether a line is a code to type, such as WDJB-MJHT.
fn is_code(text: &str) -> bool {
    let consonant = |c: char| c.is_ascii_uppercase();
    text.len() == 9
        && text
            .split_once('-')
            .is_some_and(|(one, other)| one.chars().chain(other.chars()).all(consonant))
}
