//! What goes on beside the calls: remembering names, keeping the cache within its bounds,
//! writing the attribute index, untying renames that wait for each other.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Stamp;
use crate::core::{Core, State};
use crate::fetch;
use crate::listing;
use crate::{Ino, Kind};

const TICK: Duration = Duration::from_secs(1);
/// Attributes settle for this long before the index is written.
const INDEX_EVERY: u32 = 2;
/// How often what waits is made to survive a power cut.
const SYNC_EVERY: u32 = 10;
/// Clean bodies are let go while the disk has less room than this, or than a quarter of
/// itself where that is less: a writer through the kernel fills it without asking us.
const SPARE: u64 = 256 << 20;
/// How long a key that went away is kept from being shown by a slow listing.
const GONE_FOR: Duration = Duration::from_secs(300);

/// Runs until the workspace is closed.
pub(crate) async fn run(core: Arc<Core>) {
    for tick in 1u32.. {
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            () = core.stop.cancelled() => return,
        }
        core.remember();
        core.count_waiting();
        core.evict();
        core.shrink();
        if tick.is_multiple_of(INDEX_EVERY) && !core.state().index.is_clean() {
            core.list_for_index().await;
            if let Err(error) = core.flush_index().await {
                tracing::debug!(%error, "the attribute index waits");
            }
        }
        if tick.is_multiple_of(SYNC_EVERY) {
            core.sync_settled().await;
        }
        untie(&core).await;
    }
}

impl Core {
    /// Writes what changed to the database of remembered names.
    pub(crate) fn remember(&self) {
        let (keep, forget) = {
            let mut state = self.state();
            let unsaved = std::mem::take(&mut state.unsaved);
            let forget = std::mem::take(&mut state.forgotten);
            let keep: Vec<_> = unsaved
                .into_iter()
                .filter_map(|ino| state.memory(ino))
                .collect();
            (keep, forget)
        };
        self.remembered.store(&keep, &forget);
    }

    fn count_waiting(&self) {
        let mut state = self.state();
        self.refresh_writers(&mut state);
        state.count_waiting();
        let State { gone, pending, .. } = &mut *state;
        gone.retain(|key, when| {
            when.age() < GONE_FOR || pending.below(key.as_str()).next().is_some()
        });
    }

    /// Lets the least recently used clean bodies go when the cache is over its bound or the
    /// disk is nearly full.
    pub(crate) fn evict(&self) {
        let mut over = self.surplus();
        over = over.saturating_sub(self.cache.evict_resting(over));
        if over == 0 {
            return;
        }
        let mut state = self.state();
        let mut idle: Vec<(Stamp, Ino, u64)> = state
            .tree
            .nodes()
            .filter(|node| {
                node.opens == 0
                    && node
                        .remote
                        .as_ref()
                        .is_some_and(|remote| remote.at.is_none())
            })
            .filter_map(|node| Some((node.body()?.used(), node.ino, node.size)))
            .collect();
        idle.sort_unstable();
        for (_, ino, size) in idle {
            let dirty = state
                .tree
                .key(ino)
                .is_ok_and(|key| state.pending.at(&key).is_some());
            if dirty {
                continue;
            }
            state.release_body(ino);
            state.unsaved.insert(ino);
            over = over.saturating_sub(size);
            if over == 0 {
                break;
            }
        }
    }

    /// How many bytes of bodies are too many; zero when all is well.
    fn surplus(&self) -> u64 {
        let (held, limit) = (self.cache.bytes(), self.settings.cache_size);
        let beyond = if held > limit {
            held - limit * 9 / 10
        } else {
            0
        };
        let lacking = rustix::fs::statvfs(self.cache.folder()).map_or(0, |disk| {
            let spare = SPARE.min(disk.f_blocks * disk.f_frsize / 4);
            spare.saturating_sub(disk.f_bavail * disk.f_frsize)
        });
        beyond.max(lacking)
    }

    /// The index of a directory can only be written when its entries are known.
    async fn list_for_index(self: &Arc<Self>) {
        let directories = self.state().index.directories();
        for directory in directories {
            let mut at = crate::ROOT;
            let relative = directory
                .strip_prefix(self.settings.prefix.as_str())
                .unwrap_or(&directory)
                .to_owned();
            for segment in relative.split_terminator('/') {
                if listing::known(self, at).await.is_err() {
                    break;
                }
                let next = self.state().tree.child_directory(at, segment);
                let Some(next) = next else { break };
                at = next;
            }
            let _ = listing::known(self, at).await;
        }
    }
}

/// Swapped names wait for each other for ever: one content of each ring is brought here
/// and written instead of copied.
async fn untie(core: &Arc<Core>) {
    let rings = core.state().pending.copies_in_a_ring();
    for key in rings {
        let found = {
            let state = core.state();
            state
                .pending
                .at(&key)
                .and_then(|op| Some((op.want.ino()?, op.order)))
        };
        let Some((ino, order)) = found else {
            continue;
        };
        let kind = core.state().tree.node(ino).map(crate::tree::Node::kind);
        let ready = match kind {
            Ok(Kind::File) => fetch::whole(core, ino).await.is_ok(),
            Ok(Kind::Symlink) => core.know_link(ino).await.is_ok(),
            _ => false,
        };
        if ready {
            core.write_instead(&key, order, ino);
        }
    }
}
