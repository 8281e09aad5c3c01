//! The mount itself, in this process: from the names on the command line to its end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bucket::probe::Capabilities;
use bucket::{Body, Bucket, Condition, Etag, Key, PutOptions};
use credentials::Folder;
use filesystem::{Filesystem, OpenError, Settings};
use model::WorkspaceName;
use mount::control::Outcome;
use mount::supervise::Ready;
use mount::{Claim, MountOptions, MountTable, Mounted};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use super::settings::{Choices, Flags, unknown_keys};
use crate::commands::wake_watchers;
use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::marker::Marker;
use crate::variables;
use crate::workspace::{self, Opened};

/// How long a mount waits to learn whether its keys may write.
const PROBE_PATIENCE: Duration = Duration::from_secs(3);

/// Everything that a mount needs, checked as far as the machine alone can tell.
pub(crate) struct Plan {
    /// The workspace's name on this machine.
    pub(crate) name: WorkspaceName,
    /// Where, absolute.
    pub(crate) path: PathBuf,
    /// The log of a mount in the background.
    pub(crate) log: PathBuf,
    opened: Opened,
    choices: Choices,
    table: MountTable,
    cache: PathBuf,
    state: PathBuf,
    notes: Vec<String>,
}

/// A mount and what was found on the way to it.
pub(crate) struct Running {
    mounted: Mounted,
    read_only: bool,
    notes: Vec<String>,
}

impl Plan {
    /// Settles what is meant. Asks nothing of the store and mounts nothing.
    pub(crate) fn new(
        name: &WorkspaceName,
        path: &Path,
        flags: &Flags,
        context: &Context,
    ) -> Result<Self> {
        let path = std::path::absolute(path)
            .map_err(|e| Failure::new(Code::InvalidValue, format!("{}: {e}", path.display())))?;
        let mut opened = workspace::open(context, name)?;
        let named = variables::text(variables::PROFILE).is_some();
        if flags.key_profile.is_some() || named {
            opened.config.profile = context.profile(flags.key_profile.as_ref())?;
            opened.config.identity = None;
            opened.config.aws_profile = None;
            opened.bucket = workspace::connect(context, &opened.config)?;
        }
        let choices = flags.choose(&opened.config.mount)?;
        let notes = unknown_keys(&opened.config.mount)
            .into_iter()
            .map(|key| {
                format!("note: nothing is called {key} in the table [mount] of {name}'s file")
            })
            .collect();
        let paths = context.paths()?;
        let id = opened.config.id.to_string();
        // Folders of another user are refused before anything is put there.
        let own = |root: &Path| -> Result<PathBuf> {
            Folder::create(root)?;
            Ok(Folder::create(&root.join(&id))?.path().to_owned())
        };
        Ok(Self {
            name: name.clone(),
            path,
            log: paths.state().join("logs").join(format!("{name}.log")),
            choices,
            table: MountTable::open(paths.state())?,
            cache: own(paths.cache())?,
            state: own(paths.state())?,
            notes,
            opened,
        })
    }

    /// What to tell about a mount of this plan.
    pub(crate) fn ready(&self, running: &Running) -> Ready {
        let mount = running.mounted.mount();
        let record = mount.record();
        Ready {
            workspace: self.name.to_string(),
            mountpoint: record.mountpoint.clone(),
            pid: record.process.pid,
            read_only: running.read_only,
            notes: self.notes.iter().chain(&running.notes).cloned().collect(),
        }
    }
}

impl Running {
    /// The mount, for whoever shares the process with it.
    pub(crate) fn mount(&self) -> Arc<mount::Mount> {
        self.mounted.mount()
    }

    /// Serves until it is unmounted.
    pub(crate) async fn run(self) -> Outcome {
        self.mounted.run().await
    }
}

/// Mounts. Programs can use the folder when this returns.
pub(crate) async fn start(plan: &Plan, log: Option<PathBuf>) -> Result<Running> {
    let claim = Claim::take(&plan.table, plan.name.as_str(), &plan.path, &plan.state)?;
    let mut notes = Vec::new();
    if claim.repaired() {
        notes.push(format!(
            "Repaired {}: a mount there had lost its process.",
            plan.path.display()
        ));
    }
    let read_only = plan.choices.read_only || !may_write(plan, &mut notes).await?;
    let settings = settings(plan, read_only);
    let (watcher, changes) = mount::watcher();
    allow_many_files();
    let tree = Filesystem::open(plan.opened.bucket.clone(), settings, watcher)
        .await
        .map_err(not_opened)?;
    let options = MountOptions {
        read_only,
        allow_other: plan.choices.allow_other || is_root(),
        passthrough: plan.choices.passthrough,
        log,
        wake: Some(wake_watchers::program()),
    };
    let mounted = match Mounted::start(claim, tree.clone(), changes, options).await {
        Ok(mounted) => mounted,
        Err(error) => {
            tree.close().await;
            return Err(error.into());
        }
    };
    Ok(Running {
        mounted,
        read_only,
        notes,
    })
}

/// Serves until the folder is unmounted; a signal to end does that at once and leaves in
/// the journal what is not uploaded.
pub(crate) async fn until_unmounted(running: Running) -> Result<Outcome> {
    let stopper = running.mount();
    let mut signals = Vec::new();
    for kind in [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
    ] {
        let signal = signal(kind);
        signals.push(signal.map_err(|e| Failure::new(Code::Failed, format!("signals: {e}")))?);
    }
    let stop = tokio::spawn(async move {
        let [mut first, mut second, mut third]: [_; 3] = match signals.try_into() {
            Ok(signals) => signals,
            Err(_) => return,
        };
        loop {
            tokio::select! {
                _ = first.recv() => {}
                _ = second.recv() => {}
                _ = third.recv() => {}
            }
            if let Err(error) = stopper.stop().await {
                tracing::error!(%error, "asked to end, but the folder stays mounted");
            }
        }
    });
    let outcome = running.run().await;
    stop.abort();
    Ok(outcome)
}

/// Each file that programs have open costs one or two descriptors here; the usual soft limit
/// of 1,024 is soon reached. No more is asked for than a program started beside the mount
/// can bear, because that inherits it.
fn allow_many_files() {
    const ENOUGH: u64 = 1 << 16;
    let mut limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(ENOUGH).min(ENOUGH);
    if limit.current.is_some_and(|now| now < most) {
        limit.current = Some(most);
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "the limit of open files stays as it is");
        }
    }
}

fn settings(plan: &Plan, read_only: bool) -> Settings {
    let capabilities = plan.opened.capabilities.unwrap_or(NOTHING);
    let profile = plan.choices.profile();
    let mut settings = Settings::new(
        profile,
        plan.cache.clone(),
        plan.state.clone(),
        capabilities,
    );
    settings.prefix = plan.opened.config.prefix.as_str().to_owned();
    settings.host = host_name();
    settings.backing = plan.choices.passthrough && mount::passthrough_possible();
    plan.choices.apply(&mut settings);
    settings.read_only |= read_only;
    settings
}

/// What a store is taken to honour where it was never asked: keys that could only read.
const NOTHING: Capabilities = Capabilities {
    writable: false,
    put_if_absent: false,
    put_if_match: false,
    delete_if_match: false,
    copy: false,
    copy_if_absent: false,
    versions: false,
};

/// Whether the keys may write, in one request that changes nothing: a write of the marker
/// on the condition that it is a version which cannot be. A store checks the right first.
async fn may_write(plan: &Plan, notes: &mut Vec<String>) -> Result<bool> {
    if plan.choices.read_only {
        return Ok(false);
    }
    let honours = plan.opened.capabilities.is_some_and(|c| c.put_if_match);
    if !honours {
        // A store that ignores the condition would really write.
        return Ok(plan.opened.capabilities.is_some_and(|c| c.writable));
    }
    let marker = Marker::key(&plan.opened.config.prefix)?;
    let asked = impossible_write(plan.opened.bucket.as_ref(), &marker);
    let answer = tokio::time::timeout(PROBE_PATIENCE, asked).await;
    match answer {
        Ok(Err(bucket::Error::PermissionDenied { .. })) => Ok(false),
        Ok(Ok(()) | Err(bucket::Error::Precondition { .. } | bucket::Error::NotFound { .. })) => {
            Ok(true)
        }
        Ok(Err(error)) if !error.is_temporary() => Err(error.into()),
        Ok(Err(error)) => offline(plan, error.to_string(), notes),
        Err(_) => offline(
            plan,
            format!("no answer in {} s", PROBE_PATIENCE.as_secs()),
            notes,
        ),
    }
}

async fn impossible_write(bucket: &dyn Bucket, key: &Key) -> bucket::Result<()> {
    let options = PutOptions {
        condition: Condition::Matches(Etag::new("00000000000000000000000000000000")),
        ..PutOptions::default()
    };
    bucket
        .put(key, Body::Bytes(bytes::Bytes::new()), options)
        .await
        .map(drop)
}

/// Without the store, what was mounted before can be used from its cache; what never was
/// has nothing to show.
fn offline(plan: &Plan, reason: String, notes: &mut Vec<String>) -> Result<bool> {
    let known = std::fs::read_dir(&plan.cache).is_ok_and(|mut entries| entries.next().is_some());
    if !known {
        return Err(bucket::Error::Unreachable {
            endpoint: workspace::endpoint(&plan.opened.config),
            reason,
        }
        .into());
    }
    notes.push(format!(
        "The store does not answer ({reason}): what is cached can be used, changes wait in the journal."
    ));
    Ok(true)
}

fn not_opened(error: OpenError) -> Failure {
    let hint = match &error {
        OpenError::Folder { .. } => "is the disk full, or the folder another user's?",
        OpenError::NewerJournal { .. } => {
            "use the newer version here; nothing in the journal was changed"
        }
        OpenError::Journal { .. } => {
            "the journal holds what is not in the bucket yet: keep it, and report what the message says"
        }
    };
    Failure::new(Code::FileUnusable, error.to_string()).with_hint(hint)
}

fn host_name() -> String {
    // Linux has no shorter way; the name only goes into names of conflict copies.
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "host".to_owned(), |name| name.trim().to_owned())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
