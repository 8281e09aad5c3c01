//! `artifacts secret migrate`: the plan first, then one secret after the other. What was taken
//! over stays where it was: only its owner knows when it may go.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use api::Secret;
use api::vault::Reason;
use clap::Args;
use credentials::Endpoint;
use credentials::vault::OldVersion;
use model::ServiceName;
use secrets::legacy_http::LegacyHttp;
use secrets::rekey::{self, Which};
use secrets::{S3Store, SecretStore, SecretValue, dotenv};
use serde::Serialize;
use vault::legacy::Wallet;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::input;
use crate::output::table;
use crate::vaulted::BackendChoice;

/// From where, and how.
#[derive(Args)]
#[group(id = "source", required = true, multiple = false, args = ["envelopes", "from_dotenv", "from_url"])]
pub(crate) struct Migrate {
    /// Seal this login's envelopes of versions 0x01 and 0x02 anew, where they lie.
    #[arg(long)]
    envelopes: bool,
    /// A dotenv file with NAME=value lines.
    #[arg(long, value_name = "FILE")]
    from_dotenv: Option<PathBuf>,
    /// An older HTTP store (/credential/…), whose session comes from standard input or is asked
    /// for.
    #[arg(long, value_name = "URL", requires = "wallet")]
    from_url: Option<Endpoint>,
    /// The agent of the older store: 0x and 40 digits.
    #[arg(long, value_name = "ADDRESS", requires = "from_url")]
    wallet: Option<String>,
    /// The variable NAME is the secret of this service; may be given more than once [default:
    /// every variable that ends in _API_KEY, _TOKEN, _SECRET or _KEY, under what comes before].
    #[arg(long, value_name = "NAME=SERVICE", requires = "from_dotenv")]
    map: Vec<Mapping>,
    /// Also where a secret of the service is stored already.
    #[arg(long, conflicts_with = "envelopes")]
    overwrite: bool,
    /// Show the plan and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    backend: BackendChoice,
}

/// A variable's name and a service.
#[derive(Debug, Clone)]
struct Mapping {
    name: String,
    service: ServiceName,
}

impl FromStr for Mapping {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (name, service) = text
            .split_once('=')
            .ok_or("it is not of the form NAME=SERVICE")?;
        Ok(Self {
            name: name.to_owned(),
            service: service
                .parse()
                .map_err(|e: model::InvalidService| e.to_string())?,
        })
    }
}

/// One line of the plan.
#[derive(Serialize)]
struct Planned {
    service: ServiceName,
    from: String,
    /// `store`, `replace`, `reseal`, or `keep` for what is stored already.
    action: &'static str,
    #[serde(skip)]
    source: Source,
}

enum Source {
    Value(SecretValue),
    Older,
    Place,
}

pub(super) fn run(command: &Migrate, context: &Context) -> Result<()> {
    if command.envelopes {
        return envelopes(command, context);
    }
    let older = command
        .from_url
        .as_ref()
        .map(|url| older(command, url, context));
    let older = older.transpose()?;
    let dotenv = command
        .from_dotenv
        .as_ref()
        .map(|path| variables(command, path));
    let found = match (&older, dotenv) {
        (Some(older), _) => context
            .block_on(async { Ok(older.list().await?) })?
            .into_iter()
            .map(|service| (service, "the older store".to_owned(), Source::Older))
            .collect(),
        (None, Some(found)) => found?,
        (None, None) => Vec::new(),
    };
    let plan = context.block_on(async {
        let store = context.secret_store(&command.backend).await?;
        let there = store.list().await?.into_iter().map(|one| one.service);
        Ok(planned(found, &there.collect(), command.overwrite))
    })?;
    if !tell(command, context, &plan)? {
        return Ok(());
    }
    let (mut stored, mut failed) = (0_u64, 0_u64);
    context.block_on(async {
        let store = context.secret_store(&command.backend).await?;
        for one in plan.iter().filter(|one| one.action != "keep") {
            match take(one, older.as_ref(), store.as_ref(), command.overwrite).await {
                Ok(()) => stored += 1,
                Err(failure) => {
                    failed += 1;
                    let hint = failure.hint.as_deref().unwrap_or_default();
                    let text = format!("{} was not stored: {}", one.service, failure.message);
                    context.output.warn(&text, hint);
                }
            }
        }
        Ok(())
    })?;
    conclude(
        context,
        stored,
        failed,
        "delete them where they were once everything works",
    )
}

async fn take(
    one: &Planned,
    older: Option<&LegacyHttp>,
    store: &dyn SecretStore,
    overwrite: bool,
) -> Result<()> {
    let expected = (!overwrite).then_some(0);
    let stored = match (&one.source, older) {
        (Source::Value(value), _) => store.store(&one.service, value, expected).await,
        (Source::Older, Some(older)) => {
            let value = older.read(&one.service).await?;
            store.store(&one.service, &value, expected).await
        }
        (Source::Older | Source::Place, _) => return Ok(()),
    };
    match stored {
        Ok(_) => Ok(()),
        Err(error) if error.reason == Some(Reason::GenerationMismatch) && !overwrite => {
            let text = "it was stored by somebody else meanwhile";
            Err(Failure::new(Code::SecretConflict, text).with_hint("add --overwrite to replace it"))
        }
        Err(error) => Err(error.into()),
    }
}

fn planned(
    found: Vec<(ServiceName, String, Source)>,
    there: &BTreeSet<ServiceName>,
    overwrite: bool,
) -> Vec<Planned> {
    let plan = found.into_iter().map(|(service, from, source)| Planned {
        action: match (there.contains(&service), overwrite) {
            (false, _) => "store",
            (true, true) => "replace",
            (true, false) => "keep",
        },
        service,
        from,
        source,
    });
    plan.collect()
}

/// Shows the plan; whether it is to be carried out.
fn tell(command: &Migrate, context: &Context, plan: &[Planned]) -> Result<bool> {
    let text = || {
        let row = |one: &Planned| {
            vec![
                one.service.to_string(),
                one.from.clone(),
                one.action.to_owned(),
            ]
        };
        table(&["SERVICE", "FROM", "WHAT"], plan.iter().map(row).collect())
    };
    let to_do = plan.iter().filter(|one| one.action != "keep").count();
    if command.dry_run {
        let data = serde_json::json!({ "plan": plan, "dry_run": true });
        context.output.data(&data, text)?;
        return Ok(false);
    }
    context.output.note(&text());
    if to_do == 0 {
        context.output.note("There is nothing to take over.");
        return Ok(false);
    }
    if !command.yes {
        let question = format!("{to_do} secrets will be taken over.");
        input::confirm(context, &question, "migrate", "--yes")?;
    }
    Ok(true)
}

fn conclude(context: &Context, stored: u64, failed: u64, advice: &str) -> Result<()> {
    let data = serde_json::json!({ "stored": stored, "failed": failed });
    context.output.data(&data, || {
        format!("{stored} secrets are taken over; {advice}\n")
    })?;
    if failed == 0 {
        return Ok(());
    }
    let text = format!("{failed} secrets were not taken over");
    Err(Failure::new(Code::LeftUndone, text)
        .with_hint("mend what the warnings say, then run it again"))
}

fn older(command: &Migrate, url: &Endpoint, context: &Context) -> Result<LegacyHttp> {
    let wallet: Wallet = command
        .wallet
        .as_deref()
        .unwrap_or_default()
        .parse()
        .map_err(|e: vault::legacy::InvalidWallet| {
            Failure::new(Code::InvalidValue, format!("--wallet: {e}"))
        })?;
    let session = input::secret(context, "session of the older store")?;
    let session: Secret = secrecy::SecretString::from(session.trim()).into();
    Ok(LegacyHttp::new(url.clone(), wallet, session)?)
}

/// The secrets of a dotenv file, each with its service.
fn variables(command: &Migrate, path: &Path) -> Result<Vec<(ServiceName, String, Source)>> {
    let read = std::fs::read_to_string(path);
    let text = read.map_err(|e| credentials::Error::io("read", path, e))?;
    let text = Zeroizing::new(text);
    let parsed = dotenv::parse(&text).map_err(|e| {
        Failure::new(Code::FileMalformed, format!("{}, {e}", path.display()))
            .with_hint("mend the line, or leave it out of a copy of the file")
    })?;
    let mut mapped: BTreeMap<&str, &ServiceName> = command
        .map
        .iter()
        .map(|mapping| (mapping.name.as_str(), &mapping.service))
        .collect();
    let mut found: Vec<(ServiceName, String, Source)> = Vec::new();
    for variable in parsed {
        let service = match mapped.remove(variable.name.as_str()) {
            Some(service) => Some(service.clone()),
            None if command.map.is_empty() => service_of(&variable.name),
            None => None,
        };
        let Some(service) = service else { continue };
        if found.iter().any(|(known, _, _)| *known == service) {
            let text = format!(
                "two variables of {} are secrets of {service}",
                path.display()
            );
            return Err(Failure::new(Code::InvalidValue, text)
                .with_hint("say which is which with --map NAME=SERVICE"));
        }
        let value = SecretValue::new(Zeroizing::new(variable.value.as_bytes().to_vec()));
        let value = value.map_err(|e| {
            Failure::new(Code::InvalidValue, format!("{}: {e}", variable.name))
                .with_hint("leave it out with --map for the others")
        })?;
        found.push((service, variable.name, Source::Value(value)));
    }
    match mapped.into_keys().next() {
        None => Ok(found),
        Some(name) => Err(Failure::new(
            Code::InvalidValue,
            format!("{} has no variable {name}", path.display()),
        )
        .with_hint("look at the names in the file")),
    }
}

/// `OPENROUTER_API_KEY` is the secret of `openrouter`.
fn service_of(name: &str) -> Option<ServiceName> {
    let upper = name.to_ascii_uppercase();
    let ends = [
        "_API_KEY",
        "_API_TOKEN",
        "_ACCESS_TOKEN",
        "_TOKEN",
        "_SECRET",
        "_KEY",
    ];
    let stem = ends.into_iter().find_map(|end| upper.strip_suffix(end))?;
    stem.to_ascii_lowercase().replace('_', "-").parse().ok()
}

fn envelopes(command: &Migrate, context: &Context) -> Result<()> {
    let mut settings = context.vault_settings()?;
    // To read them is what this is for.
    settings.allow = vec![OldVersion::V01, OldVersion::V02];
    let open = async || -> Result<S3Store> { context.s3_store(settings.clone()).await };
    let found = context.block_on(async { Ok(rekey::older_versions(&open().await?).await?) })?;
    let plan: Vec<Planned> = found
        .into_iter()
        .map(|(service, version)| Planned {
            service,
            from: format!("version 0x{version:02x}"),
            action: "reseal",
            source: Source::Place,
        })
        .collect();
    if !tell(command, context, &plan)? {
        return Ok(());
    }
    let counts = context.block_on(async {
        let store = open().await?;
        let told = rekey::run(&store, Which::OlderVersions, |step| {
            if let Some((service, error)) = step.failure {
                let text = format!("{service} is as it was: {error}");
                context.output.warn(&text, &error.hint);
            }
        });
        Ok(told.await?)
    })?;
    conclude(
        context,
        counts.rekeyed,
        counts.failed,
        "they are of the present form now",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variables_name_says_whose_secret_it_is() {
        for (name, service) in [
            ("OPENROUTER_API_KEY", Some("openrouter")),
            ("GITHUB_TOKEN", Some("github")),
            ("MY_APP_SECRET", Some("my-app")),
            ("PORT", None),
            ("_KEY", None),
        ] {
            let found = service_of(name);
            assert_eq!(found.as_ref().map(ServiceName::as_str), service, "{name}");
        }
    }
}
