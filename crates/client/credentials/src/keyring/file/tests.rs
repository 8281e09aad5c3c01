use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

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
const NO_TIME: Duration = Duration::ZERO;

fn keyring(path: &Path, text: &'static str) -> FileKeyring {
    counted(path, text, NO_TIME).0
}

fn counted(
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

/// Not a test of its own: what the processes below do until they are killed.
#[test]
fn victim() {
    let Ok(path) = std::env::var("ARTIFACTS_TEST_KEYRING") else {
        return;
    };
    let keyring = keyring(Path::new(&path), GOOD);
    match std::env::var("ARTIFACTS_TEST_DEED").as_deref() {
        Ok("store") => keyring
            .store(&name("storage/a"), &secret("new a"))
            .expect("kept"),
        Ok("passwd") => keyring.change_password().expect("changed"),
        deed => panic!("no such deed: {deed:?}"),
    }
}

/// Kills a process at each step of a deed; how many steps there were.
fn at_each_step(deed: &str, check: impl Fn(&Place)) -> usize {
    for step in 0.. {
        let place = Place::filled();
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
    let steps = at_each_step("store", |place| {
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
    let steps = at_each_step("passwd", |place| {
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

/// The broken files, by name, each with what is said about it. `@` is the keyring's folder.
#[test]
fn every_broken_file_has_its_error() {
    type Break = fn(&mut Vec<u8>);
    let heads: &[(&str, Break, &str)] = &[
        (
            "empty",
            |b| b.clear(),
            "@/head is damaged: it is not a keyring's file",
        ),
        (
            "another file",
            |b| *b = b"ACCESS_KEY_ID=x".to_vec(),
            "@/head is damaged: it is not a keyring's file",
        ),
        (
            "cut after the magic",
            |b| b.truncate(8),
            "@/head is damaged: it ends too early",
        ),
        (
            "cut in the header",
            |b| b.truncate(40),
            "@/head is damaged: it ends too early",
        ),
        (
            "cut in the verifier",
            |b| b.truncate(81),
            "@/head is damaged: it ends too early",
        ),
        (
            "without index",
            |b| b.truncate(82),
            "@/head is damaged: its index was changed",
        ),
        (
            "cut in the index",
            |b| b.truncate(100),
            "@/head is damaged: its index was changed",
        ),
        (
            "longer",
            |b| b.push(0),
            "@/head is damaged: its index was changed",
        ),
        (
            "a later format",
            |b| b[8] = 2,
            "@/head has format 2; this version reads format 1",
        ),
        (
            "another derivation",
            |b| b[9] = 2,
            "@/head is damaged: its key derivation is not known",
        ),
        (
            "too little memory",
            |b| b[10..14].copy_from_slice(&8u32.to_be_bytes()),
            "@/head asks for key derivation with memory = 8; from 65536 to 1048576 is accepted",
        ),
        (
            "all the memory",
            |b| b[10..14].fill(0xff),
            "@/head asks for key derivation with memory = 4294967295; from 65536 to 1048576 is accepted",
        ),
        (
            "no passes",
            |b| b[14..18].fill(0),
            "@/head asks for key derivation with passes = 0; from 3 to 16 is accepted",
        ),
        (
            "passes for years",
            |b| b[14..18].fill(0xff),
            "@/head asks for key derivation with passes = 4294967295; from 3 to 16 is accepted",
        ),
        (
            "no lanes",
            |b| b[18..22].fill(0),
            "@/head asks for key derivation with lanes = 0; from 1 to 4 is accepted",
        ),
        (
            "another salt",
            |b| b[22] ^= 1,
            "the password does not open the keyring @",
        ),
        (
            "another realm",
            |b| b[38] ^= 1,
            "the password does not open the keyring @",
        ),
        (
            "another verifier",
            |b| b[60] ^= 1,
            "the password does not open the keyring @",
        ),
        (
            "another index",
            |b| b[90] ^= 1,
            "@/head is damaged: its index was changed",
        ),
    ];
    let place = Place::filled();
    let head = place.path().join(HEAD);
    let good = fs::read(&head).expect("read");
    let said = |place: &Place| {
        let error = read(&keyring(&place.path(), GOOD), "storage/a").expect_err("broken");
        assert!(error.hint().is_some(), "{error}");
        let folder = place.path().display().to_string();
        error.to_string().replace(&folder, "@")
    };
    for (what, damage, expected) in heads {
        let mut bytes = good.clone();
        damage(&mut bytes);
        fs::write(&head, bytes).expect("written");
        assert_eq!(said(&place), *expected, "{what}");
    }
    fs::write(&head, &good).expect("written");

    let files = place.entry_files();
    let [first, second] = files.as_slice() else {
        panic!("two entries");
    };
    let (one, two) = (
        fs::read(first).expect("read"),
        fs::read(second).expect("read"),
    );
    fs::write(first, &two).expect("swapped");
    fs::write(second, &one).expect("swapped");
    assert!(
        said(&place).ends_with(".entry is damaged: it was changed, or belongs to another keyring")
    );
    for file in &files {
        fs::write(file, b"artkring\x07").expect("written");
    }
    assert!(said(&place).ends_with(".entry has format 7; this version reads format 1"));
    for file in &files {
        fs::remove_file(file).expect("removed");
    }
    assert!(said(&place).ends_with(".entry is damaged: the index names it, but it is not there"));
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

proptest! {
    /// Whatever bytes a head has, it is refused cleanly or it is the one that was written.
    #[test]
    fn no_change_of_a_head_goes_unseen(at in 0usize..150, bits in 1u8.., cut in 0usize..400) {
        let key = Key::from_bytes(&[7; 32]).expect("a key");
        let header = Header { memory: 65536, passes: 3, lanes: 1, salt: [1; 16], realm: [2; 16] };
        let index = Index::from([(name("storage/a"), [3; 16]), (name("session/b"), [4; 16])]);
        let good = Head::render(&header, &key, &index).expect("rendered");
        let path = Path::new("head");
        let mut bytes = good.clone();
        bytes[at % good.len()] ^= bits;
        bytes.truncate(cut.max(1));
        if let Ok(head) = Head::parse(&bytes, path) {
            let verified = head.verifies(&key).expect("the library works");
            prop_assert!(!verified || head.index(&key, path).is_err());
        }
    }

    #[test]
    fn no_bytes_make_a_head_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), magic: bool) {
        let mut bytes = bytes;
        if magic {
            bytes.splice(0..0, *b"artkring\x01\x01\x00\x01\x00\x00\x00\x00\x00\x03\x00\x00\x00\x01");
        }
        let key = Key::from_bytes(&[7; 32]).expect("a key");
        if let Ok(head) = Head::parse(&bytes, Path::new("head")) {
            prop_assert!(!head.verifies(&key).expect("the library works"));
        }
    }
}
