//! `sts.json` in the data folder: roles, identity providers, MFA devices. Read at each call
//! that needs it; without the file there are none of them.
//!
//! ```json
//! {
//!   "version": 1,
//!   "roles": [{
//!     "arn": "arn:aws:iam::000000000000:role/Reader",
//!     "trust": [
//!       { "key": "AN_ACCESS_KEY_ID", "external_id": "agreed", "mfa": true },
//!       { "issuer": "https://id.example.com", "audience": "sts.amazonaws.com", "subject": "ci:*" }
//!     ],
//!     "policy": { "Statement": [{ "Effect": "Allow", "Action": "s3:Get*", "Resource": "*" }] },
//!     "max_seconds": 3600
//!   }],
//!   "providers": [{ "issuer": "https://id.example.com", "jwks": "jwks.json" }],
//!   "mfa_devices": [
//!     { "serial": "arn:aws:iam::000000000000:mfa/ada", "totp": "3132333435363738393031323334353637383930" },
//!     { "serial": "GAHT12345678", "code": "123456" }
//!   ]
//! }
//! ```
//!
//! One entry of `trust` must fit. `key` is the id of a key of this store, or `*` for any;
//! `external_id` and `mfa` are asked for where they are written. `audience` is one of the
//! token's, `subject` is compared with `*` and `?` as in policies; left out, `subject` is any.
//! `jwks` is a file in the data folder, or an `http://` address on this machine; it also says
//! where the keys of a provider of IAM with this issuer are. `totp` is the
//! device's secret in hexadecimal (RFC 6238: SHA-1, six digits, 30 seconds); a device with a
//! `code` shows always the same. The file holds secrets: one that others may read is refused.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::http::StatusCode;
use s3s::{S3Error, S3Result};
use serde::Deserialize;
use serde_json::Value;

use super::answer::custom;
use super::token::Claims;
use crate::policy::{Policy, fits};

/// The file's name in the data folder.
pub const FILE: &str = "sts.json";

/// Where the settings are.
pub(super) struct Place {
    folder: PathBuf,
}

/// What the file says.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    version: u32,
    #[serde(default)]
    roles: Vec<Role>,
    #[serde(default)]
    providers: Vec<Provider>,
    #[serde(default)]
    mfa_devices: Vec<Device>,
    #[serde(skip)]
    folder: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Role {
    arn: String,
    trust: Vec<Trust>,
    policy: Value,
    #[serde(default = "usual_seconds")]
    pub(super) max_seconds: i64,
}

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Trust {
    Key {
        key: String,
        external_id: Option<String>,
        #[serde(default)]
        mfa: bool,
    },
    Token {
        issuer: String,
        audience: String,
        subject: Option<String>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Provider {
    pub(super) issuer: String,
    pub(super) jwks: String,
}

/// An MFA device. No `Debug`: it is secret.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Device {
    pub(super) serial: String,
    pub(super) totp: Option<String>,
    pub(super) code: Option<String>,
}

fn usual_seconds() -> i64 {
    super::ROLE_LENGTH
}

impl Place {
    pub(super) fn in_folder(data: &Path) -> Self {
        Self {
            folder: data.to_owned(),
        }
    }

    /// Reads the file. What is wrong with it is the server's failure, and is in its log too.
    pub(super) fn load(&self) -> S3Result<Settings> {
        let path = self.folder.join(FILE);
        read(&path, &self.folder).map_err(|reason| {
            tracing::error!(file = %path.display(), reason, "the settings of STS cannot be used");
            unusable(&format!("{FILE}: {reason}"))
        })
    }
}

fn read(path: &Path, folder: &Path) -> Result<Settings, String> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Settings::default()),
        Err(e) => return Err(e.to_string()),
    };
    let mode = file.metadata().map_err(|e| e.to_string())?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(format!(
            "it can be read by others (mode {mode:o}); run: chmod 600 {FILE}"
        ));
    }
    let text = io::read_to_string(file).map_err(|e| e.to_string())?;
    // The parser's own words may repeat a value.
    let place = |e: serde_json::Error| format!("line {}, column {}", e.line(), e.column());
    let settings: Settings = serde_json::from_str(&text).map_err(place)?;
    if settings.version != 1 {
        return Err("it is of a newer version".into());
    }
    Ok(Settings {
        folder: folder.to_owned(),
        ..settings
    })
}

/// The server's own failure, told to the caller: this is a store for development.
pub(super) fn unusable(text: &str) -> S3Error {
    custom("InternalFailure", StatusCode::INTERNAL_SERVER_ERROR, text)
}

impl Settings {
    pub(super) fn role(&self, arn: &str) -> Option<&Role> {
        self.roles.iter().find(|role| role.arn == arn)
    }

    pub(super) fn provider(&self, issuer: &str) -> Option<&Provider> {
        self.providers.iter().find(|known| known.issuer == issuer)
    }

    pub(super) fn device(&self, serial: &str) -> Option<&Device> {
        self.mfa_devices.iter().find(|known| known.serial == serial)
    }

    /// The data folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Role {
    /// Whether a key may assume it, with what it has given beside its signature.
    pub(super) fn trusts_key(&self, id: &str, external: Option<&str>, has_code: bool) -> bool {
        self.trust.iter().any(|trust| match trust {
            Trust::Key {
                key,
                external_id,
                mfa,
            } => {
                (key == "*" || key == id)
                    && (external_id.is_none() || external_id.as_deref() == external)
                    && (!mfa || has_code)
            }
            Trust::Token { .. } => false,
        })
    }

    /// Whether whoever has this verified token may assume it.
    pub(super) fn trusts_token(&self, claims: &Claims) -> bool {
        self.trust.iter().any(|trust| match trust {
            Trust::Key { .. } => false,
            Trust::Token {
                issuer,
                audience,
                subject,
            } => {
                let wanted = subject.as_deref().unwrap_or("*");
                *issuer == claims.issuer
                    && claims.audiences.contains(audience)
                    && fits(wanted, &claims.subject)
            }
        })
    }

    pub(super) fn policy(&self) -> S3Result<Arc<Policy>> {
        let policy = Policy::parse(&self.policy.to_string());
        policy.map(Arc::new).map_err(|e| {
            unusable(&format!(
                "{FILE}: the policy of {} is refused: {e}",
                self.arn
            ))
        })
    }
}
