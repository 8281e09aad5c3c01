//! What other programs can see of a mount in the background: no key.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod mounting;
mod support;

use std::fs;
use std::process::Command;
use std::time::Duration;

use mounting::{Site, eventually};
use support::{SECRET, TOKEN};

#[test]
fn no_key_is_in_the_process_table_nor_in_what_a_mount_logs() {
    require_fuse!();
    let mut site = Site::new();
    // What is looked for is found where it is.
    let mut careless = Command::new("python3")
        .args(["-c", "import time; time.sleep(60)", SECRET])
        .env("CARELESS", TOKEN)
        .spawn()
        .unwrap();
    eventually(Duration::from_secs(10), "it shows", || {
        shown_by(careless.id(), SECRET) == ["cmdline"]
            && shown_by(careless.id(), TOKEN) == ["environ"]
    });
    careless.kill().unwrap();
    careless.wait().unwrap();

    // The mount's own keys, from the cache file: in no list of arguments and no environment.
    site.machine.unset_keys();
    let line = format!(
        "storage set --access-key-id {} --secret-access-key -",
        testkit::ACCESS_KEY_ID
    );
    let secret = testkit::SECRET_ACCESS_KEY;
    site.machine
        .run_with_input(&line, &format!("{secret}\n"))
        .ok();
    site.machine.set("ARTIFACTS_LOG", "trace");
    let folder = site.mount("");
    fs::write(folder.join("f"), "x").unwrap();
    site.run("flush {}", &folder).ok();
    let pid = u32::try_from(site.pid("work")).unwrap();
    assert!(
        shown_by(pid, "--supervised") == ["cmdline"],
        "this is what is looked at"
    );
    assert_eq!(shown_by(pid, secret), [""; 0]);
    let log = site.status("work")["log"].as_str().unwrap().to_owned();
    site.run("unmount {}", &folder).ok();
    let log = fs::read_to_string(log).unwrap();
    assert!(
        !log.contains(secret) && !log.contains("Signature="),
        "{log}"
    );

    // Keys in the environment are handed on through a pipe.
    site.machine.run("storage clear").ok();
    site.machine.set_keys(testkit::ACCESS_KEY_ID, secret);
    let folder = site.mount("");
    let pid = u32::try_from(site.pid("work")).unwrap();
    assert_eq!(shown_by(pid, secret), [""; 0]);
    site.run("unmount {}", &folder).ok();
}

/// Where a process shows a text: in its arguments, its environment, or nowhere.
fn shown_by(pid: u32, text: &str) -> Vec<&'static str> {
    let shows = |what: &&str| {
        let bytes = fs::read(format!("/proc/{pid}/{what}")).unwrap();
        String::from_utf8_lossy(&bytes).contains(text)
    };
    ["cmdline", "environ"].into_iter().filter(shows).collect()
}
