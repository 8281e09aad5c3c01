//! A store, an orchestrator that reaches it through the killer, and its database.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Pid;
use serde_json::{Value, json};
use testkit::postgres::Postgres;
use tokio::runtime::Runtime;

use crate::common::{Running, database, launch, program, request, said, start_store};
use crate::inventory::{self, Inventory};
use crate::killer::{Killer, Moment, Seen};

pub(crate) const KEYS: &str = "/tenant/mount/credentials";
const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// Not where it listens: its port is another one after each start, and tokens keep their issuer.
const PUBLIC: &str = "http://127.0.0.1:1";

/// Longer than any row waits for the background work to take over what a request left.
const TWO_MINUTES: i64 = 120_000_000;

/// Rows on the way from one state to another, by table.
const UNDERWAY: [(&str, &str); 3] = [
    ("credentials", "'pending', 'revoking'"),
    ("workspaces", "'deleting'"),
    ("tenants", "'provisioning', 'undoing', 'deleting'"),
];

/// Where the orchestrator keeps its rows.
pub(crate) enum Base {
    Sqlite(PathBuf),
    Postgres(Box<Postgres>, String),
}

/// A tenant, and the session of a machine in it.
pub(crate) struct Tenant {
    pub(crate) id: String,
    pub(crate) session: String,
}

/// What is asked of the orchestrator.
pub(crate) struct Asked {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) token: String,
    pub(crate) body: Value,
}

pub(crate) struct Lab {
    pub(crate) killer: Killer,
    pub(crate) operator: String,
    base: Base,
    server: Running,
    store: Running,
    runtime: Runtime,
    folder: tempfile::TempDir,
}

impl Lab {
    pub(crate) fn on_sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orchestrator.db");
        Self::start(folder, Base::Sqlite(path))
    }

    pub(crate) fn on_postgres(postgres: Postgres) -> Self {
        let url = postgres.create_database().unwrap();
        let base = Base::Postgres(Box::new(postgres), url);
        Self::start(tempfile::tempdir().unwrap(), base)
    }

    fn start(folder: tempfile::TempDir, base: Base) -> Self {
        let store = start_store(&folder.path().join("store"));
        let killer = Killer::start(&store.address);
        let server = serve(folder.path(), &base, &killer);
        let runtime = tokio::runtime::Builder::new_current_thread();
        let mut lab = Self {
            killer,
            operator: String::new(),
            base,
            server,
            store,
            runtime: { runtime }.enable_all().build().unwrap(),
            folder,
        };
        let made = lab.run(&["orchestrator", "bootstrap"]);
        let token = json!({ "token": made.trim() });
        let begun = lab.ask("POST", "/bootstrap", "", token, 200);
        lab.operator = text(&begun["access_token"]);
        lab
    }

    pub(crate) fn is_on_sqlite(&self) -> bool {
        matches!(self.base, Base::Sqlite(_))
    }

    /// A command on the lab's database.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let output = program(arguments)
            .env(
                "ARTIFACTS_ORCHESTRATOR_DATABASE",
                self.base.url(self.folder.path()),
            )
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn send(&self, asked: &Asked) -> io::Result<(u16, Value)> {
        let body = match &asked.body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let (address, token) = (&self.server.address, &asked.token);
        let (status, text) = request(address, asked.method, &asked.path, token, (JSON, &body))?;
        Ok((status, serde_json::from_str(&text).unwrap_or_default()))
    }

    pub(crate) fn ask(
        &self,
        method: &'static str,
        path: &str,
        token: &str,
        body: Value,
        status: u16,
    ) -> Value {
        let asked = Asked {
            method,
            path: path.to_owned(),
            token: token.to_owned(),
            body,
        };
        let (answered, answer) = self.send(&asked).unwrap();
        assert_eq!(answered, status, "{method} {path}: {answer}");
        answer
    }

    fn form(&self, path: &str, fields: &str) -> Value {
        let address = &self.server.address;
        let (status, text) = request(address, "POST", path, "", (FORM, fields)).unwrap();
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// The body that asks for a tenant whose owner is the operator.
    pub(crate) fn wanted(&self, handle: &str) -> Value {
        let me = self.ask("GET", "/whoami", &self.operator, Value::Null, 200);
        json!({ "handle": handle, "owner": { "actor": me["identity"]["actor"] } })
    }

    pub(crate) fn tenant(&self, handle: &str) -> Tenant {
        let made = self.ask("POST", "/tenants", &self.operator, self.wanted(handle), 201);
        self.machine(&text(&made["tenant_id"]))
    }

    /// A machine asks, the operator lets it in, and it gets its session (RFC 8628).
    pub(crate) fn machine(&self, tenant: &str) -> Tenant {
        let asked = "client_id=artifacts&machine=laptop";
        let asked = self.form("/oauth/device_authorization", asked);
        let yes = json!({ "user_code": asked["user_code"], "tenant_id": tenant });
        self.ask("POST", "/device/approve", &self.operator, yes, 204);
        let device = text(&asked["device_code"]);
        let fields = format!(
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&client_id=artifacts&device_code={device}"
        );
        Tenant {
            id: tenant.to_owned(),
            session: text(&self.form("/oauth/token", &fields)["access_token"]),
        }
    }

    pub(crate) fn key(&self, tenant: &Tenant, wanted: Value) -> Value {
        self.ask("POST", KEYS, &tenant.session, wanted, 201)
    }

    /// Whether a key opens its place at the store; else the store's code of refusal.
    pub(crate) fn open(&self, key: &Value) -> Result<(), String> {
        self.runtime
            .block_on(inventory::open(&self.endpoint(), key))
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.store.address)
    }

    pub(crate) fn sql(&self, statement: &str) -> Vec<String> {
        self.base.ask(statement)
    }

    /// Sets the trap for the server as it runs now.
    pub(crate) fn set_trap(&self, call: usize, moment: Moment) {
        let id = i32::try_from(self.server.child.id()).unwrap();
        self.killer.set(Pid::from_raw(id).unwrap(), call, moment);
    }

    /// Lifts the trap. A server that was killed is gone when this returns.
    pub(crate) fn lift_trap(&mut self) -> Seen {
        let seen = self.killer.lift();
        if matches!(seen.sprung, Some(Moment::Before | Moment::After)) {
            self.server.child.wait().unwrap();
        }
        seen
    }

    /// Another server on the same database.
    pub(crate) fn restart(&mut self) {
        self.server = serve(self.folder.path(), &self.base, &self.killer);
    }

    /// For what is under way, two minutes are over.
    pub(crate) fn two_minutes_pass(&self) {
        for (table, states) in UNDERWAY {
            // A row without a time waits for nothing, and so it is seen to stay.
            self.sql(&format!(
                "UPDATE {table} SET due_at = due_at - {TWO_MINUTES} WHERE state IN ({states})"
            ));
        }
    }

    /// Waits until nothing is under way, or `enough` says so.
    pub(crate) fn settle(&self, enough: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !enough() {
            let counts = UNDERWAY.map(|(table, states)| {
                let rows = self.sql(&format!(
                    "SELECT count(*) FROM {table} WHERE state IN ({states})"
                ));
                (table, rows.concat())
            });
            if counts.iter().all(|(_, count)| count == "0") {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "they stay as they are: {counts:?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// At the store is what the rows say, nothing less and nothing more.
    pub(crate) fn the_books_balance(&self) {
        let set =
            |statement: &str| -> BTreeSet<String> { self.sql(statement).into_iter().collect() };
        let expected = Inventory {
            buckets: set(
                "SELECT bucket FROM tenants WHERE state = 'active' AND bucket IS NOT NULL",
            ),
            keys: set("SELECT access_key FROM credentials WHERE state = 'active'"),
            loose: Vec::new(),
        };
        let found = self.runtime.block_on(inventory::take(&self.endpoint()));
        assert_eq!(found, expected, "the store has what is on the left");
    }
}

fn serve(folder: &Path, base: &Base, killer: &Killer) -> Running {
    let mut command = program(&["orchestrator", "--listen", "127.0.0.1:0"]);
    command
        .args(["--public-url", PUBLIC, "--provider", "embedded"])
        .args(["--endpoint", &format!("http://{}", killer.address)])
        .arg("--signing-key")
        .arg(folder.join("session-key.pem"))
        .env("ARTIFACTS_ORCHESTRATOR_DATABASE", base.url(folder))
        .env("ARTIFACTS_PROVIDER_ACCESS_KEY_ID", testkit::ACCESS_KEY_ID)
        .env(
            "ARTIFACTS_PROVIDER_SECRET_ACCESS_KEY",
            testkit::SECRET_ACCESS_KEY,
        );
    launch(&mut command)
}

impl Base {
    fn url(&self, folder: &Path) -> String {
        match self {
            Self::Sqlite(_) => database(folder),
            Self::Postgres(_, url) => url.clone(),
        }
    }

    /// The first column of what a statement answers.
    fn ask(&self, statement: &str) -> Vec<String> {
        match self {
            Self::Sqlite(path) => {
                let connection = rusqlite::Connection::open(path).unwrap();
                connection.busy_timeout(Duration::from_secs(10)).unwrap();
                let mut prepared = connection.prepare(statement).unwrap();
                let rows = prepared.query_map([], |row| {
                    let value: rusqlite::types::Value = row.get(0)?;
                    Ok(match value {
                        rusqlite::types::Value::Text(text) => text,
                        rusqlite::types::Value::Integer(number) => number.to_string(),
                        other => panic!("{statement}: {other:?}"),
                    })
                });
                rows.unwrap().map(Result::unwrap).collect()
            }
            Self::Postgres(server, url) => {
                let answer = server.ask(url, statement).unwrap();
                answer.lines().map(str::to_owned).collect()
            }
        }
    }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
