//! Where the file keyring's password comes from: a variable, else a person at a terminal.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use credentials::keyring::{KeyringError, Password, Passwords, Purpose};
use credentials::{Error, KeyringSettings};
use zeroize::Zeroizing;

use crate::context::Context;
use crate::input;
use crate::variables;

/// What was typed in this command, by the variable that would have had it: for a background
/// process that this command starts, which can ask nobody.
pub(crate) type Typed = Arc<Mutex<BTreeMap<String, Zeroizing<String>>>>;

/// The password of a file keyring, as its settings say.
pub(crate) struct Prompt {
    variable: String,
    may_ask: bool,
    typed: Typed,
}

impl Prompt {
    pub(crate) fn new(context: &Context, settings: &KeyringSettings) -> Self {
        Self {
            variable: settings.password_variable().to_owned(),
            may_ask: input::may_ask(context),
            typed: context.typed(),
        }
    }

    fn typed(&self, path: &Path, purpose: Purpose) -> credentials::Result<Zeroizing<String>> {
        let place = path.display();
        let (first, again) = match purpose {
            Purpose::Open => (format!("password of the keyring {place}"), None),
            Purpose::Create => (
                format!("a password for the new keyring {place}"),
                Some("the same password again"),
            ),
            Purpose::Change => (
                format!("the new password of the keyring {place}"),
                Some("the same password again"),
            ),
        };
        let text = input::hidden(&first).map_err(|failure| stopped(&failure.message))?;
        let Some(again) = again else {
            return Ok(text);
        };
        let second = input::hidden(again).map_err(|failure| stopped(&failure.message))?;
        if *text == *second {
            Ok(text)
        } else {
            Err(stopped("the two passwords differ; nothing was changed"))
        }
    }
}

impl Passwords for Prompt {
    fn password(&self, path: &Path, purpose: Purpose) -> credentials::Result<Password> {
        let variable = match purpose {
            Purpose::Open | Purpose::Create => self.variable.as_str(),
            Purpose::Change => variables::NEW_PASSWORD,
        };
        if let Some(text) = variables::text(variable) {
            return Ok(Password {
                text: text.into(),
                typed: false,
            });
        }
        if !self.may_ask {
            return Err(KeyringError::NoPassword {
                path: path.to_owned(),
                variable: variable.to_owned(),
            }
            .into());
        }
        let text = self.typed(path, purpose)?;
        if purpose != Purpose::Change {
            let mut typed = self.typed.lock().unwrap_or_else(PoisonError::into_inner);
            // Where it was mistyped, the next one takes its place.
            typed.insert(self.variable.clone(), text.clone());
        }
        Ok(Password {
            text,
            typed: purpose == Purpose::Open,
        })
    }
}

fn stopped(reason: &str) -> Error {
    Error::Stopped {
        reason: reason.to_owned(),
    }
}
