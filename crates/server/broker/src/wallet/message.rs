//! A message of EIP-4361 ("Sign-In with Ethereum"), read by its whole form.

use api::Timestamp;

/// Longer than any that a wallet shows.
const LONGEST: usize = 4096;

const SENTENCE: &str = " wants you to sign in with your Ethereum account:";

/// What is read of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    domain: String,
    /// `0x` and 40 hexadecimal digits in lower case.
    pub(crate) address: String,
    uri: String,
    chain_id: u64,
    pub(crate) nonce: String,
    issued_at: Timestamp,
    expires_at: Option<Timestamp>,
    not_before: Option<Timestamp>,
}

/// What a message must say to log in here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) domain: &'a str,
    pub(crate) uri: &'a str,
    pub(crate) chains: &'a [u64],
    pub(crate) now: Timestamp,
    /// For how many seconds a message counts.
    pub(crate) lifetime: i64,
}

/// Why a message does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Invalid {
    #[error("the message is not of the form of EIP-4361")]
    Form,
    #[error("the message is for another domain")]
    Domain,
    #[error("the message is for another URI")]
    Uri,
    #[error("the message is for a chain that is not taken here")]
    Chain,
    #[error("the message has ended, or does not count yet")]
    Times,
}

/// The lines, one after the other.
struct Lines<'a>(std::str::Split<'a, char>);

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<&'a str, Invalid> {
        self.0.next().ok_or(Invalid::Form)
    }

    fn empty(&mut self) -> Result<(), Invalid> {
        match self.next()? {
            "" => Ok(()),
            _ => Err(Invalid::Form),
        }
    }

    /// The value of a line that must be there.
    fn field(&mut self, name: &str) -> Result<&'a str, Invalid> {
        value(self.next()?, name).ok_or(Invalid::Form)
    }
}

fn value<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let value = line.strip_prefix(name)?.strip_prefix(": ")?;
    (!value.is_empty()).then_some(value)
}

impl Message {
    /// Reads a message.
    pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
        if text.len() > LONGEST || text.bytes().any(|byte| byte < b' ' && byte != b'\n') {
            return Err(Invalid::Form);
        }
        let mut lines = Lines(text.split('\n'));
        let domain = lines.next()?.strip_suffix(SENTENCE).ok_or(Invalid::Form)?;
        // A scheme may stand before it; whoever wants one says so.
        let domain = domain.strip_prefix("https://").unwrap_or(domain);
        let address = address(lines.next()?)?;
        lines.empty()?;
        // A statement and an empty line, or just another empty line.
        if !lines.next()?.is_empty() {
            lines.empty()?;
        }
        let uri = lines.field("URI")?.to_owned();
        if lines.field("Version")? != "1" {
            return Err(Invalid::Form);
        }
        let chain_id = number(lines.field("Chain ID")?)?;
        let nonce = lines.field("Nonce")?.to_owned();
        let issued_at = time(lines.field("Issued At")?)?;
        let mut message = Self {
            domain: domain.to_owned(),
            address,
            uri,
            chain_id,
            nonce,
            issued_at,
            expires_at: None,
            not_before: None,
        };
        message.rest(lines)?;
        Ok(message)
    }

    /// What may follow, in this order: when it ends and begins, a request's number, resources.
    fn rest(&mut self, lines: Lines<'_>) -> Result<(), Invalid> {
        let mut lines = lines.0.peekable();
        let mut optional = |name: &str| {
            let found = lines.peek().and_then(|line| value(line, name));
            found.inspect(|_| {
                lines.next();
            })
        };
        self.expires_at = optional("Expiration Time").map(time).transpose()?;
        self.not_before = optional("Not Before").map(time).transpose()?;
        optional("Request ID");
        match lines.next() {
            None => return Ok(()),
            Some("Resources:") => {}
            Some(_) => return Err(Invalid::Form),
        }
        match lines.all(|line| line.starts_with("- ")) {
            true => Ok(()),
            false => Err(Invalid::Form),
        }
    }

    /// Whether it logs in here and now. Its nonce is still to be used up.
    pub(crate) fn check(&self, wanted: &Wanted<'_>) -> Result<(), Invalid> {
        if self.domain != wanted.domain {
            return Err(Invalid::Domain);
        }
        if self.uri.trim_end_matches('/') != wanted.uri {
            return Err(Invalid::Uri);
        }
        if !wanted.chains.contains(&self.chain_id) {
            return Err(Invalid::Chain);
        }
        let now = wanted.now.seconds();
        let age = now - self.issued_at.seconds();
        let begun = self.not_before.is_none_or(|begin| begin.seconds() <= now);
        let ended = self.expires_at.is_some_and(|end| end.seconds() <= now);
        // A wallet's clock may be a little ahead.
        if ended || !begun || !(-30..=wanted.lifetime).contains(&age) {
            return Err(Invalid::Times);
        }
        Ok(())
    }
}

/// Mixed case is a checksum (EIP-55); the signature covers it in any case.
fn address(text: &str) -> Result<String, Invalid> {
    let digits = text.strip_prefix("0x").ok_or(Invalid::Form)?;
    match digits.len() == 40 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(Invalid::Form),
    }
}

fn number(text: &str) -> Result<u64, Invalid> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| plain);
    number.ok_or(Invalid::Form)
}

fn time(text: &str) -> Result<Timestamp, Invalid> {
    Timestamp::try_from(text.to_owned()).map_err(|_| Invalid::Form)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "broker.example:8443 wants you to sign in with your Ethereum account:
0xF39Fd6e51aad88F6F4ce6aB8827279cffFb92266

Log in to the vault.

URI: https://broker.example:8443
Version: 1
Chain ID: 31337
Nonce: 0123456789abcdef
Issued At: 2026-09-21T14:13:20Z
Expiration Time: 2026-09-21T14:18:20Z
Not Before: 2026-09-21T14:13:00Z
Request ID: 7
Resources:
- https://broker.example:8443/a";

    fn wanted() -> Wanted<'static> {
        Wanted {
            domain: "broker.example:8443",
            uri: "https://broker.example:8443",
            chains: &[31_337],
            now: time("2026-09-21T14:14:00Z").unwrap(),
            lifetime: 300,
        }
    }

    #[test]
    fn a_message_is_read_and_counts() {
        let message = Message::parse(GOOD).unwrap();
        assert_eq!(
            message.address,
            "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
        );
        assert_eq!(message.nonce, "0123456789abcdef");
        assert_eq!(message.check(&wanted()), Ok(()));
        let bare = GOOD.split("\nExpiration").next().unwrap();
        let bare = bare.replace("Log in to the vault.\n\n", "\n");
        assert_eq!(Message::parse(&bare).unwrap().check(&wanted()), Ok(()));
    }

    #[test]
    fn what_is_not_the_whole_form_is_refused() {
        for (from, to) in [
            (" wants you", " would like you"),
            ("0xF39", "0xG39"),
            ("0xF39Fd6e5", "0xF39F"),
            ("Version: 1", "Version: 2"),
            ("Chain ID: 31337", "Chain ID: +31337"),
            ("\nNonce: 0123456789abcdef", ""),
            ("URI: ", "URI:"),
            ("Issued At: 2026-09-21T14:13:20Z", "Issued At: yesterday"),
            ("Request ID: 7", "Request: 7"),
            ("- https", "* https"),
            ("\n\nURI", "\n\n\nURI"),
            ("Log in to the vault.", "Log in\nto the vault."),
            ("Version: 1\n", "Version: 1\r\n"),
        ] {
            let text = GOOD.replace(from, to);
            assert_ne!(text, GOOD, "{from}");
            assert_eq!(Message::parse(&text), Err(Invalid::Form), "{from} → {to}");
        }
    }

    #[test]
    fn a_message_for_elsewhere_or_another_time_does_not_count() {
        for (from, to, reason) in [
            (
                "broker.example:8443 wants",
                "evil.example wants",
                Invalid::Domain,
            ),
            (
                "URI: https://broker.example:8443",
                "URI: https://evil.example",
                Invalid::Uri,
            ),
            ("Chain ID: 31337", "Chain ID: 1", Invalid::Chain),
            (
                "Issued At: 2026-09-21T14:13:20Z",
                "Issued At: 2026-09-21T14:08:59Z",
                Invalid::Times,
            ),
            (
                "Issued At: 2026-09-21T14:13:20Z",
                "Issued At: 2026-09-21T14:14:31Z",
                Invalid::Times,
            ),
            ("14:18:20Z", "14:14:00Z", Invalid::Times),
            ("14:13:00Z", "14:14:01Z", Invalid::Times),
        ] {
            let text = GOOD.replace(from, to);
            assert_ne!(text, GOOD, "{from}");
            let message = Message::parse(&text).unwrap();
            assert_eq!(message.check(&wanted()), Err(reason), "{from} → {to}");
        }
    }
}
