use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::super::{BY_KMS, FIXED, Passphrase, VERIFIER, open, seal};
use super::*;
use crate::secrets::Epochs;

const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const OTHER: &str = "arn:aws:kms:eu-west-1:111122223333:key/99999999-12ab-34cd-56ef-1234567890ab";
const MANY: &str = "arn:aws:kms:eu-west-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab";

/// What a call to the service was.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Call {
    opens: bool,
    under: String,
    context: Context,
}

/// For what a key was made, and the key, by its wrapped form.
type Kept = BTreeMap<Vec<u8>, (Call, [u8; 32])>;

/// A service in memory: wrapped forms are numbers, and it knows what each is of.
#[derive(Default)]
struct InMemory {
    keys: Mutex<Kept>,
    calls: Mutex<Vec<Call>>,
    /// Answers every call, if it is there.
    refuses: Mutex<Option<KmsError>>,
    /// The key that answers name instead of the one that was asked for.
    names: Mutex<Option<String>>,
    /// Bytes of the keys in answers.
    cut: Mutex<Option<usize>>,
}

impl InMemory {
    fn called(&self, opens: bool, under: &KeyArn, context: &Context) -> Result<Call, KmsError> {
        let call = Call {
            opens,
            under: under.to_string(),
            context: context.clone(),
        };
        self.calls.lock().push(call.clone());
        match self.refuses.lock().clone() {
            Some(error) => Err(error),
            None => Ok(call),
        }
    }

    fn answer(&self, under: &KeyArn, key: [u8; 32]) -> DataKey {
        let long = self.cut.lock().unwrap_or(32);
        DataKey {
            plaintext: Zeroizing::new(key[..long].to_vec()),
            under: self.names.lock().clone().unwrap_or(under.to_string()),
        }
    }

    fn opened(&self) -> usize {
        self.calls.lock().iter().filter(|call| call.opens).count()
    }
}

#[async_trait]
impl KeyService for InMemory {
    async fn new_data_key(
        &self,
        under: &KeyArn,
        context: &Context,
    ) -> Result<(DataKey, Vec<u8>), KmsError> {
        let call = self.called(false, under, context)?;
        let mut keys = self.keys.lock();
        let number = u8::try_from(keys.len() + 1).unwrap();
        let (wrapped, key) = (vec![number; 40], [number; 32]);
        keys.insert(wrapped.clone(), (call, key));
        Ok((self.answer(under, key), wrapped))
    }

    async fn open_data_key(
        &self,
        under: &KeyArn,
        context: &Context,
        wrapped: &[u8],
    ) -> Result<DataKey, KmsError> {
        let call = self.called(true, under, context)?;
        let keys = self.keys.lock();
        let Some((made, key)) = keys.get(wrapped) else {
            return Err(KmsError::Wrapped(under.clone()));
        };
        // As the real one: of one key, whatever the region, and the same context.
        let id = |text: &str| text.rsplit('/').next().unwrap().to_owned();
        if id(&made.under) != id(&call.under) || made.context != call.context {
            return Err(KmsError::Wrapped(under.clone()));
        }
        Ok(self.answer(under, *key))
    }
}

fn by(service: &Arc<InMemory>, key: &str, domain: &str) -> KmsSeal {
    let service: Arc<dyn KeyService> = Arc::<InMemory>::clone(service);
    KmsSeal::new(service, key.parse().unwrap(), domain.parse().unwrap())
}

fn epochs() -> Epochs {
    let mut epochs = Epochs::empty();
    for n in 1..=2 {
        epochs.push(&[n; 32], 1_790_000_000).unwrap();
    }
    epochs
}

async fn refused(bytes: &[u8], seal: &dyn Seal) -> SealError {
    open(bytes, seal).await.err().unwrap()
}

#[tokio::test]
async fn a_file_opens_by_its_key_for_its_installation_alone() {
    let service = Arc::new(InMemory::default());
    let ours = by(&service, KEY, "artifacts");
    let sealed = seal(&epochs(), &ours).await.unwrap();
    assert_eq!(sealed[9], BY_KMS);
    let opened = open(&sealed, &ours).await.unwrap();
    assert!(opened.continues(&epochs()) && epochs().continues(&opened));
    let call = |opens| Call {
        opens,
        under: KEY.into(),
        context: [
            ("artifacts:purpose", "signer-master-secrets".into()),
            ("artifacts:trust-domain", "artifacts".into()),
        ],
    };
    assert_eq!(*service.calls.lock(), [call(false), call(true)]);
    // Neither is worth a question to the service.
    assert_eq!(
        refused(&sealed, &by(&service, OTHER, "artifacts")).await,
        SealError::OtherKey {
            file: KEY.into(),
            named: OTHER.parse().unwrap()
        }
    );
    assert_eq!(
        refused(&sealed, &by(&service, KEY, "elsewhere")).await,
        SealError::OtherTrustDomain {
            file: "artifacts".into(),
            here: "elsewhere".into()
        }
    );
    assert_eq!(service.opened(), 1);
}

#[tokio::test]
async fn each_writing_has_a_key_of_its_own_and_another_files_does_not_open_it() {
    let service = Arc::new(InMemory::default());
    let ours = by(&service, KEY, "artifacts");
    let one = seal(&epochs(), &ours).await.unwrap();
    let two = seal(&epochs(), &ours).await.unwrap();
    let length = usize::from(u16::from_be_bytes([one[10], one[11]]));
    assert_ne!(one[..FIXED + length], two[..FIXED + length]);
    let mixed = [&two[..FIXED + length], &one[FIXED + length..]].concat();
    assert_eq!(refused(&mixed, &ours).await, SealError::Head);
}

#[tokio::test]
async fn a_flipped_bit_anywhere_and_any_cut_is_refused() {
    let service = Arc::new(InMemory::default());
    let ours = by(&service, KEY, "artifacts");
    let sealed = seal(&epochs(), &ours).await.unwrap();
    let domain = FIXED + 2 + KEY.len();
    let wrapped = domain + 2 + "artifacts".len();
    let verifier = wrapped + 2 + 40;
    let body = verifier + VERIFIER;
    for at in 0..sealed.len() {
        for bit in 0..8 {
            let mut changed = sealed.clone();
            changed[at] ^= 1 << bit;
            let before = service.opened();
            let found = refused(&changed, &ours).await;
            let asked = service.opened() > before;
            let expected = match at {
                0..8 => SealError::Form,
                8 => SealError::Newer(changed[8]),
                9 => SealError::Kind(changed[9]),
                // Another name of a key, or no name at all.
                _ if (FIXED + 2..domain).contains(&at) => match found {
                    SealError::OtherKey { .. } | SealError::Damaged => found.clone(),
                    _ => panic!("byte {at}: {found}"),
                },
                _ if (domain + 2..wrapped).contains(&at) => match found {
                    SealError::OtherTrustDomain { .. } | SealError::Damaged => found.clone(),
                    _ => panic!("byte {at}: {found}"),
                },
                // Lengths: nothing behind them is in its place.
                _ if at < wrapped + 2 => SealError::Damaged,
                _ if at < verifier => KmsError::Wrapped(KEY.parse().unwrap()).into(),
                _ if at < body => SealError::Head,
                _ => SealError::Damaged,
            };
            assert_eq!(found, expected, "byte {at} bit {bit}");
            assert_eq!(asked, at >= wrapped + 2, "byte {at} bit {bit}");
        }
        let found = refused(&sealed[..at], &ours).await;
        let expected = match at {
            0..FIXED => SealError::Form,
            _ => SealError::Damaged,
        };
        assert_eq!(found, expected, "cut at {at}");
    }
    let longer = [&sealed[..], &[0]].concat();
    assert_eq!(refused(&longer, &ours).await, SealError::Damaged);
}

#[tokio::test]
async fn what_the_service_says_is_told_and_what_it_makes_up_is_not_believed() {
    let service = Arc::new(InMemory::default());
    let ours = by(&service, KEY, "artifacts");
    let sealed = seal(&epochs(), &ours).await.unwrap();
    let key: KeyArn = KEY.parse().unwrap();
    let disabled = KmsError::Disabled(key.clone());
    *service.refuses.lock() = Some(disabled.clone());
    assert_eq!(refused(&sealed, &ours).await, disabled.clone().into());
    let unsealed = seal(&epochs(), &ours).await;
    assert_eq!(unsealed.err(), Some(disabled.into()));
    *service.refuses.lock() = None;
    *service.names.lock() = Some(OTHER.into());
    let another = SealError::from(KmsError::AnotherKey { asked: key });
    assert_eq!(refused(&sealed, &ours).await, another);
    assert_eq!(seal(&epochs(), &ours).await.err(), Some(another));
    *service.names.lock() = None;
    for long in [0, 16, 31] {
        *service.cut.lock() = Some(long);
        let strange = KmsError::Strange("its key is not one of 32 bytes");
        assert_eq!(refused(&sealed, &ours).await, strange.into());
    }
}

#[tokio::test]
async fn a_replica_opens_what_its_first_region_sealed_and_the_file_stays_its() {
    let service = Arc::new(InMemory::default());
    let first = by(&service, MANY, "artifacts");
    let sealed = seal(&epochs(), &first).await.unwrap();
    let replica = by(&service, MANY, "artifacts").in_region("eu-central-1");
    let replica = replica.unwrap();
    assert!(open(&sealed, &replica).await.is_ok());
    let asked = service.calls.lock().last().unwrap().under.clone();
    assert_eq!(asked, MANY.replace("eu-west-1", "eu-central-1"));
    let sealed = seal(&epochs(), &replica).await.unwrap();
    assert!(open(&sealed, &first).await.is_ok());
    let single = by(&service, KEY, "artifacts").in_region("eu-central-1");
    assert_eq!(
        single.err(),
        Some(InvalidKeyArn::OneRegion("eu-west-1".into()))
    );
}

#[tokio::test]
async fn who_names_the_wrong_way_is_told_the_right_one() {
    let service = Arc::new(InMemory::default());
    let ours = by(&service, KEY, "artifacts");
    let passphrase = Passphrase::new("correct horse battery".to_owned().into()).unwrap();
    let sealed = seal(&epochs(), &ours).await.unwrap();
    assert_eq!(
        refused(&sealed, &passphrase).await,
        SealError::ByKms(KEY.into())
    );
    let sealed = seal(&epochs(), &passphrase).await.unwrap();
    assert_eq!(refused(&sealed, &ours).await, SealError::UnderPassphrase);
    assert_eq!(service.opened(), 0);
}

#[derive(serde::Deserialize)]
struct Vector {
    kms_key: String,
    trust_domain: String,
    wrapped: String,
    key: String,
    begun: Vec<i64>,
    secrets: Vec<String>,
    verifier_nonce: String,
    epochs_nonce: String,
    file: String,
}

#[tokio::test]
async fn the_vectors_come_out() {
    let bytes = |text: &str| hex::decode(text).unwrap();
    let array = |text: &str| -> [u8; 32] { bytes(text).try_into().unwrap() };
    let nonce = |text: &str| -> [u8; 12] { bytes(text).try_into().unwrap() };
    let vectors: Vec<Vector> =
        serde_json::from_str(include_str!("../../../vectors/sealed_kms.json")).unwrap();
    assert_eq!(vectors.len(), 2);
    for vector in vectors {
        let mut wanted = Epochs::empty();
        for (secret, begun) in vector.secrets.iter().zip(vector.begun) {
            wanted.push(&array(secret), begun).unwrap();
        }
        let wrapped = bytes(&vector.wrapped);
        let parameters = Parameters {
            key: &vector.kms_key,
            trust_domain: &vector.trust_domain,
            wrapped: &wrapped,
        };
        let parameters = parameters.to_bytes().unwrap();
        let key = FileKey(Zeroizing::new(array(&vector.key)));
        let nonces = [nonce(&vector.verifier_nonce), nonce(&vector.epochs_nonce)];
        let file = super::super::render(BY_KMS, &parameters, &key, &wanted, nonces).unwrap();
        assert_eq!(hex::encode(&file), vector.file);
        let service = Arc::new(InMemory::default());
        let ours = by(&service, &vector.kms_key, &vector.trust_domain);
        let made = Call {
            opens: false,
            under: vector.kms_key.clone(),
            context: ours.context(),
        };
        let kept = (made, array(&vector.key));
        service.keys.lock().insert(wrapped, kept);
        let opened = open(&file, &ours).await.unwrap();
        assert!(opened.continues(&wanted) && wanted.continues(&opened));
    }
}

mod files {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::file::{self, FileError};

    fn contains(folder: &Path, secret: &[u8]) -> bool {
        let mut files = fs::read_dir(folder).unwrap();
        files.any(|entry| {
            let bytes = fs::read(entry.unwrap().path()).unwrap();
            bytes.windows(secret.len()).any(|window| window == secret)
        })
    }

    #[tokio::test]
    async fn a_file_goes_from_a_passphrase_to_the_service_and_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signer.sealed");
        let service = Arc::new(InMemory::default());
        let ours = by(&service, KEY, "artifacts");
        let passphrase = Passphrase::new("correct horse battery".to_owned().into()).unwrap();
        let first = file::init(&path, &passphrase, 1).await.unwrap();
        file::reseal(&path, &passphrase, &ours).await.unwrap();
        let second = file::advance(&path, &ours, 2).await.unwrap();
        assert!(second.current() == 2 && second.continues(&first));
        for (_, secret) in second.all() {
            assert!(!contains(folder.path(), secret.expose()));
        }
        file::reseal(&path, &ours, &passphrase).await.unwrap();
        let back = file::open(&path, &passphrase).await.unwrap();
        assert!(back.continues(&second) && second.continues(&back));
        // No half-written file is left: the lock alone is beside it.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    /// May seal, but not open: what a role is without kms:Decrypt.
    struct SealsOnly(InMemory);

    #[async_trait]
    impl KeyService for SealsOnly {
        async fn new_data_key(
            &self,
            under: &KeyArn,
            context: &Context,
        ) -> Result<(DataKey, Vec<u8>), KmsError> {
            self.0.new_data_key(under, context).await
        }

        async fn open_data_key(
            &self,
            under: &KeyArn,
            _: &Context,
            _: &[u8],
        ) -> Result<DataKey, KmsError> {
            Err(denied(under))
        }
    }

    fn denied(key: &KeyArn) -> KmsError {
        KmsError::Denied {
            action: "kms:Decrypt",
            key: key.clone(),
            why: String::new(),
        }
    }

    #[tokio::test]
    async fn who_may_seal_but_not_open_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signer.sealed");
        let passphrase = Passphrase::new("correct horse battery".to_owned().into()).unwrap();
        let key: KeyArn = KEY.parse().unwrap();
        let service = Arc::new(SealsOnly(InMemory::default()));
        let ours = KmsSeal::new(service, key.clone(), "artifacts".parse().unwrap());
        let is_denied = |error: FileError| match error {
            FileError::NotSealed { source, .. } => source == denied(&key).into(),
            _ => false,
        };
        let made = file::init(&path, &ours, 1).await;
        assert!(is_denied(made.err().unwrap()) && !path.exists());
        file::init(&path, &passphrase, 1).await.unwrap();
        let before = fs::read(&path).unwrap();
        let moved = file::reseal(&path, &passphrase, &ours).await;
        assert!(is_denied(moved.err().unwrap()));
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}
