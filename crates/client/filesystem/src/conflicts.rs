//! Two versions of one file: both are kept.

use bucket::{Error as BucketError, Key, ObjectMeta};
use model::{conflict, entry_name};
use time::OffsetDateTime;

use crate::clock::{Stamp, from_nanos};
use crate::core::{Batch, Core, State};
use crate::merge::Notice;
use crate::pending::{Base, Op, Want};
use crate::tree::{Attrs, Content, Node, Remote, segment_for};
use crate::{Change, FsError, Ino, Kind};

impl Core {
    /// The bucket's version keeps the name; ours goes up beside it under a name that says
    /// so. Whoever has our version open keeps writing ours.
    ///
    /// # Errors
    /// Ours stays pending as it was, beside what the bucket has.
    pub(crate) fn make_conflict_copy(
        &self,
        key: &Key,
        op: &Op,
        ino: Ino,
        theirs: ObjectMeta,
    ) -> Result<(), BucketError> {
        let mut state = self.state();
        if state.pending.in_order(key, op.order).is_none() {
            return Ok(());
        }
        let parted = self.part(&mut state, key, ino, theirs);
        drop(state);
        let notices = parted.map_err(|error| BucketError::LocalBody {
            reason: format!(
                "it was changed elsewhere too, and no conflict copy could be made: {error}"
            ),
        })?;
        self.tell(notices);
        Ok(())
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
        // All that may fail comes before the first change.
        let copy = self.free_copy_name(state, parent, &name, kind)?;
        let copy_key = state.tree.key_for(parent, &copy, kind)?;
        let want = state.pending.take(key).map(|op| op.want);
        let segment = segment_for(&copy, kind);
        let segment = (segment != copy).then(|| segment.into_boxed_str());
        state.tree.relink(ino, parent, &copy, segment)?;
        let want = want.unwrap_or(Want::Put { ino });
        if !matches!(want, Want::Copy { .. }) {
            state.tree.node_mut(ino)?.leave_bucket();
        }
        state
            .pending
            .set(copy_key.clone(), want, Base::default(), Stamp::now());
        self.take_theirs(state, parent, &name, kind, theirs)?;
        state.report.conflicts += 1;
        state.report.happened(format!(
            "{key} was changed elsewhere too: this machine's version is {copy_key}"
        ));
        tracing::warn!(%key, copy = %copy_key, "conflict: both versions are kept");
        let mut batch = Batch::default();
        batch.touch(key);
        batch.touch(&copy_key);
        self.commit(state, batch)?;
        Ok(vec![
            Notice::Appeared(parent, name),
            Notice::Appeared(parent, copy),
            Notice::Changed(ino, Change::Attributes),
        ])
    }

    pub(crate) fn free_copy_name(
        &self,
        state: &State,
        parent: Ino,
        name: &str,
        kind: Kind,
    ) -> Result<String, FsError> {
        let suffix = segment_for("", kind).len();
        let room = Key::MAX_BYTES.saturating_sub(state.tree.prefix_of(parent)?.len());
        let room = room.min(entry_name::MAX_BYTES).saturating_sub(suffix);
        let mut when = OffsetDateTime::now_utc();
        loop {
            let copy = conflict::copy_name(name, &self.settings.host, when, room);
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
