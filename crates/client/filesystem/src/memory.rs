//! Keeps what is known within its bound of memory: names that nobody used for a while are
//! dropped, and listed again when somebody comes back. What is known of the attribute index
//! counts too and has its own share of the bound, as does what is pending, which cannot be
//! dropped and leaves less for names.
//!
//! A call that relies on a directory being known whole must see `listed` under the lock
//! under which it acts; what was used moments ago is not dropped, so that it will.

use std::time::Duration;

use crate::Ino;
use crate::clock::Stamp;
use crate::core::{Core, State};
use crate::merge::Notice;
use crate::tree::Content;

/// What one name takes, with its inode, ETag and places in the maps; `make bench` measures
/// a mount that knows 100,000.
const BYTES_A_NAME: u64 = 700;
/// What one pending change takes, with its places in the maps.
const BYTES_A_CHANGE: u64 = 500;
/// How many names are looked at in one go, so that calls do not wait for long.
const AT_ONCE: usize = 20_000;

impl Core {
    /// Drops the least recently used names when there are more than the bound allows.
    pub(crate) fn shrink(&self) {
        let notices = {
            let mut state = self.state();
            let limit = self.settings.memory_limit;
            let left = limit.saturating_sub(state.beside_names()).max(limit / 4);
            let most = usize::try_from(left / BYTES_A_NAME).unwrap_or(usize::MAX);
            let over = state.tree.len().saturating_sub(most);
            if over == 0 {
                return;
            }
            state.drop_names((over + most / 10).min(AT_ONCE), self.settings.attr_ttl * 2)
        };
        self.tell(notices);
    }
}

impl State {
    /// Bytes of memory that what is known takes, about.
    pub(crate) fn memory_used(&self) -> u64 {
        self.tree.len() as u64 * BYTES_A_NAME + self.beside_names()
    }

    fn beside_names(&self) -> u64 {
        self.index.bytes() + self.pending.len() as u64 * BYTES_A_CHANGE
    }

    /// Drops about `count` names. Those that a kernel holds are first asked back from it:
    /// they can be dropped the next time.
    fn drop_names(&mut self, count: usize, unused_for: Duration) -> Vec<Notice> {
        let mut notices = Vec::new();
        let mut looked_at = 0;
        for directory in self.idle_directories(unused_for) {
            if looked_at >= count {
                break;
            }
            looked_at += self.drop_names_of(directory, &mut notices);
        }
        notices
    }

    /// Directories that nobody reads at the moment, the longest unused first.
    fn idle_directories(&self, unused_for: Duration) -> Vec<Ino> {
        let mut idle: Vec<(Option<Stamp>, Ino)> = self
            .tree
            .nodes()
            .filter_map(|node| match &node.content {
                Content::Directory(directory)
                    if node.opens == 0 && !directory.children.is_empty() =>
                {
                    let used = directory.read.max(directory.listed);
                    used.is_none_or(|used| used.age() > unused_for)
                        .then_some((used, node.ino))
                }
                _ => None,
            })
            .collect();
        idle.sort_unstable();
        idle.into_iter().map(|(_, ino)| ino).collect()
    }

    /// Drops the names of one directory that nothing needs; says how many were looked at.
    fn drop_names_of(&mut self, directory: Ino, notices: &mut Vec<Notice>) -> usize {
        let (Ok(prefix), Ok(known)) = (
            self.tree.prefix_of(directory),
            self.tree.directory(directory),
        ) else {
            return 0;
        };
        if self.pending.below(&prefix).next().is_some() || self.index.is_dirty(&prefix) {
            return 0;
        }
        let children: Vec<(String, Ino)> = known
            .children
            .iter()
            .map(|(name, ino)| (name.to_string(), *ino))
            .collect();
        let looked_at = children.len();
        let mut dropped = false;
        for (name, ino) in children {
            if !self.is_spare(ino) {
                continue;
            }
            if self.tree.node(ino).is_ok_and(|node| node.references > 0) {
                notices.push(Notice::Unneeded(directory, name));
            } else {
                dropped |= self.tree.unlink(ino).is_ok();
            }
        }
        if dropped && let Ok(directory) = self.tree.directory_mut(directory) {
            directory.listed = None;
            directory.recalled = false;
        }
        looked_at
    }

    /// Whether a listing would bring the node back as it is. A cached body is not given up
    /// for the few bytes of its name.
    fn is_spare(&self, ino: Ino) -> bool {
        let Ok(node) = self.tree.node(ino) else {
            return false;
        };
        let empty = match &node.content {
            Content::Directory(directory) => directory.children.is_empty(),
            _ => node
                .remote
                .as_ref()
                .is_some_and(|remote| remote.at.is_none()),
        };
        empty && node.opens == 0 && node.body().is_none() && !self.unsaved.contains(&ino)
    }
}
