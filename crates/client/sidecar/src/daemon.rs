//! What the daemon answers.

use std::sync::Arc;

use api::vault::FetchedCredential;
use credentials::Paths;
use secrets::sidecar::{Answer, DaemonStatus, Request};
use secrets::{
    Caps, HttpStore, Kind, Result, SecretError, SecretStore, SecretValue, Seen, Wanted, Worker,
};
use tokio_util::sync::CancellationToken;
use vault::SignEs256;

use crate::caps::CapCache;
use crate::liveness::{Liveness, Pace};
use crate::peer::Peer;
use crate::policy::Policy;
use crate::upstream::Upstream;

/// The daemon, without its socket.
pub struct Daemon {
    upstream: Arc<dyn Upstream>,
    caps: Arc<CapCache>,
    liveness: Arc<Liveness>,
    store: HttpStore<Arc<CapCache>>,
    shown: (String, String),
    paths: Paths,
    me: u32,
    end: CancellationToken,
}

impl Daemon {
    /// A daemon of this process's user, which asks a worker with capabilities of a broker.
    /// `broker` is how messages call that one.
    pub fn new(upstream: Arc<dyn Upstream>, broker: String, worker: Worker, paths: Paths) -> Self {
        let liveness = Arc::new(Liveness::new(Pace::default()));
        let caps = Arc::new(CapCache::new(upstream.clone(), liveness.clone()));
        let shown = (broker, worker.server().base().to_string());
        Self {
            store: HttpStore::new(caps.clone(), worker, Seen::new(&paths)),
            upstream,
            caps,
            liveness,
            shown,
            paths,
            me: rustix::process::geteuid().as_raw(),
            end: CancellationToken::new(),
        }
    }

    /// Follows the broker's events and keeps the login, for ever.
    pub async fn follow(&self) {
        let (upstream, caps) = (self.upstream.clone(), self.caps.clone());
        let following = crate::follow::run(upstream, caps, self.liveness.clone());
        let keeping = crate::follow::keep_login(self.upstream.clone());
        tokio::join!(following, keeping);
    }

    /// Ends when somebody has asked for it.
    pub fn end(&self) -> &CancellationToken {
        &self.end
    }

    /// The capabilities that are held.
    pub fn caps(&self) -> &CapCache {
        &self.caps
    }

    /// What is known of the broker's stream.
    pub fn liveness(&self) -> &Liveness {
        &self.liveness
    }

    /// The rules that count now.
    ///
    /// # Errors
    /// There are some, and they cannot be read.
    pub fn policy(&self) -> Result<Policy> {
        Policy::load(&self.paths, self.me)
    }

    /// The daemon's own user.
    pub(crate) fn me(&self) -> u32 {
        self.me
    }

    /// Whether the peer is served at all, whatever it will ask for.
    ///
    /// # Errors
    /// [`Kind::Denied`], for another user than the policy names.
    pub fn admit(&self, peer: &Peer) -> Result<()> {
        self.policy()?.admit(peer)
    }

    /// Answers a peer.
    pub async fn answer(&self, peer: &Peer, request: Request) -> Answer {
        self.try_answer(peer, request)
            .await
            .unwrap_or_else(Answer::Failed)
    }

    async fn try_answer(&self, peer: &Peer, request: Request) -> Result<Answer> {
        let policy = self.policy()?;
        match request {
            Request::Store {
                service,
                plaintext,
                expected_generation,
            } => {
                policy.allow(peer, &Wanted::Store(service.clone()))?;
                let value = SecretValue::from_wire(&plaintext).ok_or_else(not_base64)?;
                let stored = self.store.store(&service, &value, expected_generation);
                Ok(Answer::Stored(stored.await?))
            }
            Request::Fetch {
                service,
                accept_older,
            } => {
                policy.allow(peer, &Wanted::Fetch(service.clone()))?;
                if accept_older {
                    self.may_accept_older(peer)?;
                }
                let read = self.store.read(&service, accept_older).await?;
                Ok(Answer::Fetched(FetchedCredential {
                    service,
                    plaintext: read.value.to_wire(),
                    version: read.version,
                    epoch: read.epoch,
                    generation: read.generation,
                }))
            }
            Request::List => {
                policy.allow(peer, &Wanted::List)?;
                Ok(Answer::Listed(self.store.list().await?))
            }
            Request::Teardown { label } => {
                let login = self.caps.login().await?;
                let wanted = Wanted::Teardown {
                    target: login.operator,
                    label: label.clone(),
                };
                policy.allow(peer, &wanted)?;
                Ok(Answer::TornDown(
                    self.store.teardown(label.as_deref()).await?,
                ))
            }
            Request::Status => {
                policy.admit(peer)?;
                Ok(Answer::Status(self.status(&policy).await))
            }
            Request::Stop => self.stop(peer),
        }
    }

    /// What was seen is the same for all who ask: another user is not to lower it.
    fn may_accept_older(&self, peer: &Peer) -> Result<()> {
        if peer.uid == self.me {
            return Ok(());
        }
        Err(SecretError::new(
            Kind::Denied,
            format!(
                "only user {} may take an older secret for the present one",
                self.me
            ),
            "as that user, run: artifacts secret read SERVICE --accept-older",
        ))
    }

    fn stop(&self, peer: &Peer) -> Result<Answer> {
        if peer.uid != self.me {
            return Err(SecretError::new(
                Kind::Denied,
                format!("only user {} may end this daemon", self.me),
                "end it as that user",
            ));
        }
        self.end.cancel();
        Ok(Answer::Stopping)
    }

    async fn status(&self, policy: &Policy) -> DaemonStatus {
        let login = self.caps.login().await;
        let trouble = login.as_ref().err().map(|error| error.message.clone());
        let login = login.ok();
        let operator = login.as_ref().map(|login| login.operator.clone());
        let key = self.upstream.key().ok();
        let silent = self.liveness.silent_for();
        DaemonStatus {
            pid: std::process::id(),
            broker: self.shown.0.clone(),
            worker: self.shown.1.clone(),
            actor: login.map(|login| login.actor),
            device: key.map(|key| key.public_jwk().thumbprint()),
            connected: self.liveness.is_connected(),
            trouble: trouble.or_else(|| self.liveness.trouble()),
            heard_seconds_ago: silent.map(|silent| silent.as_secs()),
            last_event_id: operator
                .as_ref()
                .and_then(|operator| self.liveness.last_event(operator)),
            operator,
            capabilities: self.caps.count(),
            has_policy: policy.has_rules(),
        }
    }
}

fn not_base64() -> SecretError {
    SecretError::new(
        Kind::Usage,
        "the secret is no base64, or too long",
        "a secret has at most 65,536 bytes",
    )
}
