//! Two servers of one PostgreSQL database behind one address; one is killed while both are busy.
//! No request is lost beyond its repetition, no event is lost, doubled or out of order, and of
//! the key that the dead server was issuing nothing stays at the store.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![cfg(all(feature = "dev", feature = "orchestrator"))]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::balancer::Balancer;
use common::follower::{Followed, follow};
use common::{Running, launch, program, request, said, start_store};
use serde_json::{Value, json};
use testkit::postgres::Postgres;
use testkit::proxy::Proxy;

const KEYS: &str = "/tenant/mount/credentials";
const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

const READERS: usize = 4;
const ANNOUNCERS: usize = 3;
const FOLLOWERS: usize = 8;

/// How long both are busy before one is killed, and the other after it.
const BUSY: Duration = Duration::from_millis(1_500);

/// Before a request is sent again: the system ends the connections of a process that was killed
/// before it closes its port, which takes calls for a moment longer.
const PAUSE: Duration = Duration::from_millis(500);

struct Lab {
    postgres: Postgres,
    database: String,
    /// Both run until the test is done.
    _store: Running,
    _second: Running,
    /// In front of the store, for the first server.
    slow: Proxy,
    balancer: Balancer,
    first: Running,
    session: String,
    workspace: String,
    folder: tempfile::TempDir,
}

impl Lab {
    fn start(postgres: Postgres) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = postgres.create_database().unwrap();
        let store = start_store(&folder.path().join("store"));
        let slow = Proxy::start(store.address.parse().unwrap()).unwrap();
        let balancer = Balancer::start();
        let first = replica(folder.path(), &database, &balancer, &slow.endpoint());
        let direct = format!("http://{}", store.address);
        let second = replica(folder.path(), &database, &balancer, &direct);
        let mut lab = Self {
            postgres,
            database,
            _store: store,
            _second: second,
            slow,
            balancer,
            first,
            session: String::new(),
            workspace: String::new(),
            folder,
        };
        lab.make_a_tenant();
        lab
    }

    /// A tenant with a workspace, and the session of a machine in it.
    fn make_a_tenant(&mut self) {
        let made = program(&["orchestrator", "bootstrap"])
            .env("ARTIFACTS_ORCHESTRATOR_DATABASE", &self.database)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", said(&made));
        let token = String::from_utf8(made.stdout).unwrap();
        let begun = self.json("POST", "/bootstrap", "", json!({ "token": token.trim() }));
        let operator = text(&begun["access_token"]);
        let me = self.json("GET", "/whoami", &operator, Value::Null);
        let owner = json!({ "handle": "ada", "owner": { "actor": me["identity"]["actor"] } });
        let tenant = self.json("POST", "/tenants", &operator, owner);
        let asked = "client_id=artifacts&machine=laptop";
        let asked = self.form("/oauth/device_authorization", asked);
        let yes = json!({ "user_code": asked["user_code"], "tenant_id": tenant["tenant_id"] });
        self.json("POST", "/device/approve", &operator, yes);
        let code = text(&asked["device_code"]);
        let fields = format!(
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&client_id=artifacts&device_code={code}"
        );
        self.session = text(&self.form("/oauth/token", &fields)["access_token"]);
        let name = json!({ "name": "cases" });
        let made = self.json("POST", "/workspaces", &self.session, name);
        self.workspace = text(&made["workspace_id"]);
    }

    fn json(&self, method: &str, path: &str, token: &str, body: Value) -> Value {
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        self.asked(method, path, token, (JSON, &body))
    }

    fn form(&self, path: &str, fields: &str) -> Value {
        self.asked("POST", path, "", (FORM, fields))
    }

    fn asked(&self, method: &str, path: &str, token: &str, body: (&str, &str)) -> Value {
        let address = &self.balancer.address;
        let (status, text) = request(address, method, path, token, body).unwrap();
        assert!(
            (200..300).contains(&status),
            "{method} {path}: {status} {text}"
        );
        serde_json::from_str(&text).unwrap_or_default()
    }

    fn sql(&self, statement: &str) -> String {
        self.postgres.ask(&self.database, statement).unwrap()
    }

    /// What the store keeps of keys, users and policies.
    fn kept_by_the_store(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("store/keys.json")).unwrap()
    }
}

fn replica(folder: &Path, database: &str, balancer: &Balancer, store: &str) -> Running {
    let url = format!("http://{}", balancer.address);
    let mut command = program(&["orchestrator", "--listen", "127.0.0.1:0"]);
    command
        .args(["--public-url", &url, "--provider", "embedded"])
        .args(["--endpoint", store, "--signing-key"])
        .arg(folder.join("session-key.pem"))
        .env("ARTIFACTS_ORCHESTRATOR_DATABASE", database)
        .env("ARTIFACTS_PROVIDER_ACCESS_KEY_ID", testkit::ACCESS_KEY_ID)
        .env(
            "ARTIFACTS_PROVIDER_SECRET_ACCESS_KEY",
            testkit::SECRET_ACCESS_KEY,
        );
    let running = launch(&mut command);
    balancer.add(&running.address);
    running
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// What clients did, and how often they had to do it again.
#[derive(Default)]
struct Done {
    requests: AtomicUsize,
    repeated: AtomicUsize,
}

impl Done {
    /// As a client does it: what broke off or was not to be had is sent once more, a
    /// moment later.
    /// Answers the number of tries.
    fn ask(&self, address: &str, method: &str, path: &str, token: &str, body: &str) -> usize {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let send = || request(address, method, path, token, (JSON, body));
        let broke = |answer: &std::io::Result<(u16, String)>| match answer {
            Ok((status, _)) => *status == 503,
            Err(_) => true,
        };
        let (mut answer, mut tries) = (send(), 1);
        if broke(&answer) {
            self.repeated.fetch_add(1, Ordering::Relaxed);
            thread::sleep(PAUSE);
            (answer, tries) = (send(), 2);
        }
        let (status, text) = answer.unwrap();
        assert_eq!(status, 200, "{method} {path} at try {tries}: {text}");
        tries
    }
}

/// Lets everybody come to an end, also where the test fails in between.
struct Stop<'a>(&'a AtomicBool, &'a AtomicU64);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        if std::thread::panicking() {
            self.1.store(0, Ordering::Relaxed);
        }
    }
}

#[test]
fn one_of_two_is_killed_and_nobody_loses_anything() {
    let mut lab = Lab::start(testkit::require_postgres!());
    let (stop, last) = (AtomicBool::new(false), AtomicU64::new(u64::MAX));
    let done = Done::default();
    let (address, session) = (lab.balancer.address.clone(), lab.session.clone());
    let workspace = lab.workspace.clone();
    let (tries, followed) = thread::scope(|scope| {
        let (stop, last, done) = (&stop, &last, &done);
        let (address, session, workspace) = (&*address, &*session, &*workspace);
        for _ in 0..READERS {
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    done.ask(address, "GET", "/tenant/mount/info", session, "");
                }
            });
        }
        let announcers: Vec<_> = (0..ANNOUNCERS)
            .map(|number| {
                scope.spawn(move || announce(done, stop, address, session, workspace, number))
            })
            .collect();
        let followers: Vec<_> = (0..FOLLOWERS)
            .map(|_| {
                scope.spawn(move || {
                    follow(address, workspace, session, |seen| {
                        seen >= last.load(Ordering::Relaxed)
                    })
                })
            })
            .collect();
        let stopping = Stop(stop, last);
        thread::sleep(BUSY);
        let key = begin_a_key_and_kill(&mut lab);
        thread::sleep(BUSY);
        drop(stopping);
        let mut tries = BTreeMap::new();
        for announcer in announcers {
            tries.extend(announcer.join().unwrap());
        }
        let newest = lab.sql("SELECT last_event FROM workspaces");
        last.store(newest.parse().unwrap(), Ordering::Relaxed);
        let followed: Vec<Followed> = followers.into_iter().map(|f| f.join().unwrap()).collect();
        the_key_is_taken_back(&lab, &key);
        (tries, followed)
    });
    let repeated = done.repeated.load(Ordering::Relaxed);
    let requests = done.requests.load(Ordering::Relaxed);
    assert!(requests > 100, "only {requests} requests: no load");
    let ends: usize = followed.iter().map(|client| client.ends).sum();
    assert!(
        repeated + ends > 0,
        "nobody noticed that a server was killed"
    );
    assert!(ends >= 1, "no follower was at the server that was killed");
    for client in &followed {
        everything_came_once_and_in_order(client, last.load(Ordering::Relaxed), &tries);
        assert_eq!(client.events, followed[0].events, "all saw the same");
    }
}

/// Announces one file after the other; answers how many tries each took.
fn announce(
    done: &Done,
    stop: &AtomicBool,
    address: &str,
    session: &str,
    workspace: &str,
    number: usize,
) -> Vec<(String, usize)> {
    let mut tries = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let key = format!("announcer-{number}/{}", tries.len());
        let body = json!({ "workspace_id": workspace, "changed": [{ "key": key }] });
        let took = done.ask(address, "POST", "/sync", session, &body.to_string());
        tries.push((key, took));
    }
    tries
}

/// Lets the first server begin to issue a key, and kills it when the store has the first of it.
/// Answers the key's number.
fn begin_a_key_and_kill(lab: &mut Lab) -> String {
    lab.slow.set_latency(Duration::from_millis(500));
    let (address, session) = (lab.first.address.clone(), lab.session.clone());
    let issuing = thread::spawn(move || request(&address, "POST", KEYS, &session, (JSON, "")));
    let deadline = Instant::now() + Duration::from_secs(20);
    let key = loop {
        assert!(Instant::now() < deadline, "no key was begun");
        let begun = lab.sql("SELECT id FROM credentials WHERE state = 'pending'");
        if !begun.is_empty() && lab.kept_by_the_store().contains(&begun) {
            break begun;
        }
        thread::sleep(Duration::from_millis(20));
    };
    lab.first.child.kill().unwrap();
    lab.first.child.wait().unwrap();
    let lost = issuing.join().unwrap();
    assert!(lost.is_err(), "the key was answered: {lost:?}");
    key
}

/// Its time comes after two minutes, which are over at once here.
fn the_key_is_taken_back(lab: &Lab, key: &str) {
    let state = format!("SELECT state FROM credentials WHERE id = '{key}'");
    assert_eq!(lab.sql(&state), "pending");
    lab.sql("UPDATE credentials SET due_at = 0, created_at = 0 WHERE state = 'pending'");
    let deadline = Instant::now() + Duration::from_secs(20);
    while lab.sql(&state) != "revoked" {
        assert!(
            Instant::now() < deadline,
            "the other server did not take it back"
        );
        thread::sleep(Duration::from_millis(50));
    }
    let kept = lab.kept_by_the_store();
    assert!(!kept.contains(key), "something of it stayed");
}

fn everything_came_once_and_in_order(
    client: &Followed,
    last: u64,
    tries: &BTreeMap<String, usize>,
) {
    let numbers: Vec<u64> = client.events.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=last).collect::<Vec<_>>());
    let mut came: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, key) in &client.events {
        *came.entry(key).or_default() += 1;
    }
    for (key, tries) in tries {
        let times = came.get(key.as_str()).copied().unwrap_or(0);
        // Whoever repeats an announcement whose answer was lost may have made it twice.
        assert!(
            (1..=*tries).contains(&times),
            "{key} came {times} times of {tries} tries"
        );
    }
    assert_eq!(
        came.len(),
        tries.len(),
        "something came that nobody announced"
    );
}
