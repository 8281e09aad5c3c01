//! The parameters of a call.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use s3s::{S3Result, s3_error};

use super::answer::invalid;

/// A form's fields, decoded.
pub(super) struct Form(BTreeMap<String, String>);

impl Form {
    /// Reads a form; a parameter given twice is refused, so that which of them counts is
    /// never a question.
    pub(super) fn read(body: &[u8]) -> S3Result<Self> {
        let text = std::str::from_utf8(body).map_err(|_| s3_error!(InvalidRequest))?;
        let mut fields = BTreeMap::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if fields.insert(decoded(name)?, decoded(value)?).is_some() {
                return Err(invalid("a parameter is given twice"));
            }
        }
        Ok(Self(fields))
    }

    /// A parameter that may be missing.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Whether a parameter, or a member of it, is there.
    pub(super) fn mentions(&self, name: &str) -> bool {
        let member = |field: &String| {
            let rest = field.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.0.keys().any(member)
    }

    /// A parameter that must be there.
    pub(super) fn need(&self, name: &str) -> S3Result<&str> {
        self.field(name)
            .ok_or_else(|| invalid(&format!("{name} is missing")))
    }
}

fn decoded(text: &str) -> S3Result<String> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    decoded
        .map(Into::into)
        .map_err(|_| s3_error!(InvalidRequest))
}
