//! Words that people write for people.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What something is for, in its maker's words: 1 to 255 characters on one line.
///
/// Control characters are refused, so that a list on a terminal shows what is written and
/// nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(
    min_length = 1,
    max_length = 255,
    pattern = r"^[^\x00-\x1f\x7f-\x9f]+$",
    example = "the laptop of Ada"
)]
pub struct Description(String);

/// A text that is not a description.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a description is 1 to 255 characters on one line")]
pub struct InvalidText;

impl Description {
    /// The words.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Description {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let length = text.chars().count();
        if (1..=255).contains(&length) && !text.chars().any(char::is_control) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidText)
        }
    }
}

impl TryFrom<String> for Description {
    type Error = InvalidText;

    fn try_from(text: String) -> Result<Self, InvalidText> {
        text.parse()
    }
}

impl From<Description> for String {
    fn from(description: Description) -> Self {
        description.0
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_one_line() {
        assert!(
            "the laptop of Ada, 2nd floor"
                .parse::<Description>()
                .is_ok()
        );
        let long = "x".repeat(256);
        for bad in ["", "a\nb", "a\u{1b}[2J", "a\0", &long] {
            assert_eq!(bad.parse::<Description>(), Err(InvalidText), "{bad:?}");
        }
    }
}
