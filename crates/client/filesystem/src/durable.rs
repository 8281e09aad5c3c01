//! What survives a power cut, and what is known of it.
//!
//! A journal's row may reach the disk before the bytes that it speaks of, or after newer ones:
//! another program's `fsync` is enough. So a row also says how its body's file looked when all
//! of it was last known to be on the disk. After the machine went down, a body that looks
//! otherwise may be short or hold zeros, and must not take the place of a good object.

use std::sync::Arc;
use std::time::Duration;

use crate::body::{Body, BodyStamp};
use crate::clock::Stamp;
use crate::core::{Batch, Core};
use crate::pending::Want;
use crate::{Filesystem, FsError, Ino};

/// What waits for the bucket and was not written for so long is made to survive a power cut:
/// a kernel writes it back by then, so that costs little (`vm.dirty_expire_centisecs`).
const SETTLED: Duration = Duration::from_secs(30);
/// How many bodies are synced in one go.
const AT_ONCE: usize = 256;

impl Filesystem {
    /// Returns when every change of names so far is on this machine's disk.
    pub async fn fsyncdir(&self) -> Result<(), FsError> {
        let core = Arc::clone(&self.core);
        let synced = self
            .core
            .runtime
            .spawn_blocking(move || core.journal.sync())
            .await;
        synced.map_err(|error| FsError::Local(error.to_string()))?
    }
}

impl Core {
    /// Keeps in the journal which of these files' bodies are on the disk.
    pub(crate) fn record_synced(&self, inos: impl IntoIterator<Item = Ino>) -> Result<(), FsError> {
        let state = self.state();
        let mut batch = Batch::default();
        for ino in inos {
            let Ok(node) = state.tree.node(ino) else {
                continue;
            };
            if node.unlinked {
                continue;
            }
            let key = state.tree.key(ino)?;
            if matches!(state.pending.at(&key), Some(op) if op.want == Want::Put { ino }) {
                batch.touch(&key);
            }
        }
        self.commit(&state, batch)
    }

    /// Makes what waits for the bucket and is still survive a power cut.
    pub(crate) async fn sync_settled(self: &Arc<Self>) {
        let now = Stamp::now();
        let settled: Vec<_> = self
            .waiting_bodies()
            .into_iter()
            .filter(|(_, body)| {
                body.stamp().is_ok_and(|stamp| {
                    body.synced() != Some(stamp) && body.still_for(stamp, now) > SETTLED
                })
            })
            .take(AT_ONCE)
            .collect();
        if settled.is_empty() {
            return;
        }
        let core = Arc::clone(self);
        let sync = move || -> Result<(), FsError> {
            for (_, body) in &settled {
                body.sync()?;
            }
            core.record_synced(settled.iter().map(|(ino, _)| *ino))?;
            core.journal.sync()
        };
        match self.runtime.spawn_blocking(sync).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "what waits could not be synced"),
            Err(error) => tracing::warn!(%error, "what waits could not be synced"),
        }
    }

    /// Brings everything to the disk: what is pending may wait there for the next boot.
    pub(crate) fn sync_all(&self) -> Result<(), FsError> {
        let before: Vec<(Ino, Arc<Body>, BodyStamp)> = self
            .waiting_bodies()
            .into_iter()
            .filter_map(|(ino, body)| {
                let stamp = body.stamp().ok()?;
                Some((ino, body, stamp))
            })
            .collect();
        let folder = std::fs::File::open(self.cache.folder())
            .map_err(|error| crate::body::local_error(&error))?;
        rustix::fs::syncfs(&folder).map_err(|error| crate::body::local_error(&error.into()))?;
        for (_, body, stamp) in &before {
            body.is_synced_at(*stamp);
        }
        self.record_synced(before.iter().map(|(ino, ..)| *ino))?;
        self.journal.sync()
    }

    /// The bodies of what waits for upload.
    fn waiting_bodies(&self) -> Vec<(Ino, Arc<Body>)> {
        let state = self.state();
        let bodies = state.pending.iter().filter_map(|(_, op)| match op.want {
            Want::Put { ino } => Some((ino, Arc::clone(state.tree.node(ino).ok()?.body()?))),
            _ => None,
        });
        bodies.collect()
    }
}
