//! Folders of another user, and a journal with garbage in it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod mounting;
mod support;

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mounting::{Site, eventually, kill, mounts_under};
use rustix::process::Signal;

const STRANGER: u32 = 12345;

#[test]
fn a_cache_or_state_folder_of_another_user_is_refused() {
    require_fuse!();
    if !rustix::process::geteuid().is_root() {
        return testkit::tools::note_skip("only root can give a folder away");
    }
    let site = Site::new();
    let folder = site.mount("");
    site.run("unmount {}", &folder).ok();
    fs::remove_dir(&folder).unwrap();
    for place in [".cache/artifacts", ".local/state/artifacts"] {
        let own = site.machine.home.path().join(place);
        for theirs in [own.clone(), inner(&own)] {
            chown(&theirs, Some(STRANGER), None).unwrap();
            site.run("mount work {}", &folder).refused(
                4,
                &format!(
                    "{} belongs to user {STRANGER}, not to you (user 0)",
                    theirs.display()
                ),
                "work as that user",
            );
            assert!(!folder.exists(), "nothing was made for nothing");
            chown(&theirs, Some(0), None).unwrap();
        }
    }
    assert!(mounts_under(&site.root).is_empty());
    site.mount("");
}

#[test]
fn a_journal_that_cannot_be_read_is_kept_aside_and_named() {
    require_fuse!();
    let site = Site::new();
    let folder = site.mount("--write-back 1h");
    fs::write(folder.join("waiting"), "only here").unwrap();
    kill(site.pid("work"), Signal::KILL);
    eventually(Duration::from_secs(5), "dead", || {
        fs::metadata(&folder).is_err_and(|error| error.raw_os_error() == Some(107))
    });
    let state = inner(&site.machine.home.path().join(".local/state/artifacts"));
    let journal = state.join("journal.db");
    let garbage = b"no database at all, and longer than a header ".repeat(40);
    fs::write(&journal, &garbage).unwrap();
    for side in ["journal.db-wal", "journal.db-shm"] {
        fs::write(state.join(side), &garbage).unwrap();
    }

    let said = site.run("mount work {}", &folder);
    let noted = said.err.clone();
    said.ok();
    let status = site.status("work");
    let aside = status["details"]["filesystem"]["journal_set_aside"]
        .as_str()
        .unwrap_or_else(|| panic!("not named: {status}"))
        .to_owned();
    assert!(Path::new(&aside).starts_with(&state), "{aside}");
    assert!(aside.contains("journal.db.corrupt-"), "{aside}");
    assert!(fs::read(&aside).unwrap() == garbage, "kept as it was");
    let table = site.run("status work", &folder).ok();
    assert!(table.contains(&aside), "{table}");
    let warning = format!("warning: the journal could not be read and was kept as {aside}\nhint: ");
    assert!(noted.contains(&warning), "{noted}");
    // The bytes that waited stay too: with the journal they are all that is left of them.
    let cache = site.machine.home.path().join(".cache/artifacts");
    assert!(holds(&cache, b"only here") || holds(&state, b"only here"));

    fs::write(folder.join("new"), "goes on").unwrap();
    site.run("unmount {}", &folder).ok();
    assert_eq!(site.object("new").as_deref(), Some(&b"goes on"[..]));
    assert!(fs::read(&aside).unwrap() == garbage, "never deleted");
}

/// The workspace's own folder in one of the user's: the one that is named by an identity.
fn inner(root: &Path) -> PathBuf {
    let named = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().len();
        path.is_dir() && name >= 20
    };
    let mut found = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    found.find(named).expect("the workspace's folder")
}

/// Whether a file with these bytes lies somewhere below.
fn holds(folder: &Path, bytes: &[u8]) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            holds(&path, bytes)
        } else {
            fs::read(&path).is_ok_and(|found| found == bytes)
        }
    })
}
