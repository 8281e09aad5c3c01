//! The signature of a document: one compact JWS (ES256), of a type that no token has.

use secrecy::ExposeSecret;
use serde::Serialize;
use serde::de::DeserializeOwned;
use vault::jws::{self, JwsError};
use vault::{SignEs256, VerifyKeys};

/// The type of an operator's list.
pub const OPERATOR_TYPE: &str = "operator-registry+jwt";

/// The type of the epoch.
pub const EPOCH_TYPE: &str = "epoch-registry+jwt";

/// The longest document that is read, in bytes.
pub const LONGEST_DOCUMENT: usize = 1024 * 1024;

/// Why a document does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Not a JWS of this type by this key.
    #[error(
        "it is not signed by the key that is pinned for it, or is another kind of document\n\
         hint: compare the key in operators.json with the operator's own"
    )]
    Signature,
    /// Signed, but not of the form that is expected.
    #[error("{0}\nhint: it may be of a newer version than this program")]
    Form(String),
    /// Signed, for another operator.
    #[error("it is the list of another operator")]
    Owner,
    /// Longer than [`LONGEST_DOCUMENT`].
    #[error("it is longer than 1 MiB\nhint: take out scopes that are not needed any more")]
    TooLong,
}

impl DocumentError {
    /// What is wrong, for whoever knows a better next step.
    pub(crate) fn sentence(&self) -> String {
        let whole = self.to_string();
        whole.lines().next().unwrap_or_default().to_owned()
    }
}

/// A document as it is published.
///
/// # Errors
/// The key cannot be used, or the document is too long.
pub fn sign(
    typ: &str,
    document: &impl Serialize,
    key: &dyn SignEs256,
) -> Result<String, DocumentError> {
    let signed = jws::sign(typ, document, key).ok_or(DocumentError::Signature)?;
    let signed = signed.expose_secret();
    match signed.len() <= LONGEST_DOCUMENT {
        true => Ok(signed.to_owned()),
        false => Err(DocumentError::TooLong),
    }
}

/// What a document says, if one of the keys has signed it.
///
/// # Errors
/// It is not signed by them, of another type, or not of the form.
pub fn verify<T: DeserializeOwned>(
    bytes: &[u8],
    typ: &str,
    keys: &VerifyKeys,
) -> Result<T, DocumentError> {
    if bytes.len() > LONGEST_DOCUMENT {
        return Err(DocumentError::TooLong);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| form())?;
    jws::verify(text.trim_ascii_end(), typ, keys, LONGEST_DOCUMENT).map_err(|error| match error {
        JwsError::Form => form(),
        JwsError::Type | JwsError::Key | JwsError::Signature => DocumentError::Signature,
    })
}

fn form() -> DocumentError {
    DocumentError::Form("it is not of the form that is read here".into())
}
