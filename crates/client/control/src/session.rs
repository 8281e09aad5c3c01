//! Where a login is kept on this machine: in the keyring that is configured, else in a file
//! of mode 0600 beside the storage keys. One for each orchestrator, and one beside it for what
//! an operator does, so that neither takes the other's place.

use std::path::PathBuf;
use std::sync::Arc;

use api::{Scope, Secret};
use credentials::keyring::{EntryName, Keyring, Secret as Kept};
use credentials::{Endpoint, Error, Folder, Paths, Privacy};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::client::{Orchestrator, Tokens};

/// A login at an orchestrator.
#[derive(Serialize, Deserialize)]
pub struct Session {
    /// Where.
    pub url: Endpoint,
    /// The token.
    pub token: Secret,
}

/// The place of logins.
#[derive(Clone)]
pub enum Sessions {
    /// A keyring.
    Keyring(Arc<dyn Keyring>),
    /// The folder of files, `sessions/` beside the storage keys.
    Files(PathBuf),
}

impl Sessions {
    /// The folder of these paths.
    pub fn in_files(paths: &Paths) -> Self {
        Self::Files(paths.config().join("sessions"))
    }

    /// The login at an orchestrator; `None` where there is none.
    ///
    /// # Errors
    /// The place is unreadable, exposed to others, or locked.
    pub fn load(&self, url: &Endpoint, scope: Scope) -> credentials::Result<Option<Session>> {
        let bytes = match self {
            Self::Keyring(keyring) => match keyring.load(&entry(url, scope)?)? {
                Some(kept) => Zeroizing::new(kept.expose().to_vec()),
                None => return Ok(None),
            },
            Self::Files(path) => {
                let Some(folder) = open(path)? else {
                    return Ok(None);
                };
                match folder.read(&name(url, scope), Privacy::Secret)? {
                    Some(bytes) => bytes,
                    None => return Ok(None),
                }
            }
        };
        let session: Session =
            serde_json::from_slice(&bytes).map_err(|_| Error::MalformedKeyFile {
                path: self.place(url, scope).into(),
                line: 1,
                reason: "it is not the login that was written".into(),
            })?;
        Ok(Some(session).filter(|session| session.url == *url))
    }

    /// Keeps a login in place of an earlier one at the same orchestrator.
    ///
    /// # Errors
    /// It could not be kept; "kept" is only said of what was read back.
    pub fn save(&self, session: &Session, scope: Scope) -> credentials::Result<()> {
        let text = serde_json::to_vec(session).map_err(|_| Error::NotKept {
            path: self.place(&session.url, scope).into(),
        })?;
        let text = Zeroizing::new(text);
        match self {
            Self::Keyring(keyring) => {
                keyring.store(&entry(&session.url, scope)?, &Kept::from(text))
            }
            Self::Files(path) => {
                if let Some(parent) = path.parent() {
                    Folder::create(parent)?;
                }
                let folder = Folder::create(path)?;
                let _lock = folder.lock()?;
                folder.replace(&name(&session.url, scope), &text)?;
                let back = folder.read(&name(&session.url, scope), Privacy::Secret)?;
                match back.is_some_and(|back| *back == *text) {
                    true => Ok(()),
                    false => Err(Error::NotKept {
                        path: self.place(&session.url, scope).into(),
                    }),
                }
            }
        }
    }

    /// Forgets a login; whether there was one.
    ///
    /// # Errors
    /// It is still there.
    pub fn forget(&self, url: &Endpoint, scope: Scope) -> credentials::Result<bool> {
        match self {
            Self::Keyring(keyring) => keyring.remove(&entry(url, scope)?),
            Self::Files(path) => match open(path)? {
                None => Ok(false),
                Some(folder) => {
                    let _lock = folder.lock()?;
                    folder.remove(&name(url, scope))
                }
            },
        }
    }

    /// Where that is, as people read it.
    pub fn place(&self, url: &Endpoint, scope: Scope) -> String {
        match self {
            Self::Keyring(keyring) => keyring.place(),
            Self::Files(path) => path.join(name(url, scope)).display().to_string(),
        }
    }

    /// The tokens of the login at an orchestrator, read anew for each call.
    pub fn tokens(&self, url: Endpoint, scope: Scope) -> Arc<dyn Tokens> {
        Arc::new(Saved {
            sessions: self.clone(),
            url,
            scope,
        })
    }
}

struct Saved {
    sessions: Sessions,
    url: Endpoint,
    scope: Scope,
}

impl Tokens for Saved {
    fn token(&self) -> credentials::Result<Option<SecretString>> {
        let session = self.sessions.load(&self.url, self.scope)?;
        Ok(session.map(|session| session.token.into_inner()))
    }
}

/// A service token or a session that the environment gives, as a login for one server.
impl Session {
    /// A login that nobody began here.
    pub fn given(url: Endpoint, token: SecretString) -> Self {
        Self {
            url,
            token: token.into(),
        }
    }

    /// The orchestrator, with this login.
    pub fn holder(&self, orchestrator: &Orchestrator) -> Orchestrator {
        let token = SecretString::from(self.token.expose().to_owned());
        orchestrator.clone().with(Arc::new(token))
    }
}

fn open(path: &std::path::Path) -> credentials::Result<Option<Folder>> {
    if let Some(parent) = path.parent()
        && Folder::open(parent)?.is_none()
    {
        return Ok(None);
    }
    Folder::open(path)
}

/// The address without what file names and entries do not take, for people, and a part of its
/// hash, so that no two addresses meet.
fn name(url: &Endpoint, scope: Scope) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '.' {
            c
        } else {
            '-'
        }
    };
    let shown: String = url.as_str().chars().map(plain).take(80).collect();
    let hash = Sha256::digest(url.as_str());
    let operator = match scope {
        Scope::Tenant => "",
        Scope::Operator => "-operator",
    };
    format!("{shown}-{}{operator}", hex::encode(&hash[..4]))
}

fn entry(url: &Endpoint, scope: Scope) -> credentials::Result<EntryName> {
    format!("orchestrator/{}", name(url, scope)).parse()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use credentials::keyring::MemoryKeyring;
    use secrecy::ExposeSecret;

    use super::*;

    const TENANT: Scope = Scope::Tenant;

    fn session(url: &str, token: &str) -> Session {
        Session::given(url.parse().expect("an address"), token.to_owned().into())
    }

    #[test]
    fn a_login_is_kept_for_its_server_and_for_no_other() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let files = Sessions::in_files(&Paths::under(home.path()));
        for place in [files, Sessions::Keyring(Arc::new(MemoryKeyring::new()))] {
            let url: Endpoint = "https://a.example:8443".parse().expect("an address");
            assert!(place.load(&url, TENANT).expect("readable").is_none());
            place
                .save(&session(url.as_str(), "one"), TENANT)
                .expect("saved");
            place
                .save(&session(url.as_str(), "two"), TENANT)
                .expect("saved");
            let token = place.tokens(url.clone(), TENANT).token().expect("readable");
            assert_eq!(token.expect("a token").expose_secret(), "two");
            let near: Endpoint = "https://a.example-8443".parse().expect("an address");
            assert!(place.load(&near, TENANT).expect("readable").is_none());
            assert!(!place.forget(&near, TENANT).expect("nothing there"));
            assert!(
                place
                    .load(&url, Scope::Operator)
                    .expect("readable")
                    .is_none()
            );
            assert!(place.forget(&url, TENANT).expect("removed"));
            assert!(!place.forget(&url, TENANT).expect("nothing there"));
        }
    }

    #[test]
    fn the_file_is_for_its_owner_and_one_that_others_can_read_is_refused() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let place = Sessions::in_files(&Paths::under(home.path()));
        let url: Endpoint = "https://a.example".parse().expect("an address");
        place
            .save(&session(url.as_str(), "one"), TENANT)
            .expect("saved");
        let path = PathBuf::from(place.place(&url, TENANT));
        let mode = |path: &PathBuf| path.metadata().expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        let open = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(&path, open).expect("chmod");
        assert_eq!(
            place.load(&url, TENANT).err(),
            Some(Error::ReadableByOthers { path, mode: 0o644 })
        );
    }
}
