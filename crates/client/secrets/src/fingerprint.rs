//! A device's number as people compare it: short enough to be read out and typed.
//!
//! Whoever approves a machine has its number from the broker. The fingerprint comes to them from
//! the machine itself, past the broker, and so shows whether the broker names the right one.

use std::fmt;
use std::str::FromStr;

use model::DeviceId;

/// Characters. Each stands for 5 bits, so that a key with the same fingerprint as another's is
/// not found by trying: 2⁸⁰ of them would be needed.
const LENGTH: usize = 16;
/// Characters between two hyphens.
const GROUP: usize = 4;
/// Digits and letters without those that look like others (I, L, O) and without U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The first 80 bits of a device's number, as `XXXX-XXXX-XXXX-XXXX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; LENGTH]);

/// Why a text is no fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a fingerprint has 16 letters and digits, as the agent's machine shows it: XXXX-XXXX-XXXX-XXXX"
)]
pub struct InvalidFingerprint;

impl Fingerprint {
    /// Of a device.
    pub fn of(device: &DeviceId) -> Self {
        let bytes = device.as_bytes();
        let bit = |at: usize| usize::from(bytes[at / 8] >> (7 - at % 8) & 1);
        Self(std::array::from_fn(|at| {
            let value = (5 * at..5 * at + 5).fold(0, |value, at| value << 1 | bit(at));
            ALPHABET[value]
        }))
    }
}

impl FromStr for Fingerprint {
    type Err = InvalidFingerprint;

    /// In either case, with or without hyphens and blanks; letters that look like digits count
    /// as these.
    fn from_str(text: &str) -> Result<Self, InvalidFingerprint> {
        let mut characters = [0; LENGTH];
        let mut length = 0;
        for typed in text.bytes().filter(|byte| !matches!(byte, b'-' | b' ')) {
            let meant = match typed.to_ascii_uppercase() {
                b'O' => b'0',
                b'I' | b'L' => b'1',
                other => other,
            };
            if !ALPHABET.contains(&meant) {
                return Err(InvalidFingerprint);
            }
            *characters.get_mut(length).ok_or(InvalidFingerprint)? = meant;
            length += 1;
        }
        match length {
            LENGTH => Ok(Self(characters)),
            _ => Err(InvalidFingerprint),
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, character) in self.0.iter().enumerate() {
            if at > 0 && at % GROUP == 0 {
                f.write_str("-")?;
            }
            write!(f, "{}", char::from(*character))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_first_80_bits_of_the_number_however_it_is_typed() {
        let mut number = [0; 32];
        number[..10].copy_from_slice(&[0x00, 0x44, 0x32, 0x14, 0xc7, 0x42, 0x54, 0xb6, 0x35, 0xcf]);
        let shown = Fingerprint::of(&DeviceId::new(number));
        assert_eq!(shown.to_string(), "0123-4567-89AB-CDEF");
        for typed in [
            "0123-4567-89AB-CDEF",
            "o l23456789abcdef",
            "0I23 4567 89ab cdef",
        ] {
            assert_eq!(typed.parse(), Ok(shown), "{typed}");
        }
        number[10] = 1;
        assert_eq!(Fingerprint::of(&DeviceId::new(number)), shown, "bit 81");
        for at in 0..10 {
            let mut other = number;
            other[at] ^= 1;
            assert_ne!(Fingerprint::of(&DeviceId::new(other)), shown, "{at}");
        }
    }

    #[test]
    fn part_of_one_is_none() {
        for bad in [
            "",
            "0123",
            "0123-4567-89AB-CDE",
            "0123-4567-89AB-CDEF-G",
            "0123-4567-89AB-CDEU",
            "ä",
        ] {
            assert_eq!(bad.parse::<Fingerprint>(), Err(InvalidFingerprint), "{bad}");
        }
    }
}
