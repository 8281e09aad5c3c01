//! What a mount tells its orchestrator, and what it does about what it hears.

use std::sync::Arc;
use std::time::Duration;

use api::{Description, Mode, MountId};
use bucket::Bucket;
use control::announce::{self, Outbox};
use control::follow::{self, Follower, Standing, Subject};
use control::{Announcing, ControlError, Orchestrator};
use credentials::{Endpoint, WorkspaceConfig};
use filesystem::Filesystem;
use model::WorkspaceName;
use mount::control::Live as Shown;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::settings::Flags;
use super::ticket::Ticket;
use crate::context::Context;
use crate::failure::Result;
use crate::orchestrator::machine_name;

/// How long an unmount waits for the last words.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The orchestrator of a mount.
pub(crate) struct Live {
    orchestrator: Orchestrator,
    subject: Subject,
    name: WorkspaceName,
    outbox: Outbox,
    shown: watch::Sender<Shown>,
}

/// The same while it is at work.
pub(crate) struct Telling {
    orchestrator: Orchestrator,
    subject: Subject,
    outbox: Outbox,
    tasks: Vec<JoinHandle<()>>,
}

impl Live {
    /// The orchestrator of a workspace, where it has one and there is a login or a ticket.
    /// Nothing is asked of it yet, and nothing of it keeps a mount from being made.
    pub(crate) fn of(
        name: &WorkspaceName,
        config: &WorkspaceConfig,
        flags: &Flags,
        context: &Context,
    ) -> Option<Self> {
        let Some(known) = &config.orchestrator else {
            return None;
        };
        let found = match flags.ticket() {
            Some(path) => Ticket::read(&path).and_then(|ticket| ticket.for_server(&known.url)),
            None => logged_in(&known.url, context),
        };
        let orchestrator = match found {
            Ok(orchestrator) => orchestrator,
            Err(failure) => {
                context.output.note(&format!(
                    "Changes elsewhere are seen by the profile's times: {}.",
                    failure.message
                ));
                return None;
            }
        };
        let subject = Subject {
            workspace: known.workspace_id.into(),
            mount: MountId::from(Uuid::now_v7()),
            machine: machine_name(),
            mode: Mode::Rw,
            key: key(config).map(Into::into),
        };
        Some(Self {
            orchestrator,
            subject,
            name: name.clone(),
            outbox: Outbox::default(),
            shown: watch::Sender::new(Shown::default()),
        })
    }

    /// The bucket, with what is written to it told.
    pub(crate) fn telling(&self, bucket: Arc<dyn Bucket>) -> Arc<dyn Bucket> {
        Arc::new(Announcing::new(bucket, self.outbox.clone()))
    }

    /// How it stands, for `status`.
    pub(crate) fn shown(&self) -> watch::Receiver<Shown> {
        self.shown.subscribe()
    }

    /// Begins to tell and to listen.
    pub(crate) fn begin(&self, tree: Filesystem, read_only: bool) -> Telling {
        let mut subject = self.subject.clone();
        if read_only {
            subject.mode = Mode::Ro;
        }
        let follower: Arc<dyn Follower> = Arc::new(Tree {
            tree,
            name: self.name.clone(),
        });
        let (standing, seen) = watch::channel(Standing::default());
        let orchestrator = &self.orchestrator;
        let mut tasks = vec![
            tokio::spawn(follow::run(
                orchestrator.clone(),
                subject.clone(),
                follower.clone(),
                standing,
            )),
            tokio::spawn(follow::report(
                orchestrator.clone(),
                subject.clone(),
                follower,
                seen.clone(),
            )),
            tokio::spawn(show(seen, self.shown.clone())),
        ];
        if !read_only {
            tasks.push(tokio::spawn(announce::run(
                orchestrator.clone(),
                subject.workspace,
                origin(&subject),
                self.outbox.clone(),
            )));
        }
        Telling {
            orchestrator: orchestrator.clone(),
            subject,
            outbox: self.outbox.clone(),
            tasks,
        }
    }
}

impl Telling {
    /// Tells what is left to tell, as far as that goes quickly.
    pub(crate) async fn end(self) {
        self.outbox.emptied(LAST_WORDS).await;
        for task in &self.tasks {
            task.abort();
        }
        follow::farewell(&self.orchestrator, &self.subject, LAST_WORDS).await;
    }
}

/// The orchestrator, if this machine has a login there.
pub(crate) fn logged_in(url: &Endpoint, context: &Context) -> Result<Orchestrator> {
    match context.session(url)? {
        Some(_) => context.orchestrator_at(url.clone()),
        None => Err(ControlError::NotLoggedIn { url: url.clone() }.into()),
    }
}

/// The number of the key that is used, where that was issued.
pub(crate) fn key(config: &WorkspaceConfig) -> Option<Uuid> {
    let known = config.orchestrator.as_ref()?;
    match config.uses_issued_key() {
        true if config.profile == known.ticket_profile() => known.ticket_key.map(|key| key.id),
        true => known.key.map(|key| key.id),
        false => None,
    }
}

/// What announcements of this mount or sync carry as their origin.
pub(crate) fn origin(subject: &Subject) -> Description {
    let number = subject.mount.to_string();
    number.parse().expect("36 characters on one line")
}

async fn show(mut seen: watch::Receiver<Standing>, shown: watch::Sender<Shown>) {
    loop {
        let now = seen.borrow_and_update().clone();
        shown.send_replace(Shown {
            connected: now.connected,
            trouble: now.trouble,
            last_event_id: now.last_event_id,
            revoked: now.revoked,
        });
        if seen.changed().await.is_err() {
            return;
        }
    }
}

/// The tree, as events come to it.
struct Tree {
    tree: Filesystem,
    name: WorkspaceName,
}

impl Follower for Tree {
    fn changed(&self, keys: &[String]) {
        self.tree.refresh(keys);
    }

    fn resync(&self) {
        self.tree.resync();
    }

    fn revoked(&self) {
        tracing::error!("the key of this mount was revoked: writes stop, what is pending is kept");
        self.tree.stop_writes(format!(
            "the key of this mount was revoked: what is pending stays in the journal on this \
             machine; mount again to ask for another key: artifacts unmount {0}, then artifacts mount {0} FOLDER",
            self.name
        ));
    }

    fn pending(&self) -> (u64, u64) {
        let status = self.tree.status();
        (status.pending_changes, status.pending_bytes)
    }
}
