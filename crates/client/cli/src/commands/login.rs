//! `artifacts login`, `logout` and `whoami`: this machine at the orchestrator.

use std::process::{Command, ExitCode, Stdio};

use api::{DeviceAuthorization, ErrorCode, Identity, Scope, Whoami as Me};
use clap::Args;
use control::{ControlError, Orchestrator, Session, Sessions, device};
use credentials::{Config, Endpoint, WorkspaceConfig};
use model::WorkspaceName;
use mount::Liveness;
use serde::Serialize;
use time::OffsetDateTime;

use super::mount as mounting;
use super::workspace::registered::give_back;
use crate::context::{Context, check_lasting};
use crate::failure::{Code, Failure, Result};
use crate::input;
use crate::orchestrator::machine_name;
use crate::output::pairs;
use crate::variables;

/// Lets this machine in at an orchestrator: somebody who is signed in there approves it in a
/// browser, on this machine or any other.
#[derive(Args)]
pub(crate) struct Login {
    /// The orchestrator, https://HOST; remembered [default: ARTIFACTS_ORCHESTRATOR_URL, else
    /// the last one].
    #[arg(value_name = "URL")]
    url: Option<Endpoint>,
    /// Open no browser: show a code to type on another device.
    #[arg(long)]
    manual_code: bool,
    /// Ask for a session that may do what an operator may.
    #[arg(long)]
    operator: bool,
    /// Begin a new login even where there is one that counts.
    #[arg(long)]
    again: bool,
}

impl Login {
    /// As the options would say it.
    pub(crate) fn at(url: Endpoint, manual_code: bool) -> Self {
        Self {
            url: Some(url),
            manual_code,
            operator: false,
            again: false,
        }
    }
}

/// Ends this machine's login, and with it the keys that this machine was issued.
#[derive(Args)]
pub(crate) struct Logout {
    /// The orchestrator [default: the usual one].
    #[arg(value_name = "URL")]
    url: Option<Endpoint>,
    /// Also while workspaces are mounted; what waits in them stays in the journals.
    #[arg(long)]
    force: bool,
}

/// Shows whom this machine's login stands for, and asks whether it counts.
#[derive(Args)]
pub(crate) struct Whoami {
    /// The orchestrator [default: the usual one].
    #[arg(value_name = "URL")]
    url: Option<Endpoint>,
}

/// A login as it is shown.
#[derive(Serialize)]
struct Shown {
    url: Endpoint,
    valid: bool,
    #[serde(flatten)]
    me: Option<Me>,
    /// Seconds; none where it does not end by itself.
    expires_in: Option<i64>,
    /// Where it is kept.
    kept: String,
}

pub(crate) fn login(command: &Login, context: &Context) -> Result<()> {
    let url = context.known_orchestrator(command.url.as_ref())?;
    let sessions = context.sessions()?;
    if let Sessions::Keyring(keyring) = &sessions {
        check_lasting(keyring.as_ref())?;
    }
    let orchestrator = Orchestrator::new(url.clone())?;
    if !command.again
        && !command.operator
        && let Some(me) = standing(context, &orchestrator, &sessions)?
    {
        Config::set_orchestrator(&context.paths()?, &url)?;
        context.output.note("This machine is logged in already.");
        return show(context, Shown::new(url, Some(me), kept(&sessions, context)));
    }
    let scope = if command.operator {
        Scope::Operator
    } else {
        Scope::Tenant
    };
    let machine = machine_name();
    let (me, session) = context.block_on(async {
        let asked = device::begin(&orchestrator, machine.as_str(), scope).await?;
        invite(command, context, machine.as_str(), &asked);
        let token = device::wait(&orchestrator, &asked).await?.access_token;
        let mut session = Session::given(url.clone(), &token.into_inner());
        let me = whoami_with(&orchestrator, &session).await?;
        session.expires_at = me.expires_at;
        session.session_id = match me.identity {
            Identity::Person { session_id, .. } => session_id,
            _ => None,
        };
        Ok((me, session))
    })?;
    let before = sessions.load(&url).ok().flatten();
    if let Err(error) = sessions.save(&session) {
        // A login that nobody has any more must not stay alive.
        end(context, &orchestrator, &session);
        return Err(error.into());
    }
    Config::set_orchestrator(&context.paths()?, &url)?;
    if let Some(before) = before {
        end(context, &orchestrator, &before);
    }
    context.output.note(&format!(
        "Logged in at {url}; the login is kept in {}.",
        sessions.place(&url)
    ));
    show(context, Shown::new(url, Some(me), kept(&sessions, context)))
}

/// Ends a session at the orchestrator that is used no more; one that is left ends by itself.
fn end(context: &Context, orchestrator: &Orchestrator, session: &Session) {
    let token = secrecy::SecretString::from(session.token.expose().to_owned());
    let holder = orchestrator.clone().with(std::sync::Arc::new(token));
    let ended = context.block_on(async { Ok(holder.logout().await) });
    if let Ok(Err(error)) = ended {
        tracing::info!(%error, "an earlier login was not ended");
    }
}

/// Whom the saved login stands for, if there is one that counts.
fn standing(
    context: &Context,
    orchestrator: &Orchestrator,
    sessions: &Sessions,
) -> Result<Option<Me>> {
    let Some(session) = sessions.load(orchestrator.url())? else {
        return Ok(None);
    };
    let asked = context.block_on(async { Ok(whoami_with(orchestrator, &session).await) })?;
    match asked {
        Ok(me) => Ok(Some(me)),
        Err(error) if error.is(ErrorCode::Unauthenticated) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn whoami_with(
    orchestrator: &Orchestrator,
    session: &Session,
) -> std::result::Result<Me, ControlError> {
    let token = secrecy::SecretString::from(session.token.expose().to_owned());
    let holder = orchestrator.clone().with(std::sync::Arc::new(token));
    holder.whoami().await
}

/// Tells the person what to do, and opens a browser where there is one.
fn invite(command: &Login, context: &Context, machine: &str, asked: &DeviceAuthorization) {
    let minutes = asked.expires_in / 60;
    let code = &asked.user_code;
    let text = if command.manual_code {
        format!(
            "To let this machine in, open\n\n    {}\n\non any device and type the code\n\n    {code}\n",
            asked.verification_uri
        )
    } else {
        format!(
            "To let this machine in, open\n\n    {}\n\nand look whether the page shows the machine {machine} and the code {code}.\n",
            asked.verification_uri_complete
        )
    };
    context
        .output
        .note(&format!("{text}\nWaiting, for {minutes} minutes at most…"));
    if !command.manual_code && input::may_ask(context) {
        open_browser(&asked.verification_uri_complete);
    }
}

/// Best effort: the address was shown.
fn open_browser(address: &str) {
    let has_screen = ["DISPLAY", "WAYLAND_DISPLAY"]
        .into_iter()
        .any(|name| std::env::var_os(name).is_some());
    let program = match std::env::consts::OS {
        "macos" => "open",
        _ if has_screen => "xdg-open",
        _ => return,
    };
    let started = Command::new(program)
        .arg(address)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    if let Err(error) = started {
        tracing::debug!(%error, program, "no browser was opened");
    }
}

pub(crate) fn logout(command: &Logout, context: &Context) -> Result<()> {
    let url = context.known_orchestrator(command.url.as_ref())?;
    let sessions = context.sessions()?;
    if sessions.load(&url)?.is_none() {
        return Err(ControlError::NotLoggedIn { url }.into());
    }
    let orchestrator = Orchestrator::new(url.clone())?.with(sessions.tokens(url.clone()));
    let mut mine = workspaces_of(context, &url)?;
    if !command.force {
        refuse_mounted(context, &mine)?;
    }
    let mut revoked = 0;
    for (name, config) in &mut mine {
        match give_back(context, &orchestrator, name, config) {
            Ok(true) => revoked += 1,
            Ok(false) => {}
            // Without a login that counts nothing can be revoked by it.
            Err(failure) => return Err(failure),
        }
    }
    let ended = context.block_on(async { Ok(orchestrator.logout().await) })?;
    match ended {
        Ok(()) => {}
        // It has ended already.
        Err(error) if error.is(ErrorCode::Unauthenticated) => {}
        Err(error) => return Err(error.into()),
    }
    sessions.forget(&url)?;
    context.output.note(&match revoked {
        0 => format!("Logged out at {url}."),
        1 => format!("Logged out at {url}; the one key of this machine is revoked."),
        count => format!("Logged out at {url}; the {count} keys of this machine are revoked."),
    });
    if context.output.is_json() {
        let data = serde_json::json!({ "url": url, "revoked_keys": revoked });
        context.output.data(&data, String::new)?;
    }
    Ok(())
}

fn workspaces_of(
    context: &Context,
    url: &Endpoint,
) -> Result<Vec<(WorkspaceName, WorkspaceConfig)>> {
    let workspaces = context.workspaces()?;
    let mut found = Vec::new();
    for name in workspaces.names()? {
        // A file that cannot be read names no key that could be revoked.
        let Ok(config) = workspaces.load(&name) else {
            continue;
        };
        let is_theirs = |known: &credentials::Registration| known.url == *url && known.managed;
        if config.orchestrator.as_ref().is_some_and(is_theirs) {
            found.push((name, config));
        }
    }
    Ok(found)
}

/// A mount whose key dies can no longer upload what waits in it.
fn refuse_mounted(context: &Context, mine: &[(WorkspaceName, WorkspaceConfig)]) -> Result<()> {
    let mounts = mounting::table(context)?.list()?;
    let served = mounts.into_iter().find(|(record, liveness)| {
        *liveness != Liveness::Stale
            && mine
                .iter()
                .any(|(name, _)| record.workspace == name.as_str())
    });
    let Some((record, _)) = served else {
        return Ok(());
    };
    let folder = record.mountpoint.display();
    let text = format!(
        "{} is mounted on {folder}, with a key that a logout revokes",
        record.workspace
    );
    Err(Failure::new(Code::AlreadyMounted, text).with_hint(format!(
        "upload and take it off first: artifacts unmount {folder}; or: artifacts logout --force"
    )))
}

pub(crate) fn whoami(command: &Whoami, context: &Context) -> Result<ExitCode> {
    let url = context.known_orchestrator(command.url.as_ref())?;
    let kept = kept(&context.sessions()?, context);
    let orchestrator = context.orchestrator_at(url.clone())?;
    let asked = context.block_on(async { Ok(orchestrator.whoami().await) })?;
    match asked {
        Ok(me) => {
            show(context, Shown::new(url, Some(me), kept))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) if error.is_temporary() => Err(error.into()),
        Err(error) => {
            let failure = Failure::from(error);
            if context.output.is_json() {
                show(context, Shown::new(url, None, kept))?;
            }
            context.output.failure(&failure);
            Ok(failure.exit_code())
        }
    }
}

/// Where a login is kept, or that the environment gives it.
fn kept(sessions: &Sessions, context: &Context) -> String {
    if variables::text(variables::TOKEN).is_some() {
        return format!("the variable {}", variables::TOKEN);
    }
    match context.orchestrator_url(None) {
        Ok(Some(url)) => sessions.place(&url),
        _ => String::new(),
    }
}

fn show(context: &Context, shown: Shown) -> Result<()> {
    context.output.data(&shown, || shown.text())
}

impl Shown {
    fn new(url: Endpoint, me: Option<Me>, kept: String) -> Self {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let end = me.as_ref().and_then(|me| me.expires_at);
        Self {
            url,
            valid: me.is_some(),
            expires_in: end.map(|end| end.seconds() - now),
            me,
            kept,
        }
    }

    fn text(&self) -> String {
        let mut rows = vec![("orchestrator", self.url.to_string())];
        if let Some(me) = &self.me {
            rows.extend(identity(&me.identity));
            let tenant = me.handle.as_ref().map(ToString::to_string);
            rows.push(("tenant", tenant.unwrap_or_else(|| "none".into())));
            let end = me.expires_at.map(|end| end.to_string());
            rows.push(("ends", end.unwrap_or_else(|| "when it is revoked".into())));
        }
        rows.push(("kept in", self.kept.clone()));
        pairs(&rows)
    }
}

fn identity(identity: &Identity) -> Vec<(&'static str, String)> {
    match identity {
        Identity::Person {
            actor,
            role,
            operator,
            ..
        } => {
            let role = match role {
                Some(api::Role::Owner) => "owner",
                Some(api::Role::Member) => "member",
                None => "none",
            };
            let mut rows = vec![("actor", actor.to_string()), ("role", role.to_owned())];
            if *operator {
                rows.push(("operator", "yes".to_owned()));
            }
            rows
        }
        Identity::Service { mode, workspace_id } => {
            let what = workspace_id.map_or("the tenant's bucket".into(), |id| id.to_string());
            vec![("service token", format!("{mode} for {what}"))]
        }
        Identity::Store => vec![("service token", "for webhooks only".to_owned())],
    }
}
