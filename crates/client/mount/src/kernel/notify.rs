//! Telling the kernel that what it remembers is no longer so.

use std::ffi::OsStr;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use filesystem::{Ino, Watcher};
use fuser::{INodeNo, Notifier};

/// A watcher for the tree, and the queue from which a mount tells the kernel.
///
/// Two halves, because the tree has to be opened before it can be shown to a kernel.
pub fn watcher() -> (Arc<dyn Watcher>, Changes) {
    let (sender, receiver) = channel();
    (Arc::new(Queue(sender)), Changes(receiver))
}

/// Changes that the kernel has not been told of yet.
pub struct Changes(Receiver<Change>);

struct Queue(Sender<Change>);

#[derive(Debug, PartialEq, Eq)]
enum Change {
    Inode(Ino),
    Entry(Ino, String),
    Removed(Ino, Ino, String),
}

impl Watcher for Queue {
    fn changed(&self, ino: Ino) {
        self.put(Change::Inode(ino));
    }

    fn entry(&self, parent: Ino, name: &str) {
        self.put(Change::Entry(parent, name.to_owned()));
    }

    fn removed(&self, parent: Ino, ino: Ino, name: &str) {
        self.put(Change::Removed(parent, ino, name.to_owned()));
    }
}

impl Queue {
    fn put(&self, change: Change) {
        // Without a kernel there is nobody to tell.
        let _ = self.0.send(change);
    }
}

/// Tells the kernel from a thread of its own, until the tree is gone or the kernel is.
pub(super) fn spawn(changes: Changes, notifier: Notifier) -> io::Result<()> {
    thread::Builder::new()
        .name("fuse-notify".into())
        .spawn(move || {
            for change in changes.0 {
                match tell(&notifier, &change) {
                    // The connection is gone: unmounted.
                    Err(error) if error.raw_os_error() == Some(libc::ENODEV) => break,
                    Err(error) => tracing::debug!(%error, ?change, "the kernel was not told"),
                    Ok(()) => {}
                }
            }
        })
        .map(drop)
}

fn tell(notifier: &Notifier, change: &Change) -> io::Result<()> {
    match change {
        // Offset 0 and length 0: all pages, and the attributes.
        Change::Inode(ino) => notifier.inval_inode(INodeNo(*ino), 0, 0),
        Change::Entry(parent, name) => notifier.inval_entry(INodeNo(*parent), OsStr::new(name)),
        Change::Removed(parent, ino, name) => notifier
            .delete(INodeNo(*parent), INodeNo(*ino), OsStr::new(name))
            // A directory that still shows entries is not deleted; it is looked up anew.
            .or_else(|_| notifier.inval_entry(INodeNo(*parent), OsStr::new(name))),
    }
}
