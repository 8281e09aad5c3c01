//! A mount whose local disk is full.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod mounting;
mod support;

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use mounting::{Site, eventually};

const ENOSPC: i32 = 28;

#[test]
fn a_full_disk_refuses_writes_loses_nothing_and_goes_on_when_there_is_room() {
    require_fuse!();
    let mut site = Site::new();
    let Some(disk) = Disk::of_memory(&site.folder("disk")) else {
        return testkit::tools::note_skip("only root can make a small disk (tmpfs)");
    };
    refuses_loses_nothing_and_goes_on(&mut site, &disk);
}

/// There the kernel writes whole files by itself and hears of the full disk first.
#[test]
fn a_full_disk_that_the_kernel_writes_to_refuses_and_loses_nothing_too() {
    require_fuse!();
    let mut site = Site::new();
    let Some(disk) = Disk::of_a_file(&site.folder("disk")) else {
        return testkit::tools::note_skip(
            "only root can make a small disk (ext4 on a loop device)",
        );
    };
    refuses_loses_nothing_and_goes_on(&mut site, &disk);
}

fn refuses_loses_nothing_and_goes_on(site: &mut Site, disk: &Disk) {
    site.machine
        .set("XDG_CACHE_HOME", disk.at("cache").to_str().unwrap())
        .set("XDG_STATE_HOME", disk.at("state").to_str().unwrap());
    let folder = site.mount("--write-back 1h");
    let passthrough = site.status("work")["details"]["passthrough"].clone();
    if passthrough["state"] == "off" && disk.passthrough == "on" {
        testkit::tools::note_skip("this kernel does not write whole files by itself");
    } else {
        assert_eq!(passthrough["state"], disk.passthrough, "{passthrough}");
    }
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

    disk.make_room();
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
    let Some(disk) = Disk::of_memory(&site.folder("disk")) else {
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

/// A small file system, taken off again when dropped. 12 MiB of it are free.
struct Disk {
    path: PathBuf,
    /// Whether the kernel reads and writes bodies there by itself.
    passthrough: &'static str,
}

/// What fills most of a disk, to be removed when there is to be room.
const BALLAST: &str = "ballast";
const FREE: u64 = 12 << 20;

impl Disk {
    /// Of memory. `None` where the system does not let us.
    fn of_memory(path: &Path) -> Option<Self> {
        let options = ["-t", "tmpfs", "-o", "size=64m,mode=700", "tmpfs"];
        Self::mounted(path, &options.map(OsString::from), "off")
    }

    /// Of a file with an ext4 file system in it.
    fn of_a_file(path: &Path) -> Option<Self> {
        let image = path.with_extension("img");
        fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        let mut format = Command::new("mkfs.ext4");
        // The blocks kept for root are no reserve here: the test is root.
        format
            .args(["-q", "-m", "0", "-E", "lazy_itable_init=0"])
            .arg(&image);
        if !format.status().is_ok_and(|how| how.success()) {
            return None;
        }
        let options = [OsString::from("-o"), OsString::from("loop"), image.into()];
        Self::mounted(path, &options, "on")
    }

    fn mounted(path: &Path, options: &[OsString], passthrough: &'static str) -> Option<Self> {
        fs::create_dir(path).unwrap();
        let mut mount = Command::new("mount");
        let done = mount.args(options).arg(path).stderr(Stdio::null()).status();
        if !done.is_ok_and(|how| how.success()) {
            return None;
        }
        let disk = Self {
            path: path.to_owned(),
            passthrough,
        };
        let space = rustix::fs::statvfs(path).unwrap();
        let ballast = fs::File::create(disk.at(BALLAST)).unwrap();
        let size = space.f_bavail * space.f_frsize - FREE;
        rustix::fs::fallocate(&ballast, rustix::fs::FallocateFlags::empty(), 0, size).unwrap();
        Some(disk)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn make_room(&self) {
        fs::remove_file(self.at(BALLAST)).unwrap();
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
