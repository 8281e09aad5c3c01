//! Takes up what an earlier mount left in the journal.

use std::sync::Arc;
use std::time::SystemTime;

use bucket::Key;

use crate::Ino;
use crate::body::BodyId;
use crate::clock::Stamp;
use crate::core::{Core, State, attrs_of};
use crate::journal::{Replay, Row, RowWant};
use crate::pending::{Base, Want};
use crate::tree::{Content, Node, Remote};

impl Core {
    /// Rebuilds the tree's part of every pending operation. What cannot be rebuilt is
    /// reported and stays in the journal; returns whether there was none of it.
    pub(crate) fn replay(self: &Arc<Self>, replay: Replay) -> bool {
        let mut whole = true;
        let mut state = self.state();
        let mut batch = crate::core::Batch::default();
        for (key, row) in replay.rows {
            if let Err(reason) = self.replay_row(&mut state, &key, row) {
                tracing::error!(%key, reason, "a pending change could not be taken up");
                state.report.last_error = Some(format!("{key}: {reason}"));
                whole = false;
            } else {
                batch.touch(&key);
            }
        }
        // The new tokens must be in the journal before anything goes up under them.
        if let Err(error) = self.commit(&state, batch) {
            state.report.last_error = Some(error.to_string());
        }
        for (directory, name, _) in replay.attributes {
            state.index.mark(&directory, name);
        }
        if let Some(aside) = replay.set_aside {
            let text = aside.display().to_string();
            state.report.last_error = Some(format!(
                "the journal could not be read and was kept as {text}"
            ));
            state.report.set_aside = Some(text);
        }
        whole
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
                state.gone.insert(key.clone(), Stamp::now());
                Want::Delete
            }
            RowWant::Marker => Want::Marker {
                ino: self
                    .directory_at(state, key.as_str())
                    .ok_or("its directory cannot be made")?,
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

    fn restore_node(&self, state: &mut State, key: &Key, row: &Row) -> Result<Ino, &'static str> {
        let split = key.as_str().rfind('/').map_or(0, |slash| slash + 1);
        let (directory, segment) = key.as_str().split_at(split);
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
            RowWant::Body { id } => {
                let id = BodyId::parse(id).ok_or("its journal row is damaged")?;
                let (body, size) = self
                    .cache
                    .reopen(id, None)
                    .ok_or("its bytes are no longer in the cache folder")?;
                let stamp = body.stamp().map_err(|_| "its bytes cannot be read")?;
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

    fn directory_at(&self, state: &mut State, prefix: &str) -> Option<Ino> {
        state.tree.make_directories(
            prefix,
            &self.default_attrs(0o755, SystemTime::now()),
            |_| true,
        )
    }
}
