//! From an identity to a session: the calls to a store's Security Token Service.
//!
//! Long-lived keys and sessions have entries of their own in the keyring, so a session never
//! overwrites the keys that it was made from.

mod standing;

use std::time::Duration as StdDuration;

use aws_sdk_sts::Client;
use aws_sdk_sts::config::retry::RetryConfig;
use aws_sdk_sts::config::timeout::TimeoutConfig;
use aws_sdk_sts::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use time::{Duration, OffsetDateTime};

use crate::keyring::{EntryName, Keyring, Secret, put_and_look, same};
use crate::{Error, FieldValue, Flow, Identity, IdentityName, KeySet, Result};

pub use standing::Standing;

/// A session is renewed so long before it ends. A mount asks for the next one as early.
pub const EARLY: Duration = Duration::seconds(bucket::s3::EARLY.as_secs() as i64);

/// What a login needs beside the identity's settings.
pub struct Login<'a> {
    /// The identity.
    pub name: &'a IdentityName,
    /// Its settings.
    pub settings: &'a Identity,
    /// Where its keys are, and where its session goes.
    pub keyring: &'a dyn Keyring,
    /// The code that the MFA device shows now.
    pub mfa_code: Option<String>,
}

/// Where an answer must have come by.
const PATIENCE: StdDuration = StdDuration::from_secs(20);
const DEFAULT_REGION: &str = "us-east-1";
/// The most characters of a session's name.
const SESSION_NAME: usize = 64;

impl Login<'_> {
    /// Whether a login would have to ask for an MFA code.
    pub fn needs_code(&self) -> bool {
        self.settings.mfa_device.is_some()
            && self.settings.flow() != Flow::WebIdentity
            && self.mfa_code.is_none()
    }

    /// The session as it is saved, whether or not it has ended.
    pub fn saved(&self) -> Result<Option<KeySet>> {
        let entry = EntryName::session(self.name);
        let found = self.keyring.load(&entry)?;
        found
            .map(|secret| KeySet::parse(&secret, &entry))
            .transpose()
    }

    /// The saved session where it lasts for [`EARLY`] more, else a new one. A session that
    /// would need an MFA code for its successor counts to its very end.
    pub async fn fresh(&self, now: OffsetDateTime) -> Result<KeySet> {
        let saved = self.saved()?;
        let is_first = saved.is_none();
        if let Some(session) = saved.filter(|session| session.lasts(now, Duration::ZERO)) {
            if session.lasts(now, EARLY) || self.needs_code() {
                return Ok(session);
            }
            // What still counts is better than an STS that does not answer just now.
            return Ok(self.begin().await.unwrap_or(session));
        }
        if !self.needs_code() {
            return self.begin().await;
        }
        let name = self.name.clone();
        Err(match is_first {
            true => Error::NotLoggedIn { name },
            false => Error::SessionOver { name },
        })
    }

    /// Asks the STS for a session and saves it. Where the identity's keys are replaced
    /// meanwhile, the session of the old ones is dropped, and one of the new ones begun.
    ///
    /// # Errors
    /// [`Error::KeysChanged`] where that would need another MFA code.
    pub async fn begin(&self) -> Result<KeySet> {
        match self.attempt().await {
            Err(Error::KeysChanged { .. }) if self.mfa_code.is_none() => self.attempt().await,
            answer => answer,
        }
    }

    async fn attempt(&self) -> Result<KeySet> {
        let flow = self.settings.flow();
        let keys = match flow {
            Flow::WebIdentity => None,
            Flow::Session | Flow::Role => Some(self.long_lived()?),
        };
        let session = match (flow, &keys) {
            (Flow::Session, Some(keys)) => self.session_token(keys).await?,
            (Flow::Role, Some(keys)) => self.assume_role(keys).await?,
            _ => self.web_identity().await?,
        };
        self.save(&session, keys.as_ref())?;
        Ok(session)
    }

    /// Saves a session, unless the keys that it was made from are the identity's no more.
    fn save(&self, session: &KeySet, ground: Option<&Secret>) -> Result<()> {
        let (keys, entry) = (
            EntryName::identity(self.name),
            EntryName::session(self.name),
        );
        let secret = session.to_secret();
        self.keyring.alone(&mut || {
            if ground.is_some() && !same(self.keyring.load(&keys)?.as_ref(), ground) {
                return Err(Error::KeysChanged {
                    name: self.name.clone(),
                });
            }
            put_and_look(self.keyring, &entry, &secret)
        })
    }

    async fn session_token(&self, keys: &Secret) -> Result<KeySet> {
        let answer = self
            .client(Some(self.parse(keys)?))
            .get_session_token()
            .set_duration_seconds(self.seconds())
            .set_serial_number(self.settings.mfa_device.clone())
            .set_token_code(self.mfa_code.clone())
            .send()
            .await
            .map_err(|e| self.refused(&e))?;
        self.key_set(answer.credentials())
    }

    async fn assume_role(&self, keys: &Secret) -> Result<KeySet> {
        let answer = self
            .client(Some(self.parse(keys)?))
            .assume_role()
            .set_role_arn(self.settings.role_arn.clone())
            .role_session_name(self.session_name())
            .set_external_id(self.settings.external_id.clone())
            .set_duration_seconds(self.seconds())
            .set_serial_number(self.settings.mfa_device.clone())
            .set_token_code(self.mfa_code.clone())
            .send()
            .await
            .map_err(|e| self.refused(&e))?;
        self.key_set(answer.credentials())
    }

    async fn web_identity(&self) -> Result<KeySet> {
        let path = self.settings.web_identity_token_file.clone();
        let path = path.unwrap_or_default();
        let token = std::fs::read_to_string(&path).map_err(|e| Error::io("read", &path, e))?;
        let answer = self
            .client(None)
            .assume_role_with_web_identity()
            .set_role_arn(self.settings.role_arn.clone())
            .role_session_name(self.session_name())
            .web_identity_token(token.trim())
            .set_duration_seconds(self.seconds())
            .send()
            .await
            .map_err(|e| self.refused(&e))?;
        self.key_set(answer.credentials())
    }

    /// The identity's own keys, as its entry has them.
    fn long_lived(&self) -> Result<Secret> {
        let missing = || Error::NoIdentityKeys {
            name: self.name.clone(),
            place: self.keyring.place(),
        };
        let found = self.keyring.load(&EntryName::identity(self.name))?;
        found.ok_or_else(missing)
    }

    fn parse(&self, keys: &Secret) -> Result<KeySet> {
        KeySet::parse(keys, &EntryName::identity(self.name))
    }

    pub(super) fn client(&self, keys: Option<KeySet>) -> Client {
        let region = self.settings.region.as_deref().unwrap_or(DEFAULT_REGION);
        let mut config = aws_sdk_sts::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region.to_owned()))
            .retry_config(RetryConfig::standard().with_max_attempts(2))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(PATIENCE / 4)
                    .operation_timeout(PATIENCE)
                    .build(),
            );
        if let Some(endpoint) = &self.settings.endpoint {
            config = config.endpoint_url(endpoint.as_str());
        }
        match keys {
            Some(keys) => {
                config = config.credentials_provider(Credentials::new(
                    keys.access_key_id.expose(),
                    keys.secret_access_key.expose(),
                    keys.session_token.as_ref().map(|t| t.expose().to_owned()),
                    None,
                    "artifacts",
                ));
            }
            None => config = config.allow_no_auth(),
        }
        Client::from_conf(config.build())
    }

    fn seconds(&self) -> Option<i32> {
        let length = self.settings.session_length?;
        // What the STS does not grant, it refuses in its own words.
        Some(i32::try_from(length.seconds()).unwrap_or(i32::MAX))
    }

    /// What the store's logs will show: at most 64 characters (STS API reference, AssumeRole,
    /// RoleSessionName), the end of a long name cut off.
    fn session_name(&self) -> String {
        let mut name = format!("artifacts-{}", self.name);
        name.truncate(SESSION_NAME);
        name
    }

    fn key_set(&self, found: Option<&aws_sdk_sts::types::Credentials>) -> Result<KeySet> {
        let found = found.ok_or_else(|| Error::LoginRefused {
            name: self.name.clone(),
            reason: "its answer has no credentials".into(),
        })?;
        let end = OffsetDateTime::from_unix_timestamp(found.expiration().secs());
        Ok(KeySet {
            access_key_id: FieldValue::new(found.access_key_id(), "AccessKeyId")?,
            secret_access_key: FieldValue::new(found.secret_access_key(), "SecretAccessKey")?,
            session_token: Some(FieldValue::new(found.session_token(), "SessionToken")?),
            expires: end.ok(),
        })
    }

    fn refused<E>(&self, error: &SdkError<E>) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        if let Some(service) = error.as_service_error() {
            let code = service.code().unwrap_or("no code");
            let message = service.message().unwrap_or_default();
            return Error::LoginRefused {
                name: self.name.clone(),
                reason: format!("{code}: {message}")
                    .trim_end_matches([':', ' '])
                    .to_owned(),
            };
        }
        let endpoint = self.settings.endpoint.as_ref().map(ToString::to_string);
        Error::StsUnreachable {
            endpoint: endpoint.unwrap_or_else(|| "AWS STS".into()),
            reason: words(error),
        }
    }
}

/// What happened, in the words of each cause: never the request, which a `Debug` form shows.
fn words(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut words: Vec<String> = causes.map(ToString::to_string).collect();
    // A cause often repeats the words of the one below it.
    words.dedup();
    words.join(": ")
}

/// Saves long-lived keys, and forgets a session that older ones were the ground of.
pub fn save_keys(keyring: &dyn Keyring, name: &IdentityName, keys: &KeySet) -> Result<()> {
    let secret: Secret = keys.to_secret();
    keyring.store(&EntryName::identity(name), &secret)?;
    keyring.remove(&EntryName::session(name))?;
    Ok(())
}
