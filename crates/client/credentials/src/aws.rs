//! The AWS tools' shared files, read and never written: keys from `credentials`, and the region,
//! where that has none, from `config`.
//!
//! The format is theirs (AWS SDKs and Tools Reference Guide, "Shared config and credentials
//! files"): sections `[NAME]`, in `config` `[profile NAME]` but for the default one; lines
//! `name = value`, comments behind `#` or `;`. A link is followed, since it is the owner's way to
//! keep them elsewhere; what it leads to must be as private as the file itself.

use std::path::{Path, PathBuf};

use crate::{Error, Field, FieldValue, Folder, KeyFile, KeyProfile, Privacy, Result};

/// `AWS_SHARED_CREDENTIALS_FILE`, else `~/.aws/credentials`.
pub(crate) fn credentials_file() -> Result<PathBuf> {
    named_or("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials")
}

/// `AWS_CONFIG_FILE`, else `~/.aws/config`.
pub(crate) fn config_file() -> Result<PathBuf> {
    named_or("AWS_CONFIG_FILE", ".aws/config")
}

fn named_or(variable: &str, usual: &str) -> Result<PathBuf> {
    let named = std::env::var_os(variable).filter(|name| !name.is_empty());
    match named {
        Some(path) => Ok(PathBuf::from(path)),
        None => Ok(etcetera::home_dir().map_err(|_| Error::NoHome)?.join(usual)),
    }
}

/// A profile's keys and region, as the default profile of a key file of ours. `config` is where
/// the region is looked for that the keys' file does not have.
pub(crate) fn load(path: &Path, config: &Path, profile: &str) -> Result<KeyFile> {
    let missing = || Error::NoAwsProfile {
        path: path.to_owned(),
        profile: profile.to_owned(),
    };
    let bytes = read(path, Privacy::Secret)?.ok_or_else(missing)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| missing())?;
    let mut keys = KeyFile::empty();
    let ours = KeyProfile::default();
    let mut found = false;
    for (field, value) in section(text, profile) {
        keys.set(&ours, field, &FieldValue::new(value, field.name())?);
        found = true;
    }
    if !found {
        return Err(missing());
    }
    if keys.value(&ours, Field::Region)?.is_none()
        && let Some(region) = configured_region(config, profile)?
    {
        keys.set(&ours, Field::Region, &region);
    }
    Ok(keys)
}

fn configured_region(config: &Path, profile: &str) -> Result<Option<FieldValue>> {
    let Some(bytes) = read(config, Privacy::Trusted)? else {
        return Ok(None);
    };
    let Ok(text) = std::str::from_utf8(&bytes) else {
        return Ok(None);
    };
    let heading = match profile {
        "default" => profile.to_owned(),
        named => format!("profile {named}"),
    };
    let mut fields = section(text, &heading);
    let region = fields.find(|(field, _)| *field == Field::Region);
    region
        .map(|(field, value)| FieldValue::new(value, field.name()))
        .transpose()
}

/// A file, wherever links lead; `None` where there is none.
fn read(path: &Path, privacy: Privacy) -> Result<Option<zeroize::Zeroizing<Vec<u8>>>> {
    let real = match std::fs::canonicalize(path) {
        Ok(real) => real,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("open", path, e)),
    };
    let name = real.file_name().and_then(|name| name.to_str());
    let Some((parent, name)) = real.parent().zip(name) else {
        return Ok(None);
    };
    match Folder::open(parent)? {
        Some(folder) => folder.read(name, privacy),
        None => Ok(None),
    }
}

fn section<'t>(text: &'t str, profile: &str) -> impl Iterator<Item = (Field, &'t str)> {
    let heading = move |line: &str| {
        let inner = line.strip_prefix('[')?.split_once(']')?.0;
        Some(inner.trim() == profile)
    };
    text.lines()
        .map(str::trim)
        .scan(false, move |inside, line| {
            *inside = heading(line).unwrap_or(*inside);
            Some((*inside, line))
        })
        .filter(|(inside, line)| *inside && !line.starts_with(['#', ';']))
        .filter_map(|(_, line)| {
            let (name, value) = line.split_once('=')?;
            let field = match name.trim() {
                "aws_access_key_id" => Field::AccessKeyId,
                "aws_secret_access_key" => Field::SecretAccessKey,
                "aws_session_token" => Field::SessionToken,
                "region" => Field::Region,
                _ => return None,
            };
            Some((field, value.trim())).filter(|(_, value)| !value.is_empty())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_profiles_keys_are_read_and_no_others() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let folder = Folder::open(dir.path()).expect("good").expect("there");
        let text = "; theirs\n[default]\naws_access_key_id = ONE\naws_secret_access_key=one\n[work]\naws_access_key_id=TWO\n# x\naws_secret_access_key = two==\naws_session_token = t\nregion = eu-1\n";
        folder
            .replace("credentials", text.as_bytes())
            .expect("written");
        let path = dir.path().join("credentials");
        let config = dir.path().join("config");
        let keys = load(&path, &config, "work").expect("there");
        let value = |field| {
            let value = keys.value(&KeyProfile::default(), field).expect("good");
            value.map(|v| v.expose().to_owned())
        };
        assert_eq!(value(Field::AccessKeyId).as_deref(), Some("TWO"));
        assert_eq!(value(Field::SecretAccessKey).as_deref(), Some("two=="));
        assert_eq!(value(Field::SessionToken).as_deref(), Some("t"));
        assert_eq!(value(Field::Region).as_deref(), Some("eu-1"));
        let expected = Error::NoAwsProfile {
            path: path.clone(),
            profile: "none".into(),
        };
        assert_eq!(load(&path, &config, "none").err(), Some(expected));
    }

    #[test]
    fn the_region_may_be_in_the_other_file_and_links_are_followed() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let there = dir.path().join("dotfiles");
        let folder = Folder::create(&there).expect("made");
        let keys = "[default]\naws_access_key_id=A\naws_secret_access_key=b\n[work]\naws_access_key_id=C\naws_secret_access_key=d\n";
        folder.replace("keys", keys.as_bytes()).expect("written");
        let regions = "[default]\nregion = one\n[work]\nregion = not-this\n[profile work]\noutput = json\nregion = two\n";
        folder
            .replace("config", regions.as_bytes())
            .expect("written");
        let path = dir.path().join("credentials");
        std::os::unix::fs::symlink(there.join("keys"), &path).expect("linked");
        let region = |profile: &str| {
            let file = load(&path, &there.join("config"), profile).expect("there");
            let value = file
                .value(&KeyProfile::default(), Field::Region)
                .expect("good");
            value.map(|v| v.expose().to_owned())
        };
        assert_eq!(region("default").as_deref(), Some("one"));
        assert_eq!(region("work").as_deref(), Some("two"));
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(there.join("keys"), open).expect("chmod");
        let refused = load(&path, &there.join("config"), "work").err();
        assert!(
            matches!(refused, Some(Error::ReadableByOthers { .. })),
            "{refused:?}"
        );
    }
}
