//! The messages that a wallet signs here: each is known by its whole form.
//!
//! A signature of a wallet is a key to what is sealed under it, and a login wherever the wallet
//! is known. So nothing is signed that its caller could have chosen: of each message every
//! character is either fixed here, or the wallet's own address, or a value of a narrow form.
//!
//! - `agentkeys.kek.v1:<wallet>:<service>`: what the keys of envelopes 0x01 and 0x02 follow from.
//!   The address in lower case, a service's name as the vault spells it.
//! - A login (EIP-4361) at one of the places that the operator has named: its domain and URI, the
//!   address with its checksum, version 1, a chain's number, a nonce, and when it was issued (now)
//!   and may end. No statement, no resources, no request's number: these could say anything.

use api::Timestamp;
use model::ServiceName;

use crate::wallet::Wallet;

/// No message that is signed is longer.
pub const LONGEST: usize = 1024;

const KEK: &str = "agentkeys.kek.v1:";
const SENTENCE: &str = " wants you to sign in with your Ethereum account:";

/// A login counts for so many seconds before and after now.
const LOGIN: i64 = 300;

/// What a message is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// The key of an envelope 0x01 or 0x02 of this service.
    Kek(ServiceName),
    /// A login.
    Login,
}

/// Where a wallet may log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginPlace {
    domain: String,
    uri: String,
}

/// Why a text is not where one logs in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} is not where a wallet logs in\nhint: https://HOST or https://HOST:PORT, without a path"
)]
pub struct InvalidLoginPlace(String);

impl LoginPlace {
    /// From its origin, `https://HOST[:PORT]`; `http` on this machine only.
    ///
    /// # Errors
    /// [`InvalidLoginPlace`].
    pub fn new(origin: &str) -> Result<Self, InvalidLoginPlace> {
        let invalid = || InvalidLoginPlace(origin.to_owned());
        let (scheme, domain) = origin.split_once("://").ok_or_else(invalid)?;
        let local = ["127.0.0.1", "localhost"].contains(&domain.split(':').next().unwrap_or(""));
        let good = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b':')
        };
        let scheme_fits = scheme == "https" || (scheme == "http" && local);
        if !scheme_fits || domain.is_empty() || !domain.bytes().all(good) {
            return Err(invalid());
        }
        Ok(Self {
            domain: domain.to_owned(),
            uri: origin.to_owned(),
        })
    }
}

/// What a message is for, if it is one that this wallet signs now.
pub fn recognise(
    message: &str,
    wallet: &Wallet,
    places: &[LoginPlace],
    now: Timestamp,
) -> Option<Purpose> {
    if message.len() > LONGEST {
        return None;
    }
    if let Some(rest) = message.strip_prefix(KEK) {
        return kek(rest, wallet);
    }
    let fits = |place: &LoginPlace| login(message, wallet, place, now).is_some();
    places.iter().any(fits).then_some(Purpose::Login)
}

fn kek(rest: &str, wallet: &Wallet) -> Option<Purpose> {
    let service = rest.strip_prefix(&wallet.address())?.strip_prefix(':')?;
    let name: ServiceName = service.parse().ok()?;
    // A name is made small when it is parsed; the message must have it so already.
    (name.as_str() == service).then_some(Purpose::Kek(name))
}

fn login(message: &str, wallet: &Wallet, place: &LoginPlace, now: Timestamp) -> Option<()> {
    let mut lines = message.split('\n');
    let mut fixed = |text: &str| lines.next().filter(|line| *line == text);
    fixed(&format!("{}{SENTENCE}", place.domain))?;
    fixed(&wallet.checksummed())?;
    fixed("")?;
    fixed("")?;
    fixed(&format!("URI: {}", place.uri))?;
    fixed("Version: 1")?;
    let mut value = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(": ");
    is_number(value("Chain ID")?).then_some(())?;
    is_nonce(value("Nonce")?).then_some(())?;
    let issued = moment(value("Issued At")?)?;
    let age = now.seconds() - issued.seconds();
    (-LOGIN..=LOGIN).contains(&age).then_some(())?;
    if let Some(line) = lines.next() {
        let ends = moment(line.strip_prefix("Expiration Time: ")?)?;
        let left = ends.seconds() - now.seconds();
        (0..=2 * LOGIN).contains(&left).then_some(())?;
    }
    lines.next().is_none().then_some(())
}

fn is_number(text: &str) -> bool {
    (1..=20).contains(&text.len())
        && !text.starts_with('0')
        && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_nonce(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (8..=64).contains(&text.len()) && text.bytes().all(good)
}

/// A moment in the one spelling that we write: RFC 3339 in UTC with `Z`.
fn moment(text: &str) -> Option<Timestamp> {
    let good = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'-' | b':' | b'.' | b'T' | b'Z');
    if text.len() > 30 || !text.ends_with('Z') || !text.bytes().all(good) {
        return None;
    }
    Timestamp::try_from(text.to_owned()).ok()
}

#[cfg(test)]
mod tests;
