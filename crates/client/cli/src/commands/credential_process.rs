//! `artifacts credential-process`: the keys for an AWS SDK that asks for them.
//!
//! The answer's form is the SDKs' own (AWS SDKs and Tools Reference Guide, "Process
//! credential provider", version 1).

use clap::Args;
use model::WorkspaceName;
use serde::Serialize;
use time::format_description::well_known::Rfc3339;

use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::key_choice::KeyChoice;

/// What to print.
#[derive(Args)]
pub(crate) struct CredentialProcess {
    /// The workspace.
    name: WorkspaceName,
    #[command(flatten)]
    keys: KeyChoice,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer<'a> {
    version: u8,
    access_key_id: &'a str,
    secret_access_key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_token: Option<&'a str>,
    /// When the SDK has to ask again.
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration: Option<String>,
}

pub(crate) fn run(command: &CredentialProcess, context: &Context) -> Result<()> {
    let config = context.workspace(&command.name, &command.keys.settled(context)?)?;
    let keys = context.workspace_keys(&config)?.resolve()?;
    let answer = Answer {
        version: 1,
        access_key_id: keys.access_key_id.value.expose(),
        secret_access_key: keys.secret_access_key.value.expose(),
        session_token: keys.session_token.as_ref().map(|t| t.value.expose()),
        expiration: keys.expires.and_then(|end| end.format(&Rfc3339).ok()),
    };
    let text = serde_json::to_string(&answer)
        .map_err(|e| Failure::new(Code::Failed, format!("the keys have no JSON form: {e}")))?;
    context.output.text(&(text + "\n"))
}
