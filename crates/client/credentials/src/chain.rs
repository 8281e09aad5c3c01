//! The chain that finds the storage keys.
//!
//! Environment first, the cache file second, an error that names both places last. Access
//! key, secret key and session token are one unit: they come from one place together, and
//! half of them in the environment is refused rather than completed from elsewhere. The
//! region may come from the environment alone.

use std::fmt;
use std::path::PathBuf;

use crate::{
    CREDENTIALS_FILE, Environment, Error, Field, FieldValue, Folder, KeyFile, KeyProfile, Paths,
    Privacy, Result,
};

/// The chain for one profile. Each call looks at the cache file anew, so that keys renewed
/// there by somebody else are found; the environment is read once.
pub struct StorageKeys {
    folder: PathBuf,
    profile: KeyProfile,
    environment: Environment,
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
}

impl StorageKeys {
    /// The chain for `profile`: `environment`, then the cache file of `paths`.
    pub fn new(paths: &Paths, profile: KeyProfile, environment: Environment) -> Self {
        Self {
            folder: paths.config().to_owned(),
            profile,
            environment,
        }
    }

    /// The whole set, or the error that says where to put what is missing.
    pub fn resolve(&self) -> Result<Keys> {
        let found = self.overview()?;
        match (found.access_key_id, found.secret_access_key) {
            (Some(access_key_id), Some(secret_access_key)) => Ok(Keys {
                access_key_id,
                secret_access_key,
                session_token: found.session_token,
                region: found.region,
            }),
            (None, None) if found.session_token.is_none() => Err(Error::NoKeys {
                path: self.path(),
                profile: self.profile.clone(),
            }),
            (None, _) => Err(self.half_in_file(Field::AccessKeyId)),
            (_, None) => Err(self.half_in_file(Field::SecretAccessKey)),
        }
    }

    /// What each field is and where it comes from, for showing. Half a pair in the
    /// environment is refused here too.
    pub fn overview(&self) -> Result<Overview> {
        self.environment.check_pair()?;
        let file = KeyFile::load(&self.folder)?;
        let cached = |field| self.cached(file.as_ref(), field);
        let (access_key_id, secret_access_key, session_token) = if self.environment.has_keys() {
            let e = &self.environment;
            (
                from_environment(&e.access_key_id, Field::AccessKeyId),
                from_environment(&e.secret_access_key, Field::SecretAccessKey),
                from_environment(&e.session_token, Field::SessionToken),
            )
        } else {
            (
                cached(Field::AccessKeyId)?,
                cached(Field::SecretAccessKey)?,
                cached(Field::SessionToken)?,
            )
        };
        let region = match &self.environment.region {
            Some((value, variable)) => Some(Sourced::from_variable(value, variable)),
            None => cached(Field::Region)?,
        };
        Ok(Overview {
            access_key_id,
            secret_access_key,
            session_token,
            region,
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

    fn cached(&self, file: Option<&KeyFile>, field: Field) -> Result<Option<Sourced>> {
        let value = match file {
            Some(file) => file.value(&self.profile, field)?,
            None => None,
        };
        Ok(value.map(|value| Sourced {
            value,
            source: Source::File {
                path: self.path(),
                profile: self.profile.clone(),
            },
        }))
    }

    fn half_in_file(&self, missing: Field) -> Error {
        Error::HalfPair {
            place: self.path().display().to_string(),
            missing: missing.name().to_owned(),
            in_environment: false,
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(CREDENTIALS_FILE)
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
    /// A file in which nothing is left is removed; a change that fails changes nothing.
    pub fn update<T>(paths: &Paths, change: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let folder = Folder::create(paths.config())?;
        let _lock = folder.lock()?;
        let mut file = Self::load_from(&folder)?.unwrap_or_else(Self::empty);
        let answer = change(&mut file)?;
        if file.is_bare() {
            folder.remove(CREDENTIALS_FILE)?;
        } else {
            folder.replace(CREDENTIALS_FILE, file.render().as_bytes())?;
        }
        Ok(answer)
    }

    fn load_from(folder: &Folder) -> Result<Option<Self>> {
        let bytes = folder.read(CREDENTIALS_FILE, Privacy::Secret)?;
        let path = folder.path().join(CREDENTIALS_FILE);
        bytes.map(|bytes| Self::parse(&bytes, &path)).transpose()
    }
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
        }
    }
}

fn from_environment(value: &Option<FieldValue>, field: Field) -> Option<Sourced> {
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
        _home: tempfile::TempDir,
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
            Self { _home: home, paths }
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
}
