//! How an orchestrator behaves: what a file says, with defaults that suit most.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::auth::IssuerConfig;

/// How an orchestrator behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where clients reach it; also the `iss` of its tokens. Without a slash at the end.
    pub public_url: String,
    /// What names of buckets begin with.
    pub bucket_prefix: String,
    /// How long a session lasts.
    pub session_lifetime: Duration,
    /// How long a machine waits for somebody to let it in.
    pub device_lifetime: Duration,
    /// How long between its questions.
    pub device_interval: Duration,
    /// After which time without a word from a mount a key is revoked; `None` for never.
    pub revoke_unused_after: Option<Duration>,
    /// After which time a key that no mount ever said that it has is revoked; `None` for never.
    pub revoke_unconfirmed_after: Option<Duration>,
    /// How long one question to the provider may take.
    pub provider_patience: Duration,
    /// Storage keys that a tenant may ask for.
    pub keys_per_minute: u32,
    /// Announcements of changes that a tenant may make.
    pub announcements_per_minute: u32,
    /// Reports that the mounts of a tenant may make.
    pub mount_reports_per_minute: u32,
    /// Streams of events that a tenant may have at this server.
    pub streams_per_tenant: usize,
    /// How often a stream that has nothing to say says so, and looks whether its token counts.
    pub heartbeat: Duration,
    /// How long events are kept for those who were away.
    pub events_kept: Duration,
    /// SHA-256 of the token with which the operator's own stores announce changes.
    pub webhook_token: Option<Vec<u8>>,
    /// SHA-256 of the token that `GET /metrics` is read with; operators read it, too.
    pub metrics_token: Option<Vec<u8>>,
    /// Logins that may begin, of all together.
    pub logins_per_minute: u32,
}

impl Settings {
    /// The usual ones, for a server at this URL.
    pub fn new(public_url: impl Into<String>) -> Self {
        File::default().settings(public_url.into())
    }
}

/// The configuration file, in TOML. Every field may be left out; unknown ones are refused, so
/// that a typing error does not pass for a default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Where clients reach the server.
    pub public_url: Option<String>,
    /// The file of the key that signs sessions and tickets.
    pub signing_key: Option<PathBuf>,
    /// What names of buckets begin with (`artifacts-`).
    pub bucket_prefix: Option<BucketPrefix>,
    /// How long a session lasts, in hours (720).
    pub session_hours: Option<u32>,
    /// After how many days without a word from a mount a key is revoked (never).
    pub revoke_unused_after_days: Option<u32>,
    /// After how many hours a key that no mount ever said that it has is revoked (never).
    pub revoke_unconfirmed_after_hours: Option<u32>,
    /// Storage keys that a tenant may ask for in a minute (60).
    pub keys_per_minute: Option<u32>,
    /// Announcements of changes that a tenant may make in a minute (6000).
    pub announcements_per_minute: Option<u32>,
    /// Reports that the mounts of a tenant may make in a minute; an idle mount makes four (12000).
    pub mount_reports_per_minute: Option<u32>,
    /// Streams of events that a tenant may have at one server (1000).
    pub streams_per_tenant: Option<u32>,
    /// For how many hours events are kept for those who were away (24).
    pub events_kept_hours: Option<u32>,
    /// Logins that may begin in a minute, of all together (300).
    pub logins_per_minute: Option<u32>,
    /// Where people come from.
    #[serde(default)]
    pub issuers: Vec<IssuerConfig>,
}

/// What a bucket's name may begin with: at most 30 characters, so that 32 more have room.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct BucketPrefix(String);

impl TryFrom<String> for BucketPrefix {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let whole = format!("{text}{}", "0".repeat(32));
        match whole.parse::<api::BucketName>() {
            Ok(_) if text.len() <= 30 => Ok(Self(text)),
            _ => Err(
                "bucket_prefix is at most 30 of a-z, 0-9 and '-', beginning with a letter or digit"
                    .into(),
            ),
        }
    }
}

/// Why the configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// It breaks its format.
    #[error("{}: {reason}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// Where and how.
        reason: String,
    },
}

impl File {
    /// Reads one.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = std::fs::read_to_string(path).map_err(|source| SettingsError::Io {
            path: path.to_owned(),
            source,
        })?;
        toml::from_str(&text).map_err(|error| SettingsError::Form {
            path: path.to_owned(),
            reason: error.to_string(),
        })
    }

    /// What it says, and the defaults for the rest.
    pub fn settings(&self, public_url: String) -> Settings {
        let hours = |count: u32| Duration::from_secs(u64::from(count) * 3600);
        let prefix = self.bucket_prefix.as_ref().map(|prefix| prefix.0.clone());
        Settings {
            public_url: public_url.trim_end_matches('/').to_owned(),
            bucket_prefix: prefix.unwrap_or_else(|| "artifacts-".into()),
            session_lifetime: hours(self.session_hours.unwrap_or(720).max(1)),
            device_lifetime: Duration::from_secs(600),
            device_interval: Duration::from_secs(5),
            revoke_unused_after: self
                .revoke_unused_after_days
                .map(|days| hours(days.max(1).saturating_mul(24))),
            revoke_unconfirmed_after: self
                .revoke_unconfirmed_after_hours
                .map(|count| hours(count.max(1))),
            provider_patience: Duration::from_secs(15),
            keys_per_minute: self.keys_per_minute.unwrap_or(60),
            announcements_per_minute: self.announcements_per_minute.unwrap_or(6_000),
            mount_reports_per_minute: self.mount_reports_per_minute.unwrap_or(12_000),
            streams_per_tenant: self
                .streams_per_tenant
                .map_or(1_000, |count| usize::try_from(count).unwrap_or(usize::MAX)),
            heartbeat: Duration::from_secs(15),
            events_kept: hours(self.events_kept_hours.unwrap_or(24).max(1)),
            webhook_token: None,
            metrics_token: None,
            logins_per_minute: self.logins_per_minute.unwrap_or(300),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_or_impossible_setting_is_refused() {
        let parse = |text: &str| toml::from_str::<File>(text).map_err(|error| error.to_string());
        assert!(parse("bucket_prefix = \"a-\"\nsession_hours = 1").is_ok());
        assert!(
            parse("sesion_hours = 1")
                .unwrap_err()
                .contains("unknown field")
        );
        assert!(
            parse("bucket_prefix = \"A\"")
                .unwrap_err()
                .contains("bucket_prefix is")
        );
        let symmetric = "[[issuers]]\nurl = \"https://a\"\nalgorithms = [\"HS256\"]";
        assert!(parse(symmetric).unwrap_err().contains("unknown variant"));
    }
}
