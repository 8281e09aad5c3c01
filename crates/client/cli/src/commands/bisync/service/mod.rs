//! `artifacts bisync-service`: a synced folder that is kept so without a terminal, by the user's
//! service manager.

mod launchd;
mod manager;
mod systemd;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use model::{Profile, WorkspaceName};
use serde_json::json;
use sync::places::{Known, Places};
use sync::settings::{DeleteLimit, Resolve};

use self::manager::{Manager, Unit};
use super::Keys;
use super::standing::{Report, chosen};
use crate::commands::mount::values::Span;
use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::variables;

/// What can be done with the service of a synced folder.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Write the service of a folder that was synced before, and let it begin with the session.
    ///
    /// On Linux a unit of `systemd --user`, on macOS an agent of launchd. It runs `artifacts
    /// bisync NAME DIR --watch` with the options that are given here. No key is written into it:
    /// they come from where they are kept. To go on while nobody is logged in: `loginctl
    /// enable-linger`.
    Install(Install),
    /// Start it now.
    Start(Which),
    /// Stop it; it begins again with the next session.
    Stop(Which),
    /// Show how it is: whether it runs, last success, last error, next run.
    Status(Which),
    /// Stop it and take it away. The folder and what is known of it stay.
    Uninstall(Which),
}

/// Which service, and how it syncs.
#[derive(Args)]
pub(crate) struct Install {
    /// The workspace's name.
    #[arg(value_name = "NAME")]
    name: WorkspaceName,
    /// The folder, where the workspace is synced with several.
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    #[command(flatten)]
    keys: Keys,
    /// How careful: safe, balanced or fast.
    #[arg(long, value_name = "PROFILE", default_value_t)]
    profile: Profile,
    /// How often it looks at the bucket: 30s, 5m.
    #[arg(long, value_name = "DURATION")]
    interval: Option<Span>,
    /// The most files that may be deleted on either side within an hour: a count, or a share
    /// as 25%.
    #[arg(long, value_name = "N|N%")]
    max_delete: Option<DeleteLimit>,
    /// Which version keeps the name where both sides changed a file.
    #[arg(long, value_name = "RULE")]
    conflict_resolve: Option<Resolve>,
}

/// Which service.
#[derive(Args)]
pub(crate) struct Which {
    /// The workspace's name.
    #[arg(value_name = "NAME")]
    name: WorkspaceName,
}

pub(crate) fn run(command: &Command, context: &Context) -> Result<ExitCode> {
    let done = |text: String| {
        context.output.note(&text);
        Ok(ExitCode::SUCCESS)
    };
    match command {
        Command::Install(args) => install(args, context),
        Command::Start(which) => {
            let manager = installed(&which.name)?;
            manager.start(&which.name)?;
            let name = &which.name;
            done(format!(
                "started; see artifacts bisync-service status {name}"
            ))
        }
        Command::Stop(which) => {
            installed(&which.name)?.stop(&which.name)?;
            done("stopped".to_owned())
        }
        Command::Status(which) => status(&which.name, context),
        Command::Uninstall(which) => {
            installed(&which.name)?.uninstall(&which.name)?;
            done("taken away; the folder and what is known of it stay".to_owned())
        }
    }
}

fn install(args: &Install, context: &Context) -> Result<ExitCode> {
    let known = pair(args, context)?;
    check_keys(args, context)?;
    let manager = Manager::reachable()?;
    let unit = unit(args, &known)?;
    let place = manager.install(&unit)?;
    let data = json!({
        "workspace": args.name,
        "folder": known.record.folder,
        "service": manager.label(&args.name),
        "file": place,
    });
    context.output.data(&data, || {
        let (name, place) = (&args.name, place.display());
        format!("{place} written; start it with: artifacts bisync-service start {name}\n")
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The synced folder that is meant.
fn pair(args: &Install, context: &Context) -> Result<Known> {
    let all = Places::new(context.paths()?.state()).all();
    let mut meant = chosen(all, args.name.as_str())?;
    if let Some(folder) = &args.folder {
        let folder = super::pair::real(folder)?;
        meant.retain(|known| known.record.folder == folder);
    }
    let (name, first) = (
        &args.name,
        "artifacts bisync NAME DIR first: its first run shows what it will do",
    );
    match meant.len() {
        1 => Ok(meant.remove(0)),
        0 => Err(Failure::new(
            Code::NotSynced,
            format!("workspace {name} is not synced with that folder"),
        )
        .with_hint(first)),
        _ => Err(Failure::new(
            Code::Usage,
            format!("workspace {name} is synced with several folders"),
        )
        .with_hint(format!(
            "name one: artifacts bisync-service install {name} DIR"
        ))),
    }
}

/// A service does not have this shell's variables: keys that are only there are no keys to it.
fn check_keys(args: &Install, context: &Context) -> Result<()> {
    let config = context.workspace(&args.name, &args.keys.choice().settled(context)?)?;
    let saved = context.workspace_keys(&config)?.without_environment()?;
    match saved.resolve() {
        Ok(_) => Ok(()),
        Err(error) => {
            let failure = Failure::from(error);
            let text = format!("the service would have no keys: {}", failure.message);
            Err(Failure::new(failure.code, text).with_hint(
                "keys in this shell's variables are gone with it: save them with artifacts storage set",
            ))
        }
    }
}

/// The service of a folder.
fn unit(args: &Install, known: &Known) -> Result<Unit> {
    let program = std::env::current_exe().map_err(|error| {
        Failure::new(
            Code::Failed,
            format!("this program's path is not known: {error}"),
        )
    })?;
    let mut words: Vec<OsString> = ["bisync", args.name.as_str()].map(OsString::from).into();
    words.push(known.record.folder.clone().into_os_string());
    let mut option = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            words.extend([OsString::from(name), OsString::from(value)]);
        }
    };
    option("--profile", Some(args.profile.to_string()));
    option("--interval", args.interval.map(|span| span.to_string()));
    option("--max-delete", args.max_delete.as_ref().map(limit));
    let rule = args.conflict_resolve.map(|rule| rule.as_str().to_owned());
    option("--conflict-resolve", rule);
    let profile = args.keys.key_profile.as_ref().map(ToString::to_string);
    option("--key-profile", profile);
    option("--aws-profile", args.keys.aws_profile.clone());
    words.push("--watch".into());
    Ok(Unit {
        name: args.name.clone(),
        program,
        words,
        environment: environment(),
    })
}

/// A limit as its option takes it.
fn limit(limit: &DeleteLimit) -> String {
    match limit.count {
        u64::MAX => format!("{}%", limit.percent),
        count => count.to_string(),
    }
}

/// What says where our files are. Nothing that may be a secret.
fn environment() -> BTreeMap<&'static str, OsString> {
    let names = [
        "XDG_CONFIG_HOME",
        "XDG_STATE_HOME",
        "XDG_DATA_HOME",
        "XDG_CACHE_HOME",
        "ARTIFACTS_CONFIG",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_CONFIG_FILE",
        variables::KEYRING_TYPE,
        variables::PROFILE,
        variables::LOG,
    ];
    let set = names.into_iter().filter_map(|name| {
        let value = variables::raw(name).filter(|value| !value.is_empty())?;
        Some((name, value))
    });
    set.collect()
}

/// The manager, where it has a service of that name.
fn installed(name: &WorkspaceName) -> Result<Manager> {
    let manager = Manager::reachable()?;
    match manager.file(name)?.exists() {
        true => Ok(manager),
        false => Err(missing(name)),
    }
}

fn missing(name: &WorkspaceName) -> Failure {
    let text = format!("there is no service for workspace {name}");
    Failure::new(Code::NotSynced, text)
        .with_hint(format!("artifacts bisync-service install {name}"))
}

/// What is known of the folder needs no service manager.
fn status(name: &WorkspaceName, context: &Context) -> Result<ExitCode> {
    let file = Manager::place(name)?;
    let service = match file.exists() {
        false => None,
        true => Some(Manager::reachable().and_then(|manager| manager.state(name))),
    };
    let all = Places::new(context.paths()?.state()).all();
    let reports: Vec<Report> = match chosen(all, name.as_str()) {
        Ok(known) => known.iter().map(Report::of).collect(),
        Err(_) => Vec::new(),
    };
    if service.is_none() && reports.is_empty() {
        return Err(missing(name));
    }
    let state = match &service {
        None => "not installed".to_owned(),
        Some(Ok(state)) => state.clone(),
        Some(Err(failure)) => format!("unknown: {}", failure.message),
    };
    let runs = matches!(&service, Some(Ok(state)) if state.starts_with("active"));
    let data = json!({
        "service": {
            "installed": service.is_some(),
            "running": runs,
            "state": state,
            "file": file,
        },
        "folders": reports,
    });
    context.output.data(&data, || {
        let head = crate::output::pairs(&[("service", state.clone())]);
        let bodies: Vec<String> = reports.iter().map(Report::text).collect();
        head + &bodies.join("\n")
    })?;
    let worst = reports.iter().map(Report::exit).max().unwrap_or(0);
    let stopped = service.is_some() && !runs && worst == 0;
    Ok(ExitCode::from(match stopped {
        true => Code::LeftUndone.exit(),
        false => worst,
    }))
}
