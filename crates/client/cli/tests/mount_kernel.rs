//! What the kernel asks beside reading and writing: extended attributes, locks, free space.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod mounting;
mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mounting::{Site, block_on, eventually};

#[test]
fn attributes_tell_the_version_and_whether_it_is_in_the_bucket() {
    require_fuse!();
    let site = Site::new();
    let folder = site.mount("--write-back 1h");
    let path = folder.join("f");
    fs::write(&path, "one").unwrap();
    assert_eq!(xattr(&path, "user.artifacts.state"), "pending");
    site.run("flush {}", &folder).ok();
    assert_eq!(xattr(&path, "user.artifacts.state"), "uploaded");
    assert_eq!(xattr(&path, "user.artifacts.etag"), etag(&site, "f"));
    let first = etag(&site, "f");
    fs::write(&path, "two").unwrap();
    assert_eq!(xattr(&path, "user.artifacts.state"), "pending");
    site.run("flush {}", &folder).ok();
    assert_eq!(xattr(&path, "user.artifacts.etag"), etag(&site, "f"));
    assert_ne!(etag(&site, "f"), first);

    // They are ours to say; a program's own are kept.
    let script = "
import errno, os, sys
path = sys.argv[1]
try:
    os.setxattr(path, 'user.artifacts.etag', b'x')
    print('set')
except OSError as error:
    print(errno.errorcode[error.errno])
os.setxattr(path, 'user.mine', b'kept')
print(os.getxattr(path, 'user.mine').decode(), sorted(os.listxattr(path)))
";
    let said = python(script, &path);
    // Copying tools copy what is listed, so only that.
    assert_eq!(said, "EPERM\nkept ['user.mine']\n");
    site.run("unmount {}", &folder).ok();
}

#[test]
fn a_lock_holds_between_two_programs_of_this_machine() {
    require_fuse!();
    let site = Site::new();
    let folder = site.mount("");
    let path = folder.join("locked");
    fs::write(&path, "x").unwrap();
    for call in ["fcntl.flock", "fcntl.lockf"] {
        let mut holder = Holder::new(call, &path);
        assert_eq!(python(&attempt(call), &path), "busy\n", "{call}");
        holder.let_go();
        eventually(Duration::from_secs(10), "the lock is free", || {
            python(&attempt(call), &path) == "free\n"
        });
    }
    site.run("unmount {}", &folder).ok();
}

#[test]
fn free_space_is_told_as_programs_want_it() {
    require_fuse!();
    let site = Site::new();
    let folder = site.mount("");
    let said = python(
        "import os, sys; s = os.statvfs(sys.argv[1]); \
         print(s.f_namemax, 0 < s.f_bavail <= s.f_bfree <= s.f_blocks, s.f_ffree > 10**6)",
        &folder,
    );
    // `df`, installers and `git` look there: room for what the local disk takes, and names.
    assert_eq!(said, "255 True True\n");
    let df = Command::new("df").arg(&folder).output().unwrap();
    let df = String::from_utf8(df.stdout).unwrap();
    assert!(df.contains("artifacts:work"), "{df}");
    site.run("unmount {}", &folder).ok();
}

/// A program that holds a lock until it is told to let go.
struct Holder(Child);

impl Holder {
    fn new(call: &str, path: &Path) -> Self {
        let script = format!(
            "import fcntl, sys\n\
             f = open(sys.argv[1], 'r+')\n\
             {call}(f, fcntl.LOCK_EX)\n\
             print('held', flush=True)\n\
             sys.stdin.read()\n"
        );
        let mut child = Command::new("python3")
            .args(["-c", &script])
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        assert_eq!(line, "held\n");
        Self(child)
    }

    fn let_go(&mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

/// Tries the lock without waiting.
fn attempt(call: &str) -> String {
    format!(
        "import fcntl, sys\n\
         f = open(sys.argv[1], 'r+')\n\
         try:\n    {call}(f, fcntl.LOCK_EX | fcntl.LOCK_NB)\n    print('free')\n\
         except BlockingIOError:\n    print('busy')\n"
    )
}

fn python(script: &str, path: &Path) -> String {
    let said = Command::new("python3")
        .args(["-c", script])
        .arg(path)
        .output()
        .expect("python3");
    assert!(said.status.success(), "{said:?}");
    String::from_utf8(said.stdout).unwrap()
}

fn xattr(path: &Path, name: &str) -> String {
    let script =
        format!("import os, sys; print(os.getxattr(sys.argv[1], '{name}').decode(), end='')");
    python(&script, path)
}

/// What the store calls the version.
fn etag(site: &Site, path: &str) -> String {
    let client = testkit::s3::client(&site.endpoint());
    let head = client
        .head_object()
        .bucket(mounting::BUCKET)
        .key(format!("work/{path}"));
    let etag = block_on(head.send()).expect("head").e_tag.unwrap();
    etag.trim_matches('"').to_owned()
}
