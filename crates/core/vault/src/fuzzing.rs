//! What the targets in `crates/dev/fuzz` do with bytes, and what must hold then. The tests run
//! them for a moment, on the seeds there and on what chance makes of these.

use std::sync::LazyLock;

use model::{Actor, ServiceName};
use secrecy::ExposeSecret;

use crate::legacy::{self, Owner, Wallet};
use crate::{
    DeviceKey, Kek, Place, ProofFor, SignEs256, VerifyKeys, header, make_proof, mint_cap,
    mint_session, open, seal_with_salt, verify_cap, verify_proof, verify_session,
};

const NOW: i64 = 1_800_000_000;
const ISSUER: &str = "https://broker.example";

/// The broker's key of the vectors.
const KEY: &str = "308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b020101042004b89e269fff7de81311fe51e221ea23dabb39e59e3e8fd54e0f930a6431be0ca14403420004bd1befe5f71e6727c3fc3b4715683699f8e61ac878bc2f40dbc660e9e598b93f10ad262a3d582ab965ddb5c780e53cf6fccb899800b6ed254e19d94d6851ac93";

struct Known {
    key: DeviceKey,
    keys: VerifyKeys,
    kek: Kek,
    operator: Actor,
    wallet: Wallet,
    service: ServiceName,
}

static KNOWN: LazyLock<Known> = LazyLock::new(|| {
    let key = hex::decode(KEY).expect("digits");
    let key = DeviceKey::from_pkcs8(&key).expect("a key");
    Known {
        keys: VerifyKeys::from_keys([key.public_jwk().clone()]).expect("one key"),
        key,
        kek: Kek::from_bytes([0x11; 32]),
        operator: "a".repeat(64).parse().expect("an actor"),
        wallet: format!("0x{}", "b".repeat(40)).parse().expect("a wallet"),
        service: "openrouter".parse().expect("a service"),
    }
});

impl Known {
    fn place(&self) -> Place<'_> {
        Place {
            operator: &self.operator,
            actor: &self.operator,
            service: &self.service,
        }
    }

    /// The bytes as header and claims, one line each, signed. So the fuzzer comes to what is
    /// behind the signature.
    fn sign(&self, data: &[u8]) -> Option<String> {
        let line = data.iter().position(|&byte| byte == b'\n')?;
        let encode = |part: &[u8]| base64_simd::URL_SAFE_NO_PAD.encode_to_string(part);
        let signed = format!("{}.{}", encode(&data[..line]), encode(&data[line + 1..]));
        let signature = self.key.sign(signed.as_bytes())?;
        Some(format!("{signed}.{}", encode(&signature)))
    }
}

/// An envelope of any version: what opens is exactly what sealing gives.
pub fn envelope(data: &[u8]) {
    let known = &*KNOWN;
    let head = header(data);
    if let Ok(opened) = open(&known.kek, &known.place(), data) {
        let head = head.expect("what opens has a head");
        let salt = data[13..].first_chunk().expect("what opens has a salt");
        let again = seal_with_salt(
            &known.kek,
            &known.place(),
            head.epoch,
            head.generation,
            opened.expose(),
            salt,
        );
        assert!(again.as_deref() == Ok(data));
    }
    for owner in [Owner::Wallet(&known.wallet), Owner::Actor(&known.operator)] {
        if let Ok(opened) = legacy::open(&known.kek, owner, &known.service, data) {
            assert_eq!(head.map(|head| head.version), Ok(owner.version()));
            let nonce = *data[1..].first_chunk().expect("what opens has a nonce");
            let plaintext = opened.expose();
            let again =
                legacy::seal_with_nonce(&known.kek, owner, &known.service, plaintext, nonce);
            assert!(again.as_deref() == Ok(data));
        }
    }
    let sealed = seal_with_salt(&known.kek, &known.place(), 1, 1, data, &[7; 24]);
    let opened = sealed.and_then(|sealed| open(&known.kek, &known.place(), &sealed));
    assert!(opened.is_ok_and(|opened| opened.expose() == data));
}

/// A capability or a session, as it is or as its parts to be signed: what is read is read again
/// from what is written.
pub fn cap(data: &[u8]) {
    let known = &*KNOWN;
    let as_it_is = std::str::from_utf8(data).ok().map(str::to_owned);
    for token in as_it_is.into_iter().chain(known.sign(data)) {
        let cap = verify_cap(&token, &known.keys, ISSUER, NOW);
        let session = verify_session(&token, &known.keys, ISSUER, NOW);
        assert!(cap.is_err() || session.is_err());
        if let Ok(cap) = cap {
            let fits = cap.check(cap.op, cap.service.as_ref(), cap.target.as_ref());
            let again = mint_cap(&cap, &known.key);
            assert_eq!(again.is_some(), fits.is_ok());
            let again = again.map(|again| {
                verify_cap(again.expose_secret(), &known.keys, ISSUER, NOW).expect("it counts")
            });
            assert!(again.is_none_or(|again| again == cap));
        }
        if let Ok(session) = session {
            let again = mint_session(&session, &known.key).expect("it counts");
            let again = verify_session(again.expose_secret(), &known.keys, ISSUER, NOW);
            assert_eq!(again, Ok(session));
        }
    }
}

/// A proof, as it is or as its parts to be signed.
pub fn proof(data: &[u8]) {
    let known = &*KNOWN;
    let request = ProofFor {
        method: "POST",
        url: "https://worker.example/v1/cred/fetch",
        token: Some("a.b.c"),
        body: b"{}",
    };
    let as_it_is = std::str::from_utf8(data).ok().map(str::to_owned);
    for token in as_it_is.into_iter().chain(known.sign(data)) {
        let Ok(proof) = verify_proof(Some(&token), &request, None, NOW) else {
            continue;
        };
        if proof.device == known.key.public_jwk().thumbprint() {
            let again = make_proof(&known.key, &request, &proof.jti, proof.iat);
            let again = verify_proof(again.as_deref(), &request, Some(&proof.device), NOW);
            assert_eq!(again.as_ref(), Ok(&proof));
        }
        let other = ProofFor {
            body: b"[]",
            ..request
        };
        assert!(verify_proof(Some(&token), &other, None, NOW).is_err());
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    type Target = fn(&[u8]);

    const TARGETS: [(&str, Target); 3] = [("envelope", envelope), ("cap", cap), ("proof", proof)];

    /// The seeds of a target, by name.
    fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dev/fuzz/corpus");
        let folder = std::fs::read_dir(root.join(target)).expect("a folder of seeds");
        let mut seeds: Vec<_> = folder
            .map(|seed| {
                let seed = seed.expect("readable");
                let name = seed.file_name().into_string().expect("a name");
                (name, std::fs::read(seed.path()).expect("readable"))
            })
            .collect();
        seeds.sort();
        assert!(!seeds.is_empty(), "{target} has no seed");
        seeds
    }

    #[test]
    fn every_seed_holds() {
        for (name, target) in TARGETS {
            for (_, seed) in corpus(name) {
                target(&seed);
            }
        }
    }

    /// The seeds are what they are meant to be: the deeper parts of a target are reached.
    #[test]
    fn the_seeds_are_good() {
        let known = &*KNOWN;
        for (name, seed) in corpus("envelope") {
            let owner = match seed[0] {
                0x01 => Owner::Wallet(&known.wallet),
                _ => Owner::Actor(&known.operator),
            };
            let old = legacy::open(&known.kek, owner, &known.service, &seed);
            assert!(
                old.is_ok() || open(&known.kek, &known.place(), &seed).is_ok(),
                "{name}"
            );
        }
        for (name, seed) in corpus("cap") {
            let token = known.sign(&seed).expect("two lines");
            let cap = verify_cap(&token, &known.keys, ISSUER, NOW);
            let session = verify_session(&token, &known.keys, ISSUER, NOW);
            assert!(
                cap.is_ok() || session.is_ok(),
                "{name}: {cap:?}, {session:?}"
            );
        }
        for (name, seed) in corpus("proof") {
            let token = known.sign(&seed).expect("two lines");
            let request = ProofFor {
                method: "POST",
                url: "https://worker.example/v1/cred/fetch",
                token: Some("a.b.c"),
                body: b"{}",
            };
            let read = verify_proof(Some(&token), &request, None, NOW);
            assert!(read.is_ok(), "{name}: {read:?}");
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
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

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
                target(&mutate(&seeds[pick % seeds.len()].1, &changes));
            }
        }
    }
}
