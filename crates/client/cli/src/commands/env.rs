//! `artifacts env`: a workspace's keys and place for other S3 tools.

pub(super) mod syntax;

use clap::{Args, ValueEnum};
use credentials::{StorageKeys, WorkspaceConfig};
use model::WorkspaceName;

use self::syntax::Variable;
use crate::context::Context;
use crate::failure::Result;
use crate::key_choice::KeyChoice;
use crate::variables;
use crate::workspace::region;

/// What to print.
#[derive(Args)]
pub(crate) struct Env {
    /// The workspace.
    name: WorkspaceName,
    /// In whose syntax.
    #[arg(short = 'f', long = "as", value_enum, value_name = "SYNTAX")]
    syntax: Option<Syntax>,
    #[command(flatten)]
    keys: KeyChoice,
}

/// Who reads the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Syntax {
    /// A shell: `eval "$(artifacts env NAME -f bash)"`.
    Bash,
    /// Tools that read `.env` files, such as docker compose.
    Dotenv,
    /// Programs: one JSON object.
    Json,
    /// GitHub Actions: `artifacts env NAME -f github >> "$GITHUB_ENV"`.
    Github,
    /// rclone: a section to append to rclone.conf.
    Rclone,
}

pub(crate) fn run(env: &Env, context: &Context) -> Result<()> {
    let config = context.workspace(&env.name, &env.keys.settled(context)?)?;
    let chain = context.workspace_keys(&config)?;
    let syntax = env.syntax.unwrap_or(match context.output.is_json() {
        true => Syntax::Json,
        false => Syntax::Bash,
    });
    let variables = gather(&chain, &config)?;
    if syntax == Syntax::Github {
        mask(&variables, context);
    }
    let text = match syntax {
        Syntax::Bash => syntax::bash(&variables),
        Syntax::Dotenv => syntax::dotenv(&variables),
        Syntax::Json => syntax::json(&variables),
        Syntax::Github => syntax::github(&variables),
        Syntax::Rclone => syntax::rclone(&env.name, &config, &variables),
    };
    context.output.text(&text)
}

/// What the AWS SDKs and command line read, and the place under our own names.
fn gather(chain: &StorageKeys, config: &WorkspaceConfig) -> Result<Vec<Variable>> {
    let keys = chain.resolve()?;
    let region = region(chain, config)?;
    let endpoint = config.endpoint.as_ref().map(|e| e.as_str());
    let token = keys.session_token.as_ref();
    Ok(vec![
        Variable::secret("AWS_ACCESS_KEY_ID", Some(keys.access_key_id.value.expose())),
        Variable::secret(
            "AWS_SECRET_ACCESS_KEY",
            Some(keys.secret_access_key.value.expose()),
        ),
        Variable::secret("AWS_SESSION_TOKEN", token.map(|t| t.value.expose())),
        Variable::plain("AWS_REGION", Some(&region)),
        Variable::plain("AWS_DEFAULT_REGION", Some(&region)),
        Variable::plain("AWS_ENDPOINT_URL_S3", endpoint),
        Variable::plain(variables::BUCKET, Some(config.bucket.as_str())),
        Variable::plain(variables::ENDPOINT, endpoint),
        Variable::plain(
            variables::PREFIX,
            Some(config.prefix.as_str()).filter(|p| !p.is_empty()),
        ),
    ])
}

/// Tells GitHub's runner to mask the secrets in its logs. It reads commands on both
/// streams, and does not show these lines; anywhere else they would be a leak, so they are
/// printed for the runner only.
fn mask(variables: &[Variable], context: &Context) {
    if variables::text(variables::GITHUB_ACTIONS).as_deref() != Some("true") {
        return;
    }
    for secret in variables.iter().filter_map(Variable::secret_value) {
        context.output.note(&format!("::add-mask::{secret}"));
    }
}
