//! Sizes and durations as operators write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// An amount of bytes: `512M`, `10GiB`, `1048576`. Units are powers of 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

/// A duration: `500ms`, `5s`, `2m`, `1h`, `7d`; a bare number is seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

/// Yes or no, as variables and files say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Switch(pub(crate) bool);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no size: write 512M, 10G or a number of bytes");
        let (number, unit) = split(text).ok_or_else(wrong)?;
        let unit = unit.to_ascii_lowercase();
        let unit = unit.trim_end_matches('b').trim_end_matches('i');
        let power = match unit {
            "" => 0,
            "k" => 1,
            "m" => 2,
            "g" => 3,
            "t" => 4,
            _ => return Err(wrong()),
        };
        let factor = 1024u64.pow(power);
        number.checked_mul(factor).map(Self).ok_or_else(wrong)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no duration: write 500ms, 5s, 2m, 1h or 7d");
        let (number, unit) = split(text).ok_or_else(wrong)?;
        let milliseconds = match unit {
            "ms" => 1,
            "" | "s" => 1000,
            "m" | "min" => 60 * 1000,
            "h" => 60 * 60 * 1000,
            "d" => 24 * 60 * 60 * 1000,
            _ => return Err(wrong()),
        };
        let total = number.checked_mul(milliseconds).ok_or_else(wrong)?;
        Ok(Self(Duration::from_millis(total)))
    }
}

impl FromStr for Switch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(Self(true)),
            "false" | "no" | "off" | "0" => Ok(Self(false)),
            _ => Err(format!("{text:?} is neither true nor false")),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0.as_millis())
    }
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("512M", 512 << 20),
            ("1 GiB", 1 << 30),
            ("2kb", 2048),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for (text, ms) in [
            ("5", 5000),
            ("5s", 5000),
            ("250ms", 250),
            ("2m", 120_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(text.parse(), Ok(Span(Duration::from_millis(ms))), "{text}");
        }
        for bad in [
            "",
            "M",
            "-1",
            "1.5G",
            "5 parsecs",
            "99999999999999999999",
            "99999999999T",
        ] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_printed_is_read_back() {
        assert_eq!(Size(1 << 30).to_string().parse(), Ok(Size(1 << 30)));
        let span = Span(Duration::from_millis(1500));
        assert_eq!(span.to_string().parse(), Ok(span));
    }
}
