//! What each profile promises about time, through a real kernel, with a proxy before the
//! store. Lower bounds hold by the clock alone; upper bounds have room for a busy machine.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod mounting;
mod support;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use mounting::{EVERYTHING, READER, Site, eventually};
use testkit::proxy::{Mode, Proxy};

/// What a busy machine may take on top of what is promised.
const BUSY: Duration = Duration::from_secs(5);

/// Writes `argv[2]` into `argv[1]`, and prints what `fsync` and `close` say.
const WRITE_SYNC_CLOSE: &str = r#"
import errno, os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o644)
os.write(fd, sys.argv[2].encode())
def told(step):
    try:
        step(fd)
        return "done"
    except OSError as error:
        return errno.errorcode[error.errno]
print(told(os.fsync), told(os.close))
"#;

/// A site whose workspace is reached through a proxy.
fn site() -> (Site, Proxy) {
    let site = Site::new();
    let proxy = Proxy::start(site.address()).expect("a proxy");
    site.set_endpoint(&proxy.endpoint());
    (site, proxy)
}

#[test]
fn fast_uploads_after_one_second_and_shows_others_changes_within_five() {
    require_fuse!();
    let (site, proxy) = site();
    let folder = site.mount("--profile fast");
    is_uploaded_after(&site, &proxy, &folder, Duration::from_secs(1));
    others_changes_are_seen_within(&site, &folder, Duration::from_secs(5));
    site.run("unmount {}", &folder).ok();
}

#[test]
fn balanced_is_the_default_and_uploads_after_two_seconds_and_shows_changes_within_ten() {
    require_fuse!();
    let (site, proxy) = site();
    let folder = site.mount("");
    is_uploaded_after(&site, &proxy, &folder, Duration::from_secs(2));
    others_changes_are_seen_within(&site, &folder, Duration::from_secs(10));
    site.run("unmount {}", &folder).ok();
}

#[test]
fn safe_returns_from_close_and_fsync_when_the_object_is_in_the_bucket() {
    require_fuse!();
    let (site, proxy) = site();
    let folder = site.mount("--profile safe");
    // Long enough that an upload which nobody waits for would come too late.
    proxy.set_latency(Duration::from_millis(300));
    fs::write(folder.join("closed"), "at once").unwrap();
    assert_eq!(site.object("closed").as_deref(), Some(&b"at once"[..]));

    let mut file = fs::File::create(folder.join("synced")).unwrap();
    file.write_all(b"first").unwrap();
    file.sync_all().unwrap();
    assert_eq!(site.object("synced").as_deref(), Some(&b"first"[..]));
    file.write_all(b" and second").unwrap();
    drop(file);
    assert_eq!(
        site.object("synced").as_deref(),
        Some(&b"first and second"[..])
    );
    let large: Vec<u8> = (0..20_000_000u32).map(|n| (n % 251) as u8).collect();
    fs::write(folder.join("large"), &large).unwrap();
    assert!(site.object("large") == Some(large), "in parts, too");
    // The kernel's own release of the file may come after the close.
    eventually(Duration::from_secs(20), "nothing is pending", || {
        site.status("work")["details"]["filesystem"]["pending_changes"] == 0
    });

    proxy.set_latency(Duration::ZERO);
    others_changes_are_seen_within(&site, &folder, Duration::from_secs(15));
    site.run("unmount {}", &folder).ok();
}

#[test]
fn safe_says_when_the_bucket_did_not_take_it_and_keeps_it_all_the_same() {
    require_fuse!();
    let (site, proxy) = site();
    let folder = site.mount("--profile safe");
    assert_eq!(
        fs::read_dir(&folder).unwrap().count(),
        0,
        "its names are known"
    );
    proxy.set_mode(Mode::Cut);
    let begun = Instant::now();
    let path = folder.join("kept");
    assert_eq!(write_sync_close(&path, "not there yet"), "EIO EIO\n");
    assert!(begun.elapsed() < Duration::from_secs(150), "{begun:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "not there yet");
    assert_eq!(site.object("kept"), None);
    let status = site.status("work");
    assert_eq!(
        status["details"]["filesystem"]["pending_files"], 1,
        "{status}"
    );
    proxy.set_mode(Mode::Forward);
    eventually(Duration::from_secs(60), "the upload", || {
        site.object("kept").as_deref() == Some(b"not there yet")
    });
    assert_eq!(write_sync_close(&folder.join("next"), "x"), "done done\n");
    assert_eq!(site.object("next").as_deref(), Some(&b"x"[..]));
    site.run("unmount {}", &folder).ok();
}

#[test]
fn safe_says_when_the_keys_may_not_write() {
    require_fuse!();
    let mut site = Site::new();
    site.machine.unset_keys();
    let first = site.save_keys(EVERYTHING);
    let folder = site.mount("--profile safe");
    let second = site.save_keys(READER);
    site.keys().revoke(&first).expect("taken away");
    let path = folder.join("refused");
    assert_eq!(write_sync_close(&path, "mine"), "EACCES EACCES\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    site.save_keys(EVERYTHING);
    site.keys().revoke(&second).expect("taken away");
    site.run("unmount {}", &folder).ok();
    assert_eq!(site.object("refused").as_deref(), Some(&b"mine"[..]));
}

/// A closed file stays here for `delay`, and then goes up by itself.
fn is_uploaded_after(site: &Site, proxy: &Proxy, folder: &Path, delay: Duration) {
    proxy.reset_counts();
    let begun = Instant::now();
    fs::write(folder.join("new"), "content").unwrap();
    let puts = || proxy.requests().get("PUT").copied().unwrap_or(0);
    eventually(delay + 2 * BUSY, "an upload", || {
        // The clock is read after the count, so what is counted had begun by then.
        let sent = puts() > 0;
        assert!(!sent || begun.elapsed() >= delay, "{:?}", begun.elapsed());
        sent
    });
    eventually(2 * BUSY, "in the bucket", || {
        site.object("new").as_deref() == Some(b"content")
    });
    // A program that writes again and again is not followed write by write.
    proxy.reset_counts();
    let begun = Instant::now();
    while begun.elapsed() < delay * 2 {
        fs::write(folder.join("often"), format!("{:?}", begun.elapsed())).unwrap();
        thread::sleep(Duration::from_millis(50));
    }
    let most = begun.elapsed().as_secs() / delay.as_secs() + 1;
    assert!(puts() <= most, "{} uploads, {most} expected", puts());
}

/// A change, a new name and a removal by another client, of what is known here.
fn others_changes_are_seen_within(site: &Site, folder: &Path, promised: Duration) {
    site.put_object("there/doc", "before");
    site.put_object("there/gone", "x");
    let there = folder.join("there");
    eventually(promised + BUSY, "the directory", || {
        fs::read_to_string(there.join("doc")).is_ok_and(|text| text == "before")
    });
    assert!(there.join("gone").exists());
    assert!(!there.join("new").exists(), "and remembered as absent");
    site.put_object("there/doc", "after!");
    site.put_object("there/new", "here");
    site.remove_object("there/gone");
    eventually(promised + BUSY, "the changes", || {
        fs::read_to_string(there.join("doc")).is_ok_and(|text| text == "after!")
            && fs::read_to_string(there.join("new")).is_ok_and(|text| text == "here")
            && !there.join("gone").exists()
            && names(&there) == ["doc", "new"]
    });
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn write_sync_close(path: &PathBuf, text: &str) -> String {
    let said = Command::new("python3")
        .args(["-c", WRITE_SYNC_CLOSE])
        .arg(path)
        .arg(text)
        .output()
        .expect("python3");
    assert!(said.status.success(), "{said:?}");
    String::from_utf8(said.stdout).unwrap()
}
