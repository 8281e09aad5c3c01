//! How long something lasts, as it is written in `config.toml` and on the command line.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Error;

/// Whole seconds, written as `45s`, `30m`, `12h` or `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lifetime(u32);

const UNITS: [(char, u32); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

impl Lifetime {
    /// So many seconds.
    pub const fn from_seconds(seconds: u32) -> Self {
        Self(seconds)
    }

    /// In seconds.
    pub fn seconds(self) -> u32 {
        self.0
    }

    /// As a duration.
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.0.into())
    }
}

impl FromStr for Lifetime {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parsed = || {
            let unit = text.chars().last()?;
            let (_, seconds) = UNITS.iter().find(|(known, _)| *known == unit)?;
            let number = &text[..text.len() - 1];
            let plain = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
            plain
                .then(|| number.parse::<u32>().ok()?.checked_mul(*seconds))
                .flatten()
        };
        parsed()
            .map(Self)
            .ok_or_else(|| Error::InvalidLifetime(text.to_owned()))
    }
}

impl TryFrom<String> for Lifetime {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Lifetime> for String {
    fn from(lifetime: Lifetime) -> String {
        lifetime.to_string()
    }
}

impl fmt::Display for Lifetime {
    /// In the largest unit that divides it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |unit: &&(char, u32)| self.0 != 0 && self.0.is_multiple_of(unit.1);
        let (unit, seconds) = UNITS.iter().find(fits).unwrap_or(&('s', 1));
        write!(f, "{}{unit}", self.0 / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_read_as_they_are_shown() {
        for (text, seconds) in [
            ("0s", 0),
            ("45s", 45),
            ("30m", 1800),
            ("12h", 43200),
            ("7d", 604_800),
        ] {
            let lifetime: Lifetime = text.parse().expect("good");
            assert_eq!(
                (lifetime.seconds(), lifetime.to_string()),
                (seconds, text.to_owned())
            );
        }
        assert_eq!(Lifetime::from_seconds(90).to_string(), "90s");
        for bad in ["", "h", "12", "-1h", "1.5h", "1H", "99999999d", "\u{fc}"] {
            let refused = bad.parse::<Lifetime>();
            assert_eq!(refused, Err(Error::InvalidLifetime(bad.to_owned())));
        }
    }
}
