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
pub const BUCKET: &str = "bucket";

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
pub struct Site {
    pub machine: Machine,
    pub root: PathBuf,
    server: embedded::Server,
    _folders: [tempfile::TempDir; 2],
}

impl Site {
    pub fn new() -> Self {
        let site = Self::bare();
        site.machine
            .run("workspace create work --bucket bucket --prefix work")
            .ok();
        site
    }

    /// Without a workspace.
    pub fn bare() -> Self {
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
            server,
            _folders: [data, root],
        }
    }

    pub fn endpoint(&self) -> String {
        self.server.endpoint()
    }

    pub fn keys(&self) -> &embedded::Keys {
        self.server.keys()
    }

    pub fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Runs `artifacts`; `{}` in the line is the folder.
    pub fn run(&self, line: &str, folder: &Path) -> Said {
        self.machine
            .run(&line.replace("{}", folder.to_str().unwrap()))
    }

    /// Mounts `work` on a new folder.
    pub fn mount(&self, options: &str) -> PathBuf {
        let folder = self.folder("mnt");
        self.run(&format!("mount work {{}} {options}"), &folder)
            .ok();
        folder
    }

    pub fn status(&self, what: &str) -> Value {
        let said = self.machine.run(&format!("status {what} --format json"));
        serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {}{}", said.out, said.err))
    }

    pub fn pid(&self, what: &str) -> i32 {
        i32::try_from(self.status(what)["pid"].as_i64().unwrap()).unwrap()
    }

    /// The body of an object of the workspace.
    pub fn object(&self, path: &str) -> Option<Vec<u8>> {
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

    pub fn put_object(&self, path: &str, body: &str) {
        let client = testkit::s3::client(&self.endpoint());
        let put = client
            .put_object()
            .bucket(BUCKET)
            .key(format!("work/{path}"));
        block_on(put.body(body.as_bytes().to_vec().into()).send()).expect("put");
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
pub fn mounts_under(folder: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table
        .lines()
        .filter(|line| line.contains(" artifacts:"))
        .filter_map(|line| line.split(' ').nth(4).map(PathBuf::from))
        .filter(|path| path.starts_with(folder))
        .collect()
}

pub fn kill(pid: i32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, signal).expect("kill");
}

/// Waits until something is so, or fails.
#[track_caller]
pub fn eventually(limit: Duration, what: &str, mut so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < limit, "not within {limit:?}: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}
