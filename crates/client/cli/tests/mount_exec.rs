//! `artifacts exec`: the command's own end, and the files that it left.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod mounting;
mod support;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mounting::{Site, eventually, kill, mounts_under};
use rustix::process::Signal;
use support::Said;
use testkit::proxy::{Mode, Proxy};

fn exec(site: &Site, options: &str, script: &str) -> Command {
    let folder = site.folder("mnt");
    let line = format!("exec work {} {options} -- sh -c", folder.display());
    let mut command = site.machine.artifacts(&line);
    command.arg(script);
    command
}

#[test]
fn the_commands_exit_code_is_passed_on_and_its_files_are_in_the_bucket() {
    require_fuse!();
    let site = Site::new();
    let script = "echo out; echo data > $ARTIFACTS_MOUNT/made; exit 77";
    let said = Said::from(exec(&site, "", script).output().unwrap());
    assert_eq!(
        (said.code, said.out.as_str()),
        (77, "out\n"),
        "{}",
        said.err
    );
    assert_eq!(site.object("made").as_deref(), Some(&b"data\n"[..]));
    assert!(mounts_under(&site.root).is_empty());
    let said = Said::from(exec(&site, "", "kill -KILL $$").output().unwrap());
    assert_eq!(said.code, 137, "{}", said.err);
}

#[test]
fn a_command_that_cannot_be_run_is_said_as_shells_say_it() {
    require_fuse!();
    let site = Site::new();
    let folder = site.folder("mnt");
    let said = site.run("exec work {} -- /no/such/program", &folder);
    assert_eq!(said.code, 127, "{}", said.err);
    let said = site.run("exec work {} -- /etc/passwd", &folder);
    assert_eq!(said.code, 126, "{}", said.err);
    assert!(mounts_under(&site.root).is_empty());
}

#[test]
fn a_signal_reaches_the_command_and_its_last_words_are_kept() {
    require_fuse!();
    let site = Site::new();
    let script = "trap 'echo bye > $ARTIFACTS_MOUNT/bye; exit 42' TERM; echo started; while :; do sleep 0.05; done";
    let mut child = exec(&site, "", script)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "started\n");
    kill(i32::try_from(child.id()).unwrap(), Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(42));
    assert_eq!(site.object("bye").as_deref(), Some(&b"bye\n"[..]));
    assert!(mounts_under(&site.root).is_empty());
}

#[test]
fn a_process_left_behind_does_not_hold_the_end_up() {
    require_fuse!();
    let site = Site::new();
    let script = "cd $ARTIFACTS_MOUNT; echo x > f; sleep 5 >/dev/null 2>&1 & exit 0";
    let said = Said::from(exec(&site, "", script).output().unwrap());
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(site.object("f").as_deref(), Some(&b"x\n"[..]));
    assert!(mounts_under(&site.root).is_empty());
}

#[test]
fn files_that_did_not_arrive_turn_success_into_exit_8() {
    require_fuse!();
    let mut site = Site::bare();
    let proxy = Proxy::start(address(&site.endpoint())).unwrap();
    site.machine.set("ARTIFACTS_S3_ENDPOINT", &proxy.endpoint());
    site.machine
        .run("workspace create work --bucket bucket --prefix work")
        .ok();
    let ready = site.folder("ready");
    let go = site.folder("go");
    let script = format!(
        "touch {}; while [ ! -e {} ]; do sleep 0.05; done; echo x > $ARTIFACTS_MOUNT/f",
        ready.display(),
        go.display()
    );
    let child = exec(&site, "--give-up-after 1s", &script)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    eventually(Duration::from_secs(10), "started", || ready.exists());
    proxy.set_mode(Mode::Cut);
    proxy.cut_open();
    std::fs::write(&go, "").unwrap();
    let said = Said::from(child.wait_with_output().unwrap());
    assert_eq!(said.code, 8, "{}", said.err);
    assert!(said.err.contains("stay in the journal"), "{}", said.err);
    assert_eq!(site.object("f"), None);
    drop(proxy);
}

/// A site whose store is reached through a proxy from the beginning.
fn far_site() -> (Site, Proxy) {
    let site = Site::new();
    let proxy = Proxy::start(site.address()).expect("a proxy");
    site.set_endpoint(&proxy.endpoint());
    (site, proxy)
}

#[test]
fn a_signal_before_the_command_starts_ends_it_all_and_leaves_no_mount() {
    require_fuse!();
    let (site, proxy) = far_site();
    // It asks the store before it mounts: then it listens for signals already.
    proxy.set_latency(Duration::from_millis(700));
    let mut child = exec(&site, "", "touch ran").spawn().unwrap();
    eventually(Duration::from_secs(20), "the store was asked", || {
        proxy.requests().contains_key("PUT")
    });
    kill(i32::try_from(child.id()).unwrap(), Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(mounts_under(&site.root).is_empty());
    assert!(!std::path::Path::new("ran").exists(), "nothing was run");
    let said = site.machine.run("status");
    assert!(said.err.contains("nothing is mounted"), "{}", said.err);
}

#[test]
fn a_signal_while_the_last_files_go_up_ends_it_and_they_stay_in_the_journal() {
    require_fuse!();
    let (site, proxy) = far_site();
    let done = site.folder("done");
    let script = format!(
        "echo kept > $ARTIFACTS_MOUNT/f; touch {}; exit 5",
        done.display()
    );
    let ready = site.folder("ready");
    let go = site.folder("go");
    let script = format!(
        "touch {}; while [ ! -e {} ]; do sleep 0.05; done; {script}",
        ready.display(),
        go.display()
    );
    let child = exec(&site, "--give-up-after 10m", &script)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    eventually(Duration::from_secs(20), "started", || ready.exists());
    proxy.set_mode(Mode::Hang);
    std::fs::write(&go, "").unwrap();
    eventually(Duration::from_secs(20), "the command's end", || {
        done.exists()
    });
    // Later than what a terminal sends to both at once.
    std::thread::sleep(Duration::from_secs(2));
    assert!(
        !mounts_under(&site.root).is_empty(),
        "it waits for the store"
    );
    let begun = Instant::now();
    kill(pid, Signal::TERM);
    let said = Said::from(child.wait_with_output().unwrap());
    assert!(begun.elapsed() < Duration::from_secs(30), "{begun:?}");
    assert_eq!(said.code, 5, "the command's own: {}", said.err);
    assert!(
        said.err.contains("1 file (5 B) stay in the journal"),
        "{}",
        said.err
    );
    assert!(mounts_under(&site.root).is_empty());
    proxy.set_mode(Mode::Forward);
    site.mount("");
    site.run("unmount work", &site.folder("mnt")).ok();
    assert_eq!(site.object("f").as_deref(), Some(&b"kept\n"[..]));
}

fn address(endpoint: &str) -> std::net::SocketAddr {
    endpoint.trim_start_matches("http://").parse().unwrap()
}
