//! Who may come in: `keys.json` in the data folder, read again whenever it changes.
//!
//! SigV4 needs the secret on both sides, so it is stored. The file has mode 0600 and is
//! refused when others may read it. A server looks at the file's stamp on every request,
//! so a revoked key stops working with the next one.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::iam::{Directory, Held};
use crate::policy::{ACCOUNT, Policy, PolicyError, Principal};

/// The file's name in the data folder.
pub const FILE: &str = "keys.json";

/// An access key with its secret. The secret shows in no `Debug` output.
#[derive(Clone, Debug)]
pub struct AccessKey {
    /// The public half.
    pub id: String,
    /// The secret half.
    pub secret: SecretString,
}

/// A key as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySummary {
    /// The public half.
    pub id: String,
    /// Whose it is, and with that, what it may do.
    pub holder: Holder,
}

/// Whose a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// The owner of the store, who may do everything.
    Root,
    /// Nobody in particular; the key has this policy (JSON) of its own.
    Policy(String),
    /// This IAM user, who may do what the user's policies say.
    User(String),
}

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// Others may read the secrets.
    #[error("{path} can be read by others (mode {mode:o})\nhint: chmod 600 {path}")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is not what this program writes.
    #[error(
        "{path} cannot be understood: {reason}\nhint: mend it, or move it away and let a new one be made"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why; never a secret.
        reason: String,
    },
    /// A policy cannot be understood.
    #[error("the policy of key {id} is refused: {source}")]
    Policy {
        /// The key.
        id: String,
        /// Why.
        source: PolicyError,
    },
    /// No such key.
    #[error("there is no key {id}\nhint: list the keys to see which there are")]
    Unknown {
        /// The key asked for.
        id: String,
    },
    /// The root key is not revoked but replaced.
    #[error(
        "{id} is the root key and cannot be revoked\nhint: stop the server, remove the file, and start it for a new one"
    )]
    Root {
        /// The key.
        id: String,
    },
}

type Result<T> = std::result::Result<T, KeysError>;

/// The keys of one data folder.
pub struct Keys {
    path: PathBuf,
    loaded: Mutex<Loaded>,
}

/// Who a request comes from.
pub(crate) struct Identity {
    pub(crate) secret: SecretString,
    /// `None` may do everything.
    pub(crate) policy: Option<Policy>,
    /// The IAM user whose key it is.
    pub(crate) user: Option<String>,
    /// Who it is to policies.
    pub(crate) principal: Arc<Principal>,
}

#[derive(Default, Clone)]
struct Loaded {
    stamp: Option<Stamp>,
    by_id: Arc<HashMap<String, Arc<Identity>>>,
    directory: Arc<Directory>,
    /// What the roles may do, by their unique ids.
    roles: Arc<HashMap<String, Arc<Policy>>>,
}

/// What changes when the file changes: device, inode, size, time of change.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp(u64, u64, u64, i64, i64);

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    keys: Vec<Entry>,
    /// IAM's users, their keys, and policies.
    #[serde(default, skip_serializing_if = "Directory::is_empty")]
    iam: Directory,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    access_key_id: String,
    secret_access_key: String,
    /// Absent for the root key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<serde_json::Value>,
}

impl Keys {
    /// Opens the keys of a data folder; makes the file with a random root key when there
    /// is none. `root` replaces the root key.
    pub fn open(data: &Path, root: Option<&AccessKey>) -> Result<Self> {
        let keys = Self {
            path: data.join(FILE),
            loaded: Mutex::default(),
        };
        let _alone = keys.lock()?;
        let mut document = keys.read_or_new()?;
        let is_new = document.keys.is_empty();
        if let Some(root) = root {
            document
                .keys
                .retain(|key| key.policy.is_some() && key.access_key_id != root.id);
            document.keys.insert(0, Entry::root(root));
        } else if is_new {
            document.keys.push(Entry::root(&AccessKey::random()));
        }
        if is_new || root.is_some() {
            keys.write(&document)?;
        }
        keys.current()?;
        Ok(keys)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The root key.
    pub fn root(&self) -> Result<AccessKey> {
        let document = self.read()?;
        let root = document.keys.into_iter().find(|key| key.policy.is_none());
        root.map(Entry::into_key)
            .ok_or_else(|| self.malformed("there is no root key"))
    }

    /// The keys, without secrets, in the file's order; those of IAM's users come last.
    pub fn list(&self) -> Result<Vec<KeySummary>> {
        let document = self.read()?;
        let summary = |key: Entry| KeySummary {
            id: key.access_key_id,
            holder: match key.policy {
                None => Holder::Root,
                Some(policy) => Holder::Policy(policy.to_string()),
            },
        };
        let of_user = |held: Held<'_>| KeySummary {
            id: held.id.to_owned(),
            holder: Holder::User(held.user.to_owned()),
        };
        let plain = document.keys.into_iter().map(summary);
        Ok(plain.chain(document.iam.keys().map(of_user)).collect())
    }

    /// A key with its secret.
    pub fn show(&self, id: &str) -> Result<AccessKey> {
        let document = self.read()?;
        if let Some(held) = document.iam.keys().find(|held| held.id == id) {
            return Ok(AccessKey {
                id: held.id.to_owned(),
                secret: held.secret.to_owned().into(),
            });
        }
        let mut plain = document.keys.into_iter();
        let found = plain.find(|key| key.access_key_id == id);
        found
            .map(Entry::into_key)
            .ok_or_else(|| KeysError::Unknown { id: id.to_owned() })
    }

    /// Makes a key that may do what the policy (JSON) says.
    pub fn add(&self, policy: &str) -> Result<AccessKey> {
        let key = AccessKey::random();
        let refused = |source| KeysError::Policy {
            id: key.id.clone(),
            source,
        };
        Policy::parse(policy).map_err(refused)?;
        let value =
            serde_json::from_str(policy).map_err(|error| refused(PolicyError::from(error)))?;
        let _alone = self.lock()?;
        let mut document = self.read()?;
        document.keys.push(Entry {
            policy: Some(value),
            ..Entry::root(&key)
        });
        self.write(&document)?;
        Ok(key)
    }

    /// Ends a key.
    pub fn revoke(&self, id: &str) -> Result<()> {
        let _alone = self.lock()?;
        let mut document = self.read()?;
        if document.iam.end_key(id) {
            return self.write(&document);
        }
        let place = document.keys.iter().position(|key| key.access_key_id == id);
        let place = place.ok_or_else(|| KeysError::Unknown { id: id.to_owned() })?;
        if document.keys[place].policy.is_none() {
            return Err(KeysError::Root { id: id.to_owned() });
        }
        document.keys.remove(place);
        self.write(&document)
    }

    /// Who has this access key now.
    pub(crate) fn identity(&self, id: &str) -> Result<Option<Arc<Identity>>> {
        Ok(self.current()?.by_id.get(id).cloned())
    }

    /// What a role may do now, by its unique id; `None` where it is gone.
    pub(crate) fn role_policy(&self, id: &str) -> Result<Option<Arc<Policy>>> {
        Ok(self.current()?.roles.get(id).cloned())
    }

    /// IAM's users, roles and policies as they are now.
    pub(crate) fn directory(&self) -> Result<Arc<Directory>> {
        Ok(self.current()?.directory)
    }

    /// Changes IAM's users and policies; what is refused changes nothing. Waits for the
    /// disk, so it is not for a thread that serves connections.
    pub(crate) fn change_directory<T, E: From<KeysError>>(
        &self,
        change: impl FnOnce(&mut Directory) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let _alone = self.lock()?;
        let mut document = self.read()?;
        let changed = change(&mut document.iam)?;
        self.write(&document)?;
        Ok(changed)
    }

    fn current(&self) -> Result<Loaded> {
        let stamp = Stamp::of(&fs::metadata(&self.path).map_err(|source| self.io(source))?);
        let mut loaded = self.loaded.lock();
        if loaded.stamp != Some(stamp) {
            let document = self.read()?;
            let plain = document.keys.into_iter().map(Entry::into_identity);
            let active = document.iam.keys().filter(|held| held.active);
            let of_users = active.map(|held| held.identity(&document.iam));
            *loaded = Loaded {
                stamp: Some(stamp),
                by_id: Arc::new(plain.chain(of_users).collect::<Result<_>>()?),
                roles: Arc::new(self.roles(&document.iam)?),
                directory: Arc::new(document.iam),
            };
        }
        Ok(loaded.clone())
    }

    fn roles(&self, directory: &Directory) -> Result<HashMap<String, Arc<Policy>>> {
        let read = |(id, policy): (&str, std::result::Result<Policy, PolicyError>)| {
            let policy = policy.map_err(|source| KeysError::Policy {
                id: id.to_owned(),
                source,
            })?;
            Ok((id.to_owned(), Arc::new(policy)))
        };
        directory.role_rights().map(read).collect()
    }

    fn read_or_new(&self) -> Result<Document> {
        match self.read() {
            Err(KeysError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(Document {
                    version: 1,
                    keys: Vec::new(),
                    iam: Directory::default(),
                })
            }
            other => other,
        }
    }

    fn read(&self) -> Result<Document> {
        let file = File::open(&self.path).map_err(|source| self.io(source))?;
        let mode = file.metadata().map_err(|source| self.io(source))?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeysError::Exposed {
                path: self.path.clone(),
                mode,
            });
        }
        let text = io::read_to_string(file).map_err(|source| self.io(source))?;
        let document: Document = serde_json::from_str(&text).map_err(|error| {
            self.malformed(&format!("line {}, column {}", error.line(), error.column()))
        })?;
        if document.version != 1 {
            return Err(self.malformed("it is of a newer version"));
        }
        Ok(document)
    }

    /// Replaces the file whole: a reader sees the old one or the new one.
    fn write(&self, document: &Document) -> Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let replace = || -> io::Result<()> {
            // Mode 0600 is tempfile's own.
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            serde_json::to_writer_pretty(&mut file, document)?;
            file.write_all(b"\n")?;
            file.as_file().sync_all()?;
            file.persist(&self.path)?;
            File::open(folder)?.sync_all()
        };
        replace().map_err(|source| self.io(source))
    }

    /// Held while the file is changed, by this or another process.
    fn lock(&self) -> Result<File> {
        let path = self.path.with_extension("lock");
        let open = || {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(&path)?;
            file.lock()?;
            Ok(file)
        };
        open().map_err(|source| KeysError::Io {
            path: path.clone(),
            source,
        })
    }

    fn io(&self, source: io::Error) -> KeysError {
        KeysError::Io {
            path: self.path.clone(),
            source,
        }
    }

    fn malformed(&self, reason: &str) -> KeysError {
        KeysError::Malformed {
            path: self.path.clone(),
            reason: reason.to_owned(),
        }
    }
}

impl AccessKey {
    /// A new key: 64 random bits of name, 160 of secret.
    pub fn random() -> Self {
        let random = || uuid::Uuid::new_v4().simple().to_string();
        let id = format!("ART{}", &random().to_uppercase()[..17]);
        let secret = format!("{}{}", &random()[..20], &random()[..20]);
        Self {
            id,
            secret: secret.into(),
        }
    }
}

impl Stamp {
    fn of(file: &fs::Metadata) -> Self {
        Self(
            file.dev(),
            file.ino(),
            file.size(),
            file.ctime(),
            file.ctime_nsec(),
        )
    }
}

impl Entry {
    fn root(key: &AccessKey) -> Self {
        Self {
            access_key_id: key.id.clone(),
            secret_access_key: key.secret.expose_secret().to_owned(),
            policy: None,
        }
    }

    fn into_key(self) -> AccessKey {
        AccessKey {
            id: self.access_key_id,
            secret: self.secret_access_key.into(),
        }
    }

    fn into_identity(self) -> Result<(String, Arc<Identity>)> {
        let policy = match &self.policy {
            None => None,
            Some(value) => {
                Some(
                    Policy::parse(&value.to_string()).map_err(|source| KeysError::Policy {
                        id: self.access_key_id.clone(),
                        source,
                    })?,
                )
            }
        };
        let principal = Principal::named(match policy {
            None => format!("arn:aws:iam::{ACCOUNT}:root"),
            Some(_) => format!("arn:aws:iam::{ACCOUNT}:user/{}", self.access_key_id),
        });
        let identity = Identity {
            secret: self.secret_access_key.into(),
            policy,
            user: None,
            principal: Arc::new(principal),
        };
        Ok((self.access_key_id, Arc::new(identity)))
    }
}

impl Held<'_> {
    fn identity(&self, directory: &Directory) -> Result<(String, Arc<Identity>)> {
        let policy = directory.rights(self.user);
        let policy = policy.map_err(|source| KeysError::Policy {
            id: self.id.to_owned(),
            source,
        })?;
        let identity = Identity {
            secret: self.secret.to_owned().into(),
            policy: Some(policy),
            user: Some(self.user.to_owned()),
            principal: Arc::new(directory.principal(self.user)),
        };
        Ok((self.id.to_owned(), Arc::new(identity)))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const READ_ALL: &str =
        r#"{"Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::*"}]}"#;

    #[test]
    fn the_root_key_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let first = Keys::open(folder.path(), None).unwrap().root().unwrap();
        let second = Keys::open(folder.path(), None).unwrap().root().unwrap();
        assert_eq!(first.id, second.id);
        let mode = fs::metadata(folder.path().join(FILE)).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o600);
    }

    #[test]
    fn a_fixed_root_key_replaces_the_old_and_keeps_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::open(folder.path(), None).unwrap();
        let other = keys.add(READ_ALL).unwrap();
        let fixed = AccessKey {
            id: "fixed".into(),
            secret: "s3cret".to_owned().into(),
        };
        let keys = Keys::open(folder.path(), Some(&fixed)).unwrap();
        let ids: Vec<_> = keys.list().unwrap().into_iter().map(|key| key.id).collect();
        assert_eq!(ids, ["fixed".to_owned(), other.id]);
    }

    #[test]
    fn a_revoked_key_is_gone_from_a_running_server_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let serving = Keys::open(folder.path(), None).unwrap();
        let editing = Keys::open(folder.path(), None).unwrap();
        let key = editing.add(READ_ALL).unwrap();
        assert!(serving.identity(&key.id).unwrap().is_some());
        editing.revoke(&key.id).unwrap();
        assert!(serving.identity(&key.id).unwrap().is_none());
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        drop(Keys::open(folder.path(), None).unwrap());
        let path = folder.path().join(FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = Keys::open(folder.path(), None).err().unwrap();
        assert!(
            matches!(refused, KeysError::Exposed { mode: 0o640, .. }),
            "{refused}"
        );
    }

    #[test]
    fn a_policy_that_cannot_be_understood_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::open(folder.path(), None).unwrap();
        let refused = keys
            .add(r#"{"Statement":[{"Effect":"Permit"}]}"#)
            .err()
            .unwrap();
        assert!(matches!(refused, KeysError::Policy { .. }), "{refused}");
        assert_eq!(keys.list().unwrap().len(), 1);
    }

    #[test]
    fn the_root_key_cannot_be_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::open(folder.path(), None).unwrap();
        let root = keys.root().unwrap();
        assert!(matches!(keys.revoke(&root.id), Err(KeysError::Root { .. })));
        assert!(matches!(
            keys.revoke("nobody"),
            Err(KeysError::Unknown { .. })
        ));
    }

    #[test]
    fn debug_shows_no_secret() {
        let key = AccessKey::random();
        assert!(!format!("{key:?}").contains(key.secret.expose_secret()));
    }
}
