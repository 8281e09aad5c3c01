//! `artifactsd dev keys`: who may come in.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use embedded::{AccessKey, Holder, Keys};
use secrecy::ExposeSecret;

/// Which folder, and what to do.
#[derive(Args)]
pub(super) struct KeysArguments {
    /// The store's data folder.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Show the keys as JSON, one per line: root first, then those with a policy of their
    /// own, then those of IAM users.
    List {
        /// Show the secrets too.
        #[arg(long)]
        secrets: bool,
    },
    /// Make a key that may do what an IAM policy document allows, and show it.
    Add {
        /// The file with the policy; "-" reads it from stdin.
        #[arg(long, value_name = "FILE")]
        policy: PathBuf,
    },
    /// End a key: the next request with it is refused.
    Revoke {
        /// The access key id.
        id: String,
    },
}

/// Runs one action.
pub(super) fn run(arguments: KeysArguments) -> super::Result {
    if !arguments.data.is_dir() {
        let data = arguments.data.display();
        return Err(format!("there is no data folder {data}\nhint: start the store once: artifactsd dev --data {data}").into());
    }
    let keys = Keys::open(&arguments.data, None)?;
    match arguments.action {
        Action::List { secrets } => list(&keys, secrets),
        Action::Add { policy } => {
            let text = match policy.to_str() {
                Some("-") => io::read_to_string(io::stdin())?,
                _ => std::fs::read_to_string(&policy)
                    .map_err(|error| format!("{}: {error}", policy.display()))?,
            };
            print(&keys.add(&text)?)
        }
        Action::Revoke { id } => Ok(keys.revoke(&id)?),
    }
}

fn list(keys: &Keys, secrets: bool) -> super::Result {
    for summary in keys.list()? {
        let is_root = summary.holder == Holder::Root;
        let mut line = serde_json::json!({ "access_key_id": summary.id, "root": is_root });
        match &summary.holder {
            Holder::Root => {}
            Holder::Policy(policy) => line["policy"] = serde_json::from_str(policy)?,
            Holder::User(user) => line["user"] = user.as_str().into(),
        }
        if secrets {
            line["secret_access_key"] = keys.show(&summary.id)?.secret.expose_secret().into();
        }
        writeln!(io::stdout(), "{line}")?;
    }
    Ok(())
}

fn print(key: &AccessKey) -> super::Result {
    let line = serde_json::json!({
        "access_key_id": key.id,
        "secret_access_key": key.secret.expose_secret(),
    });
    Ok(writeln!(io::stdout(), "{line}")?)
}
