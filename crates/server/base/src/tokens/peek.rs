//! What a token says of itself before anything of it is believed: it chooses who verifies.

use serde::Deserialize;

use super::Refused;

/// Longer than any token of ours or of a sensible provider.
const LONGEST: usize = 8 * 1024;

/// The header and the issuer, unverified.
#[derive(Debug)]
pub struct Peek {
    /// `alg`.
    pub algorithm: String,
    /// `typ`.
    pub kind: Option<String>,
    /// `kid`.
    pub key: Option<String>,
    /// `iss`.
    pub issuer: String,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Issuer {
    iss: String,
}

/// Reads what chooses who verifies.
///
/// # Errors
/// A text that is no token, or one with extensions that must be understood.
pub fn peek(token: &str) -> Result<Peek, Refused> {
    if token.len() > LONGEST {
        return Err(Refused::Form);
    }
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refused::Form);
    };
    let header: Header = decode(header)?;
    // RFC 7515 §4.1.11: extensions that are not understood must be refused.
    if header.crit.is_some() {
        return Err(Refused::Type);
    }
    let Issuer { iss } = decode(claims).map_err(|_| Refused::Claims)?;
    Ok(Peek {
        algorithm: header.alg,
        kind: header.typ,
        key: header.kid,
        issuer: iss,
    })
}

fn decode<T: serde::de::DeserializeOwned>(part: &str) -> Result<T, Refused> {
    let bytes = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(part);
    let bytes = bytes.map_err(|_| Refused::Form)?;
    serde_json::from_slice(&bytes).map_err(|_| Refused::Form)
}
