//! `artifacts vault login` and `logout`.

use api::{Scope, Secret, SessionToken};
use clap::Args;
use control::{Orchestrator, device};
use credentials::{BucketName, Config, Endpoint, RegistrySettings};
use model::Actor;
use registrar::sign_in::SignIn;
use secrets::{Broker, Kind, Login as Kept, Logins, SecretError};
use serde::Serialize;
use time::OffsetDateTime;

use crate::commands::login::{Invitation, invite};
use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::input;
use crate::orchestrator::machine_name;
use crate::output::pairs;
use crate::registering::{WriteKey, registry};
use crate::vaulted::Servers;

/// Logs in at the broker: somebody who is signed in there approves it in a browser, on this
/// machine or any other. Addresses that are given are remembered in config.toml.
#[derive(Args)]
pub(crate) struct Login {
    /// The broker, https://HOST [default: the last one].
    #[arg(value_name = "URL")]
    broker: Option<Endpoint>,
    /// Use the one-time token of the first operator, from standard input or as it is typed.
    #[arg(long)]
    bootstrap: bool,
    /// Sign in with the wallet that writes to the registry, on the chain of `vault.registry`.
    #[arg(long, conflicts_with = "bootstrap")]
    wallet: bool,
    /// Open no browser: show a code to type on another device.
    #[arg(long, conflicts_with_all = ["bootstrap", "wallet"])]
    manual_code: bool,
    /// The worker to use from now on.
    #[arg(long, value_name = "URL")]
    worker: Option<Endpoint>,
    /// The signer to use from now on.
    #[arg(long, value_name = "URL")]
    signer: Option<Endpoint>,
    /// The vault's bucket.
    #[arg(long, value_name = "NAME")]
    bucket: Option<BucketName>,
    /// The bucket's store.
    #[arg(long, value_name = "URL")]
    endpoint: Option<Endpoint>,
    /// The store's region.
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// The role that opens the bucket.
    #[arg(long, value_name = "ARN")]
    role_arn: Option<String>,
    /// Certificates (PEM) to trust for these servers instead of the machine's.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<std::path::PathBuf>,
}

/// A login as it is shown.
#[derive(Serialize)]
struct Shown {
    broker: Endpoint,
    actor: String,
    operator: String,
    /// Seconds.
    expires_in: i64,
    kept: String,
}

pub(super) fn login(command: &Login, context: &Context) -> Result<()> {
    let mut settings = context.vault_settings()?;
    settings.broker = command.broker.clone().or(settings.broker);
    if let Some(path) = &command.ca_file {
        settings.ca_file = Some(absolute(path)?);
    }
    let servers = Servers::new(settings)?;
    let broker = servers.broker()?;
    let session = if command.bootstrap {
        bootstrap(&broker, context)?
    } else if command.wallet {
        by_wallet(&servers, &broker, context)?
    } else {
        ask(command, &servers, &broker, context)?
    };
    keep(context, &broker, &session)?;
    remember(command, context)
}

/// Keeps a session and shows it.
pub(crate) fn keep(context: &Context, broker: &Broker, session: &SessionToken) -> Result<()> {
    let logins = Logins::new(context.vault_place()?);
    let url = broker.server().base();
    logins.save(url, &session.access_token)?;
    let kept = logins
        .load(url)?
        .ok_or_else(|| Failure::new(Code::Failed, "the login that was kept is not there"))?;
    show(context, &logins, url, &kept)
}

fn bootstrap(broker: &Broker, context: &Context) -> Result<SessionToken> {
    let token = input::secret(context, "bootstrap token")?;
    let token: Secret = secrecy::SecretString::from(token.trim()).into();
    let (key, _) = context.devices()?.load_or_make()?;
    context.block_on(async { Ok(broker.bootstrap(token, &key).await?) })
}

/// The message is made and judged here: see [`SignIn`].
fn by_wallet(servers: &Servers, broker: &Broker, context: &Context) -> Result<SessionToken> {
    let settings = &servers.settings;
    let (WriteKey::Wallet(wallet), RegistrySettings::Chain { chain_id, .. }) =
        (context.write_key(settings)?, registry(settings)?)
    else {
        let text = "the registry is one of documents, and its key is no wallet";
        return Err(Failure::new(Code::VaultUsage, text)
            .with_hint("log in without --wallet, or name a chain in [vault.registry]"));
    };
    let (key, _) = context.devices()?.load_or_make()?;
    context.block_on(async {
        let challenge = broker.wallet_challenge().await?;
        let here = SignIn {
            broker: broker.server().base().as_str(),
            chain_id: *chain_id,
            now: OffsetDateTime::now_utc().into(),
        };
        let signed = here.sign(&challenge, &wallet)?;
        let session = broker.wallet_login(&signed, &key).await?;
        of_this(&wallet.actor()?, &session)?;
        Ok(session)
    })
}

/// Whoever signed in is whom the session is for, or the broker gave out another's.
fn of_this(wallet: &Actor, session: &SessionToken) -> Result<()> {
    let token = secrecy::SecretString::from(session.access_token.expose());
    let login = Kept::of(token.into());
    match login {
        Some(login) if login.operator == *wallet && login.actor == *wallet => Ok(()),
        _ => {
            let text =
                "the broker answered the wallet's login with a session that is not the wallet's";
            Err(Failure::new(Code::VaultLogin, text)
                .with_hint("ask who runs the broker; nothing was kept"))
        }
    }
}

fn ask(
    command: &Login,
    servers: &Servers,
    broker: &Broker,
    context: &Context,
) -> Result<SessionToken> {
    let url = broker.server().base().clone();
    let server = Orchestrator::trusting(url.clone(), servers.ca())?;
    let machine = machine_name();
    // The session is bound to this machine's device: whoever else sees it opens nothing with it.
    let (key, _) = context.devices()?.load_or_make()?;
    let prove = |url: &str, body: &[u8]| secrets::prove_login(&key, url, body).ok();
    context.block_on(async {
        let asked = device::begin(&server, machine.as_str(), Scope::Tenant).await?;
        let invitation = Invitation {
            machine: machine.as_str(),
            url: &url,
            asked: &asked,
            manual_code: command.manual_code,
        };
        invite(context, &invitation);
        Ok(device::wait(&server, &asked, Some(&prove)).await?)
    })
}

/// Writes what was given into `config.toml`.
fn remember(command: &Login, context: &Context) -> Result<()> {
    let ca_file = command.ca_file.as_deref().map(absolute).transpose()?;
    let ca_file = ca_file.map(|path| path.display().to_string());
    let endpoint = |value: &Option<Endpoint>| value.as_ref().map(ToString::to_string);
    let given = [
        ("broker", endpoint(&command.broker)),
        ("worker", endpoint(&command.worker)),
        ("signer", endpoint(&command.signer)),
        (
            "bucket",
            command.bucket.as_ref().map(|name| name.as_str().to_owned()),
        ),
        ("endpoint", endpoint(&command.endpoint)),
        ("region", command.region.clone()),
        ("role_arn", command.role_arn.clone()),
        ("ca_file", ca_file),
    ];
    let given: Vec<(&str, &str)> = given
        .iter()
        .filter_map(|(name, value)| Some((*name, value.as_deref()?)))
        .collect();
    if !given.is_empty() {
        Config::set_vault(&context.paths()?, &given)?;
    }
    Ok(())
}

fn absolute(path: &std::path::Path) -> Result<std::path::PathBuf> {
    Ok(std::path::absolute(path).map_err(|e| credentials::Error::io("find", path, e))?)
}

pub(super) fn logout(context: &Context) -> Result<()> {
    let broker = context.vault_servers()?.broker()?;
    let url = broker.server().base();
    let logins = Logins::new(context.vault_place()?);
    let login = logins.load(url)?;
    let login = login.ok_or_else(|| SecretError::not_logged_in(url))?;
    let ended = context.block_on(async { Ok(broker.logout(&login).await) })?;
    match ended {
        Ok(()) => {}
        // It has ended already.
        Err(error) if error.kind == Kind::Login => {}
        Err(error) => return Err(error.into()),
    }
    logins.forget(url)?;
    context.output.note(&format!("Logged out at {url}."));
    Ok(())
}

fn show(context: &Context, logins: &Logins, url: &Endpoint, login: &Kept) -> Result<()> {
    let shown = Shown {
        broker: url.clone(),
        actor: login.actor.to_string(),
        operator: login.operator.to_string(),
        expires_in: login.ends - OffsetDateTime::now_utc().unix_timestamp(),
        kept: logins.shown(url),
    };
    context.output.data(&shown, || {
        pairs(&[
            ("broker", shown.broker.to_string()),
            ("actor", shown.actor.clone()),
            ("operator", shown.operator.clone()),
            ("ends in", format!("{} s", shown.expires_in)),
            ("kept in", shown.kept.clone()),
        ])
    })
}
