//! `artifacts auth keyring export` and `import`: a keyring as a file that `age` opens, with
//! the text of [`credentials::keyring::export`] inside.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use age::secrecy::SecretString;
use age::{Decryptor, Encryptor, scrypt, x25519};
use clap::Args;
use credentials::keyring::{self, EntryName, Keyring, export as exported};
use serde_json::json;
use zeroize::Zeroizing;

use super::migrate::clash;
use crate::context::{Context, EXPORT_KEYS, check_lasting};
use crate::failure::{Code, Failure, Result};
use crate::input;
use crate::variables;

/// Where to, and who may open it.
#[derive(Args)]
pub(crate) struct Export {
    /// The file; it must not exist yet.
    file: PathBuf,
    /// Who may open it, as age writes it (`age1…`); otherwise who knows the password, which
    /// is asked for.
    #[arg(long, value_name = "RECIPIENT")]
    recipient: Vec<x25519::Recipient>,
}

/// From where, and with what.
#[derive(Args)]
pub(crate) struct Import {
    /// The file.
    file: PathBuf,
    /// A file with the secret key that opens it (`AGE-SECRET-KEY-…`); otherwise the password
    /// is asked for.
    #[arg(long, value_name = "FILE")]
    age_identity: Option<PathBuf>,
    /// Replace entries that have other values than the file's.
    #[arg(long)]
    overwrite: bool,
}

/// The most bytes of an exported keyring.
const LIMIT: u64 = 16 << 20;

pub(super) fn export(command: &Export, from: &Arc<dyn Keyring>, context: &Context) -> Result<()> {
    let mut entries = Vec::new();
    for name in from.names()? {
        if let Some(secret) = from.load(&name)? {
            entries.push((name, secret));
        }
    }
    let text = exported::render(&entries);
    let sealed = seal(command, &text, context)?;
    write_new(&command.file, &sealed)?;
    let answer = json!({ "file": command.file, "entries": entries.len() });
    if context.output.is_json() {
        return context.output.data(&answer, String::new);
    }
    let (count, file) = (entries.len(), command.file.display());
    let place = from.place();
    context.output.note(&format!(
        "Wrote {count} entries of {place} to {file}; age -d opens it."
    ));
    Ok(())
}

pub(super) fn import(command: &Import, to: &Arc<dyn Keyring>, context: &Context) -> Result<()> {
    check_lasting(to.as_ref(), EXPORT_KEYS)?;
    let text = open(command, context)?;
    let entries = exported::parse(&text).ok_or_else(|| {
        let text = format!("{} is no exported keyring", command.file.display());
        Failure::new(Code::FileMalformed, text)
            .with_hint("export it again with: artifacts auth keyring export")
    })?;
    let clashes = keyring::import(to.as_ref(), &entries, command.overwrite)?;
    if !clashes.is_empty() {
        return Err(clash(&clashes));
    }
    let names: Vec<_> = entries.iter().map(|(name, _)| name.to_string()).collect();
    let answer = json!({ "keyring": to.place(), "entries": names });
    if context.output.is_json() {
        return context.output.data(&answer, String::new);
    }
    let (place, names) = (to.place(), names.join(", "));
    context.output.note(&format!("Saved {names} in {place}."));
    for (name, _) in &entries {
        tell_of_settings(name, context)?;
    }
    Ok(())
}

/// An identity's keys are of no use before its settings are there.
fn tell_of_settings(entry: &EntryName, context: &Context) -> Result<()> {
    let Some(name) = entry.as_str().strip_prefix("identity/") else {
        return Ok(());
    };
    let config = context.config()?;
    if !config
        .identities()
        .keys()
        .any(|known| known.as_str() == name)
    {
        context.output.note(&format!(
            "Identity {name} has keys but no settings here yet: artifacts auth user configure --identity {name}"
        ));
    }
    Ok(())
}

fn seal(command: &Export, text: &[u8], context: &Context) -> Result<Vec<u8>> {
    let failed = |e: String| Failure::new(Code::Failed, format!("cannot encrypt: {e}"));
    let encryptor = if command.recipient.is_empty() {
        Encryptor::with_user_passphrase(password(context, true)?)
    } else {
        let recipients = command.recipient.iter().map(|r| r as &dyn age::Recipient);
        Encryptor::with_recipients(recipients).map_err(|e| failed(e.to_string()))?
    };
    let mut sealed = Vec::new();
    let mut writer = encryptor
        .wrap_output(&mut sealed)
        .map_err(|e| failed(e.to_string()))?;
    writer
        .write_all(text)
        .and_then(|()| writer.finish().map(drop))
        .map_err(|e| failed(e.to_string()))?;
    Ok(sealed)
}

fn open(command: &Import, context: &Context) -> Result<Zeroizing<Vec<u8>>> {
    let file = &command.file;
    let unusable = |path: &Path, e: &dyn std::fmt::Display| {
        Failure::new(Code::FileUnusable, format!("{}: {e}", path.display()))
    };
    let sealed = fs::read(file).map_err(|e| unusable(file, &e))?;
    let refused = |e: age::DecryptError| {
        Failure::new(Code::KeyringPassword, format!("{}: {e}", file.display()))
            .with_hint("give the password, or the key with --age-identity, that it was made for")
    };
    let decryptor = Decryptor::new(&sealed[..]).map_err(refused)?;
    let identity: Box<dyn age::Identity> = match &command.age_identity {
        Some(path) => {
            let text = Zeroizing::new(fs::read_to_string(path).map_err(|e| unusable(path, &e))?);
            let line = text
                .lines()
                .find(|line| line.starts_with("AGE-SECRET-KEY-"));
            let key = line.and_then(|line| line.trim().parse::<x25519::Identity>().ok());
            Box::new(key.ok_or_else(|| unusable(path, &"holds no AGE-SECRET-KEY"))?)
        }
        None => Box::new(scrypt::Identity::new(password(context, false)?)),
    };
    let reader = decryptor
        .decrypt(std::iter::once(identity.as_ref()))
        .map_err(refused)?;
    let mut text = Zeroizing::new(Vec::new());
    reader
        .take(LIMIT)
        .read_to_end(&mut text)
        .map_err(|e| unusable(file, &e))?;
    Ok(text)
}

/// The exported file's password: from the variable, else from a person, twice where it is
/// new.
fn password(context: &Context, is_new: bool) -> Result<SecretString> {
    if let Some(text) = variables::text(variables::EXPORT_PASSWORD) {
        return Ok(text.into());
    }
    if !input::may_ask(context) {
        let text = "the exported file's password would have to be typed";
        return Err(Failure::new(Code::InputNeeded, text)
            .with_hint(format!("export {}", variables::EXPORT_PASSWORD)));
    }
    let first = input::hidden("password of the exported file")?;
    if is_new && *input::hidden("the same password again")? != *first {
        let text = "the two passwords differ; nothing was written";
        return Err(Failure::new(Code::Failed, text));
    }
    Ok(first.as_str().into())
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    let unusable = |e: std::io::Error| {
        let text = format!("cannot write {}: {e}", path.display());
        Failure::new(Code::FileUnusable, text)
    };
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    // Mode 0600 is tempfile's own. What stops this leaves the file whole, or none.
    let mut file =
        tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).map_err(unusable)?;
    file.write_all(bytes).map_err(unusable)?;
    file.as_file().sync_all().map_err(unusable)?;
    file.persist_noclobber(path)
        .map(drop)
        .map_err(|e| unusable(e.error))
}
