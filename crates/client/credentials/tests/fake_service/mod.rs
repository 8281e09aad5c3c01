//! A Secret Service on a bus of its own, which does what a real one would only do on a bad day.
//!
//! The interfaces are those of the Secret Service API, draft 0.2, as far as clients of ours
//! use them. Secrets are encrypted on their way as the API says (Diffie-Hellman, HKDF,
//! AES-128-CBC); the service's own number in it is 1, which needs no arithmetic and gives
//! nothing away in a test.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aws_lc_rs::cipher::{
    AES_128, DecryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey,
    UnboundCipherKey,
};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::iv::FixedLength;
use testkit::process::Process;
use testkit::tools::{self, Tool};
use zbus::fdo;
use zbus::object_server::SignalEmitter;
use zbus::zvariant::{OwnedObjectPath, OwnedValue, Value};

/// What the service does where a real one would do as it is told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Manner {
    /// What it should: the fake itself keeps the contract.
    Honest,
    /// Says that it has stored a secret, and keeps another.
    Lies,
    /// Says that it has deleted an item, and keeps it.
    Hoards,
    /// Answers each call after so long.
    Late(Duration),
    /// Everything is locked, and somebody closes the prompt without the password.
    Dismissed,
    /// Refuses what is longer than this.
    Refuses(usize),
}

/// A bus and the service on it; dropping it ends both.
pub(crate) struct Fake {
    _bus: Process,
    _service: zbus::Connection,
    _runtime: tokio::runtime::Runtime,
    home: tempfile::TempDir,
}

impl Fake {
    pub(crate) fn start(manner: Manner) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let address = address(home.path());
        let mut bus = Process::start(
            "dbus-daemon",
            &tools::find(Tool::DbusDaemon).expect("found before"),
            &home.path().join("bus.log"),
            |command| {
                command
                    .args(["--session", "--nofork", "--nopidfile"])
                    .arg(format!("--address={address}"))
                    // No services of the machine are started on this bus.
                    .env("XDG_DATA_DIRS", home.path())
                    .env("XDG_DATA_HOME", home.path());
            },
        )
        .expect("a bus");
        let socket = home.path().join("bus");
        bus.wait_ready(Duration::from_secs(20), || socket.exists())
            .expect("a bus that listens");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let service = runtime
            .block_on(serve(&address, manner))
            .expect("a service");
        Self {
            _bus: bus,
            _service: service,
            _runtime: runtime,
            home,
        }
    }

    /// What a program needs to find this service.
    pub(crate) fn environment(&self) -> [(&'static str, String); 2] {
        [
            ("DBUS_SESSION_BUS_ADDRESS", address(self.home.path())),
            ("XDG_RUNTIME_DIR", self.home.path().display().to_string()),
        ]
    }
}

fn address(home: &Path) -> String {
    format!("unix:path={}/bus", home.display())
}

const ROOT: &str = "/org/freedesktop/secrets";
const COLLECTION: &str = "/org/freedesktop/secrets/collection/login";
const PROMPT: &str = "/org/freedesktop/secrets/prompt/p1";
const NOTHING: &str = "/";

/// How many items there can be.
const SLOTS: usize = 8;

async fn serve(address: &str, manner: Manner) -> zbus::Result<zbus::Connection> {
    let shared = Arc::new(Shared {
        manner,
        state: Mutex::new(State {
            sessions: HashMap::new(),
            items: (0..SLOTS).map(|_| None).collect(),
        }),
    });
    let mut builder = zbus::connection::Builder::address(address)?
        .name("org.freedesktop.secrets")?
        .serve_at(ROOT, Service(shared.clone()))?
        .serve_at(COLLECTION, Collection(shared.clone()))?
        .serve_at(PROMPT, Prompt)?;
    for slot in 0..SLOTS {
        let item = Item {
            shared: shared.clone(),
            slot,
        };
        builder = builder.serve_at(item_path(slot), item)?;
    }
    builder.build().await
}

struct Shared {
    manner: Manner,
    state: Mutex<State>,
}

struct State {
    /// The key of each session.
    sessions: HashMap<OwnedObjectPath, [u8; 16]>,
    items: Vec<Option<Stored>>,
}

struct Stored {
    attributes: HashMap<String, String>,
    secret: Vec<u8>,
}

/// A secret on its way: session, initialisation vector, encrypted value, content type.
type Sealed = (OwnedObjectPath, Vec<u8>, Vec<u8>, String);

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while it was held")
    }

    async fn pause(&self) {
        if let Manner::Late(time) = self.manner {
            tokio::time::sleep(time).await;
        }
    }

    fn is_locked(&self) -> bool {
        self.manner == Manner::Dismissed
    }

    /// The secret as this service keeps it.
    fn take_in(&self, sealed: &Sealed) -> fdo::Result<Vec<u8>> {
        let key = self.state().sessions.get(&sealed.0).copied();
        let key = key.ok_or_else(|| fdo::Error::Failed("no such session".into()))?;
        let mut secret = open(&key, &sealed.1, &sealed.2);
        match self.manner {
            Manner::Refuses(most) if secret.len() > most => {
                Err(fdo::Error::LimitsExceeded("the secret is too long".into()))
            }
            Manner::Lies => {
                secret.push(b'!');
                Ok(secret)
            }
            _ => Ok(secret),
        }
    }
}

struct Service(Arc<Shared>);

#[zbus::interface(name = "org.freedesktop.Secret.Service")]
impl Service {
    async fn open_session(
        &self,
        algorithm: String,
        input: OwnedValue,
    ) -> fdo::Result<(OwnedValue, OwnedObjectPath)> {
        self.0.pause().await;
        if algorithm != "dh-ietf1024-sha256-aes128-cbc-pkcs7" {
            return Err(fdo::Error::NotSupported(algorithm));
        }
        let theirs = Vec::<u8>::try_from(input).map_err(|e| fdo::Error::Failed(e.to_string()))?;
        let mut state = self.0.state();
        let session = path(&format!("{ROOT}/session/s{}", state.sessions.len()));
        state.sessions.insert(session.clone(), session_key(&theirs));
        let ours = Value::from(vec![2_u8]);
        let ours = OwnedValue::try_from(ours).map_err(|e| fdo::Error::Failed(e.to_string()))?;
        Ok((ours, session))
    }

    async fn search_items(
        &self,
        attributes: HashMap<String, String>,
    ) -> (Vec<OwnedObjectPath>, Vec<OwnedObjectPath>) {
        self.0.pause().await;
        let state = self.0.state();
        let fits = |stored: &Stored| {
            attributes
                .iter()
                .all(|(name, value)| stored.attributes.get(name) == Some(value))
        };
        let found = state.items.iter().enumerate();
        let found = found.filter(|(_, item)| item.as_ref().is_some_and(fits));
        let found = found.map(|(slot, _)| item_path(slot)).collect();
        match self.0.is_locked() {
            true => (Vec::new(), found),
            false => (found, Vec::new()),
        }
    }

    fn unlock(&self, objects: Vec<OwnedObjectPath>) -> (Vec<OwnedObjectPath>, OwnedObjectPath) {
        match self.0.is_locked() {
            true => (Vec::new(), path(PROMPT)),
            false => (objects, path(NOTHING)),
        }
    }

    async fn read_alias(&self, _name: String) -> OwnedObjectPath {
        self.0.pause().await;
        path(COLLECTION)
    }

    #[zbus(property)]
    fn collections(&self) -> Vec<OwnedObjectPath> {
        vec![path(COLLECTION)]
    }
}

struct Collection(Arc<Shared>);

#[zbus::interface(name = "org.freedesktop.Secret.Collection")]
impl Collection {
    async fn create_item(
        &self,
        properties: HashMap<String, OwnedValue>,
        secret: Sealed,
        _replace: bool,
    ) -> fdo::Result<(OwnedObjectPath, OwnedObjectPath)> {
        self.0.pause().await;
        let attributes = properties.get("org.freedesktop.Secret.Item.Attributes");
        let attributes = attributes.and_then(|value| value.try_clone().ok());
        let attributes = attributes.and_then(|value| value.try_into().ok());
        let stored = Stored {
            attributes: attributes.ok_or_else(|| fdo::Error::InvalidArgs("attributes".into()))?,
            secret: self.0.take_in(&secret)?,
        };
        let mut state = self.0.state();
        let free = state.items.iter().position(Option::is_none);
        let slot = free.ok_or_else(|| fdo::Error::LimitsExceeded("no slot is free".into()))?;
        state.items[slot] = Some(stored);
        Ok((item_path(slot), path(NOTHING)))
    }

    #[zbus(property)]
    fn locked(&self) -> bool {
        self.0.is_locked()
    }

    #[zbus(property)]
    fn label(&self) -> String {
        "Login".into()
    }
}

struct Item {
    shared: Arc<Shared>,
    slot: usize,
}

#[zbus::interface(name = "org.freedesktop.Secret.Item")]
impl Item {
    fn delete(&self) -> OwnedObjectPath {
        if self.shared.manner != Manner::Hoards {
            self.shared.state().items[self.slot] = None;
        }
        path(NOTHING)
    }

    async fn get_secret(&self, session: OwnedObjectPath) -> fdo::Result<(Sealed,)> {
        self.shared.pause().await;
        let state = self.shared.state();
        let gone = || fdo::Error::UnknownObject("no such item".into());
        let stored = state.items[self.slot].as_ref().ok_or_else(gone)?;
        let key = state.sessions.get(&session).ok_or_else(gone)?;
        let (iv, value) = seal(key, &stored.secret);
        Ok(((session, iv, value, "application/octet-stream".into()),))
    }

    async fn set_secret(&self, secret: Sealed) -> fdo::Result<()> {
        self.shared.pause().await;
        let secret = self.shared.take_in(&secret)?;
        if let Some(stored) = &mut self.shared.state().items[self.slot] {
            stored.secret = secret;
        }
        Ok(())
    }

    #[zbus(property)]
    fn locked(&self) -> bool {
        self.shared.is_locked()
    }

    #[zbus(property)]
    fn attributes(&self) -> HashMap<String, String> {
        let state = self.shared.state();
        let stored = state.items[self.slot].as_ref();
        stored
            .map(|stored| stored.attributes.clone())
            .unwrap_or_default()
    }
}

/// Nobody types the password.
struct Prompt;

#[zbus::interface(name = "org.freedesktop.Secret.Prompt")]
impl Prompt {
    async fn prompt(
        &self,
        _window_id: String,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> zbus::fdo::Result<()> {
        Self::completed(&emitter, true, Value::from("")).await?;
        Ok(())
    }

    fn dismiss(&self) {}

    #[zbus(signal)]
    async fn completed(
        emitter: &SignalEmitter<'_>,
        dismissed: bool,
        result: Value<'_>,
    ) -> zbus::Result<()>;
}

fn path(text: &str) -> OwnedObjectPath {
    OwnedObjectPath::try_from(text).expect("a path")
}

fn item_path(slot: usize) -> OwnedObjectPath {
    path(&format!("{COLLECTION}/i{slot}"))
}

/// Our number being 1, what both know is the other's public number.
fn session_key(theirs: &[u8]) -> [u8; 16] {
    struct Sixteen;
    impl KeyType for Sixteen {
        fn len(&self) -> usize {
            16
        }
    }
    let mut shared = vec![0; 128 - theirs.len()];
    shared.extend_from_slice(theirs);
    let mut key = [0; 16];
    Salt::new(HKDF_SHA256, &[])
        .extract(&shared)
        .expand(&[&[]], Sixteen)
        .and_then(|okm| okm.fill(&mut key))
        .expect("sixteen bytes");
    key
}

fn cipher(key: &[u8; 16]) -> UnboundCipherKey {
    UnboundCipherKey::new(&AES_128, key).expect("a key")
}

fn seal(key: &[u8; 16], text: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut sealed = text.to_vec();
    let context = PaddedBlockEncryptingKey::cbc_pkcs7(cipher(key))
        .and_then(|key| key.encrypt(&mut sealed))
        .expect("sealed");
    let DecryptionContext::Iv128(iv) = context else {
        panic!("a vector of 128 bits");
    };
    (iv.as_ref().to_vec(), sealed)
}

fn open(key: &[u8; 16], iv: &[u8], sealed: &[u8]) -> Vec<u8> {
    let iv: [u8; 16] = iv.try_into().expect("sixteen bytes");
    let mut text = sealed.to_vec();
    let context = DecryptionContext::Iv128(FixedLength::from(iv));
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(cipher(key)).expect("a key");
    key.decrypt(&mut text, context).expect("opened").to_vec()
}
