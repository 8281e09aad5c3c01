//! The keys that are pinned: whose signature counts for which operator.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::Actor;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use vault::{PublicKey, VerifyKeys};

use crate::Unavailable;

/// What `operators.json` says. It is this server's own configuration: whoever writes it says
/// whom the server trusts.
#[derive(Debug, Clone)]
pub struct Pins {
    deployment: Pin,
    operators: BTreeMap<Actor, Pin>,
}

/// A key that is pinned.
#[derive(Debug, Clone)]
pub(super) struct Pin {
    pub(super) key: PublicKey,
    pub(super) keys: VerifyKeys,
}

/// The file's form. Keys are JWKs, with or without `kid`, `use` and `alg`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    deployment: Value,
    operators: BTreeMap<Actor, Value>,
}

impl Pins {
    /// These keys: the deployment's, which signs the epoch, and the operators'.
    ///
    /// # Errors
    /// A key cannot be used.
    pub fn new(
        deployment: PublicKey,
        operators: impl IntoIterator<Item = (Actor, PublicKey)>,
    ) -> Result<Self, Unavailable> {
        let pin = |(operator, key)| Ok((operator, Pin::new(key)?));
        Ok(Self {
            deployment: Pin::new(deployment)?,
            operators: operators
                .into_iter()
                .map(pin)
                .collect::<Result<_, Unavailable>>()?,
        })
    }

    /// The key that is pinned for an operator.
    pub fn key_of(&self, operator: &Actor) -> Option<&PublicKey> {
        self.operators.get(operator).map(|pin| &pin.key)
    }

    /// The same with another key for an operator, or with none.
    ///
    /// # Errors
    /// The key cannot be used.
    pub fn with(mut self, operator: Actor, key: Option<PublicKey>) -> Result<Self, Unavailable> {
        match key {
            Some(key) => drop(self.operators.insert(operator, Pin::new(key)?)),
            None => drop(self.operators.remove(&operator)),
        }
        Ok(self)
    }

    /// As the text of `operators.json`.
    pub fn to_json(&self) -> String {
        let operators = self.operators.iter();
        let operators: BTreeMap<&Actor, Value> = operators
            .map(|(operator, pin)| (operator, pin.key.jwk()))
            .collect();
        let written = serde_json::json!({
            "deployment": self.deployment.key.jwk(),
            "operators": operators,
        });
        format!("{written:#}\n")
    }

    /// Reads a file of keys.
    ///
    /// # Errors
    /// It cannot be read or is not one.
    pub fn read(path: &Path) -> Result<Self, Unavailable> {
        parse(path, &read_file(path)?)
    }

    pub(super) fn operator(&self, operator: &Actor) -> Option<&Pin> {
        self.operators.get(operator)
    }

    pub(super) fn deployment(&self) -> &Pin {
        &self.deployment
    }
}

impl Pin {
    fn new(key: PublicKey) -> Result<Self, Unavailable> {
        let keys = VerifyKeys::from_keys([key.clone()]);
        let keys = keys.map_err(|e| Unavailable(e.to_string()))?;
        Ok(Self { key, keys })
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, Unavailable> {
    std::fs::read(path).map_err(|e| {
        Unavailable(format!(
            "cannot read {}: {e}\nhint: it names the key of each operator",
            path.display()
        ))
    })
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Pins, Unavailable> {
    let bad = |why: String| {
        Unavailable(format!(
            "{}: {why}\nhint: it is {{\"deployment\": JWK, \"operators\": {{ACTOR: JWK}}}}",
            path.display()
        ))
    };
    let written: Written = serde_json::from_slice(bytes).map_err(|e| bad(e.to_string()))?;
    let key = |whose: &str, jwk: Value| {
        let key = PublicKey::from_jwk(&jwk.to_string());
        key.map_err(|e| bad(format!("the key of {whose}: {e}")))
    };
    let deployment = key("the deployment", written.deployment)?;
    let operators = written.operators.into_iter();
    let operators = operators.map(|(operator, jwk)| {
        let key = key(operator.as_str(), jwk)?;
        Ok((operator, key))
    });
    Pins::new(
        deployment,
        operators.collect::<Result<Vec<_>, Unavailable>>()?,
    )
}

/// How often the file is looked at: a key that is taken out counts for no longer.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The file, read again when it changes.
pub(super) struct PinFile {
    path: PathBuf,
    known: Mutex<Known>,
}

struct Known {
    at: Instant,
    bytes: Vec<u8>,
    pins: Result<Arc<Pins>, Unavailable>,
}

impl PinFile {
    pub(super) fn open(path: PathBuf) -> Result<Self, Unavailable> {
        let known = Known::read(&path, None);
        known.pins.as_ref().map_err(Clone::clone)?;
        Ok(Self {
            path,
            known: Mutex::new(known),
        })
    }

    /// The keys as of half a second ago or later. A file that became unreadable pins nobody.
    pub(super) fn current(&self) -> Result<Arc<Pins>, Unavailable> {
        let mut known = self.known.lock();
        if known.at.elapsed() >= LOOK_EVERY {
            *known = Known::read(&self.path, Some(&known));
        }
        known.pins.clone()
    }
}

impl Known {
    /// A local file of a few kilobytes: read whole each time, which no clock can mislead.
    fn read(path: &Path, before: Option<&Self>) -> Self {
        let at = Instant::now();
        let (bytes, pins) = match read_file(path) {
            Ok(bytes) => {
                let pins = match before {
                    Some(before) if before.bytes == bytes => before.pins.clone(),
                    _ => parse(path, &bytes).map(Arc::new),
                };
                (bytes, pins)
            }
            Err(error) => (Vec::new(), Err(error)),
        };
        Self { at, bytes, pins }
    }
}
