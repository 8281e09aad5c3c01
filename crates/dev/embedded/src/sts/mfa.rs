//! One-time codes of MFA devices.

use std::collections::HashMap;

use aws_lc_rs::hmac;
use parking_lot::Mutex;
use subtle::ConstantTimeEq;
use time::OffsetDateTime;

use super::settings::Device;

/// The last step of which each device's code was taken: a code counts once.
#[derive(Default)]
pub(super) struct UsedCodes {
    by_serial: Mutex<HashMap<String, i64>>,
}

/// Seconds for which a code is shown (RFC 6238, section 4.1).
const STEP: i64 = 30;

/// Steps that a device's clock may be off (RFC 6238, section 5.2).
const DRIFT: std::ops::RangeInclusive<i64> = -1..=1;

impl UsedCodes {
    /// Whether the device shows this code now, and it was not taken before.
    pub(super) fn accept(&self, device: &Device, code: &str, now: OffsetDateTime) -> bool {
        if let Some(fixed) = &device.code {
            return same(fixed, code);
        }
        let secret = device.totp.as_deref().map(hex::decode);
        let Some(Ok(secret)) = secret else {
            return false;
        };
        let current = now.unix_timestamp() / STEP;
        let shown = DRIFT
            .map(|drift| current + drift)
            .find(|step| same(&code_at(&secret, *step), code));
        let Some(step) = shown else {
            return false;
        };
        let mut used = self.by_serial.lock();
        let last = used.entry(device.serial.clone()).or_insert(i64::MIN);
        let fresh = step > *last;
        *last = step.max(*last);
        fresh
    }
}

/// The code of a step (RFC 4226, section 5.3, with six digits).
fn code_at(secret: &[u8], step: i64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let bytes = tag.as_ref();
    let at = usize::from(bytes[bytes.len() - 1] & 0xf);
    let number = bytes[at..at + 4]
        .iter()
        .fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    format!("{:06}", (number & 0x7fff_ffff) % 1_000_000)
}

fn same(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "3132333435363738393031323334353637383930";

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(seconds).expect("a time")
    }

    fn device() -> Device {
        Device {
            serial: "d".into(),
            totp: Some(SECRET.into()),
            code: None,
        }
    }

    /// RFC 6238, appendix B, SHA-1: its eight digits end with our six.
    #[test]
    fn codes_are_those_of_the_standard() {
        let secret = hex::decode(SECRET).expect("hexadecimal");
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_234_567_890, "005924"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(code_at(&secret, seconds / STEP), code, "{seconds}");
        }
    }

    #[test]
    fn a_code_counts_once_and_for_about_a_minute() {
        let used = UsedCodes::default();
        assert!(!used.accept(&device(), "000000", at(59)));
        assert!(used.accept(&device(), "287082", at(59)));
        assert!(!used.accept(&device(), "287082", at(60)), "a second time");
        let late = UsedCodes::default();
        assert!(late.accept(&device(), "287082", at(89)), "a step later");
        let later = UsedCodes::default();
        assert!(!later.accept(&device(), "287082", at(120)));
    }
}
