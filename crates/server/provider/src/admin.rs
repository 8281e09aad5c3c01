//! The administrator's keys: from the environment, or from a file of mode 0600.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use secrecy::SecretString;
use serde::Deserialize;

use crate::{Error, Result};

/// The variable with the public half.
pub const ACCESS_KEY_VARIABLE: &str = "ARTIFACTS_PROVIDER_ACCESS_KEY_ID";
/// The variable with the secret half.
pub const SECRET_KEY_VARIABLE: &str = "ARTIFACTS_PROVIDER_SECRET_ACCESS_KEY";
/// The variable with a session's token, where the keys are a session's.
pub const SESSION_TOKEN_VARIABLE: &str = "ARTIFACTS_PROVIDER_SESSION_TOKEN";

/// Keys that may make buckets, users and policies.
pub struct AdminKeys {
    /// The public half.
    pub access_key_id: String,
    /// The secret half.
    pub secret_access_key: SecretString,
    /// A session's token.
    pub session_token: Option<SecretString>,
}

/// The file: TOML with these names.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    access_key_id: String,
    secret_access_key: SecretText,
    session_token: Option<SecretText>,
}

/// A secret on its way from the file.
#[derive(Deserialize)]
struct SecretText(String);

impl AdminKeys {
    /// Takes the keys from variables, which `variable` looks up.
    ///
    /// # Errors
    /// [`Error::Invalid`] when half a pair is there, or nothing.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let value = |name| variable(name).filter(|value| !value.is_empty());
        match (value(ACCESS_KEY_VARIABLE), value(SECRET_KEY_VARIABLE)) {
            (Some(access_key_id), Some(secret)) => Ok(Self {
                access_key_id,
                secret_access_key: secret.into(),
                session_token: value(SESSION_TOKEN_VARIABLE).map(Into::into),
            }),
            (None, None) => Err(Error::invalid(format!(
                "there are no administrator's keys\nhint: set {ACCESS_KEY_VARIABLE} and {SECRET_KEY_VARIABLE}, or name a file"
            ))),
            _ => Err(Error::invalid(format!(
                "only one of {ACCESS_KEY_VARIABLE} and {SECRET_KEY_VARIABLE} is set\nhint: set both"
            ))),
        }
    }

    /// Reads the keys from a file that nobody else may read.
    ///
    /// # Errors
    /// [`Error::Invalid`] with what is wrong with the file; never with what is in it.
    pub fn from_file(path: &Path) -> Result<Self> {
        let shown = path.display();
        let wrong = |error: io::Error| Error::invalid(format!("{shown}: {error}"));
        let file = File::open(path).map_err(wrong)?;
        let about = file.metadata().map_err(wrong)?;
        let mode = about.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(Error::invalid(format!(
                "{shown} can be read by others (mode {mode:o})\nhint: chmod 600 {shown}"
            )));
        }
        let me = rustix::process::geteuid().as_raw();
        if about.uid() != me && about.uid() != 0 {
            return Err(Error::invalid(format!("{shown} belongs to somebody else")));
        }
        let text = io::read_to_string(file).map_err(wrong)?;
        // The parser's own words may quote a line.
        let document: Document = toml::from_str(&text).map_err(|_| {
            Error::invalid(format!(
                "{shown} is not understood\nhint: it has the lines access_key_id = \"…\" and secret_access_key = \"…\""
            ))
        })?;
        Ok(Self {
            access_key_id: document.access_key_id,
            secret_access_key: document.secret_access_key.0.into(),
            session_token: document.session_token.map(|token| token.0.into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use secrecy::ExposeSecret;

    use super::*;

    fn file(text: &str, mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, text).unwrap();
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&file, permissions).unwrap();
        file
    }

    fn refusal(result: Result<AdminKeys>) -> String {
        match result {
            Ok(_) => panic!("not refused"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_file_gives_both_halves() {
        let file = file(
            "access_key_id = \"a\"\nsecret_access_key = \"s3cret\"\n",
            0o600,
        );
        let keys = AdminKeys::from_file(file.path()).unwrap();
        assert_eq!(keys.access_key_id, "a");
        assert_eq!(keys.secret_access_key.expose_secret(), "s3cret");
        assert!(keys.session_token.is_none());
    }

    #[test]
    fn a_file_that_others_can_read_or_nobody_understands_is_refused_without_a_word_of_it() {
        let open = file(
            "access_key_id = \"a\"\nsecret_access_key = \"s3cret\"\n",
            0o640,
        );
        let said = refusal(AdminKeys::from_file(open.path()));
        assert!(
            said.contains("mode 640") && said.contains("chmod 600"),
            "{said}"
        );
        let strange = file("secret_access_key = s3cret\n", 0o600);
        let said = refusal(AdminKeys::from_file(strange.path()));
        assert!(
            said.contains("not understood") && !said.contains("s3cret"),
            "{said}"
        );
    }

    #[test]
    fn half_a_pair_in_the_environment_is_refused() {
        let half = |name: &str| (name == ACCESS_KEY_VARIABLE).then(|| "a".to_owned());
        assert!(refusal(AdminKeys::from_environment(half)).starts_with("only one of"));
        let none = refusal(AdminKeys::from_environment(|_| None));
        assert!(none.starts_with("there are no"), "{none}");
    }
}
