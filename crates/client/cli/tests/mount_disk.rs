//! A mount whose local disk is full.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod mounting;
mod support;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use mounting::{Site, eventually};

const ENOSPC: i32 = 28;

#[test]
fn a_full_disk_refuses_writes_loses_nothing_and_goes_on_when_there_is_room() {
    require_fuse!();
    let mut site = Site::new();
    let Some(disk) = Disk::new(&site.folder("disk"), "12m") else {
        return testkit::tools::note_skip("only root can make a small disk (tmpfs)");
    };
    site.machine
        .set("XDG_CACHE_HOME", disk.at("cache").to_str().unwrap())
        .set("XDG_STATE_HOME", disk.at("state").to_str().unwrap());
    let folder = site.mount("--write-back 1h");
    let (written, refused) = fill(&folder, 40);
    assert_eq!(refused, Some(ENOSPC), "after {} files", written.len());
    assert!(written.len() > 4, "{} files", written.len());

    // It lives: what was taken is there, and it says how it is.
    for n in &written {
        assert!(fs::read(folder.join(name(*n))).unwrap() == body(*n), "{n}");
    }
    let status = site.status("work");
    assert_eq!(status["state"], "mounted", "{status}");
    // The journal's reserve may have been given up for the one refused: it soon is full again.
    let more = folder.join("more");
    let _ = fs::create_dir(&more);
    let (more_written, refused) = fill(&more, 10);
    assert!(more_written.len() < 4 && refused.is_some(), "{refused:?}");

    disk.resize("64m");
    fs::write(folder.join("small"), b"there is room again").unwrap();
    site.run("flush {}", &folder).ok();
    assert_eq!(
        site.object("small").as_deref(),
        Some(&b"there is room again"[..])
    );
    for n in written {
        assert!(site.object(&name(n)) == Some(body(n)), "{n}: in the bucket");
    }
    site.run("unmount {}", &folder).ok();
}

#[test]
fn what_is_in_the_bucket_makes_room_on_a_full_disk() {
    require_fuse!();
    let mut site = Site::new();
    let Some(disk) = Disk::new(&site.folder("disk"), "12m") else {
        return testkit::tools::note_skip("only root can make a small disk (tmpfs)");
    };
    site.machine
        .set("XDG_CACHE_HOME", disk.at("cache").to_str().unwrap());
    let folder = site.mount("--profile fast");
    // Four times what the disk holds: each file is tried until earlier ones have gone up.
    for n in 0..48 {
        eventually(
            Duration::from_secs(30),
            &format!("file {n}"),
            || match fs::write(folder.join(name(n)), body(n)) {
                Ok(()) => true,
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(ENOSPC), "{error}");
                    false
                }
            },
        );
    }
    site.run("flush {}", &folder).ok();
    for n in 0..48 {
        assert!(site.object(&name(n)) == Some(body(n)), "{n}: in the bucket");
        let what = format!("{n} read");
        eventually(Duration::from_secs(30), &what, || {
            fs::read(folder.join(name(n))).is_ok_and(|found| found == body(n))
        });
    }
    site.run("unmount {}", &folder).ok();
}

/// A small file system of memory, taken off again when dropped.
struct Disk {
    path: PathBuf,
}

impl Disk {
    /// `None` where the system does not let us.
    fn new(path: &Path, size: &str) -> Option<Self> {
        fs::create_dir(path).unwrap();
        let options = format!("size={size},mode=700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]);
        let done = mount.arg(path).status().is_ok_and(|how| how.success());
        done.then(|| Self {
            path: path.to_owned(),
        })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn resize(&self, size: &str) {
        let options = format!("remount,size={size}");
        let mut mount = Command::new("mount");
        let status = mount.args(["-o", &options]).arg(&self.path).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

/// Writes files of a MiB until one is refused; those that were taken, and the refusal.
fn fill(folder: &Path, most: usize) -> (Vec<usize>, Option<i32>) {
    let mut taken = Vec::new();
    for n in 0..most {
        let write = || -> std::io::Result<()> {
            let mut file = fs::File::create(folder.join(name(n)))?;
            file.write_all(&body(n))?;
            file.sync_all()
        };
        match write() {
            Ok(()) => taken.push(n),
            Err(error) => return (taken, error.raw_os_error()),
        }
    }
    (taken, None)
}

fn name(n: usize) -> String {
    format!("file-{n:02}")
}

fn body(n: usize) -> Vec<u8> {
    (0..1_000_000).map(|at| ((at + n) % 251) as u8).collect()
}
