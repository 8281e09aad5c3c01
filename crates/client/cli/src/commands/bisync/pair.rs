//! The pair that is meant: its workspace, folder and state.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::mount::{ProcessId, mountinfo};
use bucket::Bucket;
use bucket::probe::Capabilities;
use credentials::Folder as OwnFolder;
use model::WorkspaceName;
use sync::apply::Sides;
use sync::folder::disk::DiskFolder;
use sync::folder::memory::MemoryFolder;
use sync::folder::{Folder, FolderError};
use sync::ignored::Filter;
use sync::places::{Misplaced, Places};
use sync::record::Record;
use sync::state::{State, StateError};
use sync::steps::{GoOn, KillAt, Steps};
use sync::{Holder, Lock, PairFiles, SyncError};
use uuid::Uuid;

use super::Keys;
use super::bandwidth::Bandwidth;
use super::live::Live;
use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::variables;
use crate::workspace::{self, Opened};

/// A workspace and a folder, found and checked as far as this machine can tell.
pub(super) struct Pair {
    pub(super) opened: Opened,
    pub(super) folder: PathBuf,
    pub(super) files: PairFiles,
    /// Where the folder was when it was synced last, if that was elsewhere.
    pub(super) moved_from: Option<PathBuf>,
    /// What is remembered of the pair.
    remembered: Option<Record>,
    /// The workspace's orchestrator, where it has one and this machine may speak to it.
    pub(super) live: Option<Live>,
    /// The workspace's bucket, as fast as it may be used.
    bucket: Arc<dyn Bucket>,
}

/// A pair that is this process's to change.
pub(super) struct Held {
    pub(super) state: Arc<State>,
    pub(super) record: Record,
    files: PairFiles,
    _lock: Lock,
}

impl Pair {
    pub(super) fn of(
        name: &WorkspaceName,
        folder: &Path,
        keys: &Keys,
        context: &Context,
    ) -> Result<Self> {
        Self::find(name, folder, keys, false, context)
    }

    /// The same; `anew` where the folder may be one that belonged to another sync.
    pub(super) fn find(
        name: &WorkspaceName,
        folder: &Path,
        keys: &Keys,
        anew: bool,
        context: &Context,
    ) -> Result<Self> {
        let opened = workspace::open(context, name, &keys.choice().settled(context)?)?;
        let folder = real(folder)?;
        check_mounts(&folder)?;
        let places = Places::new(context.paths()?.state());
        let found = places
            .find(opened.config.id, &folder, anew)
            .map_err(misplaced)?;
        Ok(Self {
            remembered: found.files.record(),
            files: found.files,
            moved_from: found.moved_from,
            live: None,
            bucket: Arc::clone(&opened.bucket),
            opened,
            folder,
        })
    }

    /// Finds the workspace's orchestrator: whoever changes something tells it.
    pub(super) fn find_orchestrator(&mut self, context: &Context) {
        self.live = Live::of(&self.opened.config, context);
    }

    /// Holds transfers back, all runs of this pair together.
    pub(super) fn limit(&mut self, bandwidth: Bandwidth) {
        self.bucket = bandwidth.limit(Arc::clone(&self.bucket));
    }

    /// The filters that were given last.
    pub(super) fn filters(&self) -> &[Filter] {
        self.remembered.as_ref().map_or(&[], |known| &known.filters)
    }

    /// Makes the folder and the place of the state, where they are missing. A folder that was
    /// synced before and is gone is not made: a disk may not be mounted.
    pub(super) fn prepare(&self, context: &Context) -> Result<()> {
        if !self.folder.exists() {
            if self.files.exist() {
                return Err(gone(&self.folder));
            }
            std::fs::create_dir(&self.folder).map_err(|error| unusable(&self.folder, &error))?;
        }
        let paths = context.paths()?;
        OwnFolder::create(paths.state())?;
        OwnFolder::create(&paths.state().join(self.opened.config.id.to_string()))?;
        Ok(())
    }

    /// Takes the pair for this process, and remembers where it is and what is left out.
    pub(super) fn hold(&self, filters: Option<&[Filter]>) -> Result<Held> {
        self.take(filters, PairFiles::open)
    }

    /// The same for a new beginning: nothing that both sides had is known.
    pub(super) fn hold_anew(&self, filters: &[Filter]) -> Result<Held> {
        self.take(Some(filters), PairFiles::open_anew)
    }

    fn take(
        &self,
        filters: Option<&[Filter]>,
        open: impl FnOnce(&PairFiles, Uuid, &Holder) -> std::result::Result<(State, Lock), StateError>,
    ) -> Result<Held> {
        let id = self.opened.config.id;
        let own = ProcessId::own().map_err(|error| unusable(Path::new("/proc"), &error))?;
        let own = Holder {
            pid: own.pid,
            start: own.start,
            boot: own.boot,
        };
        let (state, lock) = open(&self.files, id, &own).map_err(of_state)?;
        let pair = state.info().map_err(of_state)?.pair;
        let name = self.opened.name.as_str();
        // Another process may have written it since it was read.
        let before = self.files.record();
        let mut record = match before.clone() {
            Some(record) if record.pair == pair => record,
            _ => Record::new(pair, id, name, &self.folder),
        };
        name.clone_into(&mut record.name);
        record.folder.clone_from(&self.folder);
        if let Some(filters) = filters {
            record.filters = filters.to_vec();
        }
        if before.as_ref() != Some(&record) {
            // Before anything is synced by them: forgotten filters would send what they leave out.
            self.files.tell(&record, true).map_err(of_state)?;
        }
        Ok(Held {
            state: Arc::new(state),
            record,
            files: self.files.clone(),
            _lock: lock,
        })
    }

    /// Holds the folder for the time of one run, against processes with other homes.
    pub(super) fn hold_folder(&self) -> Result<Option<Lock>> {
        Lock::of_folder(&self.folder).map_err(of_state)
    }

    /// Both sides. A folder that is not there yet is an empty one.
    pub(super) fn sides(&self, state: Arc<State>) -> Result<Sides> {
        let folder: Arc<dyn Folder> = match self.folder.exists() {
            true => Arc::new(DiskFolder::open(&self.folder).map_err(of_folder)?),
            false => Arc::new(MemoryFolder::new(0)),
        };
        Ok(Sides {
            bucket: match &self.live {
                Some(live) => live.telling(Arc::clone(&self.bucket)),
                None => Arc::clone(&self.bucket),
            },
            keys: sync::keys::Keys::new(self.opened.config.prefix.as_str()),
            capabilities: self.opened.capabilities.unwrap_or(NOTHING),
            folder,
            state,
            steps: steps(),
        })
    }
}

impl Held {
    /// Writes down how the pair is.
    pub(super) fn tell(&mut self) -> Result<()> {
        let root = self.state.info().map_err(of_state)?.root;
        let lasting = self.record.root != root;
        self.record.root = root;
        self.files.tell(&self.record, lasting).map_err(of_state)
    }
}

/// What a store is taken to honour that was never asked: then each write looks before.
const NOTHING: Capabilities = Capabilities {
    writable: true,
    put_if_absent: false,
    put_if_match: false,
    delete_if_match: false,
    copy: true,
    copy_if_absent: false,
    versions: false,
};

/// In a program that was built for tests, a step at which it dies.
fn steps() -> Arc<dyn Steps> {
    let step = variables::text(KILL_AT).filter(|_| cfg!(debug_assertions));
    match step.and_then(|text| text.parse().ok()) {
        Some(step) => Arc::new(KillAt::new(step)),
        None => Arc::new(GoOn),
    }
}

const KILL_AT: &str = "ARTIFACTS_TEST_KILL_AT_STEP";

/// The folder's path without links; its parent must be there.
pub(super) fn real(folder: &Path) -> Result<PathBuf> {
    if let Ok(real) = folder.canonicalize() {
        return Ok(real);
    }
    let absolute = std::path::absolute(folder).map_err(|error| unusable(folder, &error))?;
    let missing = || {
        Failure::new(
            Code::FolderNotFound,
            format!("{} is in no folder that is there", folder.display()),
        )
        .with_hint("make the folder above it with mkdir -p")
    };
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(missing());
    };
    let parent = parent.canonicalize().map_err(|_| missing())?;
    Ok(parent.join(name))
}

/// Refuses a folder that is a mounted workspace, or lies in one: what a sync writes there would
/// go into a bucket twice.
fn check_mounts(folder: &Path) -> Result<()> {
    let mounts = mountinfo::mounts().map_err(|error| unusable(folder, &error))?;
    let on = mountinfo::at(&mounts, folder).filter(|mount| mount.workspace().is_some());
    let Some(mount) = on.or_else(|| mountinfo::around(&mounts, folder)) else {
        return Ok(());
    };
    let text = format!(
        "{} lies in workspace {}, which is mounted on {}",
        folder.display(),
        mount.workspace().unwrap_or_default(),
        mount.mountpoint.display()
    );
    Err(Failure::new(Code::FolderMisplaced, text)
        .with_hint("choose a folder on a disk; a mounted workspace needs no sync"))
}

fn misplaced(misplaced: Misplaced) -> Failure {
    Failure::new(Code::FolderMisplaced, misplaced.to_string()).with_hint(misplaced.hint())
}

fn gone(folder: &Path) -> Failure {
    let text = format!(
        "{} was synced before, and is not there any more",
        folder.display()
    );
    Failure::new(Code::FolderNotFound, text).with_hint(
        "is a disk not mounted? Was it moved? Then name its new place; a new, empty folder of \
         this name can be filled with --resync",
    )
}

fn unusable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Code::FileUnusable, format!("{}: {error}", path.display()))
        .with_hint("look at the path and who may write there")
}

fn of_folder(error: FolderError) -> Failure {
    SyncError::from(error).into()
}

pub(super) fn of_state(error: StateError) -> Failure {
    SyncError::from(error).into()
}
