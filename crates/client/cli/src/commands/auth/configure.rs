//! `artifacts auth user configure`.

use std::path::PathBuf;

use clap::Args;
use credentials::keyring::{EntryName, Keyring};
use credentials::{Config, Endpoint, FieldValue, Flow, Identity, IdentityName, KeySet, Lifetime};
use serde_json::json;

use super::Ring;
use crate::context::{Context, EXPORT_KEYS, check_lasting, check_private};
use crate::failure::{Code, Failure, Result};
use crate::input;

/// What is given is changed; keys that are not there yet are asked for. A session of other
/// settings or keys than those that count from now on is forgotten.
#[derive(Args)]
pub(crate) struct Configure {
    /// The identity.
    #[arg(long, default_value_t, value_name = "NAME")]
    identity: IdentityName,
    /// The access key id; asked for on a terminal.
    #[arg(long, value_name = "ID")]
    access_key_id: Option<String>,
    /// Read the secret access key from standard input, one line; otherwise it is asked for
    /// on a terminal.
    #[arg(long)]
    secret_stdin: bool,
    /// The serial number or ARN of the MFA device; '' removes it.
    #[arg(long, value_name = "DEVICE")]
    mfa_device: Option<String>,
    /// How long a session lasts: 45m, 12h.
    #[arg(long, value_name = "DURATION")]
    session_length: Option<Lifetime>,
    /// The role to assume at login; '' removes it.
    #[arg(long, value_name = "ARN")]
    role_arn: Option<String>,
    /// What the role's owner has agreed on as a further condition; '' removes it.
    #[arg(long, value_name = "ID")]
    external_id: Option<String>,
    /// A file with an identity provider's token, to be exchanged for the role: then there are
    /// no long-lived keys, and those that are saved are removed. '' removes the file.
    #[arg(long, value_name = "FILE", value_parser = path)]
    web_identity_token_file: Option<PathBuf>,
    /// The STS's address, https:// unless it is on this machine [default: that of AWS in the
    /// region].
    #[arg(long, value_name = "URL")]
    endpoint: Option<Endpoint>,
    /// The region that requests to the STS are signed for.
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
}

pub(super) fn run(configure: &Configure, ring: &Ring<'_>) -> Result<()> {
    let context = ring.context;
    let config = context.config()?;
    let name = configure.identity.clone();
    let known = config.identities().get(&name).cloned();
    let keyring = ring.keyring(&config)?;
    let mut settings = configure.settings(known.clone().unwrap_or_default())?;
    check_private(&settings)?;
    // Asked before anything is changed, so that Control-C leaves all as it was.
    let keys = configure.new_keys(&settings, keyring.as_ref(), context)?;
    if known.is_none() && input::may_ask(context) {
        configure.ask(&mut settings, context)?;
    }
    let ended = save(&name, known.as_ref(), &settings, keys.as_ref(), ring)?;
    let place = keyring.place();
    let answer = json!({
        "identity": name, "keyring": place, "saved_keys": keys.is_some(), "session_ended": ended,
    });
    if context.output.is_json() {
        return context.output.data(&answer, String::new);
    }
    if keys.is_some() {
        let text = format!("Saved the keys of identity {name} in {place}.");
        context.output.note(&text);
    }
    if ended {
        let text = "Its session was of the settings and keys before, and is forgotten.";
        context.output.note(text);
    }
    context.output.note(&format!(
        "Identity {name} is configured; begin a session with: artifacts auth login --identity {name}"
    ));
    Ok(())
}

/// Saves keys and settings; whether that ended a session. A session goes before the settings
/// that it was made with, and once more after them, for one that somebody began meanwhile:
/// whatever stops this in between, no session outlives its settings.
fn save(
    name: &IdentityName,
    known: Option<&Identity>,
    settings: &Identity,
    keys: Option<&KeySet>,
    ring: &Ring<'_>,
) -> Result<bool> {
    let keyring = ring.keyring(&ring.context.config()?)?;
    let session = EntryName::session(name);
    let outdated = keys.is_some() || known.is_some_and(|before| other_login(before, settings));
    let mut ended = outdated && keyring.remove(&session)?;
    if let Some(keys) = keys {
        credentials::login::save_keys(keyring.as_ref(), name, keys)?;
    }
    Config::set_identity(&ring.context.paths()?, name, settings)?;
    if outdated {
        ended |= keyring.remove(&session)?;
    }
    if known.is_some() && settings.flow() == Flow::WebIdentity {
        keyring.remove(&EntryName::identity(name))?;
    }
    Ok(ended)
}

/// Whether a session made with the one is not what a login with the other would give.
fn other_login(before: &Identity, after: &Identity) -> bool {
    before.endpoint != after.endpoint
        || before.role_arn != after.role_arn
        || before.external_id != after.external_id
        || before.web_identity_token_file != after.web_identity_token_file
        || before.mfa_device != after.mfa_device
}

impl Configure {
    fn gives_keys(&self) -> bool {
        self.access_key_id.is_some() || self.secret_stdin
    }

    /// The settings as they were, with what is given.
    fn settings(&self, before: Identity) -> Result<Identity> {
        let settings = Identity {
            endpoint: self.endpoint.clone().or(before.endpoint),
            region: changed(&self.region, before.region),
            mfa_device: changed(&self.mfa_device, before.mfa_device),
            session_length: self.session_length.or(before.session_length),
            role_arn: changed(&self.role_arn, before.role_arn),
            external_id: changed(&self.external_id, before.external_id),
            web_identity_token_file: self.token_file(before.web_identity_token_file)?,
        };
        if settings.flow() == Flow::WebIdentity && settings.role_arn.is_none() {
            let text = "a provider's token is exchanged for a role, and none is given";
            return Err(Failure::new(Code::Usage, text).with_hint("add --role-arn ARN"));
        }
        Ok(settings)
    }

    fn token_file(&self, before: Option<PathBuf>) -> Result<Option<PathBuf>> {
        let wrong = |e: std::io::Error| {
            let text = format!("--web-identity-token-file: {e}");
            Failure::new(Code::InvalidValue, text)
        };
        match &self.web_identity_token_file {
            None => Ok(before),
            Some(path) if path.as_os_str().is_empty() => Ok(None),
            Some(path) => std::path::absolute(path).map(Some).map_err(wrong),
        }
    }

    /// The keys to save: those that are given, or asked for where there are none yet.
    fn new_keys(
        &self,
        settings: &Identity,
        keyring: &dyn Keyring,
        context: &Context,
    ) -> Result<Option<KeySet>> {
        if settings.flow() == Flow::WebIdentity {
            if !self.gives_keys() {
                return Ok(None);
            }
            let text = "an identity with a provider's token has no long-lived keys";
            let hint = "leave the keys out, or remove the token with --web-identity-token-file ''";
            return Err(Failure::new(Code::Usage, text).with_hint(hint));
        }
        let entry = EntryName::identity(&self.identity);
        if !self.gives_keys() && keyring.load(&entry)?.is_some() {
            return Ok(None);
        }
        check_lasting(keyring, EXPORT_KEYS)?;
        self.keys(context).map(Some)
    }

    /// Asks for what a new identity may have beside its keys, and what is not given.
    fn ask(&self, settings: &mut Identity, context: &Context) -> Result<()> {
        if self.mfa_device.is_none() && settings.flow() != Flow::WebIdentity {
            let what = "MFA device (serial number or ARN; empty for none)";
            let typed = input::answer(context, what, "--mfa-device DEVICE")?;
            settings.mfa_device = Some(typed.trim().to_owned()).filter(|text| !text.is_empty());
        }
        if self.session_length.is_none() {
            let what = "session length (45m, 12h; empty for as long as the store gives)";
            let typed = input::answer(context, what, "--session-length DURATION")?;
            let typed = Some(typed.trim()).filter(|text| !text.is_empty());
            settings.session_length = typed.map(str::parse).transpose()?;
        }
        Ok(())
    }

    fn keys(&self, context: &Context) -> Result<KeySet> {
        let id = match &self.access_key_id {
            Some(id) => FieldValue::new(id, "--access-key-id")?,
            None => {
                let typed = input::answer(context, "access key id", "--access-key-id ID")?;
                FieldValue::new(&typed, "the access key id")?
            }
        };
        if !self.secret_stdin && !input::may_ask(context) {
            let text = "the secret access key would have to be typed";
            let hint = "add --secret-stdin and pipe it in";
            return Err(Failure::new(Code::InputNeeded, text).with_hint(hint));
        }
        let secret = input::secret(context, "secret access key")?;
        Ok(KeySet {
            access_key_id: id,
            secret_access_key: FieldValue::new(&secret, "the secret access key")?,
            session_token: None,
            expires: None,
        })
    }
}

/// What is given, where something is; '' for nothing.
fn changed(given: &Option<String>, before: Option<String>) -> Option<String> {
    match given.as_deref() {
        None => before,
        Some("") => None,
        Some(text) => Some(text.to_owned()),
    }
}

/// A path that may be empty.
fn path(text: &str) -> std::result::Result<PathBuf, std::convert::Infallible> {
    Ok(text.into())
}
