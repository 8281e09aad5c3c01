//! What must hold for whatever bytes stand in a keyring's files.

use std::path::Path;

use super::header::{Head, Header, MAGIC, check_magic, parse_index, render_index};
use super::seal::Key;
use super::{entry_context, open_entry};
use crate::keyring::{EntryName, SECRET_LIMIT};

/// A head is refused, or it is the one that its key has sealed; and an index that makes sense
/// is written as it is read.
pub(crate) fn head(data: &[u8]) {
    let path = Path::new("head");
    let (header, key) = keyring();
    if let Ok(head) = Head::parse(data, path) {
        assert!(
            !verifies(&head, &unused()),
            "nobody has sealed this with that key"
        );
    }
    if let Some(index) = parse_index(data) {
        assert_eq!(parse_index(&render_index(&index)), Some(index.clone()));
        let sealed = Head::render(&header, &key, &index).expect("the library works");
        let head = Head::parse(&sealed, path).expect("what we write is read");
        assert!(verifies(&head, &key));
        assert_eq!(head.index(&key, path), Ok(index));
    }
    let sealed = Head::render(&header, &key, &Default::default()).expect("the library works");
    if let Some(changed) = changed(&sealed, data)
        && let Ok(head) = Head::parse(&changed, path)
    {
        assert!(!verifies(&head, &key) || head.index(&key, path).is_err());
    }
}

/// An entry is refused, or it is the one that was sealed for its name and file.
pub(crate) fn entry(data: &[u8]) {
    let path = Path::new("entry");
    let (header, key) = keyring();
    let name: EntryName = "storage/default".parse().expect("a name");
    let (own, other) = ([1; 16], [2; 16]);
    let context = |id| entry_context(&header, &name, id);
    let opened = open_entry(data, path, &unused(), &context(&own));
    assert!(!matches!(opened, Ok(Some(_))), "nobody has sealed this");
    assert_eq!(opened.is_ok(), check_magic(data, path).is_ok());

    let text = &data[..data.len().min(SECRET_LIMIT)];
    let sealed = key.seal(text, &context(&own)).expect("the library works");
    let file = [&MAGIC[..], &[1], &sealed].concat();
    let read = |bytes: &[u8], id| {
        let opened = open_entry(bytes, path, &key, &context(id)).ok().flatten();
        opened.map(|text| text.to_vec())
    };
    assert_eq!(read(&file, &own).as_deref(), Some(text));
    assert_eq!(read(&file, &other), None, "bound to its file");
    if let Some(changed) = changed(&file, data) {
        assert_eq!(read(&changed, &own), None, "bound to every bit");
    }
}

fn keyring() -> (Header, Key) {
    let header = Header {
        memory: 65536,
        passes: 3,
        lanes: 1,
        salt: [1; 16],
        realm: [2; 16],
    };
    (header, Key::from_bytes(&[7; 32]).expect("a key"))
}

/// A key that nothing here seals with: a fuzzer that watches comparisons learns what the other
/// one has sealed, and tries it.
fn unused() -> Key {
    Key::from_bytes(&[9; 32]).expect("a key")
}

fn verifies(head: &Head, key: &Key) -> bool {
    head.verifies(key).expect("the library works")
}

/// The bytes with a change that `how` describes: where, and which bits, or how much is cut
/// off. `None` where that is no change.
fn changed(bytes: &[u8], how: &[u8]) -> Option<Vec<u8>> {
    let [high, low, bits, cut, ..] = *how else {
        return None;
    };
    let mut changed = bytes.to_vec();
    let at = usize::from(u16::from_be_bytes([high, low])) % bytes.len();
    changed[at] ^= bits;
    changed.truncate(bytes.len() - usize::from(cut) % bytes.len());
    (changed != bytes).then_some(changed)
}
