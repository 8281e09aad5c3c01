//! A whole set of keys as an identity's entry in a keyring holds it.
//!
//! Lines `NAME=VALUE` as in `byo-credentials`, and `EXPIRES=` with a time in the form of RFC
//! 3339 for a session. Unknown lines mean nothing to us.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use crate::keyring::{EntryName, KeyringError, Secret};
use crate::{Error, Field, FieldValue, Result};

/// Long-lived keys, or a session with its end. No `Debug`: it is secret.
pub struct KeySet {
    /// The access key id.
    pub access_key_id: FieldValue,
    /// The secret access key.
    pub secret_access_key: FieldValue,
    /// The session token; none with long-lived keys.
    pub session_token: Option<FieldValue>,
    /// When a session ends; none with long-lived keys.
    pub expires: Option<OffsetDateTime>,
}

const EXPIRES: &str = "EXPIRES";

impl KeySet {
    /// The entry's bytes.
    pub fn to_secret(&self) -> Secret {
        let fields = [
            (Field::AccessKeyId, Some(&self.access_key_id)),
            (Field::SecretAccessKey, Some(&self.secret_access_key)),
            (Field::SessionToken, self.session_token.as_ref()),
        ];
        let length = fields.iter().filter_map(|(_, v)| *v);
        let length: usize = length.map(|v| v.expose().len() + 32).sum();
        // Allocated at once, so that no half-grown copy of it stays in memory.
        let mut text = Zeroizing::new(String::with_capacity(length + 64));
        for (field, value) in fields {
            if let Some(value) = value {
                push_line(&mut text, field.name(), value.expose());
            }
        }
        if let Some(expires) = self.expires.and_then(|time| time.format(&Rfc3339).ok()) {
            push_line(&mut text, EXPIRES, &expires);
        }
        Secret::from(Zeroizing::new(text.as_bytes().to_vec()))
    }

    /// Reads an entry's bytes; `name` is for the error.
    pub fn parse(secret: &Secret, name: &EntryName) -> Result<Self> {
        let malformed = || Error::from(KeyringError::Malformed { name: name.clone() });
        let text = std::str::from_utf8(secret.expose()).map_err(|_| malformed())?;
        let value = |wanted: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once('='));
            lines.find(|(name, _)| *name == wanted).map(|(_, v)| v)
        };
        let field = |field: Field| {
            let found = value(field.name()).map(|text| FieldValue::new(text, field.name()));
            found.transpose()
        };
        let expires = value(EXPIRES).map(|text| OffsetDateTime::parse(text, &Rfc3339));
        Ok(Self {
            access_key_id: field(Field::AccessKeyId)?.ok_or_else(malformed)?,
            secret_access_key: field(Field::SecretAccessKey)?.ok_or_else(malformed)?,
            session_token: field(Field::SessionToken)?,
            expires: expires.transpose().map_err(|_| malformed())?,
        })
    }

    /// A second copy. Not `Clone`, so that each copy of a secret is written on purpose.
    pub fn duplicate(&self) -> Self {
        Self {
            access_key_id: self.access_key_id.duplicate(),
            secret_access_key: self.secret_access_key.duplicate(),
            session_token: self.session_token.as_ref().map(FieldValue::duplicate),
            expires: self.expires,
        }
    }

    /// Whether the keys still count at `now`, and for `margin` longer.
    pub fn lasts(&self, now: OffsetDateTime, margin: time::Duration) -> bool {
        self.expires.is_none_or(|end| now + margin < end)
    }
}

fn push_line(text: &mut String, name: &str, value: &str) {
    text.push_str(name);
    text.push('=');
    text.push_str(value);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn value(text: &str) -> FieldValue {
        FieldValue::new(text, "x").expect("good")
    }

    #[test]
    fn a_session_is_read_as_it_was_written() {
        let end = datetime!(2026-11-23 12:00 UTC);
        let set = KeySet {
            access_key_id: value("ASIA"),
            secret_access_key: value("a+/="),
            session_token: Some(value("t==")),
            expires: Some(end),
        };
        let name = "session/a".parse().expect("a name");
        let secret = set.to_secret();
        let text = "ACCESS_KEY_ID=ASIA\nSECRET_ACCESS_KEY=a+/=\nSESSION_TOKEN=t==\nEXPIRES=2026-11-23T12:00:00Z\n";
        assert_eq!(secret.expose(), text.as_bytes());
        let read = KeySet::parse(&secret, &name).expect("good");
        assert_eq!(read.secret_access_key.expose(), "a+/=");
        let margin = time::Duration::minutes(5);
        assert!(read.lasts(end - margin - time::Duration::SECOND, margin));
        assert!(!read.lasts(end - margin, margin));
    }

    #[test]
    fn what_is_no_set_of_keys_is_named_without_its_text() {
        let name: EntryName = "session/a".parse().expect("a name");
        for text in [
            "",
            "ACCESS_KEY_ID=A\n",
            "ACCESS_KEY_ID=A\nSECRET_ACCESS_KEY=b\nEXPIRES=soon\n",
        ] {
            let refused = KeySet::parse(&Secret::new(text.into()), &name).err();
            let expected = Error::from(KeyringError::Malformed { name: name.clone() });
            assert_eq!(refused, Some(expected), "{text}");
        }
    }
}
