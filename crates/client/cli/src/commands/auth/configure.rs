//! `artifacts auth user configure`.

use std::path::PathBuf;

use clap::Args;
use credentials::keyring::EntryName;
use credentials::{Config, Endpoint, FieldValue, Flow, Identity, IdentityName, KeySet, Lifetime};
use serde_json::json;

use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::input;

/// What is given is changed; keys that are not there yet are asked for.
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
    /// A file with an identity provider's token: then there are no long-lived keys.
    #[arg(long, value_name = "FILE", requires = "role_arn")]
    web_identity_token_file: Option<PathBuf>,
    /// The STS's address [default: that of AWS in the region].
    #[arg(long, value_name = "URL")]
    endpoint: Option<Endpoint>,
    /// The region that requests to the STS are signed for.
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
}

pub(crate) fn run(configure: &Configure, context: &Context) -> Result<()> {
    let config = context.config()?;
    let name = configure.identity.clone();
    let known = config.identities().get(&name).cloned();
    let keyring = context.identity_keyring(&config)?;
    let settings = configure.settings(known.clone().unwrap_or_default(), context)?;
    let entry = EntryName::identity(&name);
    // Asked before anything is changed, so that Control-C leaves all as it was.
    let keys = match settings.flow() {
        Flow::WebIdentity => None,
        _ if configure.gives_keys() || known.is_none() || keyring.load(&entry)?.is_none() => {
            Some(configure.keys(context)?)
        }
        _ => None,
    };
    if let Some(keys) = &keys {
        credentials::login::save_keys(keyring.as_ref(), &name, keys)?;
    }
    Config::set_identity(&context.paths()?, &name, &settings)?;
    let place = keyring.place();
    let answer = json!({ "identity": name, "keyring": place, "saved_keys": keys.is_some() });
    if context.output.is_json() {
        return context.output.data(&answer, String::new);
    }
    if keys.is_some() {
        let text = format!("Saved the keys of identity {name} in {place}.");
        context.output.note(&text);
    }
    context.output.note(&format!(
        "Identity {name} is configured; begin a session with: artifacts auth login --identity {name}"
    ));
    Ok(())
}

impl Configure {
    fn gives_keys(&self) -> bool {
        self.access_key_id.is_some() || self.secret_stdin
    }

    /// The settings as they were, with what is given.
    fn settings(&self, before: Identity, context: &Context) -> Result<Identity> {
        let token = self.web_identity_token_file.as_ref();
        let token = token.map(std::path::absolute).transpose().map_err(|e| {
            Failure::new(
                Code::InvalidValue,
                format!("--web-identity-token-file: {e}"),
            )
        })?;
        let is_new = before == Identity::default() && !self.gives_settings();
        let mut mfa_device = changed(&self.mfa_device, before.mfa_device);
        if is_new && mfa_device.is_none() && !self.gives_keys() && input::may_ask(context) {
            let what = "MFA device (serial number or ARN; empty for none)";
            let typed = input::answer(context, what, "--mfa-device DEVICE")?;
            mfa_device = Some(typed.trim().to_owned()).filter(|text| !text.is_empty());
        }
        Ok(Identity {
            endpoint: self.endpoint.clone().or(before.endpoint),
            region: changed(&self.region, before.region),
            mfa_device,
            session_length: self.session_length.or(before.session_length),
            role_arn: changed(&self.role_arn, before.role_arn),
            external_id: changed(&self.external_id, before.external_id),
            web_identity_token_file: token.or(before.web_identity_token_file),
        })
    }

    fn gives_settings(&self) -> bool {
        self.mfa_device.is_some() || self.role_arn.is_some() || self.endpoint.is_some()
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
