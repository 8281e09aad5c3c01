//! A mount from its beginning to its end: ready, used, drained, crashed, repaired.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod mounting;
mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::process::Stdio;
use std::time::{Duration, Instant};

use mounting::{Site, eventually, kill, mounts_under};
use rustix::process::Signal;

#[test]
fn files_written_in_the_folder_are_plain_objects_in_the_bucket() {
    require_fuse!();
    let site = Site::new();
    let folder = site.folder("mnt");
    let begin = Instant::now();
    let said = site.run("mount work {}", &folder).ok();
    let ready = begin.elapsed();
    assert_eq!(said, format!("work is mounted on {}\n", folder.display()));
    assert!(ready < Duration::from_secs(2), "ready only after {ready:?}");

    fs::create_dir_all(folder.join("a/b")).unwrap();
    let body: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    fs::write(folder.join("a/b/large"), &body).unwrap();
    fs::write(folder.join("notes.md"), "one\n").unwrap();
    let mut notes = fs::OpenOptions::new()
        .append(true)
        .open(folder.join("notes.md"))
        .unwrap();
    notes.write_all(b"two\n").unwrap();
    drop(notes);
    assert_eq!(fs::read(folder.join("a/b/large")).unwrap(), body);

    site.run("flush {}", &folder).ok();
    assert_eq!(site.object("a/b/large").as_deref(), Some(&body[..]));
    assert_eq!(site.object("notes.md").as_deref(), Some(&b"one\ntwo\n"[..]));
    fs::rename(folder.join("a"), folder.join("z")).unwrap();
    site.run("unmount {}", &folder).ok();
    assert_eq!(site.object("z/b/large").as_deref(), Some(&body[..]));
    assert_eq!(site.object("a/b/large"), None);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "unmounted");
}

/// Reads and writes at odd places, compared with a plain file.
fn use_a_file_at_random(folder: &std::path::Path, shadow: &std::path::Path) -> Vec<u8> {
    let open = |path: &std::path::Path| {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        options.open(path).unwrap()
    };
    let mut seed = 7u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % below
    };
    let path = folder.join("random");
    let (mut ours, plain) = (open(&path), open(shadow));
    for round in 0..400u64 {
        let (at, length) = (random(300_000), usize::try_from(random(70_000)).unwrap());
        let bytes = vec![u8::try_from(round % 251).unwrap(); length];
        match round % 8 {
            0..=4 => [&ours, &plain].map(|file| file.write_all_at(&bytes, at).unwrap()),
            5 => [&ours, &plain].map(|file| file.set_len(at).unwrap()),
            6 => {
                ours = open(&path);
                [(), ()]
            }
            _ => [(), ()],
        };
        let mut read = [vec![0; length], vec![0; length]];
        let counts = [
            ours.read_at(&mut read[0], at).unwrap(),
            plain.read_at(&mut read[1], at).unwrap(),
        ];
        assert_eq!(counts[0], counts[1], "round {round}");
        assert!(read[0] == read[1], "round {round}: other bytes");
        assert_eq!(
            ours.metadata().unwrap().len(),
            plain.metadata().unwrap().len()
        );
    }
    fs::read(shadow).unwrap()
}

#[test]
fn with_and_without_passthrough_a_file_is_a_file() {
    require_fuse!();
    for (options, states) in [("", ["on", "off"]), ("--no-passthrough", ["off", "off"])] {
        let site = Site::new();
        let folder = site.mount(options);
        let status = site.status("work");
        let state = status["details"]["passthrough"]["state"].as_str().unwrap();
        assert!(states.contains(&state), "{status}");
        let body = use_a_file_at_random(&folder, &site.folder("shadow"));
        site.run("unmount {}", &folder).ok();
        assert!(
            site.object("random").as_deref() == Some(&body[..]),
            "{options}: other bytes"
        );
    }
}

#[test]
fn a_workspace_can_be_made_and_mounted_in_one_go() {
    require_fuse!();
    let site = Site::bare();
    let folder = site.folder("mnt");
    let said = site.run(
        "workspace create work {} --bucket bucket --prefix work",
        &folder,
    );
    assert!(
        said.err
            .contains(&format!("Mounted work on {}.", folder.display())),
        "{}",
        said.err
    );
    said.ok();
    fs::write(folder.join("f"), "x").unwrap();
    site.run("unmount work", &folder).ok();
    assert_eq!(site.object("f").as_deref(), Some(&b"x"[..]));
}

#[test]
fn a_killed_mount_is_stale_and_the_next_one_repairs_it_and_loses_nothing() {
    require_fuse!();
    let site = Site::new();
    let folder = site.mount("--write-back 1h");
    fs::write(folder.join("closed"), "precious").unwrap();
    kill(site.pid("work"), Signal::KILL);
    // A request on its way while the process dies is told ECONNABORTED; all later ones ENOTCONN.
    eventually(Duration::from_secs(5), "ENOTCONN", || {
        fs::metadata(&folder).is_err_and(|error| error.raw_os_error() == Some(107))
    });

    let status = site.run("status --format json", &folder);
    assert_eq!(status.code, 8, "{}{}", status.out, status.err);
    assert_eq!(site.status("work")["state"], "stale");
    assert_eq!(site.status("work")["healthy"], false);
    site.run("flush {}", &folder)
        .refused(8, "stale", "artifacts mount work");

    let said = site.run("mount work {}", &folder);
    assert!(said.err.contains("Repaired"), "{}", said.err);
    said.ok();
    assert_eq!(mounts_under(&site.root), [&*folder], "only once");
    assert_eq!(
        fs::read_to_string(folder.join("closed")).unwrap(),
        "precious"
    );
    site.run("unmount {}", &folder).ok();
    assert_eq!(site.object("closed").as_deref(), Some(&b"precious"[..]));
}

#[test]
fn unmounting_a_stale_mount_takes_it_away() {
    require_fuse!();
    let site = Site::new();
    let folder = site.mount("");
    kill(site.pid("work"), Signal::KILL);
    eventually(Duration::from_secs(5), "dead", || {
        fs::metadata(&folder).is_err()
    });
    let said = site.run("unmount {}", &folder);
    assert!(said.err.contains("was gone"), "{}", said.err);
    said.ok();
    assert!(mounts_under(&site.root).is_empty());
    site.run("status", &folder).ok();

    // What it had not uploaded is said, also by the exit code.
    site.mount("--write-back 1h");
    fs::write(folder.join("later"), "12345678").unwrap();
    kill(site.pid("work"), Signal::KILL);
    eventually(Duration::from_secs(5), "dead", || {
        fs::metadata(&folder).is_err()
    });
    let said = site.run("unmount {} --format json", &folder);
    assert_eq!(said.code, 8, "{}{}", said.out, said.err);
    let answer: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(answer["pending"]["pending_files"], 1, "{answer}");
    assert_eq!(answer["pending"]["pending_bytes"], 8, "{answer}");
    let error = said.error();
    let text = "1 file (8 B) stay in the journal on this machine";
    assert_eq!(error["message"], text);
    assert!(mounts_under(&site.root).is_empty());
    site.mount("");
    site.run("unmount {}", &folder).ok();
    assert_eq!(site.object("later").as_deref(), Some(&b"12345678"[..]));
}

#[test]
fn attributes_that_wait_are_pending_too() {
    require_fuse!();
    let site = Site::new();
    site.put_object("f", "x");
    let proxy = testkit::proxy::Proxy::start(site.address()).expect("a proxy");
    site.set_endpoint(&proxy.endpoint());
    let folder = site.mount("");
    assert_eq!(fs::read_to_string(folder.join("f")).unwrap(), "x");
    proxy.set_mode(testkit::proxy::Mode::Cut);
    fs::set_permissions(folder.join("f"), fs::Permissions::from_mode(0o600)).unwrap();
    let said = site.run("unmount --no-wait {}", &folder);
    assert_eq!(said.code, 8, "{}{}", said.out, said.err);
    assert!(
        said.err.contains("1 attribute stay in the journal"),
        "{}",
        said.err
    );
    site.machine.run("workspace delete work").refused(
        8,
        "1 attribute of work are only in the journal",
        "--force",
    );
    proxy.set_mode(testkit::proxy::Mode::Forward);
    site.mount("");
    site.run("unmount {}", &folder).ok();
    site.machine.run("workspace delete work").ok();
}

#[test]
fn a_workspace_in_use_or_with_files_that_are_only_here_is_not_forgotten() {
    require_fuse!();
    let site = Site::new();
    let folder = site.mount("--write-back 1h");
    fs::write(folder.join("only-here"), "12345678").unwrap();
    for how in ["", "--force", "--purge --yes"] {
        let line = format!("workspace delete work {how}");
        let text = format!("in use on this machine, mounted on {}", folder.display());
        site.machine
            .run(&line)
            .refused(6, &text, "artifacts unmount");
    }
    site.run("unmount --no-wait {}", &folder);
    for how in ["", "--purge --yes"] {
        site.machine
            .run(&format!("workspace delete work {how}"))
            .refused(
                8,
                "1 file (8 B) of work are only in the journal on this machine",
                "artifacts workspace delete --force work",
            );
    }
    site.mount("");
    assert!(folder.join("only-here").exists(), "nothing was forgotten");
    site.run("unmount --no-wait {}", &folder);
    site.machine.run("workspace delete work --force").ok();
    site.machine
        .run("workspace show work")
        .refused(5, "no workspace work", "attach");
}

#[test]
fn status_says_what_waits() {
    require_fuse!();
    let site = Site::new();
    let folder = site.mount("--write-back 1h --profile fast");
    fs::write(folder.join("later"), vec![1; 5000]).unwrap();
    let status = site.status(folder.to_str().unwrap());
    let tree = &status["details"]["filesystem"];
    assert_eq!(
        (&status["state"], &status["healthy"]),
        (&"mounted".into(), &true.into())
    );
    assert_eq!(tree["pending_files"], 1, "{status}");
    assert_eq!(tree["pending_bytes"], 5000, "{status}");
    assert!(status["details"]["memory_bytes"].as_u64().unwrap() > 1 << 20);
    assert!(
        fs::metadata(status["log"].as_str().unwrap())
            .unwrap()
            .permissions()
            .mode()
            & 0o077
            == 0
    );
    let table = site.run("mount-status", &folder).ok();
    assert!(table.contains("1 file (4.9 KiB)"), "{table}");

    let said = site.run("unmount --no-wait {}", &folder);
    assert_eq!(said.code, 8, "{}", said.err);
    assert!(
        said.err.contains("1 file (4.9 KiB) stay in the journal"),
        "{}",
        said.err
    );
    assert_eq!(site.object("later"), None);
    site.mount("");
    site.run("flush work", &folder).ok();
    assert_eq!(site.object("later"), Some(vec![1; 5000]));
}

#[test]
fn a_change_elsewhere_is_seen_through_the_kernels_caches() {
    require_fuse!();
    let site = Site::new();
    site.put_object("doc", "before");
    site.put_object("gone", "x");
    let folder = site.mount("--profile fast");
    assert_eq!(fs::read_to_string(folder.join("doc")).unwrap(), "before");
    assert!(folder.join("gone").exists());
    assert!(!folder.join("new").exists(), "and remembered as absent");
    site.put_object("doc", "after!");
    site.put_object("new", "here");
    let client = testkit::s3::client(&site.endpoint());
    let delete = client
        .delete_object()
        .bucket(mounting::BUCKET)
        .key("work/gone");
    mounting::block_on(delete.send()).unwrap();
    // The profile says 5 s; a busy machine gets some more.
    eventually(Duration::from_secs(15), "the change", || {
        fs::read_to_string(folder.join("doc")).is_ok_and(|text| text == "after!")
            && fs::read_to_string(folder.join("new")).is_ok_and(|text| text == "here")
            && !folder.join("gone").exists()
    });
}

#[test]
fn a_mount_in_the_foreground_ends_with_a_signal_and_keeps_what_waits() {
    require_fuse!();
    let site = Site::new();
    let folder = site.folder("mnt");
    let line = format!(
        "mount work {} --foreground --write-back 1h",
        folder.display()
    );
    let mut child = site
        .machine
        .artifacts(&line)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    eventually(Duration::from_secs(10), "mounted", || {
        !mounts_under(&site.root).is_empty()
    });
    fs::write(folder.join("later"), "kept").unwrap();
    kill(i32::try_from(child.id()).unwrap(), Signal::TERM);
    assert_eq!(
        child.wait().unwrap().code(),
        Some(8),
        "something was left undone"
    );
    assert!(mounts_under(&site.root).is_empty());
    site.mount("");
    assert_eq!(fs::read_to_string(folder.join("later")).unwrap(), "kept");
}

#[test]
fn anyones_umount_is_a_clean_end_too() {
    require_fuse!();
    let site = Site::new();
    let folder = site.mount("--write-back 1h");
    fs::write(folder.join("f"), "sent at the end").unwrap();
    let status = std::process::Command::new("umount")
        .arg(&folder)
        .status()
        .unwrap();
    if !status.success() {
        return testkit::tools::note_skip("only root may call umount");
    }
    eventually(Duration::from_secs(20), "ended", || {
        site.machine
            .run("status")
            .err
            .contains("nothing is mounted")
    });
    assert_eq!(site.object("f").as_deref(), Some(&b"sent at the end"[..]));
}

#[test]
fn keys_that_may_only_read_mount_read_only() {
    require_fuse!();
    let mut site = Site::new();
    site.put_object("f", "read me");
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::bucket","arn:aws:s3:::bucket/*"]}]}"#;
    let key = site.keys().add(policy).expect("a key");
    let secret = secrecy::ExposeSecret::expose_secret(&key.secret).to_owned();
    site.machine.set_keys(&key.id, &secret);
    let folder = site.folder("mnt");
    let said = site.run("mount work {}", &folder).ok();
    assert!(said.contains("(read-only)"), "{said}");
    assert_eq!(fs::read_to_string(folder.join("f")).unwrap(), "read me");
    let error = fs::write(folder.join("g"), "x").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(30), "{error}: EROFS");
}

#[test]
fn an_ordinary_user_mounts_through_the_helper() {
    require_fuse!();
    if !rustix::process::geteuid().is_root() {
        // Then every other test here is this one.
        return;
    }
    let site = Site::new();
    let user = User::new(&site);
    user.run("workspace attach mine --bucket bucket --prefix work")
        .ok();
    let mount = format!("mount mine {}", user.folder.display());
    user.run(&mount).ok();
    let status = user.run("status mine --format json").ok();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["details"]["passthrough"]["state"], "off", "{status}");
    let folder = user.folder.display();
    let written = user.command(
        "sh",
        &["-c", &format!("echo mine > {folder}/f && cat {folder}/f")],
    );
    assert_eq!(written.ok(), "mine\n");
    let error = fs::metadata(user.seen("f")).unwrap_err();
    assert_eq!(
        error.raw_os_error(),
        Some(13),
        "nobody else may look, root neither"
    );

    kill(
        i32::try_from(status["pid"].as_i64().unwrap()).unwrap(),
        Signal::KILL,
    );
    let said = user.run(&mount);
    assert!(said.err.contains("Repaired"), "{}", said.err);
    said.ok();
    user.run(&format!("unmount {folder}")).ok();
    assert_eq!(site.object("f").as_deref(), Some(&b"mine\n"[..]));
    assert_eq!(
        fs::metadata(user.seen("")).unwrap().uid(),
        NOBODY,
        "the folder itself again"
    );
}

const NOBODY: u32 = 65534;

/// The user `nobody` with a home, in a mount namespace where everyone may open /dev/fuse,
/// as on machines with udev.
struct User<'a> {
    site: &'a Site,
    namespace: std::process::Child,
    home: std::path::PathBuf,
    folder: std::path::PathBuf,
    program: std::path::PathBuf,
}

impl<'a> User<'a> {
    fn new(site: &'a Site) -> Self {
        let home = site.folder("home");
        let folder = home.join("mnt");
        fs::create_dir_all(&folder).unwrap();
        for path in [&site.root, &home, &folder] {
            std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        // A place from which that user may run the program.
        let program = site.folder("artifacts");
        fs::copy(env!("CARGO_BIN_EXE_artifacts"), &program).unwrap();
        let device = site.folder("fuse");
        let script = format!(
            "mknod {0} c 10 229 && chmod 666 {0} && mount --bind {0} /dev/fuse && echo ready && cat",
            device.display()
        );
        let mut namespace = std::process::Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare");
        let mut line = String::new();
        let out = namespace.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self {
            site,
            namespace,
            home,
            folder,
            program,
        }
    }

    fn run(&self, line: &str) -> support::Said {
        let words: Vec<&str> = line.split(' ').collect();
        self.command(self.program.to_str().unwrap(), &words)
    }

    fn command(&self, program: &str, words: &[&str]) -> support::Said {
        let mut command = self.site.machine.command("nsenter");
        command
            .args(["--mount", "--target", &self.namespace.id().to_string()])
            .args([
                "setpriv",
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                program,
            ])
            .args(words)
            .env("HOME", &self.home);
        support::Said::from(command.output().expect("nsenter"))
    }

    /// A path in the mounted folder, as root sees it in that namespace.
    fn seen(&self, name: &str) -> std::path::PathBuf {
        let root = format!(
            "/proc/{}/root{}",
            self.namespace.id(),
            self.folder.display()
        );
        std::path::Path::new(&root).join(name)
    }
}

impl Drop for User<'_> {
    fn drop(&mut self) {
        self.run(&format!(
            "unmount --no-wait --lazy {}",
            self.folder.display()
        ));
        // Its end takes the namespace and everything mounted in it away.
        let _ = self.namespace.kill();
        let _ = self.namespace.wait();
    }
}

/// A version that a program has open stays that version; who comes by the name gets the other
/// machine's, and what is written here is added to that, whatever the kernel has at hand.
#[test]
fn what_is_written_after_a_change_elsewhere_goes_into_the_new_version() {
    require_fuse!();
    for options in ["--attr-ttl 1s", "--attr-ttl 1s --no-passthrough"] {
        let site = Site::new();
        let folder = site.mount(options);
        let path = folder.join("log");
        for (cut, expected) in [(false, "theirs\nours\n"), (true, "ours\n")] {
            fs::write(&path, "first\n").unwrap();
            site.run("flush {}", &folder).ok();
            let reader = fs::File::open(&path).unwrap();
            let mut seen = [0; 6];
            reader.read_exact_at(&mut seen, 0).unwrap();
            site.put_object("log", "theirs\n");
            eventually(Duration::from_secs(10), "their version is seen", || {
                fs::read_to_string(&path).unwrap() == "theirs\n"
            });
            let mut options = fs::OpenOptions::new();
            options.write(true).truncate(cut).append(!cut);
            let mut writer = options.open(&path).unwrap();
            writer.write_all(b"ours\n").unwrap();
            drop(writer);
            assert_eq!(fs::read_to_string(&path).unwrap(), expected);
            reader.read_exact_at(&mut seen, 0).unwrap();
            assert_eq!(&seen, b"first\n", "one open file is one version");
            site.run("flush {}", &folder).ok();
            let object = site.object("log").unwrap();
            assert_eq!(String::from_utf8(object).unwrap(), expected, "{options:?}");
        }
        site.run("unmount {}", &folder).ok();
    }
}
