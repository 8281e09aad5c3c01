//! A machine that was suspended and woken: the mount goes on by itself.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod mounting;
mod support;

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use mounting::{Site, eventually, kill};
use rustix::process::Signal;
use testkit::proxy::{Mode, Proxy};

/// Longer than the profile's 5 s for others' changes and than a connection may idle.
const ASLEEP: Duration = Duration::from_secs(12);

const EVERYTHING: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#;

#[test]
fn a_mount_that_slept_goes_on_when_it_wakes() {
    require_fuse!();
    let site = Site::new();
    let proxy = Proxy::start(site.address()).expect("a proxy");
    site.set_endpoint(&proxy.endpoint());
    site.put_object("doc", "before");
    site.put_object("gone", "x");
    let folder = site.mount("--profile fast");
    assert_eq!(fs::read_to_string(folder.join("doc")).unwrap(), "before");
    let large: Vec<u8> = (0..20_000_000u32).map(|n| (n % 251) as u8).collect();
    fs::write(folder.join("large"), &large).unwrap();
    fs::write(folder.join("small"), "written before").unwrap();
    // The second after the close is over and the uploads are under way.
    proxy.set_latency(Duration::from_millis(300));
    thread::sleep(Duration::from_millis(1100));

    let pid = site.pid("work");
    let asleep = Asleep::new(pid);
    proxy.set_mode(Mode::Cut);
    site.put_object("doc", "after!");
    site.put_object("new", "here");
    site.remove_object("gone");
    thread::sleep(ASLEEP);
    proxy.set_latency(Duration::ZERO);
    proxy.set_mode(Mode::Forward);
    drop(asleep);

    let woken = Instant::now();
    // The profile says 5 s; a busy machine gets some more.
    eventually(Duration::from_secs(20), "others' changes", || {
        fs::read_to_string(folder.join("doc")).is_ok_and(|text| text == "after!")
            && fs::read_to_string(folder.join("new")).is_ok_and(|text| text == "here")
            && !folder.join("gone").exists()
    });
    eventually(Duration::from_secs(40), "the uploads", || {
        site.object("large").as_ref() == Some(&large)
            && site.object("small").as_deref() == Some(b"written before")
    });
    eventually(Duration::from_secs(20), "healthy", || {
        site.status("work")["state"] == "mounted"
    });
    assert!(woken.elapsed() < Duration::from_secs(60));
    assert_eq!(site.pid("work"), pid, "the same process");
    fs::write(folder.join("later"), "written after").unwrap();
    site.run("unmount {}", &folder).ok();
    assert_eq!(site.object("later").as_deref(), Some(&b"written after"[..]));
    let copies = site.machine.run("conflicts list work").err;
    assert!(copies.contains("no conflicts"), "{copies}");
}

#[test]
fn keys_that_end_are_replaced_while_it_is_mounted() {
    require_fuse!();
    let mut site = Site::new();
    let [first, second] = [(); 2].map(|()| {
        let key = site.keys().add(EVERYTHING).expect("a key");
        let secret = secrecy::ExposeSecret::expose_secret(&key.secret).to_owned();
        (key.id, secret)
    });
    site.machine.unset_keys();
    let save = |site: &Site, (id, secret): &(String, String)| {
        site.machine
            .run_with_input(
                &format!("storage set --access-key-id {id} --secret-access-key -"),
                &format!("{secret}\n"),
            )
            .ok();
    };
    save(&site, &first);
    let folder = site.mount("--profile fast");
    fs::write(folder.join("one"), "with the first keys").unwrap();
    site.run("flush {}", &folder).ok();

    site.keys().revoke(&first.0).expect("taken away");
    fs::write(folder.join("two"), "while there are none").unwrap();
    eventually(Duration::from_secs(20), "refused", || {
        site.status("work")["state"] == "refused"
    });
    assert_eq!(
        fs::read_to_string(folder.join("two")).unwrap(),
        "while there are none"
    );
    assert_eq!(site.object("two"), None);
    save(&site, &second);
    eventually(
        Duration::from_secs(60),
        "uploaded with the new keys",
        || site.object("two").as_deref() == Some(b"while there are none"),
    );
    eventually(Duration::from_secs(20), "healthy", || {
        site.status("work")["state"] == "mounted"
    });
    site.run("unmount {}", &folder).ok();
}

/// A stopped process, which goes on when this is dropped.
struct Asleep {
    pid: i32,
}

impl Asleep {
    fn new(pid: i32) -> Self {
        kill(pid, Signal::STOP);
        Self { pid }
    }
}

impl Drop for Asleep {
    fn drop(&mut self) {
        kill(self.pid, Signal::CONT);
    }
}
