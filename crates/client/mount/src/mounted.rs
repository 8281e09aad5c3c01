//! A workspace that is mounted: from the claim on a folder to the last upload.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use filesystem::{Filesystem, Left, Status};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use crate::attach::{self, Attachment};
use crate::claim::Claim;
use crate::control::{Live, MountStatus, Outcome, Server};
use crate::error::MountError;
use crate::kernel::{
    self, Changes, KernelOptions, KernelSession, Passthrough, PassthroughState, WakeOptions, Wakes,
};
use crate::movement::Movement;
use crate::table::MountRecord;
use crate::wake::WakeProgram;

/// How often a drain tells how far it is.
const TICK: Duration = Duration::from_millis(200);
/// How long uploads go on without progress after the folder was unmounted behind our back.
const LAST_UPLOADS: Duration = Duration::from_secs(30);

/// How long a lazy unmount waits for programs to be done with the folder.
const LAZY_PATIENCE: Duration = Duration::from_secs(1);

/// What a user may choose about a mount itself.
#[derive(Debug, Clone, Default)]
pub struct MountOptions {
    /// Mount read-only.
    pub read_only: bool,
    /// Answer other users too. Root may ask for it; others only where `/etc/fuse.conf`
    /// says `user_allow_other`.
    pub allow_other: bool,
    /// Hand whole local files to the kernel where that can be done; see
    /// [`passthrough_possible`].
    pub passthrough: bool,
    /// The log file, to be shown by `status`.
    pub log: Option<PathBuf>,
    /// How the helper is started that wakes programs which wait for changes; without it
    /// they are not woken.
    pub wake: Option<WakeProgram>,
    /// What the tree's bucket counts, where it is [`Metered`](crate::Metered).
    pub movement: Movement,
    /// How it stands with its orchestrator, for `status`.
    pub live: Option<watch::Receiver<Live>>,
}

/// Whether this process may hand local files to the kernel, as far as can be known before
/// it is tried: CAP_SYS_ADMIN.
pub fn passthrough_possible() -> bool {
    crate::process::is_admin()
}

/// A mounted workspace, to be [run](Mounted::run) until it is unmounted.
pub struct Mounted {
    mount: Arc<Mount>,
    claim: Claim,
    session: KernelSession,
    server: Server,
}

/// What the control socket and the owner of a mount share.
pub struct Mount {
    tree: Filesystem,
    record: MountRecord,
    passthrough: PassthroughState,
    wakes: Wakes,
    movement: Movement,
    live: Option<watch::Receiver<Live>>,
    phase: watch::Sender<Phase>,
    /// What waits for upload stays in the journal when the mount ends.
    leave_pending: AtomicBool,
    /// The mount is to end even if programs still hold files of it.
    force: Notify,
}

#[derive(Debug, Clone)]
enum Phase {
    Mounted,
    /// Unmounted; the last uploads go on.
    Detached,
    Finished(Outcome),
}

impl Mounted {
    /// Attaches the tree to the claimed folder. When this returns, programs can use it.
    ///
    /// # Errors
    /// What the system refuses; nothing stays mounted then.
    pub async fn start(
        claim: Claim,
        tree: Filesystem,
        changes: Changes,
        options: MountOptions,
    ) -> Result<Self, MountError> {
        let session = attach_and_serve(&claim, &tree, changes, &options).await?;
        let prepared = prepare(&claim, options.log);
        let (record, server) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                session.wakes.end();
                detach(&claim, true).await?;
                return Err(error);
            }
        };
        crate::readahead::raise(claim.mountpoint());
        let mount = Arc::new(Mount {
            tree,
            record,
            passthrough: session.passthrough.clone(),
            wakes: session.wakes.clone(),
            movement: options.movement,
            live: options.live,
            phase: watch::Sender::new(Phase::Mounted),
            leave_pending: AtomicBool::new(false),
            force: Notify::new(),
        });
        Ok(Self {
            mount,
            claim,
            session,
            server,
        })
    }

    /// The mount, for whoever shares the process with it.
    pub fn mount(&self) -> Arc<Mount> {
        self.mount.clone()
    }

    /// Serves the control socket until the folder is unmounted, by us or by anyone, and
    /// everything is put in order. What is still pending then stays in the journal.
    pub async fn run(self) -> Outcome {
        let Self {
            mount,
            claim,
            session,
            server,
        } = self;
        let control = tokio::spawn(server.serve(mount.clone()));
        let outcome = mount.finish(session).await;
        claim.table().remove(&mount.record);
        drop(claim);
        mount.phase.send_replace(Phase::Finished(outcome.clone()));
        // It ends by itself once it has seen the last phase.
        let _ = control.await;
        outcome
    }
}

impl Mount {
    /// The record in the mount table.
    pub fn record(&self) -> &MountRecord {
        &self.record
    }

    /// How the mount is.
    pub fn status(&self) -> MountStatus {
        MountStatus {
            workspace: self.record.workspace.clone(),
            mountpoint: self.record.mountpoint.clone(),
            pid: self.record.process.pid,
            since: self.record.since,
            detached: !matches!(*self.phase.borrow(), Phase::Mounted),
            passthrough: self.passthrough.now(),
            memory_bytes: self.record.process.resident_bytes().unwrap_or(0),
            filesystem: self.tree.status(),
            live: self.live.as_ref().map(|live| live.borrow().clone()),
        }
    }

    /// Whether the kernel reads and writes whole local files by itself.
    pub fn passthrough(&self) -> Passthrough {
        self.passthrough.now()
    }

    /// Looks at once at objects that changed in the bucket, as somebody says.
    pub fn refresh(&self, keys: &[String]) -> Outcome {
        self.tree.refresh(keys);
        Outcome::of(&self.tree.status(), &Left::default())
    }

    /// Uploads everything that waits.
    ///
    /// # Errors
    /// [`MountError::LeftPending`] when for `stall` nothing moved.
    pub async fn drain(
        &self,
        stall: Option<Duration>,
        progress: &mut (dyn FnMut(&Status) + Send),
    ) -> Result<Outcome, MountError> {
        drain(&self.tree, &self.movement, stall, progress).await
    }

    /// Unmounts: with `wait` after everything has been uploaded. Returns when the mount
    /// has ended.
    ///
    /// # Errors
    /// [`MountError::LeftPending`] and [`MountError::Busy`]; the folder stays mounted then.
    pub async fn unmount(
        &self,
        wait: bool,
        lazy: bool,
        stall: Option<Duration>,
        progress: &mut (dyn FnMut(&Status) + Send),
    ) -> Result<Outcome, MountError> {
        if wait {
            self.drain(stall, progress).await?;
        }
        self.detach(!wait, lazy).await?;
        if !lazy {
            return Ok(self.finished().await);
        }
        // Programs that hold files of it are served until they close them.
        let ended = tokio::time::timeout(LAZY_PATIENCE, self.finished()).await;
        match ended {
            Ok(outcome) => Ok(outcome),
            Err(_) => Ok(self.outcome().await),
        }
    }

    /// Ends the mount at once: programs that use the folder lose it, what is pending stays
    /// in the journal.
    ///
    /// # Errors
    /// When the system does not even detach it.
    pub async fn stop(&self) -> Result<Outcome, MountError> {
        match self.detach(true, false).await {
            Err(MountError::Busy { .. }) => {
                self.detach(true, true).await?;
                self.force.notify_one();
            }
            result => result?,
        }
        Ok(self.finished().await)
    }

    async fn detach(&self, leave_pending: bool, lazy: bool) -> Result<(), MountError> {
        let mountpoint = self.record.mountpoint.clone();
        // Before the folder goes: the end of the session follows at once.
        self.leave_pending.store(leave_pending, Ordering::SeqCst);
        let wakes = self.wakes.clone();
        let result = blocking(move || {
            let _paused = wakes.pause();
            attach::detach(&mountpoint, lazy)
        })
        .await;
        if result.is_err() {
            self.leave_pending.store(false, Ordering::SeqCst);
        }
        result
    }

    /// Resolves when the mount has ended.
    pub(crate) async fn finished(&self) -> Outcome {
        let mut phases = self.phase.subscribe();
        loop {
            if let Phase::Finished(outcome) = &*phases.borrow_and_update() {
                return outcome.clone();
            }
            if phases.changed().await.is_err() {
                return self.outcome().await;
            }
        }
    }

    async fn outcome(&self) -> Outcome {
        outcome(&self.tree).await
    }

    /// Waits for the end of the session, uploads what came in last, closes the tree.
    async fn finish(&self, session: KernelSession) -> Outcome {
        tokio::select! {
            ended = session.ended => match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "the session with the kernel broke"),
                Err(_) => tracing::error!("the threads of the session are gone"),
            },
            () = self.force.notified() => self.passthrough.release_all(&self.tree).await,
        }
        self.wakes.end();
        self.phase.send_replace(Phase::Detached);
        if !self.leave_pending.load(Ordering::SeqCst)
            && let Err(error) = self.drain(Some(LAST_UPLOADS), &mut |_| {}).await
        {
            tracing::warn!(%error, "unmounted with uploads left");
        }
        self.tree.close().await;
        self.outcome().await
    }
}

fn why_no_passthrough(options: &MountOptions, tree: &Filesystem) -> Option<&'static str> {
    const UNTOLD: &str = "the cache folder is on a file system (tmpfs, overlayfs) that does not \
                          tell of writes through mappings; see XDG_CACHE_HOME";
    if !options.passthrough {
        Some("switched off")
    } else if !passthrough_possible() {
        Some("needs the right CAP_SYS_ADMIN")
    } else {
        (!tree.lends_files()).then_some(UNTOLD)
    }
}

async fn attach_and_serve(
    claim: &Claim,
    tree: &Filesystem,
    changes: Changes,
    options: &MountOptions,
) -> Result<KernelSession, MountError> {
    let (workspace, mountpoint) = (claim.workspace().to_owned(), claim.mountpoint().to_owned());
    let (tree, runtime) = (tree.clone(), Handle::current());
    let (read_only, allow_other) = (options.read_only, options.allow_other);
    let kernel_options = KernelOptions {
        no_passthrough: why_no_passthrough(options, &tree),
        allow_other,
        // A read-only mount refuses the helper's calls before they come to us.
        wake: options
            .wake
            .clone()
            .filter(|_| !read_only && !tree.is_lazy())
            .map(|program| WakeOptions {
                program,
                mountpoint: mountpoint.clone(),
            }),
    };
    blocking(move || {
        let device = attach::attach(&Attachment {
            workspace: &workspace,
            mountpoint: &mountpoint,
            read_only,
            allow_other,
        })?;
        kernel::serve(tree, device, changes, &kernel_options, runtime).map_err(|error| {
            // The handshake failed: the folder must not stay behind as a dead mount.
            if let Err(error) = attach::detach(&mountpoint, true) {
                tracing::warn!(%error, "a failed mount stays behind");
            }
            MountError::NotPermitted {
                path: mountpoint,
                reason: error.to_string(),
            }
        })
    })
    .await
}

fn prepare(claim: &Claim, log: Option<PathBuf>) -> Result<(MountRecord, Server), MountError> {
    let record = claim
        .table()
        .put(claim.workspace(), claim.mountpoint(), log)?;
    match Server::bind(&record.socket) {
        Ok(server) => Ok((record, server)),
        Err(error) => {
            claim.table().remove(&record);
            Err(error)
        }
    }
}

async fn detach(claim: &Claim, lazy: bool) -> Result<(), MountError> {
    let mountpoint = claim.mountpoint().to_owned();
    blocking(move || attach::detach(&mountpoint, lazy)).await
}

async fn drain(
    tree: &Filesystem,
    movement: &Movement,
    stall: Option<Duration>,
    progress: &mut (dyn FnMut(&Status) + Send),
) -> Result<Outcome, MountError> {
    // Patience is ours: the tree cannot see that one large upload goes on.
    let everything = tree.drain(Duration::MAX, |_| {});
    tokio::pin!(everything);
    let mut tick = tokio::time::interval(TICK);
    let mut still = Stillness::new();
    loop {
        tokio::select! {
            _ = &mut everything => return Ok(outcome(tree).await),
            _ = tick.tick() => {
                let status = tree.status();
                progress(&status);
                if stall.is_some_and(|stall| still.since(&status, movement.count()) >= stall) {
                    return Err(left_pending(&outcome(tree).await));
                }
            }
        }
    }
}

/// For how long nothing has moved towards the bucket.
struct Stillness {
    /// Changes that were pending, and what had moved.
    seen: (u64, u64),
    since: Instant,
}

impl Stillness {
    fn new() -> Self {
        Self {
            seen: (u64::MAX, 0),
            since: Instant::now(),
        }
    }

    /// What programs write meanwhile is no progress, so more that is pending does not count.
    fn since(&mut self, status: &Status, moved: u64) -> Duration {
        let now = (status.pending_changes, moved);
        if now.0 < self.seen.0 || now.1 != self.seen.1 {
            self.since = Instant::now();
        }
        self.seen = now;
        self.since.elapsed()
    }
}

fn left_pending(outcome: &Outcome) -> MountError {
    MountError::LeftPending {
        pending: crate::units::pending(outcome),
        reason: outcome.last_error.clone(),
    }
}

/// What is left now. Attributes are counted in the journal, off the runtime's threads.
async fn outcome(tree: &Filesystem) -> Outcome {
    let counted = tree.clone();
    let left = blocking(move || Ok(counted.left())).await;
    let left = left.and_then(|left| left.map_err(|e| MountError::local("count what is left", e)));
    let left = left.unwrap_or_else(|error| {
        tracing::warn!(%error, "attributes that wait are not counted");
        Left::default()
    });
    Outcome::of(&tree.status(), &left)
}

/// Runs what blocks (the handshake, the helper program) off the runtime's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, MountError> + Send + 'static,
) -> Result<T, MountError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(MountError::local("run a background thread", error)),
    }
}
