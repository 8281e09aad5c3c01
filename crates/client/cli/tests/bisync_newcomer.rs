//! As somebody new would: set two machines up, edit on both, settle a conflict.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod mounting;
mod support;

use support::platform::Platform;
use support::synced::*;

#[test]
fn set_up_edit_on_two_machines_and_settle_the_conflict() {
    require_fuse!();
    let platform = Platform::start();
    let (laptop, desktop) = (platform.logged_in(), platform.logged_in());
    for machine in [&laptop, &desktop] {
        machine.run("cloud setup notes mnt").ok();
        machine.run("unmount mnt").ok();
    }
    write(&laptop, "shopping.md", "milk\n");
    sync(&laptop, "").ok();
    sync(&desktop, "").ok();
    assert_eq!(files(&desktop)["shopping.md"], "milk\n");
    write(&laptop, "shopping.md", "milk, bread\n");
    write(&desktop, "shopping.md", "milk, tea\n");
    sync(&laptop, "").ok();
    sync(&desktop, "").ok();
    assert_eq!(status(&desktop)["conflicts"], 1);
    let shown = desktop.run("conflicts show notes shopping.md").ok();
    assert!(
        shown.contains("milk, bread") && shown.contains("milk, tea"),
        "{shown}"
    );
    desktop
        .run("conflicts resolve notes shopping.md --keep both")
        .ok();
    for machine in [&desktop, &laptop] {
        sync(machine, "").ok();
        assert_eq!(
            machine.run("conflicts list notes --format json").ok(),
            "[]\n"
        );
    }
    assert_eq!(files(&laptop), files(&desktop));
    let mut all: Vec<String> = files(&laptop).into_values().collect();
    all.sort();
    assert_eq!(all, ["milk, bread\n", "milk, tea\n"]);
    assert_eq!(laptop.run("bisync-status").code, 0);
}
