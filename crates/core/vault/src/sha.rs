//! SHA-256 as tokens hold it.

use sha2::{Digest, Sha256};

/// The hash in base64url without padding.
pub(crate) fn sha256_base64url(bytes: &[u8]) -> String {
    base64_simd::URL_SAFE_NO_PAD.encode_to_string(Sha256::digest(bytes).as_slice())
}
