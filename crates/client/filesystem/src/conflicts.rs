//! Two versions of one file: both are kept.

use bucket::{Key, ObjectMeta};
use model::{conflict, entry_name};
use time::OffsetDateTime;

use crate::clock::{Stamp, from_nanos};
use crate::core::{Batch, Core, State};
use crate::merge::Notice;
use crate::pending::{Base, Op, Want};
use crate::tree::{Attrs, Content, Node, Remote, segment_for};
use crate::{FsError, Ino, Kind};

impl Core {
    /// The bucket's version keeps the name; ours goes up beside it under a name that says
    /// so. Whoever has our version open keeps writing ours.
    pub(crate) fn make_conflict_copy(&self, key: &Key, op: &Op, ino: Ino, theirs: ObjectMeta) {
        let mut state = self.state();
        let current = state
            .pending
            .at(key)
            .is_some_and(|now| now.order == op.order);
        if !current {
            return;
        }
        match self.part(&mut state, key, ino, theirs) {
            Ok(notices) => {
                drop(state);
                self.tell(notices);
            }
            Err(error) => {
                state.report.last_error = Some(format!("{key}: conflict copy: {error}"));
            }
        }
    }

    fn part(
        &self,
        state: &mut State,
        key: &Key,
        ino: Ino,
        theirs: ObjectMeta,
    ) -> Result<Vec<Notice>, FsError> {
        let node = state.tree.node(ino)?;
        let (parent, name, kind) = (node.parent, node.name.to_string(), node.kind());
        let copy = self.free_copy_name(state, parent, &name)?;
        let want = state.pending.take(key).map(|op| op.want);
        let segment = segment_for(&copy, kind);
        let segment = (segment != copy).then(|| segment.into_boxed_str());
        state.tree.relink(ino, parent, &copy, segment)?;
        let copy_key = state.tree.key(ino)?;
        let want = want.unwrap_or(Want::Put { ino });
        if !matches!(want, Want::Copy { .. }) {
            state.tree.node_mut(ino)?.remote = None;
        }
        state
            .pending
            .set(copy_key.clone(), want, Base::default(), Stamp::now());
        self.take_theirs(state, parent, &name, kind, theirs)?;
        state.report.conflicts += 1;
        state.report.last_error = Some(format!(
            "{key} was changed elsewhere too: this machine's version is {copy_key}"
        ));
        tracing::warn!(%key, copy = %copy_key, "conflict: both versions are kept");
        let mut batch = Batch::default();
        batch.touch(key);
        batch.touch(&copy_key);
        self.commit(state, batch)?;
        Ok(vec![
            Notice::Entry(parent, name),
            Notice::Entry(parent, copy),
            Notice::Changed(ino),
        ])
    }

    fn free_copy_name(&self, state: &State, parent: Ino, name: &str) -> Result<String, FsError> {
        let mut when = OffsetDateTime::now_utc();
        loop {
            let copy = conflict::copy_name(name, &self.settings.host, when);
            if state.tree.child(parent, &copy)?.is_none() {
                return Ok(copy);
            }
            when += time::Duration::SECOND;
        }
    }

    fn take_theirs(
        &self,
        state: &mut State,
        parent: Ino,
        name: &str,
        kind: Kind,
        theirs: ObjectMeta,
    ) -> Result<(), FsError> {
        let modified = from_nanos(i64::try_from(theirs.last_modified).unwrap_or(0));
        let attrs = Attrs::new(0o644, self.settings.uid, self.settings.gid, modified);
        let content = match kind {
            Kind::Symlink => Content::Symlink { target: None },
            _ => Content::File {
                body: None,
                backing: false,
            },
        };
        let mut node = Node::new(0, name, attrs, content);
        let segment = theirs.key.as_str().rsplit('/').next().unwrap_or_default();
        if segment != name && entry_name::from_segment(segment) == name {
            node.segment = Some(segment.into());
        }
        node.size = theirs.size;
        node.remote = Some(Remote {
            at: None,
            etag: theirs.etag,
            size: theirs.size,
            seen: Stamp::now(),
        });
        let ino = state.tree.add(parent, node)?;
        state.unsaved.insert(ino);
        Ok(())
    }
}
