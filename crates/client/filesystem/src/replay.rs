//! Takes up what an earlier mount left in the journal.

use std::sync::Arc;
use std::time::SystemTime;

use bucket::Key;

use crate::attributes::IndexEntry;
use crate::body::BodyId;
use crate::clock::Stamp;
use crate::core::{Batch, Core, State, attrs_of};
use crate::journal::{Kept, Replay, Row, RowStamp, RowWant};
use crate::pending::{Base, Want};
use crate::tree::{Content, Node, Remote};
use crate::{Ino, Kind};

impl Core {
    /// Rebuilds the tree's part of every pending operation. What cannot be rebuilt is
    /// reported and stays in the journal; returns whether there was none of it, now or
    /// earlier. `in_order`: the last mount ended in order, or in this boot of the machine.
    pub(crate) fn replay(self: &Arc<Self>, replay: Replay, in_order: bool) -> bool {
        let mut state = self.state();
        let whole = self.report_set_aside(&mut state, &replay);
        let taken_up = self.replay_rows(&mut state, replay.rows, in_order);
        for (directory, name, value) in replay.attributes {
            self.replay_attributes(&mut state, &directory, name, &value);
        }
        whole && taken_up
    }

    /// Names what an earlier mount wrote and nobody can read. Says whether there is none.
    fn report_set_aside(&self, state: &mut State, replay: &Replay) -> bool {
        let unknown = replay
            .damaged
            .iter()
            .any(|row| row.bodies().next().is_none());
        if replay.newly_set_aside || unknown {
            // Any of them may be one that was written since: it is not the bucket's.
            self.remembered.distrust();
        }
        let named = replay.damaged.iter().flat_map(|row| row.bodies());
        self.remembered.distrust_some(named);
        for row in &replay.damaged {
            state.report.set_aside_changes.push(row.key.clone());
        }
        if let Some(row) = replay.damaged.last() {
            state.report.happened(format!(
                "{}: its row in the journal cannot be read and is kept aside",
                row.key
            ));
        }
        if let Some(aside) = &replay.set_aside {
            let text = aside.display().to_string();
            if replay.newly_set_aside {
                state.report.happened(format!(
                    "the journal could not be read and was kept as {text}"
                ));
            }
            state.report.set_aside = Some(text);
        }
        replay.damaged.is_empty() && replay.set_aside.is_none()
    }

    fn replay_rows(&self, state: &mut State, rows: Vec<(Key, Kept)>, in_order: bool) -> bool {
        let mut whole = true;
        let mut batch = Batch::default();
        // Doubtful ones last: the names that they get must be free.
        let (good, doubtful): (Vec<_>, Vec<_>) = rows
            .into_iter()
            .partition(|(_, kept)| self.is_whole(kept, in_order));
        let good = good.into_iter().map(|kept| (kept, true));
        let doubtful = doubtful.into_iter().map(|kept| (kept, false));
        for ((key, kept), good) in good.chain(doubtful) {
            let body = match &kept.row.want {
                RowWant::Body { id, .. } => Some(id.clone()),
                _ => None,
            };
            let taken_up = match good {
                true => self.replay_row(state, &key, kept.row),
                false => self.replay_aside(state, &key, &kept.row, &mut batch),
            };
            match taken_up {
                Ok(()) => batch.touch(&key),
                Err(reason) => {
                    tracing::error!(%key, reason, "a pending change could not be taken up");
                    state.report.happened(format!("{key}: {reason}"));
                    // It is not what the bucket has, whatever is remembered of it.
                    self.remembered
                        .distrust_some(body.iter().map(String::as_str));
                    whole = false;
                }
            }
        }
        // What other rows brought back is there.
        let State { gone, tree, .. } = &mut *state;
        gone.retain(|key, _| {
            !key.as_str().ends_with('/') || tree.find_directory(key.as_str()).is_none()
        });
        // The new tokens must be in the journal before anything goes up under them.
        if let Err(error) = self.commit(state, batch) {
            state.report.happened(error.to_string());
        }
        whole
    }

    /// Whether what a row wants is here as it was written: the machine has been up since, or
    /// all of it is known to have been on the disk when the machine went down.
    fn is_whole(&self, kept: &Kept, in_order: bool) -> bool {
        let RowWant::Body { id, synced } = &kept.row.want else {
            return true;
        };
        let since = match &kept.boot {
            Some(boot) => *boot == self.settings.boot,
            None => in_order,
        };
        let stamp = || self.cache.look_at(&BodyId::parse(id)?).map(RowStamp::from);
        // What is not there at all is reported as missing.
        since || stamp().is_none_or(|stamp| *synced == Some(stamp))
    }

    /// Takes up a file that may be short or hold zeros: it goes up beside whatever has its
    /// name, never onto it.
    fn replay_aside(
        &self,
        state: &mut State,
        key: &Key,
        row: &Row,
        batch: &mut Batch,
    ) -> Result<(), &'static str> {
        let (directory, segment) = split(key);
        let parent = self
            .directory_at(state, directory)
            .ok_or("its directory cannot be made")?;
        let mut node = self.node_of(key, segment, row)?;
        let copy = self
            .free_copy_name(state, parent, &node.name, Kind::File)
            .map_err(|_| "it may be damaged, and no name is free for it")?;
        node.name = copy.as_str().into();
        node.segment = None;
        if let Some(body) = node.body() {
            // As it is now it stays: the next power cut changes nothing any more.
            body.sync().map_err(|_| "its bytes cannot be synced")?;
        }
        // Its file is no longer what is remembered of the name.
        let forgotten = (directory.to_owned(), segment.to_owned(), false);
        self.remembered.store(&[], &[forgotten]);
        let ino = state
            .tree
            .add(parent, node)
            .map_err(|_| "its directory is none")?;
        let copy_key = state.tree.key(ino).map_err(|_| "its name is too long")?;
        state.pending.set(
            copy_key.clone(),
            Want::Put { ino },
            Base::default(),
            Stamp::now(),
        );
        batch.touch(&copy_key);
        tracing::warn!(%key, copy = %copy_key, "written shortly before the machine went down");
        state.report.conflicts += 1;
        state.report.happened(format!(
            "{key} was written shortly before the machine went down and may be damaged: \
             this machine's version is {copy_key}"
        ));
        Ok(())
    }

    /// Takes up attributes that are not in the bucket's index yet: for what is known already
    /// here, for the rest when it is listed.
    fn replay_attributes(&self, state: &mut State, directory: &str, name: String, value: &str) {
        state.index.mark(directory, name.clone());
        let Ok(entry) = serde_json::from_str::<IndexEntry>(value) else {
            // A name that went away, which the index has to be told too.
            return;
        };
        state.index.keep(directory, name, entry);
        if let Some(parent) = state.tree.find_directory(directory) {
            state.take_kept(parent, directory);
        }
    }

    fn replay_row(&self, state: &mut State, key: &Key, row: Row) -> Result<(), &'static str> {
        let mut maybe = row.maybe.clone();
        if !maybe.contains(&row.token) {
            maybe.push(row.token.clone());
        }
        let base = Base {
            etag: row.base.clone(),
            maybe,
            any: row.any,
        };
        let want = match &row.want {
            RowWant::Delete => {
                let now = Stamp::now();
                state.gone.insert(key.clone(), now);
                if let Some(topmost) = &row.gone {
                    let above = directories_above(key);
                    let with = above
                        .take_while(|directory| directory.as_str().starts_with(topmost.as_str()));
                    state.gone.extend(with.map(|directory| (directory, now)));
                }
                Want::Delete
            }
            RowWant::Marker => Want::Marker {
                ino: self.restore_directory(state, key, &row)?,
            },
            RowWant::Body { .. } | RowWant::Link { .. } => Want::Put {
                ino: self.restore_node(state, key, &row)?,
            },
            RowWant::Copy { from, etag, .. } => Want::Copy {
                ino: self.restore_node(state, key, &row)?,
                from: from.clone(),
                etag: etag.clone(),
            },
        };
        // The old token stays among the maybes; the operation gets one of its own.
        state.pending.restore(
            key.clone(),
            want,
            base,
            uuid::Uuid::new_v4().simple().to_string(),
        );
        Ok(())
    }

    fn restore_directory(
        &self,
        state: &mut State,
        key: &Key,
        row: &Row,
    ) -> Result<Ino, &'static str> {
        let ino = self
            .directory_at(state, key.as_str())
            .ok_or("its directory cannot be made")?;
        if let (Some(attrs), Ok(node)) = (&row.attrs, state.tree.node_mut(ino)) {
            node.attrs = attrs_of(attrs);
            state.unsaved.insert(ino);
        }
        Ok(ino)
    }

    fn restore_node(&self, state: &mut State, key: &Key, row: &Row) -> Result<Ino, &'static str> {
        let (directory, segment) = split(key);
        let parent = self
            .directory_at(state, directory)
            .ok_or("its directory cannot be made")?;
        let node = self.node_of(key, segment, row)?;
        if state
            .tree
            .child(parent, &node.name)
            .map_err(|_| "its directory is none")?
            .is_some()
        {
            return Err("its name is taken");
        }
        let ino = state
            .tree
            .add(parent, node)
            .map_err(|_| "its directory is none")?;
        state.unsaved.insert(ino);
        Ok(ino)
    }

    fn node_of(&self, key: &Key, segment: &str, row: &Row) -> Result<Node, &'static str> {
        let attrs = row
            .attrs
            .as_ref()
            .map_or_else(|| self.default_attrs(0o644, SystemTime::now()), attrs_of);
        let link = matches!(
            row.want,
            RowWant::Link { .. } | RowWant::Copy { link: true, .. }
        );
        let plain = segment
            .strip_suffix(model::entry_name::LINK_SUFFIX)
            .filter(|_| link)
            .unwrap_or(segment);
        let name = model::entry_name::from_segment(plain).into_owned();
        let mut node = match &row.want {
            RowWant::Body { id, synced } => {
                let id = BodyId::parse(id).ok_or("its journal row is damaged")?;
                let (body, size) = self
                    .cache
                    .reopen(id, None)
                    .ok_or("its bytes are no longer in the cache folder")?;
                let stamp = body.stamp().map_err(|_| "its bytes cannot be read")?;
                if *synced == Some(stamp.into()) {
                    body.is_synced_at(stamp);
                }
                let content = Content::File {
                    body: Some(body),
                    // A program may still have it mapped from before a crash of the mount.
                    backing: self.settings.backing,
                };
                let mut node = Node::new(0, &name, attrs, content);
                node.size = size;
                node.attrs.mtime = stamp.modified();
                node
            }
            RowWant::Link { target } => {
                let content = Content::Symlink {
                    target: Some(target.as_str().into()),
                };
                let mut node = Node::new(0, &name, attrs, content);
                node.size = target.len() as u64;
                node
            }
            RowWant::Copy {
                from,
                etag,
                size,
                link,
            } => {
                let content = match link {
                    true => Content::Symlink { target: None },
                    false => Content::File {
                        body: None,
                        backing: false,
                    },
                };
                let mut node = Node::new(0, &name, attrs, content);
                node.size = *size;
                node.remote = Some(Remote {
                    at: (from != key).then(|| from.clone()),
                    etag: etag.clone(),
                    size: *size,
                    seen: Stamp::now(),
                });
                node
            }
            RowWant::Marker | RowWant::Delete => return Err("its journal row is damaged"),
        };
        node.segment = (segment != name).then(|| segment.into());
        Ok(node)
    }

    /// The directory of a key prefix, with those on the way to it, as an earlier mount knew
    /// them.
    fn directory_at(&self, state: &mut State, prefix: &str) -> Option<Ino> {
        let relative = prefix.strip_prefix(self.settings.prefix.as_str())?;
        let mut path = self.settings.prefix.clone();
        let mut at = crate::ROOT;
        for segment in relative.split_terminator('/') {
            let parent = path.clone();
            path.push_str(segment);
            path.push('/');
            at = match state.tree.child_directory(at, segment) {
                Some(known) => known,
                None => {
                    let attrs = self
                        .remembered
                        .directory_attrs(&parent, segment)
                        .as_ref()
                        .map_or_else(|| self.default_attrs(0o755, SystemTime::now()), attrs_of);
                    state.tree.make_directories(&path, &attrs, |_| true)?
                }
            };
        }
        Some(at)
    }
}

/// A key's directory prefix and its last segment.
fn split(key: &Key) -> (&str, &str) {
    let at = key.as_str().rfind('/').map_or(0, |slash| slash + 1);
    key.as_str().split_at(at)
}

/// The prefixes of the directories that a key lies in, the nearest first.
pub(crate) fn directories_above(key: &Key) -> impl Iterator<Item = Key> + '_ {
    let mut rest = key.as_str().strip_suffix('/').unwrap_or(key.as_str());
    std::iter::from_fn(move || {
        let end = rest.rfind('/')?;
        let directory = Key::new(&rest[..=end]).ok();
        rest = &rest[..end];
        directory
    })
}
