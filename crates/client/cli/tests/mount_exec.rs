//! `artifacts exec`: the command's own end, and the files that it left.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod mounting;
mod support;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use mounting::{Site, kill, mounts_under};
use rustix::process::Signal;
use support::Said;

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
    let proxy = testkit::proxy::Proxy::start(address(&site.endpoint())).unwrap();
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
    mounting::eventually(std::time::Duration::from_secs(10), "started", || {
        ready.exists()
    });
    proxy.set_mode(testkit::proxy::Mode::Cut);
    proxy.cut_open();
    std::fs::write(&go, "").unwrap();
    let said = Said::from(child.wait_with_output().unwrap());
    assert_eq!(said.code, 8, "{}", said.err);
    assert!(said.err.contains("stay in the journal"), "{}", said.err);
    assert_eq!(site.object("f"), None);
    drop(proxy);
}

fn address(endpoint: &str) -> std::net::SocketAddr {
    endpoint.trim_start_matches("http://").parse().unwrap()
}
