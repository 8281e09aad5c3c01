//! Moments and lengths of time.

use std::fmt;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

/// A moment, to the microsecond; on the wire as RFC 3339 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, format = DateTime, example = "2026-09-21T14:13:20.123456Z")]
pub struct Timestamp(i64);

impl Timestamp {
    /// Microseconds since 1970, as rows keep it. What RFC 3339 cannot say (before year 0 and
    /// after 9999) becomes the nearest moment that it can.
    pub fn from_micros(micros: i64) -> Self {
        const FIRST: i64 = -62_167_219_200_000_000;
        const LAST: i64 = 253_402_300_799_999_999;
        Self(micros.clamp(FIRST, LAST))
    }

    /// Microseconds since 1970.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970, as tokens count.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// So much later.
    #[must_use]
    pub fn plus(self, length: std::time::Duration) -> Self {
        let micros = i64::try_from(length.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.0.saturating_add(micros))
    }

    /// So much earlier.
    #[must_use]
    pub fn minus(self, length: std::time::Duration) -> Self {
        let micros = i64::try_from(length.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.0.saturating_sub(micros))
    }
}

impl From<OffsetDateTime> for Timestamp {
    fn from(time: OffsetDateTime) -> Self {
        let micros = time.unix_timestamp_nanos().div_euclid(1_000);
        Self::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000);
        let text = time.ok().and_then(|time| time.format(&Rfc3339).ok());
        f.write_str(&text.ok_or(fmt::Error)?)
    }
}

impl TryFrom<String> for Timestamp {
    type Error = time::error::Parse;

    fn try_from(text: String) -> Result<Self, time::error::Parse> {
        OffsetDateTime::parse(&text, &Rfc3339).map(Self::from)
    }
}

impl From<Timestamp> for String {
    fn from(timestamp: Timestamp) -> Self {
        timestamp.to_string()
    }
}

/// How long something shall count, in seconds: 60 s to 400 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "u32", into = "u32")]
#[schema(minimum = 60, maximum = 34_560_000)]
pub struct Lifetime(u32);

/// A length out of bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is out of bounds: ttl_seconds is 60 to 34,560,000 (400 days)")]
pub struct InvalidLifetime(u32);

impl Lifetime {
    /// As a length of time.
    pub fn duration(self) -> std::time::Duration {
        std::time::Duration::from_secs(self.0.into())
    }
}

impl TryFrom<u32> for Lifetime {
    type Error = InvalidLifetime;

    fn try_from(seconds: u32) -> Result<Self, InvalidLifetime> {
        if (60..=34_560_000).contains(&seconds) {
            Ok(Self(seconds))
        } else {
            Err(InvalidLifetime(seconds))
        }
    }
}

impl From<Lifetime> for u32 {
    fn from(lifetime: Lifetime) -> Self {
        lifetime.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_survives_the_way_and_sorts() {
        let moment = Timestamp::from_micros(1_790_000_000_123_456);
        let text = serde_json::to_string(&moment).unwrap();
        assert_eq!(text, "\"2026-09-21T14:13:20.123456Z\"");
        assert_eq!(serde_json::from_str::<Timestamp>(&text).unwrap(), moment);
        assert!(moment < moment.plus(std::time::Duration::from_micros(1)));
        for extreme in [i64::MIN, i64::MAX] {
            assert!(!Timestamp::from_micros(extreme).to_string().is_empty());
        }
    }

    #[test]
    fn a_lifetime_has_bounds() {
        assert!(Lifetime::try_from(60).is_ok());
        for bad in [0, 59, 34_560_001] {
            assert_eq!(Lifetime::try_from(bad), Err(InvalidLifetime(bad)));
        }
    }
}
