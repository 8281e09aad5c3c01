//! The chain that finds the storage keys.
//!
//! Environment first, the cache file second, an error that names both places last. Access
//! key, secret key and session token are one unit: they come from one place together, and
//! half of them in the environment is refused rather than completed from elsewhere. The
//! region may come from the environment alone.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use subtle::ConstantTimeEq;
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::keyring::{EntryName, Keyring, Secret, exchange};
use crate::login::Login;
use crate::{
    CREDENTIALS_FILE, Environment, Error, Field, FieldValue, Folder, Identity, IdentityName,
    KeyFile, KeyProfile, KeySet, Paths, Privacy, Result, aws,
};

/// The chain for one profile. Each call looks at the saved keys anew, so that keys renewed
/// there by somebody else are found; the environment is read once.
#[derive(Clone)]
pub struct StorageKeys {
    folder: PathBuf,
    profile: KeyProfile,
    environment: Arc<Environment>,
    place: Place,
    /// When a session was last replaced because the store refused it.
    replaced: Arc<Mutex<Option<OffsetDateTime>>>,
}

/// A store that refuses the new session too is not helped by a third one at once.
const AGAIN: Duration = Duration::seconds(30);
/// How often a change is tried anew where others were faster.
const TRIES: usize = 5;

/// Where keys are looked for that the environment does not have.
#[derive(Clone)]
pub enum Place {
    /// The cache file.
    Cache,
    /// A keyring's entry for the profile.
    Keyring(Arc<dyn Keyring>),
    /// The session of an identity, in a keyring.
    Identity(Arc<dyn Keyring>, IdentityName, Box<Identity>),
    /// A profile of the AWS tools.
    Aws(String),
}

/// Where a value was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In this environment variable.
    Environment(&'static str),
    /// In the cache file, under this profile.
    File {
        /// The file.
        path: PathBuf,
        /// The profile.
        profile: KeyProfile,
    },
    /// In a keyring.
    Keyring {
        /// The keyring, as people read it.
        place: String,
        /// The entry.
        entry: EntryName,
    },
    /// In the AWS tools' file.
    Aws {
        /// The file.
        path: PathBuf,
        /// The profile there.
        profile: String,
    },
}

/// A value and where it was found. As [`FieldValue`], without `Debug`.
pub struct Sourced {
    /// The value.
    pub value: FieldValue,
    /// Its place.
    pub source: Source,
}

/// What the chain gives for every field, complete or not.
pub struct Overview {
    /// The access key id.
    pub access_key_id: Option<Sourced>,
    /// The secret access key.
    pub secret_access_key: Option<Sourced>,
    /// The session token.
    pub session_token: Option<Sourced>,
    /// The region.
    pub region: Option<Sourced>,
}

/// A whole set of keys, ready for signing.
pub struct Keys {
    /// The access key id.
    pub access_key_id: Sourced,
    /// The secret access key.
    pub secret_access_key: Sourced,
    /// The session token, for temporary keys.
    pub session_token: Option<Sourced>,
    /// The region, where the chain knows one.
    pub region: Option<Sourced>,
    /// When a session ends, where that is known.
    pub expires: Option<OffsetDateTime>,
}

/// What is saved for the profile, wherever that is.
struct Saved {
    keys: KeyFile,
    /// Under which profile of `keys`.
    profile: KeyProfile,
    source: Source,
    expires: Option<OffsetDateTime>,
}

impl StorageKeys {
    /// The chain for `profile`: `environment`, then the cache file of `paths`.
    pub fn new(paths: &Paths, profile: KeyProfile, environment: Environment) -> Self {
        Self {
            folder: paths.config().to_owned(),
            profile,
            environment: Arc::new(environment),
            place: Place::Cache,
            replaced: Arc::default(),
        }
    }

    /// The same chain with another second link than the cache file.
    #[must_use]
    pub fn kept_in(self, place: Place) -> Self {
        Self { place, ..self }
    }

    /// The same chain without its first link: what a program finds that has none of this one's
    /// variables.
    ///
    /// # Errors
    /// None in practice: an environment without variables is well formed.
    pub fn without_environment(self) -> Result<Self> {
        let environment = Arc::new(Environment::from_lookup(|_| None)?);
        Ok(Self {
            environment,
            ..self
        })
    }

    /// The second link.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The whole set, or the error that says where to put what is missing.
    pub fn resolve(&self) -> Result<Keys> {
        let (found, expires) = self.look()?;
        match (found.access_key_id, found.secret_access_key) {
            (Some(access_key_id), Some(secret_access_key)) => Ok(Keys {
                access_key_id,
                secret_access_key,
                session_token: found.session_token,
                region: found.region,
                expires,
            }),
            (None, None) if found.session_token.is_none() => Err(Error::NoKeys {
                place: self.saved_place()?,
                profile: self.profile.clone(),
                in_cache: self.waits_in_cache(),
            }),
            (None, _) => Err(self.half_saved(Field::AccessKeyId)),
            (_, None) => Err(self.half_saved(Field::SecretAccessKey)),
        }
    }

    /// Makes sure, where the keys are an identity's, that its session lasts a while: a new
    /// one is asked for where the saved one is near its end. Otherwise does nothing.
    ///
    /// # Errors
    /// As [`Login::fresh`](crate::login::Login::fresh).
    pub async fn refresh(&self) -> Result<()> {
        match self.login() {
            Some(login) => login.fresh(OffsetDateTime::now_utc()).await.map(drop),
            None => Ok(()),
        }
    }

    /// As [`refresh`](Self::refresh), after the store has refused the keys with this access
    /// key id: a session of an identity that still has them is replaced, however long it would
    /// last (it was revoked, or the store has forgotten it). Not where that needs an MFA code,
    /// nor twice within half a minute.
    ///
    /// # Errors
    /// As [`Login::begin`].
    pub async fn replace(&self, refused: &str) -> Result<()> {
        let Some(login) = self.login() else {
            return Ok(());
        };
        let now = OffsetDateTime::now_utc();
        let is_refused = |saved: KeySet| saved.access_key_id.expose() == refused;
        let is_stale = login.saved()?.is_some_and(is_refused) && !login.needs_code();
        if is_stale && self.may_replace(now) {
            login.begin().await.map(drop)
        } else {
            login.fresh(now).await.map(drop)
        }
    }

    /// Whether the last replacement is long enough ago; counts one now, where it is.
    fn may_replace(&self, now: OffsetDateTime) -> bool {
        let mut last = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        let may = last.is_none_or(|last| now - last >= AGAIN);
        if may {
            *last = Some(now);
        }
        may
    }

    /// The way to a session, where the keys are an identity's.
    fn login(&self) -> Option<Login<'_>> {
        match &self.place {
            Place::Identity(keyring, name, settings) if !self.environment.has_keys() => {
                Some(Login {
                    name,
                    settings,
                    keyring: keyring.as_ref(),
                    mfa_code: None,
                })
            }
            _ => None,
        }
    }

    /// What each field is and where it comes from, for showing. Half a pair in the
    /// environment is refused here too.
    pub fn overview(&self) -> Result<Overview> {
        Ok(self.look()?.0)
    }

    fn look(&self) -> Result<(Overview, Option<OffsetDateTime>)> {
        self.environment.check_pair()?;
        let from_environment = self.environment.has_keys();
        // A keyring is not opened for a region alone: that may ask for a password.
        let needless = from_environment && !matches!(self.place, Place::Cache);
        let saved = if needless { None } else { self.saved()? };
        let cached = |field| match &saved {
            Some(saved) => saved.field(field),
            None => Ok(None),
        };
        let e = &self.environment;
        let key = |value: &Option<FieldValue>, field| match from_environment {
            true => Ok(found_in_environment(value, field)),
            false => cached(field),
        };
        let overview = Overview {
            access_key_id: key(&e.access_key_id, Field::AccessKeyId)?,
            secret_access_key: key(&e.secret_access_key, Field::SecretAccessKey)?,
            session_token: key(&e.session_token, Field::SessionToken)?,
            region: match &e.region {
                Some((value, variable)) => Some(Sourced::from_variable(value, variable)),
                None => cached(Field::Region)?,
            },
        };
        let expires = saved.filter(|_| !from_environment).and_then(|s| s.expires);
        Ok((overview, expires))
    }

    /// Changes what is saved for the profile, and gives back what the change said. `change`
    /// is given the lines and the profile under which they stand there; it is asked once more
    /// where another command has changed them meanwhile. A change that fails changes nothing;
    /// what is left empty is removed.
    ///
    /// # Errors
    /// [`Error::NotOurs`] where the profile's keys come from an identity or the AWS tools.
    pub fn update<T>(
        &self,
        paths: &Paths,
        mut change: impl FnMut(&mut KeyFile, &KeyProfile) -> Result<T>,
    ) -> Result<T> {
        let from = match &self.place {
            Place::Cache => return KeyFile::update(paths, |file| change(file, &self.profile)),
            Place::Keyring(keyring) => return self.update_entry(keyring.as_ref(), change),
            Place::Identity(_, name, _) => format!("identity {name}"),
            Place::Aws(name) => format!("the AWS tools' profile {name}"),
        };
        Err(Error::NotOurs {
            profile: self.profile.clone(),
            from,
        })
    }

    fn update_entry<T>(
        &self,
        keyring: &dyn Keyring,
        mut change: impl FnMut(&mut KeyFile, &KeyProfile) -> Result<T>,
    ) -> Result<T> {
        let name = EntryName::storage(&self.profile);
        for _ in 0..TRIES {
            let before = keyring.load(&name)?;
            let mut keys = match &before {
                Some(secret) => KeyFile::parse(secret.expose(), name.as_str().as_ref())?,
                None => KeyFile::empty(),
            };
            let answer = change(&mut keys, &KeyProfile::default())?;
            let after = (!keys.is_bare()).then(|| keys.to_secret());
            if exchange(keyring, &name, before.as_ref(), after.as_ref())? {
                return Ok(answer);
            }
        }
        Err(Error::Locked {
            path: keyring.place().into(),
        })
    }

    /// The environment that the chain begins with.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The profile of the cache file that is looked at.
    pub fn profile(&self) -> &KeyProfile {
        &self.profile
    }

    fn saved(&self) -> Result<Option<Saved>> {
        match &self.place {
            Place::Cache => Ok(KeyFile::load(&self.folder)?.map(|keys| Saved {
                keys,
                profile: self.profile.clone(),
                source: Source::File {
                    path: self.path(),
                    profile: self.profile.clone(),
                },
                expires: None,
            })),
            Place::Keyring(keyring) => {
                let entry = EntryName::storage(&self.profile);
                let found = keyring.load(&entry)?;
                let saved = |secret| Saved::of_entry(keyring.as_ref(), entry, &secret);
                found.map(saved).transpose()
            }
            Place::Identity(keyring, name, _) => {
                let entry = EntryName::session(name);
                let missing = || Error::NotLoggedIn { name: name.clone() };
                let secret = keyring.load(&entry)?.ok_or_else(missing)?;
                let session = KeySet::parse(&secret, &entry)?;
                if !session.lasts(OffsetDateTime::now_utc(), time::Duration::ZERO) {
                    return Err(Error::SessionOver { name: name.clone() });
                }
                let saved = Saved::of_entry(keyring.as_ref(), entry, &secret)?;
                Ok(Some(Saved {
                    expires: session.expires,
                    ..saved
                }))
            }
            Place::Aws(name) => {
                let path = aws::credentials_file()?;
                Ok(Some(Saved {
                    keys: aws::load(&path, &aws::config_file()?, name)?,
                    profile: KeyProfile::default(),
                    source: Source::Aws {
                        path,
                        profile: name.clone(),
                    },
                    expires: None,
                }))
            }
        }
    }

    /// Whether the cache file has keys for the profile, though a keyring is asked.
    fn waits_in_cache(&self) -> bool {
        let in_file = |file: KeyFile| file.profiles().contains(&self.profile);
        matches!(self.place, Place::Keyring(_))
            && KeyFile::load(&self.folder).is_ok_and(|file| file.is_some_and(in_file))
    }

    fn half_saved(&self, missing: Field) -> Error {
        Error::HalfPair {
            place: self.saved_place().unwrap_or_default(),
            missing: missing.name().to_owned(),
            in_environment: false,
        }
    }

    /// Where saved keys are looked for, as people read it.
    pub fn saved_place(&self) -> Result<String> {
        Ok(match &self.place {
            Place::Cache => self.path().display().to_string(),
            Place::Keyring(keyring) | Place::Identity(keyring, ..) => keyring.place(),
            Place::Aws(_) => aws::credentials_file()?.display().to_string(),
        })
    }

    fn path(&self) -> PathBuf {
        self.folder.join(CREDENTIALS_FILE)
    }
}

impl Saved {
    fn of_entry(keyring: &dyn Keyring, entry: EntryName, secret: &Secret) -> Result<Self> {
        Ok(Self {
            keys: KeyFile::parse(secret.expose(), entry.as_str().as_ref())?,
            profile: KeyProfile::default(),
            source: Source::Keyring {
                place: keyring.place(),
                entry,
            },
            expires: None,
        })
    }

    fn field(&self, field: Field) -> Result<Option<Sourced>> {
        let value = self.keys.value(&self.profile, field)?;
        let source = || self.source.clone();
        Ok(value.map(|value| Sourced {
            value,
            source: source(),
        }))
    }
}

impl KeyFile {
    /// Reads the cache file of a configuration folder; `None` where there is none.
    pub fn load(folder: &std::path::Path) -> Result<Option<Self>> {
        let Some(folder) = Folder::open(folder)? else {
            return Ok(None);
        };
        Self::load_from(&folder)
    }

    /// Changes the cache file under the folder's lock and gives back what the change said.
    /// A file in which nothing is left is removed; a change that fails changes nothing. What a
    /// write that was killed has left is taken away first.
    ///
    /// # Errors
    /// [`Error::NotKept`] where what is read back is not what was written.
    pub fn update<T>(paths: &Paths, change: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let folder = Folder::create(paths.config())?;
        let _lock = folder.lock()?;
        folder.sweep()?;
        let mut file = Self::load_from(&folder)?.unwrap_or_else(Self::empty);
        let answer = change(&mut file)?;
        if file.is_bare() {
            folder.remove(CREDENTIALS_FILE)?;
        } else {
            let text = file.render();
            folder.replace(CREDENTIALS_FILE, text.as_bytes())?;
            check_kept(&folder, text.as_bytes())?;
        }
        Ok(answer)
    }

    /// Takes a profile's fields out of the cache file where they still are what `expected` has
    /// of it; whether they were. Fields that were changed since stay as they are.
    pub fn clear_if_equal(paths: &Paths, profile: &KeyProfile, expected: &Self) -> Result<bool> {
        Self::update(paths, |file| {
            let same = file.fields(profile)? == expected.fields(profile)?;
            if same {
                file.clear(profile);
            }
            Ok(same)
        })
    }

    /// A profile's fields, for comparing.
    fn fields(&self, profile: &KeyProfile) -> Result<[Option<Zeroizing<String>>; 4]> {
        let mut values = [const { None }; 4];
        for (value, field) in values.iter_mut().zip(Field::ALL) {
            let found = self.value(profile, field)?;
            *value = found.map(|value| Zeroizing::new(value.expose().to_owned()));
        }
        Ok(values)
    }

    /// The file's text as a keyring's entry.
    pub(crate) fn to_secret(&self) -> Secret {
        Secret::new(self.render().as_bytes().to_vec())
    }

    fn load_from(folder: &Folder) -> Result<Option<Self>> {
        let bytes = folder.read(CREDENTIALS_FILE, Privacy::Secret)?;
        let path = folder.path().join(CREDENTIALS_FILE);
        bytes.map(|bytes| Self::parse(&bytes, &path)).transpose()
    }
}

/// Nothing counts as saved that does not come back.
fn check_kept(folder: &Folder, written: &[u8]) -> Result<()> {
    let kept = folder.read(CREDENTIALS_FILE, Privacy::Secret)?;
    let same = kept.is_some_and(|kept| kept.ct_eq(written).into());
    let path = folder.path().join(CREDENTIALS_FILE);
    same.then_some(()).ok_or(Error::NotKept { path })
}

impl Sourced {
    fn from_variable(value: &FieldValue, variable: &'static str) -> Self {
        Self {
            value: value.duplicate(),
            source: Source::Environment(variable),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(variable) => write!(f, "environment ({variable})"),
            Self::File { path, profile } if profile.is_default() => write!(f, "{}", path.display()),
            Self::File { path, profile } => write!(f, "{} [profile {profile}]", path.display()),
            Self::Keyring { place, entry } => write!(f, "{place} ({entry})"),
            Self::Aws { path, profile } => write!(f, "{} [{profile}]", path.display()),
        }
    }
}

fn found_in_environment(value: &Option<FieldValue>, field: Field) -> Option<Sourced> {
    value
        .as_ref()
        .map(|value| Sourced::from_variable(value, field.variable()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct Machine {
        home: tempfile::TempDir,
        paths: Paths,
    }

    impl Machine {
        fn new(cache: &str) -> Self {
            let home = tempfile::tempdir().expect("a temporary folder");
            let paths = Paths::under(home.path());
            if !cache.is_empty() {
                let folder = Folder::create(paths.config()).expect("made");
                folder
                    .replace(CREDENTIALS_FILE, cache.as_bytes())
                    .expect("written");
            }
            Self { home, paths }
        }

        fn chain(&self, profile: &str, variables: &[(&str, &str)]) -> StorageKeys {
            let lookup = |name: &str| {
                let found = variables.iter().find(|(variable, _)| *variable == name);
                found.map(|(_, value)| value.into())
            };
            let environment = Environment::from_lookup(lookup).expect("a good environment");
            let profile = profile.parse().expect("a profile");
            StorageKeys::new(&self.paths, profile, environment)
        }

        fn in_file(&self, profile: &str) -> Source {
            Source::File {
                path: self.paths.credentials_file(),
                profile: profile.parse().expect("a profile"),
            }
        }
    }

    const CACHE: &str = "ACCESS_KEY_ID=FILEID\nSECRET_ACCESS_KEY=FILESECRET\nSESSION_TOKEN=FILETOKEN\nREGION=us-west-2\n[profile work]\nACCESS_KEY_ID=WORKID\nSECRET_ACCESS_KEY=WORKSECRET\n";
    const PAIR: [(&str, &str); 2] = [
        ("ARTIFACTS_S3_ACCESS_KEY_ID", "ENVID"),
        ("ARTIFACTS_S3_SECRET_ACCESS_KEY", "ENVSECRET"),
    ];

    fn shown(sourced: &Sourced) -> (&str, &Source) {
        (sourced.value.expose(), &sourced.source)
    }

    #[test]
    fn the_environment_wins_as_one_unit() {
        let machine = Machine::new(CACHE);
        let keys = machine.chain("default", &PAIR).resolve().expect("keys");
        let variable = Source::Environment("ARTIFACTS_S3_ACCESS_KEY_ID");
        assert_eq!(shown(&keys.access_key_id), ("ENVID", &variable));
        assert_eq!(keys.secret_access_key.value.expose(), "ENVSECRET");
        assert!(
            keys.session_token.is_none(),
            "the file's token is never mixed with the environment's keys"
        );
        let region = keys.region.expect("a region");
        assert_eq!(shown(&region), ("us-west-2", &machine.in_file("default")));
    }

    #[test]
    fn the_region_alone_may_come_from_the_environment() {
        let machine = Machine::new(CACHE);
        for (variables, region, source) in [
            (
                &[
                    ("AWS_DEFAULT_REGION", "c"),
                    ("AWS_REGION", "b"),
                    ("ARTIFACTS_S3_REGION", "a"),
                ][..],
                "a",
                Source::Environment("ARTIFACTS_S3_REGION"),
            ),
            (
                &[("AWS_DEFAULT_REGION", "c"), ("AWS_REGION", "b")][..],
                "b",
                Source::Environment("AWS_REGION"),
            ),
            (
                &[("AWS_DEFAULT_REGION", "c"), ("AWS_REGION", "")][..],
                "c",
                Source::Environment("AWS_DEFAULT_REGION"),
            ),
            (&[][..], "us-west-2", machine.in_file("default")),
        ] {
            let keys = machine.chain("default", variables).resolve().expect("keys");
            assert_eq!(shown(&keys.region.expect("a region")), (region, &source));
            assert_eq!(
                shown(&keys.access_key_id),
                ("FILEID", &machine.in_file("default"))
            );
            let token = keys.session_token.expect("the file's token");
            assert_eq!(token.value.expose(), "FILETOKEN");
        }
    }

    #[test]
    fn half_a_pair_in_the_environment_is_refused_though_the_file_is_whole() {
        let machine = Machine::new(CACHE);
        for (variables, missing) in [
            (&PAIR[..1], Field::SecretAccessKey),
            (&PAIR[1..], Field::AccessKeyId),
            (
                &[("ARTIFACTS_S3_SESSION_TOKEN", "t")][..],
                Field::AccessKeyId,
            ),
        ] {
            let error = machine.chain("default", variables).resolve().err();
            assert_eq!(error, Some(Error::half_in_environment(missing)));
        }
    }

    #[test]
    fn half_a_pair_in_the_file_is_refused() {
        let machine = Machine::new("ACCESS_KEY_ID=FILEID\n");
        let error = machine.chain("default", &[]).resolve().err();
        let expected = Error::HalfPair {
            place: machine.paths.credentials_file().display().to_string(),
            missing: "SECRET_ACCESS_KEY".into(),
            in_environment: false,
        };
        assert_eq!(error, Some(expected));
    }

    #[test]
    fn the_last_link_of_the_chain_names_both_places() {
        let machine = Machine::new("");
        let error = machine.chain("work", &[]).resolve().err().expect("none");
        let text = error.to_string();
        let file = machine.paths.credentials_file();
        for place in [
            "ARTIFACTS_S3_ACCESS_KEY_ID",
            "ARTIFACTS_S3_SECRET_ACCESS_KEY",
            &file.display().to_string(),
            "profile work",
        ] {
            assert!(text.contains(place), "{text}");
        }
        assert!(!machine.paths.config().exists(), "looking makes nothing");
    }

    #[test]
    fn profiles_share_nothing() {
        let machine = Machine::new(CACHE);
        let keys = machine.chain("work", &[]).resolve().expect("keys");
        assert_eq!(
            shown(&keys.access_key_id),
            ("WORKID", &machine.in_file("work"))
        );
        assert!(keys.session_token.is_none() && keys.region.is_none());
        let error = machine.chain("play", &[]).resolve().err();
        assert!(matches!(error, Some(Error::NoKeys { .. })));
    }

    #[test]
    fn a_cache_that_others_can_read_is_refused_even_when_the_environment_is_whole() {
        let machine = Machine::new(CACHE);
        let path = machine.paths.credentials_file();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).expect("chmod");
        for variables in [&[][..], &PAIR[..]] {
            let error = machine.chain("default", variables).resolve().err();
            let expected = Error::ReadableByOthers {
                path: path.clone(),
                mode: 0o604,
            };
            assert_eq!(error, Some(expected));
        }
    }

    #[test]
    fn an_update_that_fails_changes_nothing_and_one_that_empties_removes() {
        let machine = Machine::new(CACHE);
        let refused: Result<()> = KeyFile::update(&machine.paths, |file| {
            file.clear(&KeyProfile::default());
            Err(Error::NoHome)
        });
        assert_eq!(refused, Err(Error::NoHome));
        let path = machine.paths.credentials_file();
        assert_eq!(fs::read_to_string(&path).expect("there"), CACHE);

        KeyFile::update(&machine.paths, |file| {
            for profile in file.profiles() {
                file.clear(&profile);
            }
            Ok(())
        })
        .expect("cleared");
        assert!(!path.exists());
    }

    #[test]
    fn concurrent_updates_lose_nothing() {
        let machine = Machine::new("");
        std::thread::scope(|scope| {
            for n in 0..8 {
                let paths = &machine.paths;
                scope.spawn(move || {
                    let profile = format!("p{n}").parse().expect("a profile");
                    let value = FieldValue::new("v", "test").expect("a value");
                    KeyFile::update(paths, |file| {
                        file.set(&profile, Field::Region, &value);
                        Ok(())
                    })
                    .expect("updated");
                });
            }
        });
        let file = KeyFile::load(machine.paths.config())
            .expect("read")
            .expect("there");
        assert_eq!(file.profiles().len(), 8);
    }

    #[test]
    fn what_was_changed_since_is_not_cleared() {
        let machine = Machine::new(CACHE);
        let before = KeyFile::load(machine.paths.config())
            .expect("read")
            .expect("there");
        let (work, default) = ("work".parse().expect("a profile"), KeyProfile::default());
        let value = FieldValue::new("ROTATED", "test").expect("a value");
        KeyFile::update(&machine.paths, |file| {
            file.set(&work, Field::SecretAccessKey, &value);
            Ok(())
        })
        .expect("updated");
        let clear = |profile| KeyFile::clear_if_equal(&machine.paths, profile, &before);
        assert_eq!(clear(&work), Ok(false));
        assert_eq!(clear(&default), Ok(true));
        let text = fs::read_to_string(machine.paths.credentials_file()).expect("there");
        assert!(text.contains("SECRET_ACCESS_KEY=ROTATED"), "{text}");
        assert!(!text.contains("FILESECRET"), "{text}");
    }

    #[test]
    fn an_entry_is_changed_anew_where_another_command_was_faster() {
        let machine = Machine::new("");
        let keyring = Arc::new(crate::keyring::MemoryKeyring::new());
        let chain = machine
            .chain("default", &[])
            .kept_in(Place::Keyring(keyring.clone()));
        let value = |text: &str| FieldValue::new(text, "test").expect("a value");
        let mut tries = 0;
        chain
            .update(&machine.paths, |file, profile| {
                tries += 1;
                if tries == 1 {
                    let other = Secret::new(b"REGION=eu-1\n".to_vec());
                    keyring.store(&EntryName::storage(profile), &other)?;
                }
                file.set(profile, Field::AccessKeyId, &value("ID"));
                file.set(profile, Field::SecretAccessKey, &value("secret"));
                Ok(())
            })
            .expect("changed");
        let keys = chain.resolve().expect("keys");
        assert_eq!(keys.access_key_id.value.expose(), "ID");
        let region = keys.region.expect("the other's");
        assert_eq!(region.value.expose(), "eu-1");
        assert_eq!(tries, 2);
    }

    #[test]
    fn nothing_counts_as_cached_that_does_not_come_back() {
        let machine = Machine::new(CACHE);
        let folder = Folder::open(machine.paths.config()).expect("good");
        let folder = folder.expect("there");
        assert_eq!(check_kept(&folder, CACHE.as_bytes()), Ok(()));
        let path = machine.paths.credentials_file();
        let not_kept = Err(Error::NotKept { path: path.clone() });
        assert_eq!(check_kept(&folder, b"ACCESS_KEY_ID=OTHER\n"), not_kept);
        fs::remove_file(path).expect("removed");
        assert_eq!(check_kept(&folder, CACHE.as_bytes()), not_kept);
    }

    /// Not a test of its own: what the processes below do until they are killed.
    #[test]
    fn victim() {
        let Some(home) = std::env::var_os("ARTIFACTS_TEST_HOME") else {
            return;
        };
        let paths = Paths::under(home.as_ref());
        let value = FieldValue::new("NEWSECRET", "test").expect("a value");
        KeyFile::update(&paths, |file| {
            file.set(&KeyProfile::default(), Field::SecretAccessKey, &value);
            Ok(())
        })
        .expect("updated");
    }

    #[test]
    fn killed_at_any_step_the_cache_is_the_old_or_the_new_and_the_next_write_sweeps() {
        for step in 0.. {
            let machine = Machine::new(CACHE);
            let home = machine.home.path().display().to_string();
            let variables = [("ARTIFACTS_TEST_HOME", home.as_str())];
            let ended =
                crate::steps::in_tests::run_to_step("chain::tests::victim", step, &variables);
            let keys = machine.chain("default", &[]).resolve().expect("readable");
            let secret = keys.secret_access_key.value.expose().to_owned();
            assert!(["FILESECRET", "NEWSECRET"].contains(&secret.as_str()));
            KeyFile::update(&machine.paths, |file| {
                file.clear(&KeyProfile::default());
                Ok(())
            })
            .expect("the next write works");
            let folder = Folder::open(machine.paths.config()).expect("good");
            let names = folder.expect("there").names().expect("names");
            assert_eq!(names, [".lock", CREDENTIALS_FILE], "nothing is left over");
            let text = fs::read_to_string(machine.paths.credentials_file()).expect("there");
            assert!(!text.contains(&secret), "{text}");
            if ended.success() {
                assert_eq!(step, 5);
                return;
            }
        }
    }
}
