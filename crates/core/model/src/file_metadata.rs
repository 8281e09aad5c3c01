//! How a file's attributes are spelled in an object's user metadata.
//!
//! Written as rclone does: `mtime` in seconds with a fraction, `mode` in octal, `uid`,
//! `gid`. Read as rclone, s3fs and goofys' heirs do: `mtime` with or without a fraction,
//! `mode` in octal or in decimal with the bits of the file type.

const TYPE_BITS: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const SECOND: i64 = 1_000_000_000;

/// A time, in nanoseconds since 1970, as it is written.
pub fn mtime_text(nanos: i64) -> String {
    format!(
        "{}.{:09}",
        nanos.div_euclid(SECOND),
        nanos.rem_euclid(SECOND)
    )
}

/// Seconds since 1970, with or without a fraction, in nanoseconds.
pub fn mtime(text: &str) -> Option<i64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = seconds.parse().ok()?;
    let digits: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let nanos: i64 = digits.parse().ok()?;
    seconds.checked_mul(SECOND)?.checked_add(nanos)
}

/// Permission bits, written in octal or, with the bits of the file type, in decimal.
pub fn mode(text: &str) -> Option<u32> {
    let permissions = |mode: u32| matches!(mode & !0o7777, 0 | REGULAR).then_some(mode & 0o7777);
    let octal = u32::from_str_radix(text, 8).ok().and_then(permissions);
    let decimal = || {
        text.parse()
            .ok()
            .filter(|mode| mode & TYPE_BITS == REGULAR)
            .and_then(permissions)
    };
    octal.or_else(decimal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tools_spelling_of_a_mode_is_read() {
        for (text, expected) in [
            ("644", Some(0o644)),
            ("100755", Some(0o755)),
            ("33188", Some(0o644)),
            ("33261", Some(0o755)),
            ("16877", None),
            ("40755", None),
            ("rw-r--r--", None),
            ("", None),
        ] {
            assert_eq!(mode(text), expected, "{text}");
        }
    }

    #[test]
    fn each_tools_spelling_of_a_time_is_read() {
        assert_eq!(mtime("1600000000"), Some(1_600_000_000_000_000_000));
        assert_eq!(mtime("1600000000.5"), Some(1_600_000_000_500_000_000));
        assert_eq!(
            mtime("1600000000.123456789"),
            Some(1_600_000_000_123_456_789)
        );
        assert_eq!(mtime("yesterday"), None);
        assert_eq!(mtime("99999999999999"), None);
        assert_eq!(mtime("1.x"), None);
    }

    #[test]
    fn a_time_that_was_written_is_read_back() {
        for nanos in [0, 1, -1, -1_500_000_000, 1_600_000_000_000_000_001] {
            assert_eq!(mtime(&mtime_text(nanos)), Some(nanos));
        }
    }
}
