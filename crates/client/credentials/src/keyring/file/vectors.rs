//! The file keyring of `vectors/file_keyring.json`, which another implementation has made,
//! and the named ways in which it is broken there.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::Ordering;

use serde::Deserialize;

use super::header::{Head, Header, parse_index, render_index};
use super::tests::{NO_TIME, counted, keyring};
use super::*;

#[derive(Deserialize)]
struct Vectors {
    password: String,
    key: String,
    salt: String,
    realm: String,
    header: String,
    index: String,
    entries: Vec<Entry>,
    files: BTreeMap<String, String>,
    broken: Vec<Broken>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    file: String,
    secret: String,
}

#[derive(Deserialize)]
struct Broken {
    name: String,
    files: BTreeMap<String, Option<String>>,
    error: String,
}

fn vectors() -> Vectors {
    let text = include_str!("../../../vectors/file_keyring.json");
    serde_json::from_str(text).expect("good vectors")
}

fn bytes(hex: &str) -> Vec<u8> {
    hex::decode(hex).expect("hex")
}

fn array<const N: usize>(hex: &str) -> [u8; N] {
    bytes(hex).try_into().expect("as long as that")
}

fn put(folder: &Path, file: &str, content: &[u8]) {
    let path = folder.join(file);
    fs::write(&path, content).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
}

/// The vectors' keyring in a folder of its own.
fn folder(vectors: &Vectors) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (file, content) in &vectors.files {
        put(folder.path(), file, &bytes(content));
    }
    folder
}

#[test]
fn a_keyring_of_another_implementation_is_read() {
    let vectors = vectors();
    let folder = folder(&vectors);
    let keyring = keyring(folder.path(), leaked(&vectors.password));
    let names = keyring.names().expect("readable");
    let names: Vec<&str> = names.iter().map(EntryName::as_str).collect();
    let expected: Vec<&str> = vectors.entries.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(names, expected);
    for entry in &vectors.entries {
        let name = entry.name.parse().expect("a name");
        let secret = keyring.load(&name).expect("readable").expect("there");
        assert_eq!(hex::encode(secret.expose()), entry.secret, "{name}");
    }
    assert_eq!(keyring.realm(), Ok(Some(vectors.realm)));
}

#[test]
fn what_is_written_has_the_same_form() {
    let vectors = vectors();
    let header = Header {
        salt: array(&vectors.salt),
        ..Header::new(array(&vectors.realm)).expect("made")
    };
    let key = Key::derive(&vectors.password, &header).expect("derived");
    assert_eq!(hex::encode(key.expose()), vectors.key);
    let mut index = Index::new();
    for entry in &vectors.entries {
        let id = entry.file.strip_suffix(SUFFIX).expect("an entry's file");
        index.insert(entry.name.parse().expect("a name"), array(id));
    }
    assert_eq!(hex::encode(render_index(&index)), vectors.index);
    assert_eq!(parse_index(&bytes(&vectors.index)), Some(index.clone()));
    // Two nonces are random; everything else is known.
    let head = Head::render(&header, &key, &index).expect("rendered");
    assert_eq!(head.len() * 2, vectors.files[HEAD].len());
    assert!(hex::encode(head).starts_with(&vectors.header));
}

#[test]
fn every_broken_file_has_its_error() {
    let vectors = vectors();
    let folder = folder(&vectors);
    for broken in &vectors.broken {
        for (file, content) in &broken.files {
            match content {
                Some(content) => put(folder.path(), file, &bytes(content)),
                None => fs::remove_file(folder.path().join(file)).expect("removed"),
            }
        }
        // A head that is refused before any work costs no password.
        let (keyring, asked) = counted(folder.path(), leaked(&vectors.password), NO_TIME);
        let name = "storage/default".parse().expect("a name");
        let error = keyring.load(&name).err().expect(&broken.name);
        assert!(error.hint().is_some(), "{}: {error}", broken.name);
        let place = folder.path().display().to_string();
        let said = error.to_string().replace(&place, "@");
        assert_eq!(said, broken.error, "{}", broken.name);
        let early = said.contains("asks for key derivation") || said.contains("has format 2");
        assert!(!early || asked.load(Ordering::Relaxed) == 0, "{said}");
        for file in broken.files.keys() {
            put(folder.path(), file, &bytes(&vectors.files[file]));
        }
    }
}

/// What is written today must be within what is read for ever, and the edges are as they are
/// said.
#[test]
fn the_bounds_of_the_key_derivation_are_exact() {
    let good = bytes(&vectors().files[HEAD]);
    let fits = |at: usize, value: u32| {
        let mut head = good.clone();
        head[at..at + 4].copy_from_slice(&value.to_be_bytes());
        Head::parse(&head, Path::new(HEAD)).is_ok()
    };
    for (at, least, most) in [(10, 64 << 10, 256 << 10), (14, 3, 8), (18, 1, 4)] {
        assert!(fits(at, least) && fits(at, most), "byte {at}");
        assert!(!fits(at, least - 1) && !fits(at, most + 1), "byte {at}");
    }
}

/// The tests' passwords are constants; this one comes from a file that is read once.
fn leaked(password: &str) -> &'static str {
    password.to_owned().leak()
}
