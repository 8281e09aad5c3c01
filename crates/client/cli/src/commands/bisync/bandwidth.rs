//! `--bwlimit`: how fast bodies may go, in the words that users of rclone know.

use std::str::FromStr;
use std::sync::Arc;

use bucket::limit::Limited;
use bucket::{Bucket, Pace};

/// Bytes a second in each direction; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Bandwidth {
    up: Option<u64>,
    down: Option<u64>,
}

impl FromStr for Bandwidth {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (up, down) = text.split_once(':').unwrap_or((text, text));
        Ok(Self {
            up: rate(up)?,
            down: rate(down)?,
        })
    }
}

/// A number of KiB, or with a unit: `512k`, `2M`, `1.5M`, `1G`, `100B`; `off` or 0 is none.
fn rate(text: &str) -> Result<Option<u64>, String> {
    let wrong = || {
        format!(
            "{text:?} is no rate: write 2M for 2 MiB a second, 10M:500k for sending and receiving \
             apart, or off"
        )
    };
    let text = text.trim();
    if text.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit = unit.to_ascii_lowercase();
    let factor = match unit.trim_end_matches("/s").trim_end_matches("ib") {
        "b" => 1.0,
        "" | "k" => 1024.0,
        "m" => 1024.0 * 1024.0,
        "g" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let bytes = number * factor;
    if bytes > 1e15 {
        return Err(wrong());
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 1e15, as seen above"
    )]
    let bytes = bytes as u64;
    Ok((bytes > 0).then_some(bytes))
}

impl Bandwidth {
    /// The bucket, held back to these rates by all that use it.
    pub(super) fn limit(self, bucket: Arc<dyn Bucket>) -> Arc<dyn Bucket> {
        match (self.up, self.down) {
            (None, None) => bucket,
            (up, down) => {
                let (up, down) = (up.map(Pace::new), down.map(Pace::new));
                Arc::new(Limited::new(bucket, up, down))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_users_of_rclone_write_them() {
        let of = |up, down| Ok(Bandwidth { up, down });
        let mib = 1 << 20;
        for (text, expected) in [
            ("2M", of(Some(2 * mib), Some(2 * mib))),
            ("10M:500k", of(Some(10 * mib), Some(500 << 10))),
            ("off", of(None, None)),
            ("off:1G", of(None, Some(1 << 30))),
            ("0:1.5M", of(None, Some(3 * mib / 2))),
            ("100", of(Some(100 << 10), Some(100 << 10))),
            ("64KiB/s", of(Some(64 << 10), Some(64 << 10))),
            ("100B", of(Some(100), Some(100))),
        ] {
            assert_eq!(text.parse(), expected, "{text}");
        }
        for wrong in ["", "M", "-1M", "2M:", "1x", "1M:2M:3M", "1e99G", "."] {
            assert!(wrong.parse::<Bandwidth>().is_err(), "{wrong}");
        }
    }
}
