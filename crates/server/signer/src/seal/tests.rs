use super::*;
use std::sync::atomic::{AtomicU32, Ordering};

const TEXT: &str = "correct horse battery";

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text.to_owned().into()).unwrap()
}

fn epochs(count: u8) -> Epochs {
    let mut epochs = Epochs::empty();
    for n in 1..=count {
        epochs.push(&[n; 32], 1_790_000_000 + i64::from(n)).unwrap();
    }
    epochs
}

/// Gives the right key whatever the file says, and counts how often it is asked: what a file is
/// refused for is then not the derivation.
struct Known([u8; 32], AtomicU32);

#[async_trait]
impl Seal for Known {
    fn kind(&self) -> u8 {
        1
    }

    async fn new_key(&self) -> Result<(Vec<u8>, FileKey), SealError> {
        Ok((vec![7; 28], FileKey(Zeroizing::new(self.0))))
    }

    async fn key_of(&self, _: &[u8]) -> Result<FileKey, SealError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Ok(FileKey(Zeroizing::new(self.0)))
    }
}

#[tokio::test]
async fn what_was_sealed_opens_with_its_passphrase_alone() {
    let sealed = seal(&epochs(3), &passphrase(TEXT)).await.unwrap();
    let opened = open(&sealed, &passphrase(TEXT)).await.unwrap();
    assert!(opened.continues(&epochs(3)) && epochs(3).continues(&opened));
    assert_eq!(opened.begun(2), Some(1_790_000_002));
    let refused = open(&sealed, &passphrase("correct horse batterz")).await;
    assert_eq!(refused.err(), Some(SealError::Passphrase));
    assert_eq!(
        Passphrase::new("eleven char".to_owned().into()).err(),
        Some(InvalidPassphrase)
    );
}

#[tokio::test]
async fn a_flipped_bit_anywhere_and_any_cut_is_refused() {
    let key = Known([9; 32], AtomicU32::new(0));
    let sealed = seal(&epochs(2), &key).await.unwrap();
    assert!(open(&sealed, &key).await.is_ok());
    let body = FIXED + 28 + VERIFIER;
    for at in 0..sealed.len() {
        for bit in 0..8 {
            let mut changed = sealed.clone();
            changed[at] ^= 1 << bit;
            let refused = open(&changed, &key).await.err().unwrap();
            let expected = match at {
                0..8 => SealError::Form,
                8 => SealError::Newer(changed[8]),
                9 => SealError::Kind(changed[9]),
                // Another length moves everything behind it.
                10..12 => match refused {
                    SealError::Damaged | SealError::Passphrase => refused.clone(),
                    _ => panic!("byte {at}: {refused}"),
                },
                12.. if at < body => SealError::Passphrase,
                _ => SealError::Damaged,
            };
            assert_eq!(refused, expected, "byte {at} bit {bit}");
        }
        let refused = open(&sealed[..at], &key).await.err().unwrap();
        let expected = match at {
            0..12 => SealError::Form,
            _ => SealError::Damaged,
        };
        assert_eq!(refused, expected, "cut at {at}");
    }
    let longer = [&sealed[..], &[0]].concat();
    assert_eq!(open(&longer, &key).await.err(), Some(SealError::Damaged));
    assert!(key.1.load(Ordering::Relaxed) > 0);
}

#[tokio::test]
async fn parameters_out_of_bounds_are_refused_before_any_work() {
    let sealed = seal(&epochs(1), &passphrase(TEXT)).await.unwrap();
    for (at, value, name) in [
        (12, (64 << 10) - 1, "memory in KiB"),
        (12, (1 << 20) + 1, "memory in KiB"),
        (12, u32::MAX, "memory in KiB"),
        (16, 2, "number of passes"),
        (16, 17, "number of passes"),
        (20, 0, "number of lanes"),
        (20, 5, "number of lanes"),
    ] {
        let mut changed = sealed.clone();
        changed[at..at + 4].copy_from_slice(&u32::to_be_bytes(value));
        let begun = std::time::Instant::now();
        let refused = open(&changed, &passphrase(TEXT)).await.err().unwrap();
        assert!(
            matches!(refused, SealError::Parameter { name: found, value: seen, .. } if found == name && seen == value),
            "{refused}"
        );
        assert!(begun.elapsed() < std::time::Duration::from_millis(20));
    }
    // Within bounds, but not what it was sealed with.
    for (at, value) in [(12, 65_537), (16, 4), (20, 2)] {
        let mut changed = sealed.clone();
        changed[at..at + 4].copy_from_slice(&u32::to_be_bytes(value));
        let refused = open(&changed, &passphrase(TEXT)).await.err();
        assert_eq!(refused, Some(SealError::Passphrase));
    }
}

#[derive(serde::Deserialize)]
struct Vector {
    passphrase: String,
    salt: String,
    verifier_nonce: String,
    epochs_nonce: String,
    begun: Vec<i64>,
    secrets: Vec<String>,
    file: String,
}

#[tokio::test]
async fn the_vectors_come_out() {
    let bytes = |text: &str| hex::decode(text).unwrap();
    let nonce = |text: &str| -> [u8; NONCE_LEN] { bytes(text).try_into().unwrap() };
    let vectors: Vec<Vector> =
        serde_json::from_str(include_str!("../../vectors/sealed.json")).unwrap();
    assert_eq!(vectors.len(), 2);
    for vector in vectors {
        let mut wanted = Epochs::empty();
        for (secret, begun) in vector.secrets.iter().zip(vector.begun) {
            let secret: [u8; 32] = bytes(secret).try_into().unwrap();
            wanted.push(&secret, begun).unwrap();
        }
        let seal = passphrase(&vector.passphrase);
        let mut parameters = [65_536_u32, 3, 1].map(u32::to_be_bytes).concat();
        parameters.extend_from_slice(&bytes(&vector.salt));
        let key = seal.key_of(&parameters).await.unwrap();
        let nonces = [nonce(&vector.verifier_nonce), nonce(&vector.epochs_nonce)];
        let file = render(1, &parameters, &key, &wanted, nonces).unwrap();
        assert_eq!(hex::encode(&file), vector.file);
        let opened = open(&file, &seal).await.unwrap();
        assert!(opened.continues(&wanted) && wanted.continues(&opened));
    }
}
