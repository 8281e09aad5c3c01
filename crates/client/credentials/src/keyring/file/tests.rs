use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::steps::in_tests::run_to_step;

/// A password that never changes, and how often it was asked for.
struct Fixed {
    text: &'static str,
    typed: bool,
    asked: Arc<AtomicUsize>,
}

impl Passwords for Fixed {
    fn password(&self, _: &Path, purpose: Purpose) -> Result<Password> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let text = match purpose {
            Purpose::Change => NEXT,
            Purpose::Open | Purpose::Create => self.text,
        };
        Ok(Password {
            text: text.to_owned().into(),
            typed: self.typed,
        })
    }
}

const GOOD: &str = "correct horse";
const NEXT: &str = "battery staple";
pub(super) const NO_TIME: Duration = Duration::ZERO;

pub(super) fn keyring(path: &Path, text: &'static str) -> FileKeyring {
    counted(path, text, NO_TIME).0
}

pub(super) fn counted(
    path: &Path,
    text: &'static str,
    unlocked_for: Duration,
) -> (FileKeyring, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let passwords = Fixed {
        text,
        typed: false,
        asked: asked.clone(),
    };
    let keyring = FileKeyring::new(path.to_owned(), Box::new(passwords), unlocked_for);
    (keyring, asked)
}

fn name(text: &str) -> EntryName {
    text.parse().expect("a name")
}

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

fn read(keyring: &FileKeyring, entry: &str) -> Result<Option<String>> {
    let found = keyring.load(&name(entry))?;
    Ok(found.map(|s| String::from_utf8(s.expose().to_vec()).expect("text")))
}

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("keyring")
    }

    /// With two entries, `storage/a` and `storage/b`.
    fn filled() -> Self {
        let place = Self::new();
        let keyring = keyring(&place.path(), GOOD);
        for entry in ["a", "b"] {
            let name = name(&format!("storage/{entry}"));
            keyring
                .store(&name, &secret(&format!("old {entry}")))
                .expect("kept");
        }
        place
    }

    fn files(&self) -> Vec<String> {
        let folder = Folder::open(&self.path()).expect("good").expect("there");
        folder.names().expect("names")
    }

    fn entry_files(&self) -> Vec<PathBuf> {
        let files = self.files().into_iter().filter(|f| f.ends_with(SUFFIX));
        files.map(|f| self.path().join(f)).collect()
    }
}

#[test]
fn it_keeps_the_contract() {
    let place = Place::new();
    super::super::contract::check(&keyring(&place.path(), GOOD));
}

#[test]
fn another_process_with_the_password_reads_it_and_nothing_shows_on_disk() {
    let place = Place::filled();
    let again = keyring(&place.path(), GOOD);
    assert_eq!(read(&again, "storage/a"), Ok(Some("old a".into())));
    for file in place.files() {
        let path = place.path().join(&file);
        let bytes = fs::read(&path).expect("read");
        for shown in [&b"old a"[..], b"storage", GOOD.as_bytes()] {
            let found = bytes.windows(shown.len()).any(|window| window == shown);
            assert!(!found, "{shown:?} stands in {file}");
        }
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[test]
fn a_wrong_password_reads_nothing_and_writes_nothing() {
    let place = Place::filled();
    let before = place.files();
    let head = fs::read(place.path().join(HEAD)).expect("read");
    let wrong = keyring(&place.path(), "wrong horse");
    let refused = Error::from(KeyringError::WrongPassword { path: place.path() });
    assert_eq!(read(&wrong, "storage/a"), Err(refused.clone()));
    let written = wrong.store(&name("storage/c"), &secret("new"));
    assert_eq!(written, Err(refused.clone()));
    assert_eq!(wrong.remove(&name("storage/a")), Err(refused.clone()));
    assert_eq!(wrong.change_password(), Err(refused));
    assert_eq!(place.files(), before);
    assert_eq!(fs::read(place.path().join(HEAD)).expect("read"), head);
}

#[test]
fn who_types_may_try_three_times_and_a_variable_once() {
    let place = Place::filled();
    for (typed, times) in [(true, 3), (false, 1)] {
        let asked = Arc::new(AtomicUsize::new(0));
        let passwords = Fixed {
            text: "wrong horse",
            typed,
            asked: asked.clone(),
        };
        let keyring = FileKeyring::new(place.path(), Box::new(passwords), NO_TIME);
        let refused = KeyringError::WrongPassword { path: place.path() };
        assert_eq!(read(&keyring, "storage/a"), Err(refused.into()));
        assert_eq!(asked.load(Ordering::Relaxed), times);
    }
}

#[test]
fn a_short_password_makes_no_keyring() {
    let place = Place::new();
    let short = keyring(&place.path(), "7 chars");
    let refused = short.store(&name("storage/a"), &secret("x"));
    assert_eq!(
        refused,
        Err(KeyringError::ShortPassword { least: 8 }.into())
    );
    assert_eq!(short.exists(), Ok(false));
}

#[test]
fn the_password_is_asked_for_once_in_a_process() {
    let place = Place::filled();
    let (keyring, asked) = counted(&place.path(), GOOD, NO_TIME);
    for _ in 0..3 {
        read(&keyring, "storage/a").expect("read");
        keyring
            .store(&name("storage/a"), &secret("x"))
            .expect("kept");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[test]
fn an_unlocked_session_asks_no_more_until_it_is_locked() {
    let place = Place::filled();
    let minute = Duration::from_secs(60);
    let (first, _) = counted(&place.path(), GOOD, minute);
    read(&first, "storage/a").expect("read");
    if !first.is_unlocked().expect("a keyring") {
        testkit::tools::note_skip("this kernel gives no session keyring");
        return;
    }
    let (second, asked) = counted(&place.path(), "wrong horse", minute);
    assert_eq!(read(&second, "storage/a"), Ok(Some("old a".into())));
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    assert_eq!(second.lock(), Ok(true));
    assert_eq!(second.lock(), Ok(false));
    assert!(read(&second, "storage/a").is_err(), "now it asks again");
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[test]
fn an_unlock_ends_when_its_time_is_over() {
    let place = Place::filled();
    let (keyring, _) = counted(&place.path(), GOOD, Duration::from_secs(1));
    read(&keyring, "storage/a").expect("read");
    if !keyring.is_unlocked().expect("a keyring") {
        testkit::tools::note_skip("this kernel gives no session keyring");
        return;
    }
    std::thread::sleep(Duration::from_millis(2100));
    assert_eq!(keyring.is_unlocked(), Ok(false));
}

#[test]
fn a_new_password_opens_everything_and_the_old_one_nothing() {
    let place = Place::filled();
    let realm = keyring(&place.path(), GOOD).realm().expect("read");
    let before = place.entry_files();
    keyring(&place.path(), GOOD)
        .change_password()
        .expect("changed");
    let now = keyring(&place.path(), NEXT);
    assert_eq!(read(&now, "storage/a"), Ok(Some("old a".into())));
    assert_eq!(read(&now, "storage/b"), Ok(Some("old b".into())));
    assert_eq!(now.realm().expect("read"), realm, "the realm stays");
    let old = KeyringError::WrongPassword { path: place.path() };
    let opened = read(&keyring(&place.path(), GOOD), "storage/a");
    assert_eq!(opened, Err(old.into()));
    let after = place.entry_files();
    assert!(after.iter().all(|f| !before.contains(f)), "sealed anew");
    assert_eq!(after.len(), 2, "and nothing left over");
}

#[test]
fn who_changes_the_password_types_the_present_one_though_the_session_is_unlocked() {
    let place = Place::filled();
    let minute = Duration::from_secs(60);
    let (first, _) = counted(&place.path(), GOOD, minute);
    read(&first, "storage/a").expect("read");
    let unlocked = first.is_unlocked().expect("a keyring");
    let (other, asked) = counted(&place.path(), "wrong horse", minute);
    let refused = KeyringError::WrongPassword { path: place.path() };
    assert_eq!(other.change_password(), Err(refused.into()));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    assert_eq!(first.is_unlocked(), Ok(unlocked), "as it was");
    first.change_password().expect("changed");
    assert_eq!(first.is_unlocked(), Ok(unlocked), "under the new one");
    first.lock().expect("locked");
}

#[test]
fn threads_of_one_process_ask_once() {
    let place = Place::filled();
    let (keyring, asked) = counted(&place.path(), GOOD, NO_TIME);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| read(&keyring, "storage/a").expect("read"));
        }
    });
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

/// Somebody who takes their time to type.
struct Slow {
    typing: std::sync::mpsc::Sender<()>,
    done: Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Passwords for Slow {
    fn password(&self, _: &Path, _: Purpose) -> Result<Password> {
        self.typing.send(()).expect("the test listens");
        let done = self.done.lock().expect("one at a time");
        done.recv().expect("the test says when");
        Ok(Password {
            text: GOOD.to_owned().into(),
            typed: true,
        })
    }
}

#[test]
fn nobody_waits_for_what_a_person_types() {
    for filled in [true, false] {
        let place = if filled {
            Place::filled()
        } else {
            Place::new()
        };
        let (typing, begun) = std::sync::mpsc::channel();
        let (finish, done) = std::sync::mpsc::channel();
        let slow = Slow {
            typing,
            done: Mutex::new(done),
        };
        let path = place.path();
        let person = std::thread::spawn(move || {
            let keyring = FileKeyring::new(path, Box::new(slow), NO_TIME);
            keyring.store(&name("storage/slow"), &secret("slow"))
        });
        begun.recv().expect("it asks");
        keyring(&place.path(), GOOD)
            .store(&name("storage/quick"), &secret("quick"))
            .expect("kept meanwhile");
        finish.send(()).expect("it waits");
        if !filled {
            // Now there is one, and its password is asked for.
            finish.send(()).expect("it waits again");
        }
        person.join().expect("no panic").expect("kept as well");
        let now = keyring(&place.path(), GOOD);
        assert_eq!(read(&now, "storage/slow"), Ok(Some("slow".into())));
        assert_eq!(read(&now, "storage/quick"), Ok(Some("quick".into())));
    }
}

#[test]
fn entries_without_a_head_are_never_taken_for_an_empty_keyring() {
    let place = Place::filled();
    let head = place.path().join(HEAD);
    fs::remove_file(&head).expect("removed");
    let before = place.files();
    let damaged = || {
        let what = "it is not there, but entries are";
        Error::from(KeyringError::Damaged {
            path: head.clone(),
            what,
        })
    };
    let keyring = keyring(&place.path(), GOOD);
    assert_eq!(read(&keyring, "storage/a"), Err(damaged()));
    assert_eq!(keyring.names(), Err(damaged()));
    assert_eq!(keyring.exists(), Err(damaged()));
    let stored = keyring.store(&name("storage/c"), &secret("c"));
    assert_eq!(stored, Err(damaged()));
    assert_eq!(keyring.remove(&name("storage/a")), Err(damaged()));
    assert_eq!(keyring.change_password(), Err(damaged()));
    assert_eq!(place.files(), before, "nothing was taken away");
}

#[test]
fn an_older_head_takes_no_newer_entry_away() {
    let place = Place::filled();
    let keyring = keyring(&place.path(), GOOD);
    let head = place.path().join(HEAD);
    let older = fs::read(&head).expect("read");
    for entry in ["storage/a", "storage/b"] {
        keyring.store(&name(entry), &secret("newer")).expect("kept");
    }
    let newer = place.entry_files();
    fs::write(&head, older).expect("written");
    keyring
        .store(&name("storage/c"), &secret("c"))
        .expect("kept");
    let after = place.entry_files();
    assert!(newer.iter().all(|file| after.contains(file)), "{after:?}");
    // Once every name has its file again, what no index names goes.
    for entry in ["storage/a", "storage/b"] {
        keyring.store(&name(entry), &secret("again")).expect("kept");
    }
    assert_eq!(place.entry_files().len(), 3);
}

/// Not a test of its own: what the processes below do until they are killed.
#[test]
fn victim() {
    let Ok(path) = std::env::var("ARTIFACTS_TEST_KEYRING") else {
        return;
    };
    let path = Path::new(&path);
    let keyring = keyring(path, GOOD);
    match std::env::var("ARTIFACTS_TEST_DEED").as_deref() {
        Ok("store") => keyring
            .store(&name("storage/a"), &secret("new a"))
            .expect("kept"),
        Ok("remove") => assert!(keyring.remove(&name("storage/a")).expect("removed")),
        Ok("passwd") => keyring.change_password().expect("changed"),
        Ok("unlock") => {
            let (keyring, _) = counted(path, GOOD, Duration::from_secs(60));
            read(&keyring, "storage/a").expect("read");
        }
        Ok("store many") => {
            let keyring = either(path);
            for number in 0..MANY {
                let name = name(&format!("many/{number}"));
                keyring.store(&name, &secret("many")).expect("kept");
            }
        }
        deed => panic!("no such deed: {deed:?}"),
    }
}

/// Kills a process at each step of a deed, from the place that `make` makes; how many steps
/// there were.
fn at_each_step(make: fn() -> Place, deed: &str, check: impl Fn(&Place)) -> usize {
    for step in 0.. {
        let place = make();
        let path = place.path().display().to_string();
        let variables = [
            ("ARTIFACTS_TEST_KEYRING", path.as_str()),
            ("ARTIFACTS_TEST_DEED", deed),
        ];
        let ended = run_to_step("keyring::file::tests::victim", step, &variables);
        check(&place);
        if ended.success() {
            return step;
        }
        assert_eq!(ended.signal(), Some(9), "it was killed and did not fail");
    }
    unreachable!("a deed has an end")
}

#[test]
fn killed_at_any_step_of_a_write_the_keyring_has_the_old_value_or_the_new_one() {
    let steps = at_each_step(Place::filled, "store", |place| {
        let keyring = keyring(&place.path(), GOOD);
        let read_a = read(&keyring, "storage/a").expect("readable");
        let read_a = read_a.expect("there");
        assert!(["old a", "new a"].contains(&read_a.as_str()), "{read_a}");
        assert_eq!(read(&keyring, "storage/b"), Ok(Some("old b".into())));
        keyring
            .store(&name("storage/c"), &secret("c"))
            .expect("the next write works");
        assert_eq!(place.entry_files().len(), 3, "and sweeps what was left");
        assert!(!place.files().iter().any(|f| Folder::is_temporary(f)));
    });
    assert_eq!(steps, 12, "two files written, one removed");
}

#[test]
fn killed_at_any_step_of_a_password_change_one_of_the_passwords_opens_everything() {
    let steps = at_each_step(Place::filled, "passwd", |place| {
        let opens = |password| {
            let keyring = keyring(&place.path(), password);
            let both = ["storage/a", "storage/b"].map(|entry| read(&keyring, entry));
            both == [Ok(Some("old a".into())), Ok(Some("old b".into()))]
        };
        assert!(opens(GOOD) != opens(NEXT), "exactly one of them");
    });
    assert_eq!(steps, 19, "three files written, two removed");
}

#[test]
fn killed_at_any_step_of_the_first_write_the_next_one_works() {
    let steps = at_each_step(Place::new, "store", |place| {
        let keyring = keyring(&place.path(), GOOD);
        let found = read(&keyring, "storage/a").expect("readable");
        assert!(found.is_none_or(|text| text == "new a"));
        keyring
            .store(&name("storage/c"), &secret("c"))
            .expect("the next write works");
        assert_eq!(read(&keyring, "storage/c"), Ok(Some("c".into())));
        let names = keyring.names().expect("names").len();
        assert_eq!(place.entry_files().len(), names, "nothing is left over");
        assert!(!place.files().iter().any(|f| Folder::is_temporary(f)));
    });
    assert_eq!(steps, 15, "a head, an entry, a head");
}

#[test]
fn killed_at_any_step_of_a_removal_the_entry_is_there_or_gone() {
    let steps = at_each_step(Place::filled, "remove", |place| {
        let keyring = keyring(&place.path(), GOOD);
        let found = read(&keyring, "storage/a").expect("readable");
        assert!(found.is_none_or(|text| text == "old a"));
        assert_eq!(read(&keyring, "storage/b"), Ok(Some("old b".into())));
        keyring.remove(&name("storage/a")).expect("removed");
        keyring
            .store(&name("storage/c"), &secret("c"))
            .expect("the next write works");
        assert_eq!(place.entry_files().len(), 2, "and sweeps what was left");
    });
    assert_eq!(steps, 7, "a head, and an entry removed");
}

#[test]
fn killed_at_any_step_of_an_unlock_no_key_stays_without_its_time() {
    let place = Place::filled();
    let (probe, _) = counted(&place.path(), GOOD, Duration::from_secs(60));
    read(&probe, "storage/a").expect("read");
    if !probe.lock().expect("a keyring") {
        testkit::tools::note_skip("this kernel gives no session keyring");
        return;
    }
    let unlocked = std::cell::RefCell::new(Vec::new());
    at_each_step(Place::filled, "unlock", |place| {
        let keyring = keyring(&place.path(), GOOD);
        unlocked
            .borrow_mut()
            .push(keyring.lock().expect("a keyring"));
    });
    // Killed before the time was set, killed before the key was handed over, not killed.
    assert_eq!(unlocked.take(), [false, false, true]);
}

/// Whoever types knows both passwords, and tries them in turn.
struct Either(AtomicUsize);

impl Passwords for Either {
    fn password(&self, _: &Path, _: Purpose) -> Result<Password> {
        let tried = self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Password {
            text: [GOOD, NEXT][tried % 2].to_owned().into(),
            typed: true,
        })
    }
}

fn either(path: &Path) -> FileKeyring {
    let passwords = Box::new(Either(AtomicUsize::new(0)));
    FileKeyring::new(path.to_owned(), passwords, NO_TIME)
}

#[test]
fn writes_of_one_process_and_a_password_change_of_another_lose_nothing() {
    let place = Place::filled();
    let path = place.path().display().to_string();
    let mut writer = std::process::Command::new(std::env::current_exe().expect("this program"))
        .args(["keyring::file::tests::victim", "--exact"])
        .env("ARTIFACTS_TEST_KEYRING", &path)
        .env("ARTIFACTS_TEST_DEED", "store many")
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("started");
    let reader = either(&place.path());
    let has_begun = || {
        let names = reader.names().expect("names");
        names.iter().any(|name| name.as_str().starts_with("many/"))
    };
    while !has_begun() && writer.try_wait().expect("a process").is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    keyring(&place.path(), GOOD)
        .change_password()
        .expect("changed");
    assert!(writer.wait().expect("ended").success());
    let now = keyring(&place.path(), NEXT);
    for number in 0..MANY {
        let found = read(&now, &format!("many/{number}"));
        assert_eq!(found, Ok(Some("many".into())));
    }
    assert_eq!(read(&now, "storage/a"), Ok(Some("old a".into())));
    assert_eq!(place.entry_files().len(), MANY + 2);
}

/// Enough that a password changes in their midst.
const MANY: usize = 50;

#[test]
fn two_writers_at_once_lose_nothing() {
    let place = Place::filled();
    let writers: Vec<_> = ["x", "y"]
        .into_iter()
        .map(|writer| {
            let path = place.path();
            std::thread::spawn(move || {
                let keyring = keyring(&path, GOOD);
                for number in 0..10 {
                    let name = name(&format!("{writer}/{number}"));
                    keyring.store(&name, &secret(writer)).expect("kept");
                    assert_eq!(read(&keyring, "storage/a"), Ok(Some("old a".into())));
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().expect("no panic");
    }
    let names = keyring(&place.path(), GOOD).names().expect("names");
    assert_eq!(names.len(), 22);
}

#[test]
fn a_keyring_that_others_can_read_is_refused() {
    let place = Place::filled();
    let head = place.path().join(HEAD);
    fs::set_permissions(&head, fs::Permissions::from_mode(0o644)).expect("chmod");
    let error = read(&keyring(&place.path(), GOOD), "storage/a").expect_err("refused");
    assert!(
        matches!(error, Error::ReadableByOthers { mode: 0o644, .. }),
        "{error}"
    );
}
