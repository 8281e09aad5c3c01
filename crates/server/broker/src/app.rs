//! What every endpoint and the background work share.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use base::limits::{KeyedLimit, Limit};
use base::peer::Peer;
use base::tokens::Issuers;
use base::{Clock, Failure, Random};
use model::Actor;
use parking_lot::Mutex;
use registry::Registry;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;
use vault::{DeviceKey, VerifyKeys};

use crate::audit::Audit;
use crate::hub::Hub;
use crate::keys::SigningKeys;
use crate::refusal::Refusal;
use crate::settings::Settings;
use crate::store::{Store, Watched};

/// What a broker is put together from.
pub struct Parts {
    /// How it shall behave.
    pub settings: Settings,
    /// What it remembers.
    pub store: Store,
    /// What it signs with.
    pub keys: SigningKeys,
    /// Where people come from.
    pub issuers: Issuers,
    /// Who may do what.
    pub registry: Arc<dyn Registry>,
    /// What keeps its records.
    pub audit: Arc<dyn Audit>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// Streams end when this is cancelled.
    pub stop: CancellationToken,
}

/// A broker.
pub struct App {
    pub(crate) settings: Settings,
    pub(crate) store: Store,
    pub(crate) keys: SigningKeys,
    pub(crate) issuers: Issuers,
    pub(crate) registry: Arc<dyn Registry>,
    pub(crate) audit: Arc<dyn Audit>,
    pub(crate) clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    pub(crate) stop: CancellationToken,
    pub(crate) hub: Arc<Hub>,
    pub(crate) limits: Limits,
    /// Seals what a browser keeps for us. Of this run: a sign-in does not outlast a restart.
    pub(crate) seals: aws_lc_rs::hmac::Key,
    /// The epoch that was seen last.
    pub(crate) epoch: Mutex<Option<u32>>,
    /// Up to where the watch has looked, where it cannot look at all at once.
    pub(crate) looked_at: Mutex<Option<Watched>>,
    /// Refusals that are not in the audit since the last record.
    pub(crate) omitted: AtomicU64,
}

/// How often something may be done.
pub(crate) struct Limits {
    /// Sessions that begin with a token.
    pub(crate) logins: Strangers,
    /// Logins of wallets.
    pub(crate) wallets: Strangers,
    /// Sign-ins of browsers.
    pub(crate) browsers: Strangers,
    /// Machines that ask to be let in.
    pub(crate) machines: Strangers,
    /// Devices that ask to belong to somebody.
    pub(crate) pairings: Strangers,
    /// Capabilities and identities, by actor.
    pub(crate) caps: KeyedLimit<Actor>,
    /// Codes that a person types, by actor: eight letters could be guessed otherwise.
    pub(crate) codes: KeyedLimit<Actor>,
    /// Events that an operator makes, by actor.
    pub(crate) drops: KeyedLimit<Actor>,
    /// Refusals that are in the audit, by actor.
    pub(crate) refusals: KeyedLimit<Actor>,
    /// The same of those who are known to nobody.
    pub(crate) nobodys: Limit,
    /// Lines of the log about a registry that is away: it is asked many times a second.
    pub(crate) complaints: Limit,
}

/// A limit on what begins while nobody is known yet: of each address, so that one host does not
/// use up what is there for all, and of all together.
pub(crate) struct Strangers {
    each: KeyedLimit<String>,
    all: Limit,
}

impl Strangers {
    fn new(settings: &Settings) -> Self {
        Self {
            each: KeyedLimit::per_minute(settings.logins_per_address),
            all: Limit::per_minute(settings.logins_per_minute),
        }
    }

    /// One more from there.
    pub(crate) fn check(&self, peer: &Peer) -> Result<(), Failure> {
        self.each.check(&peer.key())?;
        self.all.check()
    }
}

impl Limits {
    fn new(settings: &Settings) -> Self {
        Self {
            logins: Strangers::new(settings),
            wallets: Strangers::new(settings),
            browsers: Strangers::new(settings),
            machines: Strangers::new(settings),
            pairings: Strangers::new(settings),
            caps: KeyedLimit::per_minute(settings.caps_per_minute),
            codes: KeyedLimit::per_minute(10),
            drops: KeyedLimit::per_minute(120),
            refusals: KeyedLimit::per_minute(120),
            nobodys: Limit::per_minute(300),
            complaints: Limit::per_minute(6),
        }
    }

    /// Forgets those who have not come for long.
    pub(crate) fn tidy(&self) {
        for strangers in [
            &self.logins,
            &self.wallets,
            &self.browsers,
            &self.machines,
            &self.pairings,
        ] {
            strangers.each.tidy();
        }
        for known in [&self.caps, &self.codes, &self.drops, &self.refusals] {
            known.tidy();
        }
    }
}

impl App {
    /// Puts it together.
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts {
            settings,
            store,
            keys,
            issuers,
            registry,
            audit,
            clock,
            random,
            stop,
        } = parts;
        let limits = Limits::new(&settings);
        let mut seal = [0; 32];
        random.fill(&mut seal);
        Arc::new(Self {
            settings,
            store,
            keys,
            issuers,
            registry,
            audit,
            clock,
            random,
            stop,
            hub: Arc::default(),
            limits,
            seals: aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &seal),
            epoch: Mutex::new(None),
            looked_at: Mutex::new(None),
            omitted: AtomicU64::new(0),
        })
    }

    /// Seconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        self.clock.now().seconds()
    }

    /// A number that no other token has.
    pub(crate) fn new_id(&self) -> String {
        let mut bytes = [0; 16];
        self.random.fill(&mut bytes);
        hex::encode(bytes)
    }

    /// 256 random bits as text.
    pub(crate) fn new_secret(&self) -> SecretString {
        let mut bytes = [0; 32];
        self.random.fill(&mut bytes);
        base64_simd::URL_SAFE_NO_PAD.encode_to_string(bytes).into()
    }

    /// 20 letters divide 240: bytes above that are drawn again, so that none is likelier.
    pub(crate) fn new_user_code(&self) -> Option<api::UserCode> {
        let mut letters = String::with_capacity(8);
        while letters.len() < 8 {
            let mut byte = [0];
            self.random.fill(&mut byte);
            if byte[0] < 240 {
                let letter = api::UserCode::LETTERS[usize::from(byte[0] % 20)];
                letters.push(char::from(letter));
            }
        }
        letters.parse().ok()
    }

    /// The key that signs now.
    pub(crate) fn signer(&self) -> Result<Arc<DeviceKey>, Refusal> {
        let key = self.keys.signer(self.now());
        key.ok_or_else(|| {
            tracing::error!("no signing key counts now");
            Failure::internal().into()
        })
    }

    /// The keys whose tokens count.
    pub(crate) fn verify_keys(&self) -> Result<VerifyKeys, Refusal> {
        let keys = self.keys.published(self.now());
        keys.ok_or_else(|| Failure::internal().into())
    }

    /// The URL of one of our paths, as clients call it.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.settings.public_url)
    }
}

/// SHA-256. What it is used for has 128 random bits or more: there is nothing to guess, so nothing
/// slower is needed.
pub(crate) fn hash(text: &str) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    Sha256::digest(text).to_vec()
}
