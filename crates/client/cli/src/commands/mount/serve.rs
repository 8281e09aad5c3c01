//! The mount itself, in this process: from the names on the command line to its end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bucket::probe::{Capabilities, SCRATCH};
use bucket::{Body, Bucket, Condition, Etag, Key, PutOptions};
use credentials::Folder;
use filesystem::{Filesystem, OpenError, Settings};
use model::WorkspaceName;
use mount::control::Outcome;
use mount::supervise::Ready;
use mount::{Claim, Metered, MountOptions, MountTable, Mounted, Movement};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use super::live::{Live, Telling};
use super::settings::{Choices, Flags, unknown_keys};
use crate::commands::wake_watchers;
use crate::commands::workspace::view::shortcomings;
use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::key_choice::Settled;
use crate::marker::MARKER;
use crate::process::host_name;
use crate::workspace::{self, Opened};

/// How long a mount waits to learn whether its workspace is there and its keys may write.
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
    live: Option<Live>,
    /// Which keys were chosen.
    pub(crate) keys: Settled,
}

/// A mount and what was found on the way to it.
pub(crate) struct Running {
    mounted: Mounted,
    telling: Option<Telling>,
    read_only: bool,
    notes: Vec<String>,
}

impl Plan {
    /// Settles what is meant. Asks nothing of the store and mounts nothing.
    pub(crate) fn new(
        name: &WorkspaceName,
        path: &Path,
        flags: &Flags,
        keys: Settled,
        context: &Context,
    ) -> Result<Self> {
        let path = std::path::absolute(path)
            .map_err(|e| Failure::new(Code::InvalidValue, format!("{}: {e}", path.display())))?;
        let opened = workspace::open(context, name, &keys)?;
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
            live: Live::of(name, &opened.config, flags, context),
            keys,
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
        let outcome = self.mounted.run().await;
        if let Some(telling) = self.telling {
            telling.end().await;
        }
        outcome
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
    let found = look(plan, &mut notes).await?;
    let read_only = plan.choices.read_only || !found.writable;
    notes.extend(warnings(&found, read_only));
    let settings = settings(plan, &found, read_only);
    let (watcher, changes) = mount::watcher();
    allow_many_files();
    let movement = Movement::default();
    let bucket = plan.opened.bucket.clone();
    let bucket = match &plan.live {
        Some(live) => live.telling(bucket),
        None => bucket,
    };
    let bucket = Arc::new(Metered::new(bucket, movement.clone()));
    let tree = Filesystem::open(bucket, settings, watcher)
        .await
        .map_err(not_opened)?;
    notes.extend(tree.status().journal_set_aside.map(set_aside));
    let options = MountOptions {
        read_only,
        allow_other: plan.choices.allow_other || is_root(),
        passthrough: plan.choices.passthrough,
        log,
        wake: Some(wake_watchers::program()),
        movement,
        live: plan.live.as_ref().map(Live::shown),
    };
    let mounted = match Mounted::start(claim, tree.clone(), changes, options).await {
        Ok(mounted) => mounted,
        Err(error) => {
            tree.close().await;
            return Err(error.into());
        }
    };
    let live = plan.live.as_ref();
    Ok(Running {
        telling: live.map(|live| live.begin(tree, read_only)),
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

fn settings(plan: &Plan, capabilities: &Capabilities, read_only: bool) -> Settings {
    let profile = plan.choices.profile();
    let mut settings = Settings::new(
        profile,
        plan.cache.clone(),
        plan.state.clone(),
        *capabilities,
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

/// Asks the store, at one time, whether the bucket still holds this workspace and whether
/// the keys may write: what it and they can do, as far as this mount is concerned.
async fn look(plan: &Plan, notes: &mut Vec<String>) -> Result<Capabilities> {
    let known = plan.opened.capabilities.unwrap_or(NOTHING);
    let asked = async { tokio::join!(is_still_there(plan), may_write(plan, known)) };
    let Ok((there, writable)) = tokio::time::timeout(PROBE_PATIENCE, asked).await else {
        let reason = format!("no answer in {} s", PROBE_PATIENCE.as_secs());
        return offline(plan, known, reason, notes);
    };
    let writable = match writable {
        Err(error) if error.is_temporary() => {
            return offline(plan, known, error.to_string(), notes);
        }
        other => other?,
    };
    if let Some(silence) = there? {
        return offline(plan, known, silence, notes);
    }
    match (known.writable, writable) {
        // The keys could only read when the store was asked what it can do.
        (false, true) => workspace::probe(plan.opened.bucket.as_ref(), &plan.opened.config).await,
        (true, false) => Ok(NOTHING),
        _ => Ok(known),
    }
}

/// Refuses a bucket that was emptied or holds another workspace by now: its journal and
/// cache are of this one. A store that does not answer keeps nobody from what is cached; then
/// its words are given.
async fn is_still_there(plan: &Plan) -> Result<Option<String>> {
    match plan.opened.check_marker().await {
        Ok(_) => Ok(None),
        // Keys that may not read the marker may well read the files.
        Err(failure) if failure.code == Code::PermissionDenied => Ok(None),
        Err(failure) if failure.code.is_temporary() => Ok(Some(failure.message)),
        Err(failure) => Err(failure),
    }
}

/// Whether the keys may write. Where conditions are honoured that is asked in a request that
/// changes nothing: a write of the marker on the condition that it is a version which cannot
/// be; a store checks the right first. Elsewhere a scratch object is written.
async fn may_write(plan: &Plan, known: Capabilities) -> bucket::Result<bool> {
    if plan.choices.read_only {
        return Ok(known.writable);
    }
    let bucket = plan.opened.bucket.as_ref();
    let prefix = &plan.opened.config.prefix;
    let asked = if known.put_if_match {
        impossible_write(bucket, &key(prefix.join(MARKER))?).await
    } else {
        let name = Uuid::new_v4();
        scratch_write(bucket, &key(prefix.join(&format!("{SCRATCH}{name}")))?).await
    };
    match asked {
        Err(bucket::Error::PermissionDenied { .. }) => Ok(false),
        Ok(()) | Err(bucket::Error::Precondition { .. } | bucket::Error::NotFound { .. }) => {
            Ok(true)
        }
        Err(error) => Err(error),
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

async fn scratch_write(bucket: &dyn Bucket, key: &Key) -> bucket::Result<()> {
    let empty = Body::Bytes(bytes::Bytes::new());
    bucket.put(key, empty, PutOptions::default()).await?;
    if let Err(error) = bucket.delete(key, Condition::None).await {
        tracing::warn!(%key, %error, "a scratch object may be left");
    }
    Ok(())
}

fn key(text: String) -> bucket::Result<Key> {
    Key::new(text).map_err(|error| bucket::Error::Invalid {
        reason: error.to_string(),
    })
}

/// What the user should know of a store that is written to.
fn warnings(capabilities: &Capabilities, read_only: bool) -> Vec<String> {
    if read_only {
        return Vec::new();
    }
    let lacks = shortcomings(capabilities).into_iter();
    lacks
        .map(|(text, hint)| format!("warning: {text}\nhint: {hint}"))
        .collect()
}

fn set_aside(path: String) -> String {
    format!(
        "warning: the journal could not be read and was kept as {path}\n\
         hint: what waited in it for upload is not in the bucket; keep that file and the cache \
         folder until you have what you need"
    )
}

/// Without the store, what was mounted before can be used from its cache; what never was
/// has nothing to show.
fn offline(
    plan: &Plan,
    capabilities: Capabilities,
    reason: String,
    notes: &mut Vec<String>,
) -> Result<Capabilities> {
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
    Ok(capabilities)
}

pub(crate) fn not_opened(error: OpenError) -> Failure {
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

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
