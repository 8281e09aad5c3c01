//! How a broker shall behave, and the configuration file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base::tokens::IssuerConfig;
use serde::Deserialize;

/// How a broker shall behave.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where clients reach it; also the issuer (`iss`) of all that it signs. No slash at its end.
    pub public_url: String,
    /// How long a capability counts; 300 s at most.
    pub cap_lifetime: Duration,
    /// How long a person's session counts.
    pub session_lifetime: Duration,
    /// How long an agent's session counts; its device renews it.
    pub agent_session_lifetime: Duration,
    /// How long somebody has to approve a device or a machine.
    pub approval_lifetime: Duration,
    /// How long a device or a machine waits between two questions.
    pub poll_interval: Duration,
    /// Between two heartbeats of a stream.
    pub heartbeat: Duration,
    /// Between two looks at the registry while capabilities are live.
    pub watch_interval: Duration,
    /// How long events are kept for those who were away.
    pub events_kept: Duration,
    /// How many of each operator are kept.
    pub events_per_operator: i64,
    /// Streams of one operator's events.
    pub streams_per_operator: usize,
    /// Of these, streams of one device, or of a session that is bound to none.
    pub streams_per_device: usize,
    /// Live capabilities whose standing is looked at in one turn.
    pub watched_at_once: i64,
    /// Logins of each kind, and pairings, that may begin in a minute, of all together.
    pub logins_per_minute: u32,
    /// Of these, from one address.
    pub logins_per_address: u32,
    /// Capabilities and identities that an actor may ask for in a minute.
    pub caps_per_minute: u32,
    /// The chains whose wallets log in; none: no wallet does.
    pub wallet_chains: Vec<u64>,
}

impl Settings {
    /// The usual ones of a broker at this URL.
    pub fn new(public_url: impl Into<String>) -> Self {
        let mut public_url: String = public_url.into();
        public_url.truncate(public_url.trim_end_matches('/').len());
        Self {
            public_url,
            cap_lifetime: Duration::from_secs(120),
            session_lifetime: Duration::from_secs(24 * 3600),
            agent_session_lifetime: Duration::from_secs(7 * 24 * 3600),
            approval_lifetime: Duration::from_secs(600),
            poll_interval: Duration::from_secs(5),
            heartbeat: Duration::from_secs(10),
            watch_interval: Duration::from_millis(250),
            events_kept: Duration::from_secs(24 * 3600),
            events_per_operator: 10_000,
            streams_per_operator: 1_000,
            streams_per_device: 16,
            watched_at_once: 20_000,
            logins_per_minute: 300,
            logins_per_address: 60,
            caps_per_minute: 600,
            wallet_chains: Vec::new(),
        }
    }

    /// For how long anything that is signed may count, in seconds.
    pub fn longest_lifetime(&self) -> i64 {
        let longest = self.session_lifetime.max(self.agent_session_lifetime);
        i64::try_from(longest.as_secs()).unwrap_or(i64::MAX / 4)
    }
}

/// What the configuration file says. It holds no secret.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Where clients reach the broker.
    pub public_url: Option<String>,
    /// How long a capability counts, in seconds: 30 to 300.
    pub cap_seconds: Option<u64>,
    /// How long a person's session counts.
    pub session_hours: Option<u32>,
    /// How long an agent's session counts.
    pub agent_session_hours: Option<u32>,
    /// How long events are kept for those who were away.
    pub events_kept_hours: Option<u32>,
    /// Streams of one operator's events.
    pub streams_per_operator: Option<usize>,
    /// Streams of one device's events.
    pub streams_per_device: Option<usize>,
    /// Logins of each kind, and pairings, that may begin in a minute, of all together.
    pub logins_per_minute: Option<u32>,
    /// The same, from one address.
    pub logins_per_address: Option<u32>,
    /// Capabilities and identities that an actor may ask for in a minute.
    pub caps_per_minute: Option<u32>,
    /// The chains whose wallets log in.
    #[serde(default)]
    pub wallet_chains: Vec<u64>,
    /// Where people come from.
    #[serde(default)]
    pub issuers: Vec<IssuerConfig>,
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the configuration {} cannot be used: {reason}", path.display())]
pub struct SettingsError {
    path: PathBuf,
    reason: String,
}

impl File {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let wrong = |reason: String| SettingsError {
            path: path.to_owned(),
            reason,
        };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let file: Self = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if file
            .cap_seconds
            .is_some_and(|count| !(30..=300).contains(&count))
        {
            return Err(wrong("cap_seconds is not between 30 and 300".into()));
        }
        let hours = [file.session_hours, file.agent_session_hours];
        if hours
            .into_iter()
            .flatten()
            .any(|hours| !(1..=720).contains(&hours))
        {
            return Err(wrong("a session lasts 1 to 720 hours".into()));
        }
        if file
            .issuers
            .iter()
            .any(|issuer| issuer.kind != base::tokens::IssuerKind::Oidc)
        {
            let text = "an issuer of the kind \"broker\": the broker takes people from OpenID Connect providers only";
            return Err(wrong(text.into()));
        }
        Ok(file)
    }

    /// The settings of a broker at this URL.
    pub fn settings(&self, public_url: String) -> Settings {
        let usual = Settings::new(public_url);
        let hours = |count: Option<u32>, usual| {
            count.map_or(usual, |count| Duration::from_secs(u64::from(count) * 3600))
        };
        Settings {
            cap_lifetime: self
                .cap_seconds
                .map_or(usual.cap_lifetime, Duration::from_secs),
            session_lifetime: hours(self.session_hours, usual.session_lifetime),
            agent_session_lifetime: hours(self.agent_session_hours, usual.agent_session_lifetime),
            events_kept: hours(self.events_kept_hours, usual.events_kept),
            streams_per_operator: self
                .streams_per_operator
                .unwrap_or(usual.streams_per_operator),
            streams_per_device: self.streams_per_device.unwrap_or(usual.streams_per_device),
            logins_per_minute: self.logins_per_minute.unwrap_or(usual.logins_per_minute),
            logins_per_address: self.logins_per_address.unwrap_or(usual.logins_per_address),
            caps_per_minute: self.caps_per_minute.unwrap_or(usual.caps_per_minute),
            wallet_chains: self.wallet_chains.clone(),
            ..usual
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_file_says_is_within_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broker.toml");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            File::read(&path).map_err(|error| error.to_string())
        };
        let file = read("cap_seconds = 300\nagent_session_hours = 48").unwrap();
        let settings = file.settings("https://broker.example/".into());
        assert_eq!(settings.public_url, "https://broker.example");
        assert_eq!(settings.cap_lifetime, Duration::from_secs(300));
        assert_eq!(settings.longest_lifetime(), 48 * 3600);
        for (text, wanted) in [
            ("cap_seconds = 301", "cap_seconds is not between 30 and 300"),
            ("session_hours = 0", "a session lasts 1 to 720 hours"),
            ("unheard_of = 1", "unknown field"),
            (
                "[[issuers]]\nurl = \"https://a\"\nkind = \"broker\"",
                "people from OpenID Connect providers only",
            ),
        ] {
            let refused = read(text).unwrap_err();
            assert!(refused.contains(wanted), "{refused}");
        }
    }
}
