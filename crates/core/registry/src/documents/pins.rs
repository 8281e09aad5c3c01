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
    /// An older document is refused, whatever was seen.
    pub(super) min_version: u64,
}

/// Beside a key's own members, in `operators.json`.
const MIN_VERSION: &str = "min_version";

/// The file's form. Keys are JWKs, with or without `kid`, `use` and `alg`, and with or without
/// `min_version`.
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
            Some(key) => {
                let mut pin = Pin::new(key)?;
                let before = self.operators.get(&operator);
                pin.min_version = before.map_or(0, |before| before.min_version);
                self.operators.insert(operator, pin);
            }
            None => drop(self.operators.remove(&operator)),
        }
        Ok(self)
    }

    /// As the text of `operators.json`.
    pub fn to_json(&self) -> String {
        let operators = self.operators.iter();
        let operators: BTreeMap<&Actor, Value> = operators
            .map(|(operator, pin)| (operator, pin.jwk()))
            .collect();
        let written = serde_json::json!({
            "deployment": self.deployment.jwk(),
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
        Ok(Self {
            key,
            keys,
            min_version: 0,
        })
    }

    fn jwk(&self) -> Value {
        let mut jwk = serde_json::json!(self.key.jwk());
        if self.min_version > 0 {
            jwk[MIN_VERSION] = self.min_version.into();
        }
        jwk
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
    let pin = |whose: &str, mut jwk: Value| {
        let least = jwk.as_object_mut().and_then(|jwk| jwk.remove(MIN_VERSION));
        let least = least.map_or(Some(0), |least| least.as_u64());
        let least = least.ok_or_else(|| bad(format!("the {MIN_VERSION} of {whose} is no version")));
        let key = PublicKey::from_jwk(&jwk.to_string());
        let mut pin = Pin::new(key.map_err(|e| bad(format!("the key of {whose}: {e}")))?)?;
        pin.min_version = least?;
        Ok::<_, Unavailable>(pin)
    };
    let deployment = pin("the deployment", written.deployment)?;
    let operators = written.operators.into_iter();
    let operators = operators.map(|(operator, jwk)| {
        let pin = pin(operator.as_str(), jwk)?;
        Ok((operator, pin))
    });
    Ok(Pins {
        deployment,
        operators: operators.collect::<Result<_, Unavailable>>()?,
    })
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
