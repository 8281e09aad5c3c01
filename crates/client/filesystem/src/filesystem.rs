//! The open workspace: how it begins, how it is drained, how it ends.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bucket::Bucket;

use crate::cache::Cache;
use crate::clock::Stamp;
use crate::core::Core;
use crate::journal::{Journal, JournalError};
use crate::listing;
use crate::remembered::Remembered;
use crate::status::Status;
use crate::upkeep;
use crate::upload;
use crate::watching;
use crate::{FsError, Ino, OpenError, ROOT, Settings, Watcher};

/// A workspace as a tree. Cheap to clone; all clones are the same workspace.
///
/// Every call may be polled outside a runtime's worker while a runtime handle is entered;
/// what needs no network finishes at the first poll.
#[derive(Clone)]
pub struct Filesystem {
    pub(crate) core: Arc<Core>,
}

impl Filesystem {
    /// Opens a workspace: takes up the journal that an earlier mount left, and begins to
    /// upload. Needs no answer from the bucket.
    pub async fn open(
        bucket: Arc<dyn Bucket>,
        mut settings: Settings,
        watcher: Arc<dyn Watcher>,
    ) -> Result<Self, OpenError> {
        for folder in [&settings.cache_dir, &settings.state_dir] {
            std::fs::create_dir_all(folder).map_err(|error| folder_error(folder, error))?;
        }
        let cache = Cache::open(&settings.cache_dir)
            .map_err(|error| folder_error(&settings.cache_dir, error))?;
        settings.backing &= cache.tells_of_mappings();
        let (journal, replay) = Journal::open(&settings.state_dir, &settings.boot)
            .map_err(|error| journal_error(&settings.state_dir, &error))?;
        let remembered =
            Remembered::open(&settings.cache_dir).map_err(|error| OpenError::Journal {
                path: settings.cache_dir.clone(),
                reason: error.to_string(),
            })?;
        let in_order = remembered.begin(&settings.boot) && replay.in_order;
        if !in_order {
            tracing::warn!(
                "the machine went down while the workspace was mounted: cached bodies are fetched anew"
            );
            remembered.distrust();
        }
        let core = Arc::new(Core::new(
            bucket, settings, watcher, journal, remembered, cache,
        ));
        // The bodies of what nobody could read may be all that is left of it.
        let may_sweep = core.replay(replay, in_order);
        core.take_stock_later(may_sweep);
        core.runtime.spawn(upload::run(Arc::clone(&core)));
        core.runtime.spawn(upkeep::run(Arc::clone(&core)));
        core.runtime.spawn(watching::run(Arc::clone(&core)));
        if !core.settings.lazy {
            let core = Arc::clone(&core);
            core.runtime.clone().spawn(async move {
                let _ = listing::ensure(&core, ROOT).await;
            });
        }
        Ok(Self { core })
    }

    /// What the workspace says of itself.
    pub fn status(&self) -> Status {
        self.core.status()
    }

    /// Whether open files may be handed out as backing files: asked for, and the cache
    /// folder's file system tells of what is done to them behind our back.
    pub fn lends_files(&self) -> bool {
        self.core.settings.backing
    }

    /// The longest that another machine's change may stay unseen by who asks, or watches.
    pub fn others_changes_within(&self) -> Duration {
        self.core.settings.attr_ttl
    }

    /// Whether watching costs nothing here, because nothing is listed for it.
    pub fn is_lazy(&self) -> bool {
        self.core.settings.lazy
    }

    /// Uploads everything that is pending, open files too. Returns when nothing is, or
    /// when nothing moved for `patience`; `progress` is told about twice a second.
    pub async fn drain(
        &self,
        patience: Duration,
        mut progress: impl FnMut(&Status) + Send,
    ) -> Status {
        let mut moved = Stamp::now();
        let mut before = self.status();
        self.core.hurry();
        loop {
            let ended = self.core.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            let status = self.status();
            let index_clean = self.core.state().index.is_clean();
            progress(&status);
            if self.core.is_frozen() {
                return status;
            }
            if self.core.drained() {
                if !index_clean {
                    let _ = self.core.flush_index().await;
                }
                if self.core.state().index.is_clean() {
                    return self.status();
                }
            }
            if status.pending_changes != before.pending_changes || status.running != before.running
            {
                moved = Stamp::now();
            } else if moved.age() > patience {
                return status;
            }
            before = status;
            let _ = tokio::time::timeout(Duration::from_millis(500), ended).await;
        }
    }

    /// Refuses every change from now on, and uploads nothing more: what is pending stays in
    /// the journal for a later mount. `reason` is what `status` tells. What programs have open
    /// for writing they may go on writing; it stays here too.
    pub fn stop_writes(&self, reason: impl Into<String>) {
        self.core.freeze(reason.into());
    }

    /// Stops all work and remembers what is known. What is pending stays in the journal
    /// for the next mount.
    pub async fn close(&self) {
        self.core.stop.cancel();
        self.core.remember();
        let core = Arc::clone(&self.core);
        let ending = move || -> Result<(), FsError> {
            core.sync_all()?;
            core.remembered.end();
            core.journal.end()
        };
        match self.core.runtime.spawn_blocking(ending).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "not everything could be synced"),
            Err(error) => tracing::warn!(%error, "not everything could be synced"),
        }
    }

    /// The key of an inode's object, for messages.
    pub fn key(&self, ino: Ino) -> Result<bucket::Key, FsError> {
        self.core.state().tree.key(ino)
    }
}

impl Core {
    /// Counts the bodies of earlier mounts, keeps them within the cache's bound and, where
    /// that is safe, removes what a crash left behind, without holding up the start.
    fn take_stock_later(self: &Arc<Self>, may_sweep: bool) {
        // Files are stamped by a clock that lags: what is this young may be ours.
        let began = std::time::SystemTime::now() - Duration::from_secs(10);
        let core = Arc::clone(self);
        self.runtime.spawn_blocking(move || {
            let clean = core.remembered.bodies();
            core.cache.take_stock(&clean, may_sweep.then_some(began));
            core.evict();
        });
    }

    /// Makes everything ready to go up at once.
    fn hurry(&self) {
        let mut state = self.state();
        let now = Stamp::now();
        let inos = state.pending.hurry(now);
        state.forced.extend(inos);
        drop(state);
        self.wake.notify_one();
    }

    /// Whether nothing is pending but files whose present content is in the bucket and
    /// which a program still has open or mapped.
    fn drained(&self) -> bool {
        let state = self.state();
        state.pending.iter().all(|(_, op)| state.is_sent(op))
    }
}

fn folder_error(path: &Path, error: std::io::Error) -> OpenError {
    OpenError::Folder {
        path: path.to_owned(),
        error,
    }
}

fn journal_error(folder: &Path, error: &JournalError) -> OpenError {
    let path = folder.to_owned();
    match error {
        JournalError::Newer(format) => OpenError::NewerJournal {
            path,
            format: *format,
        },
        JournalError::Database(error) => OpenError::Journal {
            path,
            reason: error.to_string(),
        },
    }
}
