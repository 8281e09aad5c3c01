//! The vectors of keys and envelopes; `scripts/suites/vectors.sh` holds the same files against a
//! second implementation, which has written them.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::collections::HashMap;

use artifacts_vault::legacy::{self, Owner, Wallet};
use artifacts_vault::{
    EnvelopeError, Kek, MasterSecret, OldVersions, Place, derive_cred_kek, header, open,
    seal_with_salt,
};
use common::{array, bytes};
use model::{Actor, ServiceName};
use serde::Deserialize;
use sha2::{Digest, Sha256};

#[derive(Deserialize)]
struct Keks {
    current: Vec<CurrentKek>,
    old: Vec<OldKek>,
}

#[derive(Deserialize)]
struct CurrentKek {
    name: String,
    secret: String,
    operator: Actor,
    actor: Actor,
    kek: String,
}

#[derive(Deserialize)]
struct OldKek {
    name: String,
    wallet: String,
    service: ServiceName,
    signature: String,
    message: String,
    kek: String,
}

#[test]
fn keys_follow_from_what_they_are_for() {
    let keks: Keks = common::read(include_str!("../vectors/keks.json"));
    assert_eq!((keks.current.len(), keks.old.len()), (5, 2));
    for case in keks.current {
        let secret = MasterSecret::from_bytes(array(&case.secret));
        let kek = derive_cred_kek(&secret, &case.operator, &case.actor);
        assert_eq!(hex::encode(kek.expose()), case.kek, "{}", case.name);
    }
    for case in keks.old {
        let wallet: Wallet = case.wallet.parse().unwrap();
        let message = legacy::kek_message(&wallet, &case.service);
        assert_eq!(message, case.message, "{}", case.name);
        let kek = legacy::kek(&array(&case.signature));
        assert_eq!(hex::encode(kek.expose()), case.kek, "{}", case.name);
    }
}

#[derive(Deserialize)]
struct Envelopes {
    sealed: Vec<Sealed>,
    old: Vec<Old>,
    refused: Vec<Refused>,
    old_refused: Vec<OldRefused>,
}

#[derive(Deserialize)]
struct Sealed {
    name: String,
    kek: String,
    epoch: u32,
    generation: u64,
    salt: String,
    #[serde(flatten)]
    place: OwnedPlace,
    plaintext: Text,
    #[serde(flatten)]
    envelope: Told,
}

#[derive(Deserialize)]
struct OwnedPlace {
    operator: Actor,
    actor: Actor,
    service: ServiceName,
}

impl OwnedPlace {
    fn get(&self) -> Place<'_> {
        Place {
            operator: &self.operator,
            actor: &self.actor,
            service: &self.service,
        }
    }
}

#[derive(Deserialize)]
struct Old {
    name: String,
    kek: String,
    nonce: String,
    #[serde(flatten)]
    place: OldPlace,
    plaintext: Text,
    #[serde(flatten)]
    envelope: Told,
}

#[derive(Deserialize)]
struct OldPlace {
    wallet: Option<String>,
    actor: Option<Actor>,
    service: ServiceName,
}

impl OldPlace {
    fn with_owner<T>(&self, then: impl FnOnce(Owner<'_>) -> T) -> T {
        match (&self.wallet, &self.actor) {
            (Some(wallet), None) => then(Owner::Wallet(&wallet.parse().unwrap())),
            (None, Some(actor)) => then(Owner::Actor(actor)),
            _ => panic!("an older envelope has one owner"),
        }
    }
}

/// Hexadecimal digits, or one byte so many times.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Digits(String),
    Repeat { repeat: (u8, usize) },
}

impl Text {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Digits(digits) => bytes(digits),
            Self::Repeat {
                repeat: (byte, length),
            } => vec![*byte; *length],
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Told {
    Whole { envelope: String },
    Hash { sha256: String },
}

impl Told {
    fn is(&self, found: &[u8]) -> bool {
        match self {
            Self::Whole { envelope } => *envelope == hex::encode(found),
            Self::Hash { sha256 } => *sha256 == hex::encode(Sha256::digest(found)),
        }
    }
}

#[derive(Deserialize)]
struct Refused {
    name: String,
    reason: String,
    kek: String,
    #[serde(flatten)]
    place: OwnedPlace,
    #[serde(flatten)]
    bytes: Bytes,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Bytes {
    Whole {
        envelope: String,
    },
    Slices {
        of: String,
        slices: Vec<(usize, usize)>,
    },
}

#[derive(Deserialize)]
struct OldRefused {
    name: String,
    reason: String,
    kek: String,
    #[serde(flatten)]
    place: OldPlace,
    envelope: String,
}

fn kek(digits: &str) -> Kek {
    Kek::from_bytes(array(digits))
}

fn envelopes() -> Envelopes {
    common::read(include_str!("../vectors/envelopes.json"))
}

#[test]
fn what_is_sealed_has_these_bytes_and_opens() {
    let cases = envelopes().sealed;
    assert_eq!(cases.len(), 15);
    for case in cases {
        let (kek, place, plaintext) = (kek(&case.kek), case.place.get(), case.plaintext.bytes());
        let envelope = seal(&case);
        assert!(case.envelope.is(&envelope), "{}", case.name);
        let head = header(&envelope).unwrap();
        let numbers = (head.version, head.epoch, head.generation);
        assert_eq!(
            numbers,
            (0x10, case.epoch, case.generation),
            "{}",
            case.name
        );
        let opened = open(&kek, &place, &envelope).unwrap();
        assert!(opened.expose() == plaintext, "{}", case.name);
    }
}

fn seal(case: &Sealed) -> Vec<u8> {
    seal_with_salt(
        &kek(&case.kek),
        &case.place.get(),
        case.epoch,
        case.generation,
        &case.plaintext.bytes(),
        &array(&case.salt),
    )
    .unwrap()
}

#[test]
fn older_envelopes_have_these_bytes_and_open() {
    let cases = envelopes().old;
    assert_eq!(cases.len(), 6);
    for case in cases {
        let (kek, plaintext) = (kek(&case.kek), case.plaintext.bytes());
        let service = &case.place.service;
        case.place.with_owner(|owner| {
            let nonce = array(&case.nonce);
            let made = legacy::seal_with_nonce(&kek, owner, service, &plaintext, nonce).unwrap();
            assert!(case.envelope.is(&made), "{}", case.name);
            let opened = legacy::open(&kek, owner, service, &made).unwrap();
            assert!(opened.expose() == plaintext, "{}", case.name);
        });
    }
}

#[test]
fn what_must_not_open_is_refused_with_its_reason() {
    let all = envelopes();
    let sealed: HashMap<&str, Vec<u8>> = all
        .sealed
        .iter()
        .map(|case| (case.name.as_str(), seal(case)))
        .collect();
    assert_eq!(all.refused.len(), 91);
    for case in &all.refused {
        let envelope = match &case.bytes {
            Bytes::Whole { envelope } => bytes(envelope),
            Bytes::Slices { of, slices } => {
                let of = &sealed[of.as_str()];
                let parts = slices.iter().map(|&(start, end)| &of[start..end]);
                parts.collect::<Vec<_>>().concat()
            }
        };
        let opened = open(&kek(&case.kek), &case.place.get(), &envelope);
        let refused = opened.err().map(EnvelopeError::reason);
        let reason = refused.map(api::vault::Reason::as_str);
        assert_eq!(reason, Some(case.reason.as_str()), "{}", case.name);
    }
    assert_eq!(all.old_refused.len(), 44);
    for case in &all.old_refused {
        let (kek, envelope) = (kek(&case.kek), bytes(&case.envelope));
        let service = &case.place.service;
        let opened = case
            .place
            .with_owner(|owner| legacy::open(&kek, owner, service, &envelope));
        let refused = opened.err().map(EnvelopeError::reason);
        let reason = refused.map(api::vault::Reason::as_str);
        assert_eq!(reason, Some(case.reason.as_str()), "{}", case.name);
    }
}

#[test]
fn the_head_of_what_cannot_be_whole_is_not_read() {
    for case in envelopes().refused {
        let Bytes::Whole { envelope } = &case.bytes else {
            continue;
        };
        let read = header(&bytes(envelope)).map(|head| head.version);
        match (case.reason.as_str(), read) {
            ("envelope_malformed", Err(EnvelopeError::Malformed))
            | ("envelope_invalid", Ok(0x10))
            // Whether an older version is opened is asked next, of the policy.
            | ("envelope_version", Err(EnvelopeError::Version(_)) | Ok(0x01 | 0x02)) => {}
            (reason, read) => panic!("{}: {reason}, but {read:?}", case.name),
        }
    }
}

#[test]
fn older_versions_open_only_where_the_policy_says_so() {
    let none = OldVersions::default();
    let first = OldVersions {
        allow_01: true,
        allow_02: false,
    };
    let both = OldVersions {
        allow_01: true,
        allow_02: true,
    };
    let refused = |version| Err(EnvelopeError::Version(version));
    for policy in [none, first, both] {
        assert_eq!(policy.check(0x10), Ok(()));
        for version in [0x00, 0x03, 0x0f, 0x11, 0xff] {
            assert_eq!(policy.check(version), refused(version));
        }
    }
    assert_eq!((none.check(1), none.check(2)), (refused(1), refused(2)));
    assert_eq!((first.check(1), first.check(2)), (Ok(()), refused(2)));
    assert_eq!((both.check(1), both.check(2)), (Ok(()), Ok(())));
}

/// Not one bit of an envelope of any version is without effect, and no part of one is whole.
#[test]
fn no_bit_and_no_byte_can_be_changed_or_left_out() {
    let all = envelopes();
    for case in all.sealed.iter().filter(|case| case.name != "the longest") {
        let (kek, place, good) = (kek(&case.kek), case.place.get(), seal(case));
        every_change(
            &good,
            |changed| open(&kek, &place, changed).err(),
            &case.name,
        );
    }
    for case in all
        .old
        .iter()
        .filter(|case| !case.name.ends_with("the longest"))
    {
        let (kek, service) = (kek(&case.kek), &case.place.service);
        let Told::Whole { envelope } = &case.envelope else {
            panic!("{} is short", case.name);
        };
        case.place.with_owner(|owner| {
            let open = |changed: &[u8]| legacy::open(&kek, owner, service, changed).err();
            every_change(&bytes(envelope), open, &case.name);
        });
    }
}

fn every_change(good: &[u8], open: impl Fn(&[u8]) -> Option<EnvelopeError>, name: &str) {
    // All bits of what is short, one bit of each 61st byte of what has chunks.
    let (step, bits): (_, &[u8]) = match good.len() {
        0..2048 => (1, &[1, 2, 4, 8, 16, 32, 64, 128]),
        _ => (61, &[1]),
    };
    let mut changed = good.to_vec();
    for at in (0..good.len()).step_by(step) {
        for bit in bits {
            changed[at] ^= bit;
            let wanted = match at {
                0 => EnvelopeError::Version(changed[0]),
                _ => EnvelopeError::Invalid,
            };
            assert_eq!(
                open(&changed),
                Some(wanted),
                "{name}: bit {bit} of byte {at}"
            );
            changed[at] ^= bit;
        }
        let cut = open(&good[..at]);
        let wanted = matches!(cut, Some(EnvelopeError::Malformed | EnvelopeError::Invalid));
        assert!(wanted, "{name}: {at} bytes: {cut:?}");
    }
}
