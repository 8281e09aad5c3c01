//! What goes up for one file or link: one moment's whole content, and what says so.

use std::fs::File;
use std::sync::Arc;

use bucket::{Body as Payload, Error as BucketError, Key, Metadata};
use bytes::Bytes;
use model::file_metadata;

use crate::body::{Body, BodyStamp, RECENT, local_error};
use crate::clock::to_nanos;
use crate::core::{Batch, Core};
use crate::pending::Op;
use crate::tree::{Attrs, Content};
use crate::upload::TOKEN;
use crate::{FsError, Ino};

/// How often a file that changes while it is copied is copied anew.
const COPIES: u32 = 3;

/// What is to be done for a pending file or link.
pub(crate) enum Sending {
    /// This goes up.
    Content(Box<Upload>),
    /// The content is in the bucket already.
    Sent {
        /// Someone may still change it.
        open: bool,
    },
    /// Something else is wanted by now.
    Nothing,
}

/// A body on its way.
pub(crate) struct Upload {
    pub(crate) payload: Payload,
    pub(crate) metadata: Metadata,
    /// The operation, whose token stands for exactly this content.
    pub(crate) op: Op,
    /// What the file looked like when it had this content; `None` for a link.
    pub(crate) stamp: Option<BodyStamp>,
    /// Where `payload` lies, when that is not the file itself.
    _copy: Option<PrivateCopy>,
}

/// A copy of a body for one upload, removed when that is over or was cancelled.
struct PrivateCopy(Arc<Body>);

impl Drop for PrivateCopy {
    fn drop(&mut self) {
        self.0.discard();
    }
}

/// A file as its node has it.
struct Source {
    body: Arc<Body>,
    writers: bool,
    backing: bool,
    sent: Option<BodyStamp>,
}

/// One moment of a file.
struct Moment {
    file: Arc<File>,
    stamp: BodyStamp,
    copy: Option<PrivateCopy>,
    /// Someone may change the file after it.
    open: bool,
}

/// Takes what is to be sent.
pub(crate) async fn prepare(
    core: &Arc<Core>,
    key: &Key,
    op: &Op,
    ino: Ino,
) -> Result<Sending, BucketError> {
    let source = {
        let state = core.state();
        let Ok(node) = state.tree.node(ino) else {
            return Ok(Sending::Nothing);
        };
        match &node.content {
            Content::File {
                body: Some(body), ..
            } => Source {
                body: Arc::clone(body),
                writers: node.writers > 0,
                backing: node.is_backing(),
                sent: node.sent,
            },
            Content::Symlink {
                target: Some(target),
            } => return Ok(Sending::Content(Box::new(link(op, target, &node.attrs)))),
            _ => return Ok(Sending::Nothing),
        }
    };
    let sent = source.sent;
    let taking = {
        let core = Arc::clone(core);
        move || source.moment(&core)
    };
    let moment = match core.runtime.spawn_blocking(taking).await {
        Ok(moment) => moment.map_err(|error| local(&error))?,
        Err(error) => return Err(local(&FsError::Local(error.to_string()))),
    };
    if sent == Some(moment.stamp) {
        return Ok(Sending::Sent { open: moment.open });
    }
    let ticket = ticket(core, key, op, ino, &moment).map_err(|error| local(&error))?;
    let Some((op, attrs)) = ticket else {
        return Ok(Sending::Nothing);
    };
    Ok(Sending::Content(Box::new(Upload {
        payload: Payload::File {
            file: moment.file,
            range: 0..moment.stamp.size,
        },
        metadata: metadata(&attrs, &op.token),
        op,
        stamp: Some(moment.stamp),
        _copy: moment.copy,
    })))
}

fn link(op: &Op, target: &str, attrs: &Attrs) -> Upload {
    Upload {
        payload: Payload::Bytes(Bytes::copy_from_slice(target.as_bytes())),
        metadata: metadata(attrs, &op.token),
        op: op.clone(),
        stamp: None,
        _copy: None,
    }
}

/// The operation with the token under which this content goes up, in the journal before it
/// is used, and the attributes that go with it. `None` when something else is wanted by now.
fn ticket(
    core: &Core,
    key: &Key,
    op: &Op,
    ino: Ino,
    moment: &Moment,
) -> Result<Option<(Op, Attrs)>, FsError> {
    let mut state = core.state();
    if state.pending.in_order(key, op.order).is_none() {
        return Ok(None);
    }
    if state.pending.renew_token(key, Some(moment.stamp)) {
        let mut batch = Batch::default();
        batch.touch(key);
        core.commit(&state, batch)?;
    }
    let node = state.tree.node_mut(ino)?;
    if moment.open || node.sent.is_some() {
        node.take_stamp(moment.stamp);
    }
    let attrs = node.attrs.clone();
    Ok(state.pending.at_mut(key).map(|op| {
        op.carried = Some(moment.stamp);
        (op.clone(), attrs)
    }))
}

impl Source {
    fn moment(&self, core: &Core) -> Result<Moment, FsError> {
        if !self.body.is_whole() {
            return Err(FsError::Local(
                "bytes of a file written here are missing".to_owned(),
            ));
        }
        if self.writers || self.backing && self.body.has_writers()? {
            return self.copied(core);
        }
        // Nobody writes it, and nobody can begin to while it goes up: see `Core::quiet`.
        Ok(Moment {
            file: self.body.reading()?,
            stamp: self.body.stamp()?,
            copy: None,
            open: false,
        })
    }

    /// What goes up of a file that is open for writing or mapped is a private copy: one
    /// moment's content, never a mixture. None is made when the file looks as it did when
    /// it was last sent.
    fn copied(&self, core: &Core) -> Result<Moment, FsError> {
        let source = self.body.reading()?;
        for _ in 0..COPIES {
            let stamp = settled(&self.body)?;
            if self.backing {
                // Makes mapped pages read-only: the next store into one moves the stamp.
                source.sync_data().map_err(|error| local_error(&error))?;
            }
            if self.body.stamp()? != stamp {
                continue;
            }
            let moment = |file, copy| Moment {
                file,
                stamp,
                copy,
                open: true,
            };
            if self.sent == Some(stamp) {
                return Ok(moment(source, None));
            }
            let (copy, file) = core.cache.create()?;
            let copy = PrivateCopy(copy);
            copy_bytes(&source, &file, stamp.size)?;
            if self.body.stamp()? == stamp {
                return Ok(moment(file, Some(copy)));
            }
        }
        Err(FsError::Local(
            "the file is being written without a pause".to_owned(),
        ))
    }
}

/// The file's stamp, when no later write can leave it unmoved.
fn settled(body: &Body) -> Result<BodyStamp, FsError> {
    let stamp = body.stamp()?;
    let age = stamp.age();
    if age >= RECENT {
        return Ok(stamp);
    }
    std::thread::sleep(RECENT - age);
    body.stamp()
}

fn copy_bytes(from: &File, to: &File, size: u64) -> Result<(), FsError> {
    let (mut read, mut written) = (0, 0);
    while read < size {
        let chunk = usize::try_from((size - read).min(1 << 30)).unwrap_or(1 << 30);
        let copied =
            rustix::fs::copy_file_range(from, Some(&mut read), to, Some(&mut written), chunk)
                .map_err(|error| local_error(&error.into()))?;
        if copied == 0 {
            return Err(FsError::Local("the file became shorter".to_owned()));
        }
    }
    Ok(())
}

/// User metadata for other tools: `mtime` as rclone writes it, and the rest.
pub(crate) fn metadata(attrs: &Attrs, token: &str) -> Metadata {
    [
        ("mtime", file_metadata::mtime_text(to_nanos(attrs.mtime))),
        ("mode", format!("{:o}", attrs.mode)),
        ("uid", attrs.uid.to_string()),
        ("gid", attrs.gid.to_string()),
        (TOKEN, token.to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

fn local(error: &FsError) -> BucketError {
    BucketError::LocalBody {
        reason: error.to_string(),
    }
}
