//! `artifacts login`, `logout` and `whoami`: this machine at the orchestrator.

use std::process::{Command, ExitCode, Stdio};

use api::{DeviceAuthorization, Identity, Scope, Whoami as Me};
use clap::Args;
use control::{ControlError, Orchestrator, Session, Sessions, device};
use credentials::{Config, Endpoint, Registration};
use model::WorkspaceName;
use serde::Serialize;
use time::OffsetDateTime;

use super::mount as mounting;
use crate::context::{Context, check_lasting};
use crate::failure::{Code, Failure, Result};
use crate::input;
use crate::orchestrator::machine_name;
use crate::output::pairs;
use crate::process::without_secrets;
use crate::registered::{Returned, Right, give_back, is_over};
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
        check_lasting(keyring.as_ref(), "set ARTIFACTS_TOKEN to a service token")?;
    }
    let scope = match command.operator {
        true => Scope::Operator,
        false => Scope::Tenant,
    };
    let orchestrator = Orchestrator::new(url.clone())?;
    // Where that cannot be read, nothing could be kept either.
    let before = sessions.load(&url, scope)?;
    if let Some(before) = before.as_ref().filter(|_| !command.again)
        && let Some(me) = standing(context, &orchestrator, before)?
    {
        Config::set_orchestrator(&context.paths()?, &url)?;
        context.output.note("This machine is logged in already.");
        return show(
            context,
            Shown::new(url.clone(), Some(me), sessions.place(&url, scope)),
        );
    }
    let session = ask(command, context, &orchestrator, scope)?;
    if let Err(error) = sessions.save(&session, scope) {
        // A login that nobody has must not stay alive.
        end(context, &orchestrator, &session);
        return Err(error.into());
    }
    if let Some(before) = before {
        end(context, &orchestrator, &before);
    }
    Config::set_orchestrator(&context.paths()?, &url)?;
    let place = sessions.place(&url, scope);
    context.output.note(&format!(
        "Logged in at {url}; the login is kept in {place}."
    ));
    let holder = session.holder(&orchestrator);
    let me = context.block_on(async { Ok(holder.whoami().await?) })?;
    show(context, Shown::new(url, Some(me), place))
}

/// Waits until somebody lets this machine in.
fn ask(
    command: &Login,
    context: &Context,
    orchestrator: &Orchestrator,
    scope: Scope,
) -> Result<Session> {
    let machine = machine_name();
    let token = context.block_on(async {
        let asked = device::begin(orchestrator, machine.as_str(), scope).await?;
        let invitation = Invitation {
            machine: machine.as_str(),
            url: orchestrator.url(),
            asked: &asked,
            manual_code: command.manual_code,
        };
        invite(context, &invitation);
        Ok(device::wait(orchestrator, &asked, None).await?.access_token)
    })?;
    Ok(Session::given(
        orchestrator.url().clone(),
        token.into_inner(),
    ))
}

/// Ends a session at the orchestrator that is used no more; one that is left ends by itself.
fn end(context: &Context, orchestrator: &Orchestrator, session: &Session) {
    let holder = session.holder(orchestrator);
    let ended = context.block_on(async { Ok(holder.logout().await) });
    if let Ok(Err(error)) = ended {
        tracing::info!(%error, "an earlier login was not ended");
    }
}

/// Whom a saved login stands for, if it counts.
fn standing(
    context: &Context,
    orchestrator: &Orchestrator,
    session: &Session,
) -> Result<Option<Me>> {
    let holder = session.holder(orchestrator);
    match context.block_on(async { Ok(holder.whoami().await) })? {
        Ok(me) => Ok(Some(me)),
        Err(error) if is_over(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What a person who is to let this machine in is told.
pub(crate) struct Invitation<'a> {
    /// This machine, as the page calls it.
    pub(crate) machine: &'a str,
    /// Where it wants to be let in.
    pub(crate) url: &'a Endpoint,
    /// The server's answer.
    pub(crate) asked: &'a DeviceAuthorization,
    /// Whether no browser is to be opened.
    pub(crate) manual_code: bool,
}

/// Tells the person what to do, and opens a browser where there is one.
pub(crate) fn invite(context: &Context, invitation: &Invitation<'_>) {
    let Invitation {
        machine,
        url,
        asked,
        manual_code,
    } = *invitation;
    let minutes = asked.expires_in / 60;
    let code = &asked.user_code;
    let text = if manual_code {
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
    // What the server names is shown; only a page of its own is opened.
    let page = &asked.verification_uri_complete;
    let is_its_own = page
        .strip_prefix(url.as_str())
        .is_some_and(|path| path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic()));
    if !manual_code && is_its_own && input::may_ask(context) {
        open_browser(page, context);
    }
}

/// Best effort: the address was shown. The program gets none of our secrets.
fn open_browser(address: &str, context: &Context) {
    let has_screen = ["DISPLAY", "WAYLAND_DISPLAY"]
        .into_iter()
        .any(|name| std::env::var_os(name).is_some());
    let program = match std::env::consts::OS {
        "macos" => "open",
        _ if has_screen => "xdg-open",
        _ => return,
    };
    let mut command = Command::new(program);
    command
        .arg(address)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if without_secrets(&mut command, context).is_err() {
        return;
    }
    match command.spawn() {
        // It hands the address on and ends.
        Ok(mut child) => drop(std::thread::spawn(move || child.wait())),
        Err(error) => tracing::debug!(%error, program, "no browser was opened"),
    }
}

pub(crate) fn logout(command: &Logout, context: &Context) -> Result<()> {
    let url = context.known_orchestrator(command.url.as_ref())?;
    let sessions = context.sessions()?;
    let Some(session) = sessions.load(&url, Scope::Tenant)? else {
        return match sessions.load(&url, Scope::Operator)? {
            Some(operator) => {
                end(context, &Orchestrator::new(url.clone())?, &operator);
                sessions.forget(&url, Scope::Operator)?;
                context.output.note(&format!("Logged out at {url}."));
                Ok(())
            }
            None => Err(ControlError::NotLoggedIn { url }.into()),
        };
    };
    let orchestrator = session.holder(&Orchestrator::new(url.clone())?);
    let (mine, mut alive) = workspaces_of(context, &url)?;
    if !command.force {
        refuse_mounted(context, &mine)?;
    }
    let mut returned = Returned::default();
    for name in &mine {
        match give_back(context, &orchestrator, name, &[Right::Login, Right::Ticket]) {
            Ok(more) => {
                returned.revoked += more.revoked;
                returned.unconfirmed += more.unconfirmed;
            }
            // Nothing was done yet, and the same command can do all of it later.
            Err(failure) if failure.code.is_temporary() => return Err(failure),
            Err(failure) => alive.push(failure.message),
        }
    }
    match context.block_on(async { Ok(orchestrator.logout().await) })? {
        Ok(()) => {}
        // It has ended already.
        Err(error) if is_over(&error) => {}
        Err(error) => return Err(error.into()),
    }
    if let Some(operator) = sessions.load(&url, Scope::Operator)? {
        end(context, &orchestrator, &operator);
        sessions.forget(&url, Scope::Operator)?;
    }
    sessions.forget(&url, Scope::Tenant)?;
    tell(context, &url, returned, &alive)
}

fn tell(context: &Context, url: &Endpoint, returned: Returned, alive: &[String]) -> Result<()> {
    let keys = match returned.revoked {
        0 => String::new(),
        1 => "; the one key of this machine is revoked".to_owned(),
        count => format!("; the {count} keys of this machine are revoked"),
    };
    context.output.note(&format!("Logged out at {url}{keys}."));
    if context.output.is_json() {
        let data = serde_json::json!({
            "url": url,
            "revoked_keys": returned.revoked,
            "unconfirmed_keys": returned.unconfirmed,
            "left": alive,
        });
        context.output.data(&data, String::new)?;
    }
    if !alive.is_empty() {
        return Err(Failure::new(Code::LeftUndone, alive.join("; "))
            .with_hint("log in again, and take them back with: artifacts platform key list, then artifacts platform key revoke ID"));
    }
    if returned.unconfirmed > 0 {
        let text = format!(
            "{} keys count for the orchestrator no more, but their store has not confirmed that they are gone",
            returned.unconfirmed
        );
        return Err(Failure::new(Code::LeftUndone, text)
            .with_hint("it is asked again and again; nothing needs to be done here"));
    }
    Ok(())
}

/// The workspaces with keys of this orchestrator's, and what cannot be told of others.
fn workspaces_of(context: &Context, url: &Endpoint) -> Result<(Vec<WorkspaceName>, Vec<String>)> {
    let workspaces = context.workspaces()?;
    let (mut found, mut unread) = (Vec::new(), Vec::new());
    for name in workspaces.names()? {
        match workspaces.load(&name) {
            Ok(config) => {
                let is_theirs = |known: &Registration| known.url == *url && known.managed;
                if config.orchestrator.as_ref().is_some_and(is_theirs) {
                    found.push(name);
                }
            }
            Err(error) => unread.push(format!("whether {name} has a key is not known: {error}")),
        }
    }
    Ok((found, unread))
}

/// A mount whose key dies can no longer upload what waits in it.
fn refuse_mounted(context: &Context, mine: &[WorkspaceName]) -> Result<()> {
    let is_mine = |workspace: &str| mine.iter().any(|name| name.as_str() == workspace);
    let Some(record) = mounting::served(context, is_mine)? else {
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
    let kept = match context.given_token(&url)? {
        Some(_) => format!("the variable {}", variables::TOKEN),
        None => context.sessions()?.place(&url, Scope::Tenant),
    };
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
