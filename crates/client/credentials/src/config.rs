//! `config.toml`: which keyring, which identities, what a profile means. Never a secret.
//!
//! Read as a whole; changed by single values, so that comments and what this version does
//! not know stay as they are. A setting of a keyring that this version does not know is an
//! error: it was meant to protect keys, and would not. Others are named in the log.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use serde::Deserialize;
use toml_edit::{DocumentMut, Item, Table, TableLike, Value};

use crate::keyring::{FileKeyring, Keyring, KeyringKind, MemoryKeyring, Passwords, SystemKeyring};
use crate::{
    Endpoint, Error, Folder, Identity, IdentityName, KeyProfile, Lifetime, Paths, Privacy, Result,
    VaultSettings,
};

/// What `config.toml` says.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Config {
    #[serde(default)]
    auth: Auth,
    #[serde(default)]
    orchestrator: OrchestratorSettings,
    #[serde(default)]
    vault: VaultSettings,
    #[serde(default)]
    profiles: BTreeMap<KeyProfile, ProfileSettings>,
    #[serde(skip)]
    unknown: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
struct Auth {
    keyring: Option<KeyringSettings>,
    #[serde(default)]
    identities: BTreeMap<IdentityName, Identity>,
}

/// `[orchestrator]`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
struct OrchestratorSettings {
    url: Option<Endpoint>,
}

/// `[auth.keyring]`, or `[profiles.NAME.keyring]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyringSettings {
    /// The backend.
    #[serde(rename = "type")]
    pub kind: KeyringKind,
    /// What only the file keyring needs.
    #[serde(default)]
    pub spec: KeyringSpec,
}

/// `[auth.keyring.spec]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyringSpec {
    /// The file keyring's folder; may begin with `~/`.
    pub path: Option<PathBuf>,
    /// The variable that has the file keyring's password.
    pub password_env: Option<String>,
    /// How long a password that was given opens the keyring for this login session.
    pub unlock_for: Option<Lifetime>,
}

/// `[profiles.NAME]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct ProfileSettings {
    /// Another keyring than the usual one.
    pub keyring: Option<KeyringSettings>,
    /// The keys are those of this identity's session.
    pub identity: Option<IdentityName>,
    /// The keys are those of this profile of the AWS tools.
    pub aws_profile: Option<String>,
}

/// The variable that has the file keyring's password, unless `password_env` names another.
pub const PASSWORD_VARIABLE: &str = "ARTIFACTS_KEYRING_PASSWORD";

/// An hour: long enough for a morning's commands, short enough for a lunch.
const UNLOCK_FOR: Lifetime = Lifetime::from_seconds(3600);

/// Some commands read the file more than once; what is strange in it is said once.
static SAID: Once = Once::new();

impl Config {
    /// Reads the file; where there is none, everything is as usual.
    pub fn load(paths: &Paths) -> Result<Self> {
        let Some(bytes) = read(paths.config_file())? else {
            return Ok(Self::default());
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| malformed(paths, "not UTF-8"))?;
        let config = parse(text).map_err(|reason| malformed(paths, &reason))?;
        SAID.call_once(|| {
            for setting in &config.unknown {
                let file = paths.config_file().display();
                tracing::warn!("{file}: the setting {setting} means nothing to this version");
            }
        });
        Ok(config)
    }

    /// The settings in the file that mean nothing to this version: those of a later one, or
    /// mistyped.
    pub fn unknown(&self) -> &[String] {
        &self.unknown
    }

    /// The keyring that is configured for a profile: its own, else the usual one. `kind`, if
    /// given, takes the place of the type that is written there.
    pub fn keyring(
        &self,
        profile: &KeyProfile,
        kind: Option<KeyringKind>,
    ) -> Option<KeyringSettings> {
        let own = self.profiles.get(profile).and_then(|p| p.keyring.as_ref());
        let written = own.or(self.auth.keyring.as_ref()).cloned();
        match (written, kind) {
            (Some(written), Some(kind)) => Some(KeyringSettings { kind, ..written }),
            (None, Some(kind)) => Some(KeyringSettings::of(kind)),
            (written, None) => written,
        }
    }

    /// The orchestrator that is used where none is named.
    pub fn orchestrator(&self) -> Option<&Endpoint> {
        self.orchestrator.url.as_ref()
    }

    /// What is written about the vault.
    pub fn vault(&self) -> &VaultSettings {
        &self.vault
    }

    /// What is written about a profile.
    pub fn profile(&self, name: &KeyProfile) -> ProfileSettings {
        self.profiles.get(name).cloned().unwrap_or_default()
    }

    /// The identities, by name.
    pub fn identities(&self) -> &BTreeMap<IdentityName, Identity> {
        &self.auth.identities
    }

    /// The variables that may have a keyring's password, by the settings of any profile.
    pub fn password_variables(&self) -> BTreeSet<&str> {
        let of_profiles = self.profiles.values().filter_map(|p| p.keyring.as_ref());
        let all = self.auth.keyring.iter().chain(of_profiles);
        all.map(KeyringSettings::password_variable).collect()
    }

    /// Writes which keyring is used: in `[profiles.NAME.keyring]` where a profile is given,
    /// else in `[auth.keyring]`. `None` takes that table out.
    pub fn set_keyring(
        paths: &Paths,
        profile: Option<&KeyProfile>,
        kind: Option<KeyringKind>,
    ) -> Result<()> {
        let above = match profile {
            Some(profile) => vec!["profiles", profile.as_str()],
            None => vec!["auth"],
        };
        edit(paths, |document| {
            match kind {
                None => {
                    table(document.as_table_mut(), &above)?.remove("keyring");
                }
                Some(kind) => {
                    let path = [&above[..], &["keyring"]].concat();
                    let keyring = table(document.as_table_mut(), &path)?;
                    put(keyring, "type", kind.to_string().into());
                }
            }
            Some(())
        })
    }

    /// Writes which orchestrator is used.
    pub fn set_orchestrator(paths: &Paths, url: &Endpoint) -> Result<()> {
        edit(paths, |document| {
            let settings = table(document.as_table_mut(), &["orchestrator"])?;
            put(settings, "url", url.as_str().into());
            Some(())
        })
    }

    /// Writes settings of the vault, each by its name in `[vault]`; the others stay.
    pub fn set_vault(paths: &Paths, values: &[(&str, &str)]) -> Result<()> {
        edit(paths, |document| {
            let settings = table(document.as_table_mut(), &["vault"])?;
            for (name, value) in values {
                put(settings, name, (*value).into());
            }
            Some(())
        })
    }

    /// Writes an identity's settings in place of what was there; what this version does not
    /// know of it stays.
    pub fn set_identity(paths: &Paths, name: &IdentityName, identity: &Identity) -> Result<()> {
        let text = toml::to_string(identity).map_err(|e| malformed(paths, &e.to_string()))?;
        let fresh: DocumentMut = text
            .parse()
            .map_err(|e: toml_edit::TomlError| malformed(paths, e.message()))?;
        edit(paths, |document| {
            let path = ["auth", "identities", name.as_str()];
            let known = table(document.as_table_mut(), &path)?;
            for field in Identity::FIELDS {
                change(known, field, fresh.get(field));
            }
            Some(())
        })
    }

    /// Takes an identity's settings out; whether they were there.
    pub fn remove_identity(paths: &Paths, name: &IdentityName) -> Result<bool> {
        if !Self::load(paths)?.auth.identities.contains_key(name) {
            return Ok(false);
        }
        edit(paths, |document| {
            table(document.as_table_mut(), &["auth", "identities"])?.remove(name.as_str());
            Some(true)
        })
    }
}

impl KeyringSettings {
    /// A backend with everything as usual.
    pub fn of(kind: KeyringKind) -> Self {
        Self {
            kind,
            spec: KeyringSpec::default(),
        }
    }

    /// The keyring. Nothing is asked of it yet.
    pub fn open(&self, paths: &Paths, passwords: Box<dyn Passwords>) -> Result<Arc<dyn Keyring>> {
        Ok(match self.kind {
            KeyringKind::System => {
                let lock = paths.state().join("system-keyring");
                Arc::new(SystemKeyring::new(lock, passwords.may_ask()))
            }
            KeyringKind::Memory => Arc::new(MemoryKeyring::new()),
            KeyringKind::File => Arc::new(self.open_file(paths, passwords)?),
        })
    }

    /// The file keyring that is described, whatever the type says.
    pub fn open_file(&self, paths: &Paths, passwords: Box<dyn Passwords>) -> Result<FileKeyring> {
        let unlock = self.spec.unlock_for.unwrap_or(UNLOCK_FOR);
        let path = self.path(paths)?;
        Ok(FileKeyring::new(path, passwords, unlock.duration()))
    }

    /// The file keyring's folder.
    pub fn path(&self, paths: &Paths) -> Result<PathBuf> {
        let Some(path) = &self.spec.path else {
            return Ok(paths.data().join("keyring"));
        };
        expand_home(path, "auth.keyring.spec.path")
    }

    /// The variable that has the file keyring's password.
    pub fn password_variable(&self) -> &str {
        let own = self.spec.password_env.as_deref();
        own.unwrap_or(PASSWORD_VARIABLE)
    }
}

/// A path of the user's: absolute, or with `~/` for the home folder. `name` is what the error
/// calls it.
pub fn expand_home(path: &Path, name: &'static str) -> Result<PathBuf> {
    if let Ok(rest) = path.strip_prefix("~") {
        let home = etcetera::home_dir().map_err(|_| Error::NoHome)?;
        return Ok(home.join(rest));
    }
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    Err(Error::invalid(
        name,
        "is neither absolute nor begins with ~/",
    ))
}

fn read(path: &Path) -> Result<Option<zeroize::Zeroizing<Vec<u8>>>> {
    let (parent, name) = parts(path)?;
    match Folder::open(parent)? {
        Some(folder) => folder.read(name, Privacy::Trusted),
        None => Ok(None),
    }
}

fn parts(path: &Path) -> Result<(&Path, &str)> {
    let name = path.file_name().and_then(|name| name.to_str());
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .zip(name)
        .ok_or_else(|| Error::invalid("ARTIFACTS_CONFIG", "is not the absolute path of a file"))
}

/// Changes the file under its folder's lock. `change` answers nothing where the file has
/// something else in the place of a table.
fn edit<T>(paths: &Paths, change: impl FnOnce(&mut DocumentMut) -> Option<T>) -> Result<T> {
    let (parent, name) = parts(paths.config_file())?;
    let folder = Folder::create(parent)?;
    let _lock = folder.lock()?;
    folder.sweep()?;
    let bytes = folder.read(name, Privacy::Trusted)?.unwrap_or_default();
    let text = std::str::from_utf8(&bytes).map_err(|_| malformed(paths, "not UTF-8"))?;
    let mut document: DocumentMut = text
        .parse()
        .map_err(|e: toml_edit::TomlError| malformed(paths, e.message()))?;
    let answer = change(&mut document)
        .ok_or_else(|| malformed(paths, "a name of ours is not a table there"))?;
    let text = document.to_string();
    // What would not be read again is not written.
    parse(&text).map_err(|reason| malformed(paths, &reason))?;
    folder.replace(name, text.as_bytes())?;
    Ok(answer)
}

/// Takes the file's text apart; the error says in which line.
fn parse(text: &str) -> std::result::Result<Config, String> {
    let said = |e: toml::de::Error| match e.span() {
        Some(span) => {
            let before = text.as_bytes().iter().take(span.start);
            let line = 1 + before.filter(|byte| **byte == b'\n').count();
            format!("line {line}: {}", e.message())
        }
        None => e.message().to_owned(),
    };
    let mut config: Config = toml::from_str(text).map_err(said)?;
    config.unknown = unknown(&toml::from_str(text).map_err(said)?);
    Ok(config)
}

/// The names of settings that nobody reads, but those of keyrings: there they are errors.
fn unknown(file: &toml::Table) -> Vec<String> {
    let mut found = Vec::new();
    let mut look = |place: &str, at: &toml::Table, known: &[&str]| {
        let strange = at.keys().filter(|key| !known.contains(&key.as_str()));
        found.extend(strange.map(|key| format!("{place}{key}")));
    };
    look("", file, &["auth", "orchestrator", "profiles", "vault"]);
    if let Some(orchestrator) = file.get("orchestrator").and_then(toml::Value::as_table) {
        look("orchestrator.", orchestrator, &["url"]);
    }
    for (name, profile) in tables(file.get("profiles")) {
        let known = ["keyring", "identity", "aws_profile"];
        look(&format!("profiles.{name}."), profile, &known);
    }
    if let Some(auth) = file.get("auth").and_then(toml::Value::as_table) {
        look("auth.", auth, &["keyring", "identities"]);
        for (name, identity) in tables(auth.get("identities")) {
            let place = format!("auth.identities.{name}.");
            look(&place, identity, &Identity::FIELDS);
        }
    }
    found
}

fn tables(of: Option<&toml::Value>) -> impl Iterator<Item = (&String, &toml::Table)> {
    let all = of.and_then(toml::Value::as_table).into_iter().flatten();
    all.filter_map(|(name, value)| Some((name, value.as_table()?)))
}

/// The table at a path, made where it is missing.
fn table<'t>(at: &'t mut dyn TableLike, path: &[&str]) -> Option<&'t mut dyn TableLike> {
    let Some((name, rest)) = path.split_first() else {
        return Some(at);
    };
    if !at.contains_key(name) {
        let mut fresh = Table::new();
        // `[auth]` alone need not be written.
        fresh.set_implicit(!rest.is_empty());
        at.insert(name, Item::Table(fresh));
    }
    table(at.get_mut(name)?.as_table_like_mut()?, rest)
}

/// Sets a value of text or takes it out.
fn change(table: &mut dyn TableLike, name: &str, wanted: Option<&Item>) {
    match wanted.and_then(Item::as_value) {
        Some(value) => put(table, name, value.clone()),
        None => {
            table.remove(name);
        }
    }
}

/// Sets a value; the comment beside the one that was there stays.
fn put(table: &mut dyn TableLike, name: &str, mut value: Value) {
    if let Some(old) = table.get(name).and_then(Item::as_value) {
        *value.decor_mut() = old.decor().clone();
    }
    table.insert(name, Item::Value(value));
}

fn malformed(paths: &Paths, reason: &str) -> Error {
    Error::MalformedConfig {
        path: paths.config_file().to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(text: &str) -> (tempfile::TempDir, Paths) {
        let home = tempfile::tempdir().expect("a temporary folder");
        let paths = Paths::under(home.path());
        let folder = Folder::create(paths.config()).expect("made");
        folder
            .replace("config.toml", text.as_bytes())
            .expect("written");
        (home, paths)
    }

    const TEXT: &str = "# mine\n[auth.keyring]\ntype = \"file\" # for the server\n[auth.keyring.spec]\npath = \"~/keys\"\npassword_env = \"PW\"\nunlock_for = \"2h\"\n\n[profiles.ci.keyring]\ntype = \"memory\"\n\n[profiles.work]\nidentity = \"ada\"\n";

    #[test]
    fn a_profile_may_have_another_keyring_and_the_variable_wins() {
        let (_home, paths) = machine(TEXT);
        let config = Config::load(&paths).expect("good");
        let kind = |profile: &str, kind| {
            let profile = profile.parse().expect("a profile");
            config.keyring(&profile, kind).map(|k| k.kind)
        };
        assert_eq!(kind("default", None), Some(KeyringKind::File));
        assert_eq!(kind("ci", None), Some(KeyringKind::Memory));
        let system = Some(KeyringKind::System);
        assert_eq!(kind("ci", system), system);
        let usual = config.keyring(&KeyProfile::default(), None).expect("one");
        assert_eq!(usual.password_variable(), "PW");
        let home = etcetera::home_dir().expect("a home");
        assert_eq!(usual.path(&paths), Ok(home.join("keys")));
        let nothing = Config::default();
        assert_eq!(nothing.keyring(&KeyProfile::default(), None), None);
    }

    #[test]
    fn changes_leave_comments_and_the_rest_alone() {
        let (_home, paths) = machine(TEXT);
        Config::set_keyring(&paths, None, Some(KeyringKind::System)).expect("written");
        let ada: IdentityName = "ada".parse().expect("a name");
        let identity = Identity {
            region: Some("eu-1".into()),
            session_length: Some(Lifetime::from_seconds(3600)),
            ..Identity::default()
        };
        Config::set_identity(&paths, &ada, &identity).expect("written");
        let text = std::fs::read_to_string(paths.config_file()).expect("read");
        assert!(
            text.starts_with("# mine\n[auth.keyring]\ntype = \"system\""),
            "{text}"
        );
        assert!(
            text.contains("[auth.identities.ada]\nregion = \"eu-1\"\nsession_length = \"1h\"\n"),
            "{text}"
        );
        let config = Config::load(&paths).expect("good");
        assert_eq!(config.identities().get(&ada), Some(&identity));
        assert_eq!(Config::remove_identity(&paths, &ada), Ok(true));
        assert_eq!(Config::remove_identity(&paths, &ada), Ok(false));
        let after = std::fs::read_to_string(paths.config_file()).expect("read");
        assert!(!after.contains("ada]"), "{after}");
    }

    #[test]
    fn the_keyring_is_written_in_whatever_form_its_table_has() {
        let kind = |text: &str, profile: Option<&str>, kind| {
            let (_home, paths) = machine(text);
            let profile = profile.map(|name| name.parse().expect("a profile"));
            Config::set_keyring(&paths, profile.as_ref(), kind).expect("written");
            let config = Config::load(&paths).expect("good");
            config.keyring(&profile.unwrap_or_default(), None)
        };
        let system = Some(KeyringKind::System);
        for text in [
            "",
            "[auth]\n",
            "[auth]\nkeyring = { type = \"file\" }\n",
            "auth = { identities = {} }\n",
            "auth.keyring.type = \"file\"\n",
        ] {
            assert_eq!(kind(text, None, system).map(|k| k.kind), system, "{text}");
            assert_eq!(kind(text, None, None), None, "{text}");
        }
        let both = "[auth.keyring]\ntype = \"file\"\n[profiles.ci.keyring]\ntype = \"memory\"\n";
        assert_eq!(kind(both, Some("ci"), system).map(|k| k.kind), system);
        let left = kind(both, Some("ci"), None).map(|k| k.kind);
        assert_eq!(left, Some(KeyringKind::File), "the usual one is left");
    }

    #[test]
    fn an_identity_keeps_what_this_version_does_not_know_of_it() {
        let text = "[auth.identities.ada]\nregion = \"eu-1\" # home\ncolour = \"blue\"\nrole_arn = \"arn:old\"\nmfa_device = \"D\"\n";
        let (_home, paths) = machine(text);
        let ada: IdentityName = "ada".parse().expect("a name");
        let identity = Identity {
            region: Some("eu-1".into()),
            role_arn: Some("arn:new".into()),
            ..Identity::default()
        };
        Config::set_identity(&paths, &ada, &identity).expect("written");
        let text = std::fs::read_to_string(paths.config_file()).expect("read");
        let expected = "[auth.identities.ada]\nregion = \"eu-1\" # home\ncolour = \"blue\"\nrole_arn = \"arn:new\"\n";
        assert_eq!(text, expected);
        let config = Config::load(&paths).expect("good");
        assert_eq!(config.unknown(), ["auth.identities.ada.colour"]);
    }

    #[test]
    fn the_fields_of_an_identity_are_all_known() {
        let text = Some("x".to_owned());
        let identity = Identity {
            endpoint: Some("https://sts.example".parse().expect("an endpoint")),
            region: text.clone(),
            mfa_device: text.clone(),
            session_length: Some(Lifetime::from_seconds(1)),
            role_arn: text.clone(),
            external_id: text,
            web_identity_token_file: Some("/x".into()),
        };
        let written = toml::Table::try_from(&identity).expect("a table");
        let mut names: Vec<&str> = written.keys().map(String::as_str).collect();
        let mut known = Identity::FIELDS;
        names.sort_unstable();
        known.sort_unstable();
        assert_eq!(names, known);
    }

    #[test]
    fn a_protecting_setting_in_the_wrong_place_is_an_error() {
        let (_home, paths) = machine("[auth.keyring]\ntype = \"file\"\nunlock_for = \"0s\"\n");
        let refused = Error::MalformedConfig {
            path: paths.config_file().to_owned(),
            reason: "line 3: unknown field `unlock_for`, expected `type` or `spec`".into(),
        };
        assert_eq!(Config::load(&paths), Err(refused));
    }

    #[test]
    fn other_settings_that_mean_nothing_are_named() {
        let text = "colour = 1\n[auth]\nkeyrings = 1\n[profiles.ci]\nidentiy = \"x\"\n[orchestrator]\nurl = \"https://o\"\nuri = 1\n";
        let (_home, paths) = machine(text);
        let config = Config::load(&paths).expect("good");
        let expected = [
            "colour",
            "orchestrator.uri",
            "profiles.ci.identiy",
            "auth.keyrings",
        ];
        assert_eq!(config.unknown(), expected);
        let url = config.orchestrator().map(ToString::to_string);
        assert_eq!(url.as_deref(), Some("https://o"));
    }

    /// Not a test of its own: what the processes below do until they are killed.
    #[test]
    fn victim() {
        let Some(home) = std::env::var_os("ARTIFACTS_TEST_CONFIG_HOME") else {
            return;
        };
        let paths = Paths::under(home.as_ref());
        Config::set_keyring(&paths, None, Some(KeyringKind::System)).expect("written");
    }

    #[test]
    fn killed_at_any_step_the_settings_are_the_old_or_the_new_and_the_next_write_sweeps() {
        for step in 0.. {
            let (home, paths) = machine(TEXT);
            let home = home.path().display().to_string();
            let variables = [("ARTIFACTS_TEST_CONFIG_HOME", home.as_str())];
            let ended =
                crate::steps::in_tests::run_to_step("config::tests::victim", step, &variables);
            let text = std::fs::read_to_string(paths.config_file()).expect("read");
            let new = TEXT.replacen("type = \"file\"", "type = \"system\"", 1);
            assert!(text == TEXT || text == new, "{text}");
            Config::set_keyring(&paths, None, Some(KeyringKind::File)).expect("written");
            let folder = Folder::open(paths.config()).expect("good").expect("there");
            let names = folder.names().expect("names");
            assert_eq!(names, [".lock", "config.toml"], "nothing is left over");
            if ended.success() {
                assert_eq!(step, 5);
                return;
            }
        }
    }

    #[test]
    fn a_file_that_makes_no_sense_is_named_and_not_written() {
        let (_home, paths) = machine("auth = 3\n");
        let refused = Config::set_keyring(&paths, None, Some(KeyringKind::File));
        assert!(
            matches!(refused, Err(Error::MalformedConfig { .. })),
            "{refused:?}"
        );
        assert!(matches!(
            Config::load(&paths),
            Err(Error::MalformedConfig { .. })
        ));
        let text = std::fs::read_to_string(paths.config_file()).expect("read");
        assert_eq!(text, "auth = 3\n");
        let (_home, paths) = machine("[auth.keyring]\ntype = \"wallet\"\n");
        let error = Config::load(&paths).expect_err("refused").to_string();
        assert!(error.contains("unknown variant `wallet`"), "{error}");
    }
}
