//! The workspaces that this machine knows: one file `workspaces/NAME.toml` for each.

use std::fmt;
use std::path::PathBuf;

use bucket::probe::Capabilities;
use model::{Handle, WorkspaceName};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    BucketName, Endpoint, Error, Folder, IdentityName, KeyProfile, Paths, Prefix, Privacy, Result,
};

/// What a workspace's file says. Never a secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkspaceConfig {
    /// The workspace's id (a UUIDv7), the same as in the bucket's marker and on every
    /// machine; local caches and journals are named after it.
    pub id: Uuid,
    /// What kind of store holds it.
    pub backend: Backend,
    /// The bucket.
    pub bucket: BucketName,
    /// The store's address; without one, AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// The bucket's region, where it was given for this workspace; otherwise the key
    /// chain's counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// What every key of the workspace begins with.
    #[serde(default, skip_serializing_if = "Prefix::is_empty")]
    pub prefix: Prefix,
    /// Which keys of `byo-credentials` are used.
    #[serde(default, skip_serializing_if = "KeyProfile::is_default")]
    pub profile: KeyProfile,
    /// The identity whose session's keys are used, instead of the profile's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityName>,
    /// The AWS tools' profile whose keys are used, instead of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws_profile: Option<String>,
    /// What the store was seen to honour; none where it was never asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// What an orchestrator knows it as, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orchestrator: Option<Registration>,
    /// Defaults of `artifacts mount` for this workspace, in the mount's own words.
    #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
    pub mount: toml::Table,
    /// Fields that this version does not know, kept as they are.
    #[serde(flatten)]
    pub unknown: toml::Table,
}

/// A workspace as an orchestrator knows it. Never a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Where the orchestrator is.
    pub url: Endpoint,
    /// Whose workspace it is.
    pub handle: Handle,
    /// Its name there.
    pub name: WorkspaceName,
    /// Its number there.
    pub workspace_id: Uuid,
    /// Whether its keys are issued by the orchestrator; otherwise they are the user's own.
    #[serde(default)]
    pub managed: bool,
    /// The key that this machine was issued by its login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<IssuedKey>,
    /// The key that a ticket was exchanged for: it opens no more than the ticket says, whatever
    /// this machine's own may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket_key: Option<IssuedKey>,
}

/// A key that an orchestrator has issued, without its secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedKey {
    /// Its number there.
    pub id: Uuid,
    /// The tenant that it was issued to. To others the orchestrator says that there is none.
    pub tenant_id: Uuid,
}

impl Registration {
    /// The profile under which the login's key is kept on this machine: one for each workspace
    /// of each orchestrator.
    pub fn key_profile(&self) -> KeyProfile {
        self.profile("managed")
    }

    /// The same for a ticket's key.
    pub fn ticket_profile(&self) -> KeyProfile {
        self.profile("ticket")
    }

    /// A number is unique at one orchestrator only, and whoever runs another chooses it.
    fn profile(&self, what: &str) -> KeyProfile {
        let mut place = Sha256::new();
        place.update(self.url.as_str());
        place.update([0]);
        place.update(self.workspace_id.as_bytes());
        let digest = hex::encode(&place.finalize()[..16]);
        let text = format!("{what}-{digest}");
        text.parse()
            .expect("letters, digits and a dash, 40 of them at most")
    }
}

impl WorkspaceConfig {
    /// Whether the workspace is opened with the key that its orchestrator has issued, and
    /// nobody chose another.
    pub fn uses_issued_key(&self) -> bool {
        let issued = self.orchestrator.as_ref().filter(|known| known.managed);
        let issued_here = |known: &Registration| {
            [known.key_profile(), known.ticket_profile()].contains(&self.profile)
        };
        issued.is_some_and(issued_here) && self.identity.is_none() && self.aws_profile.is_none()
    }
}

impl fmt::Display for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "artifacts://{}/{}", self.handle, self.name)
    }
}

/// What kind of store holds a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// An S3-compatible store, with the user's own keys.
    S3,
}

/// The folder of workspace files.
pub struct Workspaces {
    folder: PathBuf,
}

const SUFFIX: &str = ".toml";

impl Workspaces {
    /// The folder of these paths.
    pub fn new(paths: &Paths) -> Self {
        Self {
            folder: paths.workspaces(),
        }
    }

    /// The names of all workspaces, sorted. Files that are named otherwise are none.
    pub fn names(&self) -> Result<Vec<WorkspaceName>> {
        let Some(folder) = self.open()? else {
            return Ok(Vec::new());
        };
        let names = folder.names()?;
        let stems = names.iter().filter_map(|name| name.strip_suffix(SUFFIX));
        Ok(stems.filter_map(|stem| stem.parse().ok()).collect())
    }

    /// Reads one workspace's file.
    pub fn load(&self, name: &WorkspaceName) -> Result<WorkspaceConfig> {
        let missing = || Error::NoWorkspace { name: name.clone() };
        let folder = self.open()?.ok_or_else(missing)?;
        let bytes = folder
            .read(&file_name(name), Privacy::Trusted)?
            .ok_or_else(missing)?;
        let malformed = |reason: String| Error::MalformedWorkspace {
            path: self.path(name),
            reason,
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| malformed("not UTF-8".into()))?;
        toml::from_str(text).map_err(|e| malformed(e.message().to_owned()))
    }

    /// Whether the name is taken.
    pub fn contains(&self, name: &WorkspaceName) -> Result<bool> {
        match self.load(name) {
            Err(Error::NoWorkspace { .. }) => Ok(false),
            Ok(_) | Err(Error::MalformedWorkspace { .. }) => Ok(true),
            Err(e) => Err(e),
        }
    }

    /// Writes the file of a new workspace; refused where the name is taken.
    pub fn create(&self, name: &WorkspaceName, config: &WorkspaceConfig) -> Result<()> {
        let folder = self.make()?;
        let _lock = folder.lock()?;
        if self.contains(name)? {
            return Err(Error::WorkspaceExists { name: name.clone() });
        }
        self.write(&folder, name, config)
    }

    /// Rewrites a workspace's file.
    pub fn save(&self, name: &WorkspaceName, config: &WorkspaceConfig) -> Result<()> {
        let folder = self.make()?;
        let _lock = folder.lock()?;
        self.write(&folder, name, config)
    }

    /// Removes a workspace's file; nothing else.
    pub fn delete(&self, name: &WorkspaceName) -> Result<()> {
        let missing = || Error::NoWorkspace { name: name.clone() };
        let folder = self.open()?.ok_or_else(missing)?;
        let _lock = folder.lock()?;
        match folder.remove(&file_name(name))? {
            true => Ok(()),
            false => Err(missing()),
        }
    }

    /// Where a workspace's file is.
    pub fn path(&self, name: &WorkspaceName) -> PathBuf {
        self.folder.join(file_name(name))
    }

    fn write(&self, folder: &Folder, name: &WorkspaceName, config: &WorkspaceConfig) -> Result<()> {
        let text = toml::to_string_pretty(config).map_err(|e| Error::MalformedWorkspace {
            path: self.path(name),
            reason: e.to_string(),
        })?;
        folder.replace(&file_name(name), text.as_bytes())
    }

    /// The folder, once its parent has been found to be ours.
    fn open(&self) -> Result<Option<Folder>> {
        if let Some(parent) = self.folder.parent()
            && Folder::open(parent)?.is_none()
        {
            return Ok(None);
        }
        Folder::open(&self.folder)
    }

    fn make(&self) -> Result<Folder> {
        if let Some(parent) = self.folder.parent() {
            Folder::create(parent)?;
        }
        Folder::create(&self.folder)
    }
}

fn file_name(name: &WorkspaceName) -> String {
    format!("{name}{SUFFIX}")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn config() -> WorkspaceConfig {
        WorkspaceConfig {
            id: Uuid::from_u128(0x0192_f5a0_0000_7000_8000_0000_0000_0000),
            backend: Backend::S3,
            bucket: "my-bucket".parse().expect("a bucket"),
            endpoint: Some("http://127.0.0.1:9000".parse().expect("an endpoint")),
            region: None,
            prefix: "team".parse().expect("a prefix"),
            profile: KeyProfile::default(),
            identity: None,
            aws_profile: None,
            capabilities: None,
            orchestrator: None,
            mount: toml::Table::new(),
            unknown: toml::Table::new(),
        }
    }

    fn name(text: &str) -> WorkspaceName {
        text.parse().expect("a name")
    }

    #[test]
    fn a_workspace_is_written_found_and_forgotten() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let store = Workspaces::new(&Paths::under(home.path()));
        assert_eq!(store.names(), Ok(vec![]));
        let missing = Error::NoWorkspace {
            name: name("cases"),
        };
        assert_eq!(store.load(&name("cases")), Err(missing.clone()));
        assert_eq!(store.delete(&name("cases")), Err(missing.clone()));

        store.create(&name("cases"), &config()).expect("created");
        assert_eq!(
            store.create(&name("cases"), &config()),
            Err(Error::WorkspaceExists {
                name: name("cases")
            })
        );
        assert_eq!(store.names(), Ok(vec![name("cases")]));
        assert_eq!(store.load(&name("cases")), Ok(config()));
        store.delete(&name("cases")).expect("deleted");
        assert_eq!(store.load(&name("cases")), Err(missing));
    }

    #[test]
    fn fields_of_a_later_version_survive_a_rewrite() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let store = Workspaces::new(&Paths::under(home.path()));
        store.create(&name("w"), &config()).expect("created");
        let text = fs::read_to_string(store.path(&name("w"))).expect("read");
        let later = format!("colour = \"blue\"\n{text}\n[mount]\nuploads = 4\n\n[future]\nx = 1\n");
        fs::write(store.path(&name("w")), later).expect("written");
        let mut loaded = store.load(&name("w")).expect("loaded");
        loaded.region = Some("eu-west-1".into());
        store.save(&name("w"), &loaded).expect("saved");
        let again = store.load(&name("w")).expect("loaded");
        assert_eq!(again, loaded);
        assert_eq!(again.unknown["colour"].as_str(), Some("blue"));
        assert_eq!(again.unknown["future"]["x"].as_integer(), Some(1));
        assert_eq!(again.mount["uploads"].as_integer(), Some(4));
    }

    #[test]
    fn what_is_no_workspace_file_is_said_to_be_none() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let store = Workspaces::new(&Paths::under(home.path()));
        store.create(&name("w"), &config()).expect("created");
        for (text, part) in [
            ("mount = 3", "invalid type"),
            (
                "id = \"../../x\"\nbackend = \"s3\"\nbucket = \"b\"",
                "UUID parsing failed",
            ),
            ("backend = \"ftp\"", "unknown variant"),
            (
                "id = \"0192f5a0-0000-7000-8000-000000000000\"\nbackend = \"s3\"\n",
                "missing field `bucket`",
            ),
            ("=", "key"),
        ] {
            fs::write(store.path(&name("w")), text).expect("written");
            match store.load(&name("w")) {
                Err(Error::MalformedWorkspace { reason, .. }) => {
                    assert!(reason.contains(part), "{text}: {reason}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }
}
