//! A device: a key pair on one machine, known by its thumbprint.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The SHA-256 thumbprint of a device's public key (RFC 7638), 32 bytes.
///
/// As text it is the `jkt` of tokens: base64url without padding, 43 characters. In a registry on
/// a chain it is a `bytes32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeviceId([u8; 32]);

/// Why a text is not a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a device is the 43 characters (base64url) of a key's SHA-256 thumbprint")]
pub struct InvalidDevice;

impl DeviceId {
    /// From a thumbprint.
    pub fn new(thumbprint: [u8; 32]) -> Self {
        Self(thumbprint)
    }

    /// The thumbprint.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for DeviceId {
    type Err = InvalidDevice;

    fn from_str(text: &str) -> Result<Self, InvalidDevice> {
        let bytes = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(text);
        let bytes = bytes.map_err(|_| InvalidDevice)?;
        bytes.try_into().map(Self).map_err(|_| InvalidDevice)
    }
}

impl TryFrom<String> for DeviceId {
    type Error = InvalidDevice;

    fn try_from(text: String) -> Result<Self, InvalidDevice> {
        text.parse()
    }
}

impl From<DeviceId> for String {
    fn from(device: DeviceId) -> Self {
        device.to_string()
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64_simd::URL_SAFE_NO_PAD.encode_to_string(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_32_bytes_in_one_spelling() {
        let device = DeviceId::new([7; 32]);
        let text = device.to_string();
        assert_eq!(text.len(), 43);
        assert_eq!(text.parse(), Ok(device));
        for bad in [
            "",
            "AAAA",
            &format!("{text}="),
            &text[1..],
            &text.replace('B', "+"),
        ] {
            assert_eq!(bad.parse::<DeviceId>(), Err(InvalidDevice), "{bad}");
        }
    }
}
