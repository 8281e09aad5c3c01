//! What a sync tells its workspace's orchestrator, and hears from it: so that mounts and other
//! syncs see a change at once, and this one theirs.

use std::sync::Arc;
use std::time::Duration;

use api::{Mode, MountId};
use bucket::Bucket;
use control::announce::{self, Outbox};
use control::follow::{self, Follower, Standing, Subject};
use control::{Announcing, Orchestrator};
use credentials::WorkspaceConfig;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::commands::mount::live::{key, logged_in, origin};
use crate::context::Context;
use crate::orchestrator::machine_name;

/// How long the end of a run waits for the last words.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The orchestrator of a pair's workspace.
pub(super) struct Live {
    orchestrator: Orchestrator,
    subject: Subject,
    outbox: Outbox,
}

/// Work in the background that ends with this value.
pub(super) struct Task {
    running: JoinHandle<()>,
    outbox: Outbox,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Task {
    /// Waits until what is left to tell is told, as far as that goes quickly.
    pub(super) async fn end(self) {
        self.outbox.emptied(LAST_WORDS).await;
    }
}

impl Live {
    /// The orchestrator of a workspace, where it has one and there is a login. Without it
    /// nothing is missing but speed, so nothing is said.
    pub(super) fn of(config: &WorkspaceConfig, context: &Context) -> Option<Self> {
        let known = config.orchestrator.as_ref()?;
        let orchestrator = logged_in(&known.url, context)
            .inspect_err(|failure| tracing::info!(reason = failure.message, "nobody is told"))
            .ok()?;
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
            outbox: Outbox::default(),
        })
    }

    /// The bucket, with what is written to it told.
    pub(super) fn telling(&self, bucket: Arc<dyn Bucket>) -> Arc<dyn Bucket> {
        Arc::new(Announcing::new(bucket, self.outbox.clone()))
    }

    /// Begins to tell.
    pub(super) fn tell(&self) -> Task {
        self.task(announce::run(
            self.orchestrator.clone(),
            self.subject.workspace,
            origin(&self.subject),
            self.outbox.clone(),
        ))
    }

    /// Begins to listen: whoever waits is woken when something happens elsewhere.
    pub(super) fn hear(&self, woken: Arc<Notify>) -> Task {
        let (standing, _) = watch::channel(Standing::default());
        self.task(follow::run(
            self.orchestrator.clone(),
            self.subject.clone(),
            Arc::new(Wake(woken)),
            standing,
        ))
    }

    fn task(&self, work: impl Future<Output = ()> + Send + 'static) -> Task {
        Task {
            running: tokio::spawn(work),
            outbox: self.outbox.clone(),
        }
    }
}

/// A pass looks at everything, so it does not matter what happened.
struct Wake(Arc<Notify>);

impl Follower for Wake {
    fn changed(&self, _: &[String]) {
        self.0.notify_one();
    }

    fn resync(&self) {
        self.0.notify_one();
    }

    fn revoked(&self) {
        // The next pass is refused by the store, and says so.
        self.0.notify_one();
    }

    fn pending(&self) -> (u64, u64) {
        (0, 0)
    }
}
