//! A store, a workspace in it, and folders to mount it on; everything is taken off again
//! when a test ends, however it ends.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Machine, Said};

/// The bucket of every test.
pub(crate) const BUCKET: &str = "bucket";

/// A policy that allows all.
pub(crate) const EVERYTHING: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#;
/// A policy that allows to read and to list [`BUCKET`].
pub(crate) const READER: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::bucket","arn:aws:s3:::bucket/*"]}]}"#;

/// Leaves the test where the kernel has no FUSE; fails it where that must not be.
#[macro_export]
macro_rules! require_fuse {
    () => {
        if !std::path::Path::new("/dev/fuse").exists() {
            assert!(!testkit::tools::required(), "there is no /dev/fuse");
            return testkit::tools::note_skip("there is no /dev/fuse");
        }
    };
}

/// An embedded store with a bucket, and a machine that knows the workspace `work` in it.
pub(crate) struct Site {
    pub(crate) machine: Machine,
    pub(crate) root: PathBuf,
    server: Option<embedded::Server>,
    folders: [tempfile::TempDir; 2],
}

impl Site {
    pub(crate) fn new() -> Self {
        let site = Self::bare();
        site.machine
            .run("workspace create work --bucket bucket --prefix work")
            .ok();
        site
    }

    /// Without a workspace.
    pub(crate) fn bare() -> Self {
        let (data, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut options = embedded::Options::new(data.path());
        options.durability = embedded::Durability::Process;
        options.root = Some(embedded::AccessKey {
            id: testkit::ACCESS_KEY_ID.to_owned(),
            secret: testkit::SECRET_ACCESS_KEY.into(),
        });
        let server = block_on(embedded::Server::start(options)).expect("a server");
        testkit::s3::create_bucket(&server.endpoint(), BUCKET).expect("a bucket");
        let mut machine = Machine::new();
        machine
            .set_keys(testkit::ACCESS_KEY_ID, testkit::SECRET_ACCESS_KEY)
            .set("ARTIFACTS_S3_ENDPOINT", &server.endpoint());
        Self {
            machine,
            root: root.path().canonicalize().unwrap(),
            server: Some(server),
            folders: [data, root],
        }
    }

    fn server(&self) -> &embedded::Server {
        self.server.as_ref().expect("it runs")
    }

    pub(crate) fn endpoint(&self) -> String {
        self.server().endpoint()
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.server().address()
    }

    pub(crate) fn keys(&self) -> &embedded::Keys {
        self.server().keys()
    }

    /// Writes the roles, providers and MFA devices of the store's STS.
    pub(crate) fn put_settings(&self, settings: &Value) {
        let path = self.data().join(embedded::STS_FILE);
        fs::write(&path, settings.to_string()).unwrap();
        crate::support::chmod(&path, 0o600);
    }

    /// The store's folder.
    pub(crate) fn data(&self) -> &Path {
        self.folders[0].path()
    }

    /// Stops the store and starts it again on the same folder and port: sessions, which are
    /// in its memory, are gone.
    pub(crate) fn restart_store(&mut self) {
        let address = self.address();
        let mut options = embedded::Options::new(self.data());
        options.durability = embedded::Durability::Process;
        options.listen = address;
        // Gone before the next one wants its folder and its port.
        drop(self.server.take());
        self.server = Some(block_on(embedded::Server::start(options)).expect("a server"));
    }

    /// New keys with these rights, in the cache file; gives their id.
    pub(crate) fn save_keys(&self, policy: &str) -> String {
        let key = self.keys().add(policy).expect("a key");
        let line = format!(
            "storage set --access-key-id {} --secret-access-key -",
            key.id
        );
        let secret = secrecy::ExposeSecret::expose_secret(&key.secret);
        self.machine
            .run_with_input(&line, &format!("{secret}\n"))
            .ok();
        key.id
    }

    /// Lets the workspace find its store elsewhere, say behind a proxy.
    pub(crate) fn set_endpoint(&self, endpoint: &str) {
        let path = self.machine.config().join("workspaces/work.toml");
        let config = fs::read_to_string(&path).unwrap();
        fs::write(&path, config.replace(&self.endpoint(), endpoint)).unwrap();
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Runs `artifacts`; `{}` in the line is the folder.
    pub(crate) fn run(&self, line: &str, folder: &Path) -> Said {
        self.machine
            .run(&line.replace("{}", folder.to_str().unwrap()))
    }

    /// Mounts `work` on a new folder.
    pub(crate) fn mount(&self, options: &str) -> PathBuf {
        let folder = self.folder("mnt");
        self.run(&format!("mount work {{}} {options}"), &folder)
            .ok();
        folder
    }

    pub(crate) fn status(&self, what: &str) -> Value {
        let said = self.machine.run(&format!("status {what} --format json"));
        serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {}{}", said.out, said.err))
    }

    pub(crate) fn pid(&self, what: &str) -> i32 {
        i32::try_from(self.status(what)["pid"].as_i64().unwrap()).unwrap()
    }

    /// The body of an object of the workspace.
    pub(crate) fn object(&self, path: &str) -> Option<Vec<u8>> {
        let client = testkit::s3::client(&self.endpoint());
        block_on(async {
            let get = client
                .get_object()
                .bucket(BUCKET)
                .key(format!("work/{path}"));
            let body = get.send().await.ok()?.body.collect().await.unwrap();
            Some(body.to_vec())
        })
    }

    pub(crate) fn put_object(&self, path: &str, body: &str) {
        let client = testkit::s3::client(&self.endpoint());
        let put = client
            .put_object()
            .bucket(BUCKET)
            .key(format!("work/{path}"));
        block_on(put.body(body.as_bytes().to_vec().into()).send()).expect("put");
    }

    pub(crate) fn remove_object(&self, path: &str) {
        let client = testkit::s3::client(&self.endpoint());
        let key = format!("work/{path}");
        block_on(client.delete_object().bucket(BUCKET).key(key).send()).expect("delete");
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for mountpoint in mounts_under(&self.root) {
            let folder = mountpoint.display();
            let said = self
                .machine
                .run_openly(&format!("unmount --no-wait --lazy {folder}"));
            if said.code != 0 && said.code != 8 {
                // A mount that no longer answers, or another user's.
                let _ = Command::new("umount").arg("-l").arg(&mountpoint).status();
            }
        }
    }
}

/// The mounts of ours at or below a folder, from the kernel's list.
pub(crate) fn mounts_under(folder: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table
        .lines()
        .filter(|line| line.contains(" artifacts:"))
        .filter_map(|line| line.split(' ').nth(4).map(PathBuf::from))
        .filter(|path| path.starts_with(folder))
        .collect()
}

pub(crate) fn kill(pid: i32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, signal).expect("kill");
}

/// Waits until something is so, or fails.
#[track_caller]
pub(crate) fn eventually(limit: Duration, what: &str, mut so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < limit, "not within {limit:?}: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}
