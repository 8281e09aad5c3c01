//! The way to the orchestrator: which one, with which login.

use std::sync::Arc;

use api::Scope;
use control::{Orchestrator, Session, Sessions, Tokens};
use credentials::{Endpoint, KeyProfile};
use secrecy::SecretString;

use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::variables;

impl Context {
    /// The orchestrator that is meant: as given, else as the variable says, else as
    /// `config.toml` does; `None` where none is known.
    pub(crate) fn orchestrator_url(&self, given: Option<&Endpoint>) -> Result<Option<Endpoint>> {
        if let Some(given) = given {
            return Ok(Some(given.clone()));
        }
        match variables::text(variables::ORCHESTRATOR_URL) {
            Some(text) => Ok(Some(text.parse()?)),
            None => Ok(self.config()?.orchestrator().cloned()),
        }
    }

    /// The same, where there must be one.
    pub(crate) fn known_orchestrator(&self, given: Option<&Endpoint>) -> Result<Endpoint> {
        self.orchestrator_url(given)?.ok_or_else(|| {
            Failure::new(Code::NoOrchestrator, "no orchestrator is known here")
                .with_hint("run: artifacts login URL")
        })
    }

    /// Where logins are kept: in the keyring that is configured, else in a file.
    pub(crate) fn sessions(&self) -> Result<Sessions> {
        let settings = self.keyring_settings(&self.config()?, &KeyProfile::default())?;
        Ok(match settings {
            Some(settings) => Sessions::Keyring(self.open_keyring(&settings)?),
            None => Sessions::in_files(&self.paths()?),
        })
    }

    /// The login of this machine at an orchestrator, or the one that the environment gives
    /// for it.
    pub(crate) fn session(&self, url: &Endpoint) -> Result<Option<Session>> {
        match self.given_token(url)? {
            Some(token) => Ok(Some(Session::given(url.clone(), token))),
            None => Ok(self.sessions()?.load(url, Scope::Tenant)?),
        }
    }

    /// The token of that login, read anew for each call.
    fn tokens(&self, url: &Endpoint) -> Result<Arc<dyn Tokens>> {
        Ok(match self.given_token(url)? {
            Some(token) => Arc::new(token),
            None => self.sessions()?.tokens(url.clone(), Scope::Tenant),
        })
    }

    /// The environment's token, which is for the usual orchestrator and goes to no other.
    pub(crate) fn given_token(&self, url: &Endpoint) -> Result<Option<SecretString>> {
        let Some(token) = variables::text(variables::TOKEN) else {
            return Ok(None);
        };
        let is_its_server = self.orchestrator_url(None)?.as_ref() == Some(url);
        Ok(is_its_server.then(|| token.into()))
    }

    /// An orchestrator, with this machine's login.
    pub(crate) fn orchestrator_at(&self, url: Endpoint) -> Result<Orchestrator> {
        let tokens = self.tokens(&url)?;
        Ok(Orchestrator::new(url)?.with(tokens))
    }

    /// The usual orchestrator, with this machine's login.
    pub(crate) fn orchestrator(&self) -> Result<Orchestrator> {
        self.orchestrator_at(self.known_orchestrator(None)?)
    }
}

impl Context {
    /// The usual orchestrator, with the login of an operator where this machine has one.
    pub(crate) fn as_operator(&self) -> Result<Orchestrator> {
        let url = self.known_orchestrator(None)?;
        let sessions = self.sessions()?;
        let is_given = self.given_token(&url)?.is_some();
        if is_given || sessions.load(&url, Scope::Operator)?.is_none() {
            return self.orchestrator_at(url);
        }
        let tokens = sessions.tokens(url.clone(), Scope::Operator);
        Ok(Orchestrator::new(url)?.with(tokens))
    }
}

/// What this machine is called, to people who look at a list of keys or approve a login.
pub(crate) fn machine_name() -> api::Description {
    let name = crate::process::host_name();
    let plain: String = name.chars().filter(|c| !c.is_control()).take(200).collect();
    let plain = if plain.is_empty() {
        "host".into()
    } else {
        plain
    };
    plain.parse().expect("1 to 200 characters on one line")
}
