//! The head of a file keyring: how the key is derived, a verifier, and the sealed index.
//!
//! ```text
//! offset  bytes
//!      0      8  "artkring"
//!      8      1  format, 1
//!      9      1  key derivation, 1 = Argon2id version 0x13
//!     10      4  memory in KiB       (integers are big-endian)
//!     14      4  passes
//!     18      4  lanes
//!     22     16  salt, new with each password
//!     38     16  realm, chosen once for the keyring's life
//!     54     28  verifier: nonce and tag over nothing
//!     82      …  index: nonce, sealed entries, tag
//! ```
//!
//! Both seals are bound to the 54 bytes before them, so that no field can be changed alone.
//! An index entry is `lp(name)` and the 16 bytes of the id that its file is named after.

use std::collections::BTreeMap;
use std::path::Path;

use zeroize::Zeroizing;

use super::seal::{Context, Key, random};
use crate::Result;
use crate::keyring::{EntryName, KeyringError};

/// How the key is derived from the password, and which keyring this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// Argon2's memory in KiB.
    pub(super) memory: u32,
    /// Argon2's passes.
    pub(super) passes: u32,
    /// Argon2's lanes.
    pub(super) lanes: u32,
    pub(super) salt: [u8; 16],
    pub(super) realm: [u8; 16],
}

/// A head as it was read: nothing in it is believed before [`Head::index`] has opened it.
pub(super) struct Head {
    pub(super) header: Header,
    verifier: Vec<u8>,
    index: Vec<u8>,
}

/// Which file holds which entry.
pub(super) type Index = BTreeMap<EntryName, Id>;

/// What an entry's file is named after.
pub(super) type Id = [u8; 16];

/// What files of ours begin with.
pub(super) const MAGIC: &[u8; 8] = b"artkring";
/// The format that this version reads and writes.
pub(super) const FORMAT: u8 = 1;

const ARGON2ID: u8 = 1;
const HEADER: usize = 54;
const VERIFIER: usize = 28;

/// What is written; what is read must be at least that, and no more than a small machine
/// can do within seconds, three times where a person mistypes.
const MEMORY: (u32, u32) = (64 << 10, 256 << 10);
const PASSES: (u32, u32) = (3, 8);
const LANES: (u32, u32) = (1, 4);

impl Header {
    /// For a new password of the keyring `realm`.
    pub(super) fn new(realm: [u8; 16]) -> Result<Self> {
        Ok(Self {
            memory: MEMORY.0,
            passes: PASSES.0,
            lanes: LANES.0,
            salt: random()?,
            realm,
        })
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[FORMAT, ARGON2ID]);
        for number in [self.memory, self.passes, self.lanes] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(&self.salt);
        bytes.extend_from_slice(&self.realm);
        bytes
    }

    fn context(&self, part: &str) -> Context {
        Context::new(&[b"artifacts.keyring.1", part.as_bytes(), &self.to_bytes()])
    }
}

impl Head {
    /// Takes a head apart. Refuses parameters out of bounds before any work is done for them.
    pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        let damaged = |what| KeyringError::Damaged {
            path: path.to_owned(),
            what,
        };
        check_magic(bytes, path)?;
        if bytes.len() < HEADER + VERIFIER {
            return Err(damaged("it ends too early").into());
        }
        if bytes[9] != ARGON2ID {
            return Err(damaged("its key derivation is not known").into());
        }
        let number = |at: usize| {
            u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let array = |at: usize| -> [u8; 16] {
            let slice = &bytes[at..at + 16];
            slice.try_into().expect("sixteen bytes were cut out")
        };
        let header = Header {
            memory: bounded(path, "memory", number(10), MEMORY)?,
            passes: bounded(path, "passes", number(14), PASSES)?,
            lanes: bounded(path, "lanes", number(18), LANES)?,
            salt: array(22),
            realm: array(38),
        };
        Ok(Self {
            header,
            verifier: bytes[HEADER..HEADER + VERIFIER].to_vec(),
            index: bytes[HEADER + VERIFIER..].to_vec(),
        })
    }

    /// Whether the key is this keyring's.
    pub(super) fn verifies(&self, key: &Key) -> Result<bool> {
        let opened = key.open(&self.verifier, &self.header.context("verifier"))?;
        Ok(opened.is_some_and(|text| text.is_empty()))
    }

    /// The index, with a key that [`verifies`](Self::verifies).
    pub(super) fn index(&self, key: &Key, path: &Path) -> Result<Index> {
        let damaged = |what| KeyringError::Damaged {
            path: path.to_owned(),
            what,
        };
        let text = key
            .open(&self.index, &self.header.context("index"))?
            .ok_or_else(|| damaged("its index was changed"))?;
        Ok(parse_index(&text).ok_or_else(|| damaged("its index makes no sense"))?)
    }

    /// The bytes of a head with this index.
    pub(super) fn render(header: &Header, key: &Key, index: &Index) -> Result<Vec<u8>> {
        Ok([
            header.to_bytes(),
            key.seal(b"", &header.context("verifier"))?,
            key.seal(&render_index(index), &header.context("index"))?,
        ]
        .concat())
    }
}

/// Refuses what is not a file of ours, or one of a later version.
pub(super) fn check_magic(bytes: &[u8], path: &Path) -> Result<()> {
    let damaged = |what| KeyringError::Damaged {
        path: path.to_owned(),
        what,
    };
    match (bytes.strip_prefix(MAGIC), bytes.get(MAGIC.len())) {
        (None, _) => Err(damaged("it is not a keyring's file").into()),
        (_, None) => Err(damaged("it ends too early").into()),
        (_, Some(&FORMAT)) => Ok(()),
        (_, Some(&version)) => Err(KeyringError::Newer {
            path: path.to_owned(),
            version,
        }
        .into()),
    }
}

fn bounded(path: &Path, name: &'static str, value: u32, (least, most): (u32, u32)) -> Result<u32> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(KeyringError::Parameters {
        path: path.to_owned(),
        name,
        value,
        least,
        most,
    }
    .into())
}

pub(super) fn render_index(index: &Index) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(Vec::new());
    for (name, id) in index {
        let name = name.as_str().as_bytes();
        let length = u16::try_from(name.len()).expect("names have at most 128 bytes");
        text.extend_from_slice(&length.to_be_bytes());
        text.extend_from_slice(name);
        text.extend_from_slice(id);
    }
    text
}

pub(super) fn parse_index(mut text: &[u8]) -> Option<Index> {
    let mut index = Index::new();
    while !text.is_empty() {
        let (length, rest) = text.split_first_chunk::<2>()?;
        let (name, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let (id, rest) = rest.split_first_chunk::<16>()?;
        let name = std::str::from_utf8(name).ok()?.parse().ok()?;
        if index.insert(name, *id).is_some() {
            return None;
        }
        text = rest;
    }
    Some(index)
}
