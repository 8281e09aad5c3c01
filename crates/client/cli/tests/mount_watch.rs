//! Programs that watch a mounted folder by inotify: a real kernel, and changes that another
//! machine makes in the bucket.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod mounting;
mod support;

use std::fs;
use std::io::Write;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use mount::MountTable;
use mount::control::Client;
use mounting::{BUCKET, Site, block_on, eventually, kill};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use rustix::process::Signal;

/// The promise of these mounts.
const TTL: &str = "--attr-ttl 2s";
/// The promise and a second, and as much again for a machine that does other things too.
const SOON: Duration = Duration::from_secs(6);
/// After this a mount knows of a new watch, however long its promise.
const TO_BE_KNOWN: Duration = Duration::from_secs(6);

/// A program that watches, as editors do.
struct Eye {
    inotify: OwnedFd,
    seen: Vec<(i32, ReadFlags, String)>,
}

impl Eye {
    fn new() -> Self {
        let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
        Self {
            inotify: inotify::init(flags).unwrap(),
            seen: Vec::new(),
        }
    }

    fn on(folder: &Path) -> Self {
        let mut eye = Self::new();
        eye.watch(folder);
        eye
    }

    fn watch(&mut self, path: &Path) -> i32 {
        inotify::add_watch(&self.inotify, path, WatchFlags::ALL_EVENTS).unwrap()
    }

    fn look(&mut self) {
        let mut buffer = [MaybeUninit::uninit(); 64 << 10];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| name.to_str().unwrap());
                    let name = name.unwrap_or_default().to_owned();
                    self.seen.push((event.wd(), event.events(), name));
                }
                Err(Errno::AGAIN) => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn has_seen(&mut self, events: ReadFlags, name: &str) -> bool {
        self.look();
        let mut all = self.seen.iter();
        all.any(|(_, seen, of)| seen.contains(events) && of == name)
    }

    fn count(&self, events: ReadFlags) -> usize {
        let all = self.seen.iter();
        all.filter(|(_, seen, _)| seen.contains(events)).count()
    }

    #[track_caller]
    fn sees(&mut self, events: ReadFlags, name: &str) {
        let begin = Instant::now();
        while !self.has_seen(events, name) {
            let late = begin.elapsed() > SOON;
            assert!(!late, "no {events:?} of {name:?} in {:?}", self.seen);
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Every object with its version and time.
fn objects(site: &Site) -> Vec<(String, String, String)> {
    let client = testkit::s3::client(&site.endpoint());
    let list = client.list_objects_v2().bucket(BUCKET).prefix("work/");
    let page = block_on(list.send()).unwrap();
    let all = page.contents().iter().map(|object| {
        let of = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let when = object.last_modified().unwrap().to_string();
        (of(object.key()), of(object.e_tag()), when)
    });
    all.collect()
}

fn pending(site: &Site) -> i64 {
    let status = site.status("work");
    let pending = &status["details"]["filesystem"]["pending_changes"];
    pending.as_i64().unwrap()
}

/// > A program that watches a folder by inotify is woken within the profile's time and a second when another machine makes, changes or removes something in it.
/// > Waking programs changes nothing: neither an object, nor a time or size, nor what waits for upload.
#[test]
fn a_watcher_hears_what_another_machine_does() {
    require_fuse!();
    for passthrough in ["", "--no-passthrough"] {
        let site = Site::new();
        for path in ["kept", "changed", "doomed", "was/inner", "read"] {
            site.put_object(path, "1");
        }
        site.put_object("link.rclonelink", "kept");
        let folder = site.mount(&format!("{TTL} {passthrough}"));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 6);
        fs::read_dir(folder.join("was")).unwrap().for_each(drop);
        // Its old version stays open throughout: once it is whole here, by the kernel itself
        // where that can be.
        assert_eq!(fs::read(folder.join("read")).unwrap(), b"1");
        let reading = fs::File::open(folder.join("read")).unwrap();
        let mut eye = Eye::on(&folder);
        let inner = eye.watch(&folder.join("was"));

        site.put_object("changed", "two");
        site.put_object("appeared", "new");
        site.put_object("read", "again");
        site.put_object("folder/file", "new");
        site.put_object("fresh.rclonelink", "kept");
        site.put_object("link.rclonelink", "changed");
        for path in ["doomed", "was/inner"] {
            site.remove_object(path);
        }
        let before = objects(&site);
        eye.sees(ReadFlags::MODIFY, "changed");
        eye.sees(ReadFlags::CLOSE_WRITE, "changed");
        eye.sees(ReadFlags::CREATE, "appeared");
        eye.sees(ReadFlags::CLOSE_WRITE, "appeared");
        eye.sees(ReadFlags::CREATE | ReadFlags::ISDIR, "folder");
        eye.sees(ReadFlags::CREATE, "fresh");
        eye.sees(ReadFlags::CREATE, "link");
        eye.sees(ReadFlags::DELETE, "doomed");
        eye.sees(ReadFlags::DELETE, "inner");
        eye.sees(ReadFlags::DELETE | ReadFlags::ISDIR, "was");
        let gone = |seen: &(i32, ReadFlags, String)| {
            seen.0 == inner && seen.1.contains(ReadFlags::DELETE_SELF)
        };
        eventually(SOON, "end of the folder itself", || {
            eye.look();
            eye.seen.iter().any(gone)
        });
        eventually(SOON, "sign of the file that is held open", || {
            eye.has_seen(ReadFlags::MODIFY, "read") || eye.has_seen(ReadFlags::ATTRIB, "read")
        });
        let unchanged = eye.seen.iter().filter(|(.., name)| name == "kept");
        assert_eq!(unchanged.count(), 0, "{:?}", eye.seen);
        drop(reading);

        for (path, content) in [
            ("changed", "two"),
            ("appeared", "new"),
            ("read", "again"),
            ("folder/file", "new"),
        ] {
            assert_eq!(fs::read_to_string(folder.join(path)).unwrap(), content);
        }
        let length = |path: &str| fs::metadata(folder.join(path)).unwrap().len();
        assert_eq!((length("changed"), length("appeared")), (3, 3));
        let target = fs::read_link(folder.join("link")).unwrap();
        assert_eq!(target, Path::new("changed"));
        assert!(!folder.join("doomed").exists() && !folder.join("was").exists());
        assert_eq!(pending(&site), 0);
        site.run("unmount {}", &folder).ok();
        assert_eq!(objects(&site), before, "nothing was sent");
    }
}

#[test]
fn a_write_of_a_program_that_was_just_woken_is_kept() {
    require_fuse!();
    for passthrough in ["", "--no-passthrough"] {
        let site = Site::new();
        site.put_object("file", "0");
        let folder = site.mount(&format!("--attr-ttl 400ms --write-back 10ms {passthrough}"));
        let path = folder.join("file");
        assert_eq!(fs::read_to_string(&path).unwrap(), "0");
        let mut eye = Eye::on(&folder);
        for round in 0..6 {
            site.put_object("file", &format!("theirs {round} "));
            let known = eye.seen.len();
            // On the first sign, in the middle of it.
            let begin = Instant::now();
            while eye.seen.len() == known {
                assert!(begin.elapsed() < SOON, "round {round}");
                eye.look();
            }
            let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
            write!(file, "ours {round} ").unwrap();
            drop(file);
            let both = format!("theirs {round} ours {round} ");
            assert_eq!(fs::read_to_string(&path).unwrap(), both);
            site.run("flush {}", &folder).ok();
            assert_eq!(site.object("file").unwrap(), both.as_bytes());
            eventually(SOON, "seen again", || {
                eye.look();
                fs::read_to_string(&path).unwrap() == both
            });
            thread::sleep(Duration::from_millis(600));
            eye.look();
        }
        site.run("unmount {}", &folder).ok();
    }
}

#[test]
fn a_name_made_anew_while_its_end_is_told_is_kept() {
    require_fuse!();
    let site = Site::new();
    let folder = site.mount("--attr-ttl 400ms --write-back 10ms");
    let path = folder.join("name");
    let mut eye = Eye::on(&folder);
    for round in 0..6 {
        site.put_object("name", "theirs");
        eventually(SOON, "there", || path.exists());
        eventually(SOON, "told", || eye.has_seen(ReadFlags::CREATE, "name"));
        site.remove_object("name");
        let ours = format!("ours {round}");
        eventually(SOON, "free", || {
            let made = fs::File::create_new(&path);
            made.is_ok_and(|mut file| file.write_all(ours.as_bytes()).is_ok())
        });
        thread::sleep(Duration::from_millis(300));
        assert_eq!(fs::read_to_string(&path).unwrap(), ours);
        site.run("flush {}", &folder).ok();
        assert_eq!(site.object("name").unwrap(), ours.as_bytes());
        fs::remove_file(&path).unwrap();
        site.run("flush {}", &folder).ok();
        assert_eq!(site.object("name"), None);
        eye.look();
        eye.seen.clear();
    }
    site.run("unmount {}", &folder).ok();
}

#[test]
fn thousands_of_changes_at_once_hold_nobody_up() {
    const MANY: usize = 5000;
    require_fuse!();
    let site = Site::new();
    site.put_object("many/first", "1");
    let folder = site.mount("--attr-ttl 1h");
    let many = folder.join("many");
    assert_eq!(fs::read_dir(&many).unwrap().count(), 1);
    let mut eye = Eye::on(&many);
    thread::sleep(TO_BE_KNOWN);
    put_many(&site, MANY);
    refresh(&site, &["work/many/00000"]);
    let (mut slowest, begin) = (Duration::ZERO, Instant::now());
    let told = |eye: &Eye| eye.count(ReadFlags::CREATE);
    while told(&eye) < MANY && eye.count(ReadFlags::ISDIR | ReadFlags::ATTRIB) == 0 {
        assert!(begin.elapsed() < SOON * 5, "{} were told", told(&eye));
        let call = Instant::now();
        fs::write(folder.join("mine"), "here").unwrap();
        fs::metadata(many.join("first")).unwrap();
        slowest = slowest.max(call.elapsed());
        eye.look();
        thread::sleep(Duration::from_millis(5));
    }
    eye.look();
    assert!(told(&eye) >= 4096, "{} were told", told(&eye));
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    assert_eq!(fs::read_dir(&many).unwrap().count(), MANY + 1);
    site.run("unmount {}", &folder).ok();
}

/// Says to the mount that these keys changed.
fn refresh(site: &Site, keys: &[&str]) {
    let state = site.machine.home.path().join(".local/state/artifacts");
    let (record, _) = MountTable::open(&state).unwrap().find("work").unwrap();
    let keys = keys.iter().map(|key| (*key).to_owned()).collect();
    block_on(Client::new(&record).refresh(keys)).unwrap();
}

fn put_many(site: &Site, count: usize) {
    let client = testkit::s3::client(&site.endpoint());
    block_on(async {
        let mut running = tokio::task::JoinSet::new();
        for at in 0..count {
            let key = format!("work/many/{at:05}");
            let put = client.put_object().bucket(BUCKET).key(key);
            running.spawn(put.body(b"x".to_vec().into()).send());
            if running.len() >= 32 {
                running.join_next().await.unwrap().unwrap().unwrap();
            }
        }
        while let Some(done) = running.join_next().await {
            done.unwrap().unwrap();
        }
    });
}

#[test]
fn what_an_event_stream_says_is_told_at_once() {
    require_fuse!();
    let site = Site::new();
    site.put_object("docs/file", "1");
    let folder = site.mount("--attr-ttl 1h");
    fs::read_dir(folder.join("docs")).unwrap().for_each(drop);
    let mut eye = Eye::on(&folder.join("docs"));
    thread::sleep(TO_BE_KNOWN);
    site.put_object("docs/file", "two");
    site.put_object("docs/new", "new");
    refresh(&site, &["work/docs/file", "work/docs/new"]);
    eye.sees(ReadFlags::MODIFY, "file");
    eye.sees(ReadFlags::CREATE, "new");
    assert_eq!(fs::read(folder.join("docs/file")).unwrap(), b"two");
    site.run("unmount {}", &folder).ok();
}

#[test]
fn a_mount_that_wakes_is_killed_and_unmounted_as_any() {
    require_fuse!();
    let site = Site::new();
    site.put_object("many/first", "1");
    let folder = site.mount(TTL);
    let many = folder.join("many");
    fs::read_dir(&many).unwrap().for_each(drop);
    let mut eye = Eye::on(&many);
    put_many(&site, 300);
    eye.sees(ReadFlags::CREATE, "00000");
    let pid = site.pid("work");
    kill(pid, Signal::KILL);
    eventually(Duration::from_secs(5), "nobody is left of it", || {
        !Path::new(&format!("/proc/{pid}")).exists() && helpers_of(&site).is_empty()
    });
    let said = site.run("mount work {} --attr-ttl 2s", &folder);
    assert!(said.err.contains("had lost its process"), "{}", said.err);
    said.ok();

    fs::read_dir(&many).unwrap().for_each(drop);
    let mut eye = Eye::on(&many);
    put_many(&site, 600);
    eye.sees(ReadFlags::CREATE, "00599");
    drop(eye);
    // Its helper has been in the folder this very moment.
    site.run("unmount {}", &folder).ok();
    assert!(helpers_of(&site).is_empty());
}

#[test]
fn without_a_watcher_there_is_no_helper() {
    require_fuse!();
    let site = Site::new();
    site.put_object("file", "1");
    let folder = site.mount("--attr-ttl 400ms");
    assert_eq!(fs::read(folder.join("file")).unwrap(), b"1");
    site.put_object("file", "two");
    site.put_object("new", "new");
    eventually(SOON, "seen by who asks", || folder.join("new").exists());
    assert_eq!(fs::read(folder.join("file")).unwrap(), b"two");
    assert!(helpers_of(&site).is_empty());
    // Read-only, the kernel lets nobody pretend to change anything.
    site.run("unmount {}", &folder).ok();
    let folder = site.mount("--attr-ttl 400ms --read-only");
    let mut eye = Eye::on(&folder);
    thread::sleep(Duration::from_secs(1));
    site.put_object("newer", "new");
    eventually(SOON, "seen by who asks", || folder.join("newer").exists());
    assert!(!eye.has_seen(ReadFlags::CREATE, "newer"));
    assert!(helpers_of(&site).is_empty());
    site.run("unmount {}", &folder).ok();
}

/// Helpers of the mount of this site: children, or orphans, of its process.
fn helpers_of(site: &Site) -> Vec<String> {
    let exe = fs::canonicalize(env!("CARGO_BIN_EXE_artifacts")).unwrap();
    let group = fs::canonicalize(&site.root).unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|entry| fs::read_link(entry.path().join("exe")).is_ok_and(|of| of == exe))
        .filter(|entry| {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains("wake-watchers")
        })
        .filter(|entry| parent_mounts_in(&entry.path(), &group))
        .map(|entry| entry.path().display().to_string())
        .collect()
}

/// Whether a process's parent has one of these folders in its command line, or is gone.
fn parent_mounts_in(process: &Path, root: &Path) -> bool {
    let status = fs::read_to_string(process.join("status")).unwrap_or_default();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    let parent = parent.unwrap_or("0").trim().to_owned();
    let line = fs::read(format!("/proc/{parent}/cmdline")).unwrap_or_default();
    parent == "1" || String::from_utf8_lossy(&line).contains(root.to_str().unwrap())
}
