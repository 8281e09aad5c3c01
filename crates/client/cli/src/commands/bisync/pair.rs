//! The pair that is meant: its workspace, folder and state.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bucket::Bucket;
use bucket::probe::Capabilities;
use credentials::Folder as OwnFolder;
use model::WorkspaceName;
use sync::PairFiles;
use sync::apply::Sides;
use sync::folder::Folder;
use sync::folder::disk::DiskFolder;
use sync::folder::memory::MemoryFolder;
use sync::state::State;
use sync::steps::{GoOn, KillAt, Steps};

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
    /// The workspace's orchestrator, where it has one and this machine may speak to it.
    pub(super) live: Option<Live>,
    /// The workspace's bucket, as fast as it may be used.
    bucket: Arc<dyn Bucket>,
}

impl Pair {
    pub(super) fn of(
        name: &WorkspaceName,
        folder: &Path,
        keys: &Keys,
        context: &Context,
    ) -> Result<Self> {
        let opened = workspace::open(context, name, &keys.choice().settled(context)?)?;
        let folder = real(folder)?;
        let paths = context.paths()?;
        let state = paths.state().join(opened.config.id.to_string());
        Ok(Self {
            files: PairFiles::of(&state, &folder),
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

    /// Makes the folder and the place of the state, where they are missing.
    pub(super) fn prepare(&self, context: &Context) -> Result<()> {
        if !self.folder.exists() {
            std::fs::create_dir(&self.folder).map_err(|error| unusable(&self.folder, &error))?;
        }
        let paths = context.paths()?;
        OwnFolder::create(paths.state())?;
        OwnFolder::create(&paths.state().join(self.opened.config.id.to_string()))?;
        Ok(())
    }

    /// Both sides. A folder that is not there yet is an empty one.
    pub(super) fn sides(&self, state: Arc<State>) -> Result<Sides> {
        let folder: Arc<dyn Folder> = match self.folder.exists() {
            true => Arc::new(DiskFolder::open(&self.folder).map_err(failure_of_folder)?),
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

/// What a store is taken to honour that was never asked: then each write looks before.
const NOTHING: Capabilities = Capabilities {
    writable: true,
    put_if_absent: false,
    put_if_match: false,
    delete_if_match: false,
    copy: true,
    copy_if_absent: false,
    copy_if_match: false,
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
fn real(folder: &Path) -> Result<PathBuf> {
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

fn unusable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Code::FileUnusable, format!("{}: {error}", path.display()))
        .with_hint("look at the path and who may write there")
}

fn failure_of_folder(error: sync::folder::FolderError) -> Failure {
    sync::SyncError::from(error).into()
}
