//! What the targets in `crates/dev/fuzz` do with bytes, and what must hold then. The tests run
//! them for a moment, on the seeds there and on what chance makes of these.

use std::path::Path;

use crate::keyring::{EntryName, export as exported};
use crate::{Field, FieldValue, KeyFile, KeyProfile, KeySet};

/// The head of a file keyring.
pub fn head(data: &[u8]) {
    crate::keyring::fuzzed::head(data);
}

/// An entry of a file keyring.
pub fn entry(data: &[u8]) {
    crate::keyring::fuzzed::entry(data);
}

/// An exported keyring: read whole or not at all, and written as it was read.
pub fn export(data: &[u8]) {
    if let Some(entries) = exported::parse(data) {
        assert_eq!(exported::render(&entries).as_slice(), data);
    }
}

/// `byo-credentials`, and the same lines as a keyring's entry: what is read is read again
/// from what is written, and a change of one profile touches no other.
pub fn key_file(data: &[u8]) {
    let name: EntryName = "session/default".parse().expect("a name");
    // Whether it is one does not matter here; that it is said does.
    let _ = KeySet::parse(&crate::keyring::Secret::new(data.to_vec()), &name);
    let Ok(mut file) = parse(data) else {
        return;
    };
    let profiles = file.profiles();
    let again = parse(file.render().as_bytes()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(again.profiles(), profiles);
    for profile in &profiles {
        assert!(values(&again, profile) == values(&file, profile));
    }
    let added: KeyProfile = "added-by-the-test".parse().expect("a profile");
    let value = FieldValue::new("VALUE", "test").expect("a value");
    file.set(&added, Field::AccessKeyId, &value);
    let again = parse(file.render().as_bytes()).unwrap_or_else(|e| panic!("{e}"));
    assert!(values(&again, &added)[0].as_deref() == Some("VALUE"));
    for profile in profiles.iter().filter(|profile| **profile != added) {
        assert!(values(&again, profile) == values(&file, profile));
        file.clear(profile);
        assert!(values(&file, profile).iter().all(Option::is_none));
    }
    assert!(values(&file, &added)[0].as_deref() == Some("VALUE"));
}

fn parse(data: &[u8]) -> crate::Result<KeyFile> {
    KeyFile::parse(data, Path::new("keys"))
}

/// What a profile's fields are; a value that cannot be one counts as such.
fn values(file: &KeyFile, profile: &KeyProfile) -> [Option<String>; 4] {
    Field::ALL.map(|field| match file.value(profile, field) {
        Ok(value) => value.map(|value| value.expose().to_owned()),
        Err(error) => Some(error.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Target = fn(&[u8]);

    const TARGETS: [(&str, Target); 4] = [
        ("head", head),
        ("entry", entry),
        ("export", export),
        ("key_file", key_file),
    ];

    /// The seeds of a target.
    fn corpus(target: &str) -> Vec<Vec<u8>> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dev/fuzz/corpus");
        let folder = std::fs::read_dir(root.join(target)).expect("a folder of seeds");
        let paths = folder.map(|seed| seed.expect("readable").path());
        let seeds: Vec<_> = paths
            .map(|path| std::fs::read(path).expect("readable"))
            .collect();
        assert!(!seeds.is_empty(), "{target} has no seed");
        seeds
    }

    #[test]
    fn every_seed_holds() {
        for (name, target) in TARGETS {
            for seed in corpus(name) {
                target(&seed);
            }
        }
    }

    /// The seeds are what they are meant to be: the deeper parts of a target are reached.
    #[test]
    fn the_seeds_are_good() {
        for seed in corpus("export") {
            assert!(exported::parse(&seed).is_some());
        }
        for seed in corpus("key_file") {
            assert!(parse(&seed).is_ok());
        }
    }

    /// A seed with parts of it changed, taken out, doubled.
    fn mutate(seed: &[u8], changes: &[(usize, usize, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for (at, length, put) in changes {
            let at = at % (bytes.len() + 1);
            let end = (at + length).min(bytes.len());
            bytes.splice(at..end, put.iter().copied());
        }
        bytes
    }

    fn changes() -> impl Strategy<Value = Vec<(usize, usize, Vec<u8>)>> {
        let put = proptest::collection::vec(any::<u8>(), 0..8);
        proptest::collection::vec((0usize..512, 0usize..16, put), 0..4)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_the_bytes_are_it_holds(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            for (_, target) in TARGETS {
                target(&bytes);
            }
        }

        #[test]
        fn whatever_becomes_of_a_seed_it_holds(pick: usize, changes in changes()) {
            for (name, target) in TARGETS {
                let seeds = corpus(name);
                target(&mutate(&seeds[pick % seeds.len()], &changes));
            }
        }

        /// Lines of the key file's own words, in any order.
        #[test]
        fn whatever_lines_a_key_file_has_it_holds(text in "(ACCESS_KEY_ID|SECRET_ACCESS_KEY|REGION|\\[profile [ab]\\]|#|[ =\\r\\n\\[\\]a]){0,24}") {
            key_file(text.as_bytes());
        }
    }
}
