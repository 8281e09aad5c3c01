//! The AWS tools' shared credentials file, read and never written.
//!
//! The format is theirs (AWS SDKs and Tools Reference Guide, "Shared config and credentials
//! files"): sections `[NAME]`, lines `name = value`, comments behind `#` or `;`.

use std::path::PathBuf;

use crate::{Error, Field, FieldValue, Folder, KeyFile, KeyProfile, Privacy, Result};

/// `AWS_SHARED_CREDENTIALS_FILE`, else `~/.aws/credentials`.
pub(crate) fn credentials_file() -> Result<PathBuf> {
    let named = std::env::var_os("AWS_SHARED_CREDENTIALS_FILE").filter(|name| !name.is_empty());
    match named {
        Some(path) => Ok(PathBuf::from(path)),
        None => Ok(etcetera::home_dir()
            .map_err(|_| Error::NoHome)?
            .join(".aws/credentials")),
    }
}

/// A profile's keys, as the default profile of a key file of ours.
pub(crate) fn load(path: &std::path::Path, profile: &str) -> Result<KeyFile> {
    let missing = || Error::NoAwsProfile {
        path: path.to_owned(),
        profile: profile.to_owned(),
    };
    let (parent, name) = path
        .parent()
        .zip(path.file_name().and_then(|name| name.to_str()))
        .ok_or_else(missing)?;
    let folder = Folder::open(parent)?.ok_or_else(missing)?;
    let bytes = folder.read(name, Privacy::Secret)?.ok_or_else(missing)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| missing())?;
    let mut keys = KeyFile::empty();
    let mut found = false;
    for (field, value) in section(text, profile) {
        keys.set(
            &KeyProfile::default(),
            field,
            &FieldValue::new(value, field.name())?,
        );
        found = true;
    }
    found.then_some(keys).ok_or_else(missing)
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
        let keys = load(&path, "work").expect("there");
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
        assert_eq!(load(&path, "none").err(), Some(expected));
    }
}
