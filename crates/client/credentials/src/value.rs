//! One value of the chain: a key, a token or a region.

use secrecy::{ExposeSecret, SecretString};

use crate::{Error, Result};

/// A non-empty value without white space or control characters, treated as a secret
/// whatever field it belongs to. It has no `Debug` and no `Display`; see
/// [`FieldValue::masked`].
pub struct FieldValue(SecretString);

impl FieldValue {
    /// Takes a value with the white space around it cut off (a trailing newline is what a
    /// copied key often has). `name` is what the error calls it.
    pub fn new(text: &str, name: &str) -> Result<Self> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Error::invalid(name, "is empty"));
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(Error::invalid(
                name,
                "contains white space or control characters",
            ));
        }
        Ok(Self(text.into()))
    }

    /// The value itself. For the store's signer, the key file and `artifacts env` only.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// The value as a secret of its own.
    pub fn to_secret(&self) -> SecretString {
        self.0.clone()
    }

    /// A second copy. Not `Clone`, so that each copy of a secret is written on purpose.
    pub fn duplicate(&self) -> Self {
        Self(self.0.clone())
    }

    /// First and last four characters of an identifier of 16 or more, otherwise stars.
    /// Only for identifiers: a secret is shown as [`FieldValue::STARS`] whatever its length.
    pub fn masked(&self) -> String {
        let chars: Vec<char> = self.expose().chars().collect();
        if chars.len() < 16 {
            return Self::STARS.to_owned();
        }
        let head: String = chars[..4].iter().collect();
        let tail: String = chars[chars.len() - 4..].iter().collect();
        format!("{head}…{tail}")
    }

    /// How a secret is shown.
    pub const STARS: &'static str = "********";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_around_is_cut_and_inside_is_refused() {
        let value = FieldValue::new(" AKIA\n", "X").expect("trimmed");
        assert_eq!(value.expose(), "AKIA");
        for (text, reason) in [
            ("", "is empty"),
            ("  ", "is empty"),
            ("a b", "contains white space or control characters"),
            ("a\u{7}b", "contains white space or control characters"),
        ] {
            let error = FieldValue::new(text, "X").err();
            assert_eq!(error, Some(Error::invalid("X", reason)), "{text:?}");
        }
    }

    #[test]
    fn only_long_identifiers_show_their_ends() {
        let masked = |text| FieldValue::new(text, "X").expect("a value").masked();
        assert_eq!(masked("AKIAIOSFODNN7EXAMPLE"), "AKIA…MPLE");
        assert_eq!(masked("short"), "********");
        assert_eq!(masked("fifteen-letters"), "********");
    }
}
