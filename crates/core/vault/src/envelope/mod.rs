//! A credential as it lies in the bucket: version 0x10.
//!
//! `10 ‖ epoch (4 bytes) ‖ generation (8 bytes) ‖ message`, all integers big-endian, where
//! `message` is C2SP chunked-encryption Cobblestone-256 under the [`Kek`] with the context
//! `"artifacts.envelope.10" ‖ the 13 bytes before it ‖ lp(operator) ‖ lp(actor) ‖ lp(service)`.
//! So an envelope opens only at its own [`Place`], in its own epoch, as its own generation.
//! The form is fixed; `vectors/envelopes.json` has examples and what must be refused.

mod error;
mod place;

use aws_lc_rs::rand;
use zeroize::Zeroizing;

use crate::chunked::{self, Refused};
use crate::kek::{Kek, push_prefixed};
pub use error::EnvelopeError;
pub use place::Place;

/// The version byte of this form.
pub const VERSION: u8 = 0x10;

/// The bytes of a salt.
pub const SALT_LENGTH: usize = chunked::SALT;

/// The longest envelope, in bytes.
pub const LONGEST_ENVELOPE: usize =
    HEADER_LENGTH + chunked::sealed_length(api::vault::LONGEST_PLAINTEXT);

const HEADER_LENGTH: usize = 13;
const CONTEXT: &[u8] = b"artifacts.envelope.10";

/// What an envelope says of itself. It is true only once the envelope has opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The version byte.
    pub version: u8,
    /// The epoch of the key; 0 in the older versions, which have none.
    pub epoch: u32,
    /// How often the credential was stored; 0 in the older versions, which do not say.
    pub generation: u64,
}

/// What was sealed. Neither `Debug` nor `Clone`; wiped when dropped.
pub struct Plaintext(Zeroizing<Vec<u8>>);

impl Plaintext {
    pub(crate) fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// Which older versions are still opened. None unless it is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OldVersions {
    /// Whether 0x01 is.
    pub allow_01: bool,
    /// Whether 0x02 is.
    pub allow_02: bool,
}

impl OldVersions {
    /// Whether an envelope of this version is opened.
    ///
    /// # Errors
    /// [`EnvelopeError::Version`].
    pub fn check(self, version: u8) -> Result<(), EnvelopeError> {
        let allowed = match version {
            VERSION => true,
            0x01 => self.allow_01,
            0x02 => self.allow_02,
            _ => false,
        };
        allowed.then_some(()).ok_or(EnvelopeError::Version(version))
    }
}

/// Reads the head of an envelope of any known version.
///
/// # Errors
/// [`EnvelopeError::Version`] and [`EnvelopeError::Malformed`].
pub fn header(bytes: &[u8]) -> Result<Header, EnvelopeError> {
    let &version = bytes.first().ok_or(EnvelopeError::Malformed)?;
    match version {
        VERSION => current_header(bytes),
        0x01 | 0x02 if crate::legacy::is_whole(bytes) => Ok(Header {
            version,
            epoch: 0,
            generation: 0,
        }),
        0x01 | 0x02 => Err(EnvelopeError::Malformed),
        other => Err(EnvelopeError::Version(other)),
    }
}

fn current_header(bytes: &[u8]) -> Result<Header, EnvelopeError> {
    let smallest = HEADER_LENGTH + chunked::sealed_length(0);
    if !(smallest..=LONGEST_ENVELOPE).contains(&bytes.len()) {
        return Err(EnvelopeError::Malformed);
    }
    let (epoch, rest) = bytes[1..].split_first_chunk().expect("it is long enough");
    let (generation, _) = rest.split_first_chunk().expect("it is long enough");
    Ok(Header {
        version: VERSION,
        epoch: u32::from_be_bytes(*epoch),
        generation: u64::from_be_bytes(*generation),
    })
}

/// Seals a credential under a fresh salt.
///
/// # Errors
/// [`EnvelopeError::TooLong`], and [`EnvelopeError::NoRandom`] if there is no salt to be had.
pub fn seal(
    kek: &Kek,
    place: &Place<'_>,
    epoch: u32,
    generation: u64,
    plaintext: &[u8],
) -> Result<Vec<u8>, EnvelopeError> {
    let mut salt = [0; SALT_LENGTH];
    rand::fill(&mut salt).map_err(|_| EnvelopeError::NoRandom)?;
    seal_with_salt(kek, place, epoch, generation, plaintext, &salt)
}

/// As [`seal`], with a salt of the caller's: for vectors and tests. A salt that is used twice
/// under one key and context gives both plaintexts away.
///
/// # Errors
/// [`EnvelopeError::TooLong`].
pub fn seal_with_salt(
    kek: &Kek,
    place: &Place<'_>,
    epoch: u32,
    generation: u64,
    plaintext: &[u8],
    salt: &[u8; SALT_LENGTH],
) -> Result<Vec<u8>, EnvelopeError> {
    if plaintext.len() > api::vault::LONGEST_PLAINTEXT {
        return Err(EnvelopeError::TooLong);
    }
    let mut envelope = Vec::with_capacity(HEADER_LENGTH + chunked::sealed_length(plaintext.len()));
    envelope.push(VERSION);
    envelope.extend_from_slice(&epoch.to_be_bytes());
    envelope.extend_from_slice(&generation.to_be_bytes());
    let context = context(&envelope, place);
    chunked::seal(kek, salt, &context, plaintext, &mut envelope);
    Ok(envelope)
}

/// Opens an envelope of version 0x10, and of no other.
///
/// # Errors
/// [`EnvelopeError::Version`], [`EnvelopeError::Malformed`], and [`EnvelopeError::Invalid`] if
/// it was sealed for another place, under another key, or was changed.
pub fn open(kek: &Kek, place: &Place<'_>, bytes: &[u8]) -> Result<Plaintext, EnvelopeError> {
    let Header { version, .. } = header(bytes)?;
    if version != VERSION {
        return Err(EnvelopeError::Version(version));
    }
    let (header, message) = bytes.split_at(HEADER_LENGTH);
    let opened = chunked::open(kek, &context(header, place), message);
    opened.map(Plaintext::new).map_err(|refused| match refused {
        Refused::Length => EnvelopeError::Malformed,
        Refused::Commitment | Refused::Chunk => EnvelopeError::Invalid,
    })
}

fn context(header: &[u8], place: &Place<'_>) -> Vec<u8> {
    let mut context = [CONTEXT, header].concat();
    for part in [
        place.operator.as_str(),
        place.actor.as_str(),
        place.service.as_str(),
    ] {
        push_prefixed(&mut context, part);
    }
    context
}
