//! Telling the kernel that what it remembers is no longer so, and the programs that watch.

use std::ffi::OsStr;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use filesystem::{Change as What, Filesystem, Gone, Ino, Kind, Watcher};
use fuser::{INodeNo, Notifier};
use parking_lot::Mutex;

use crate::wake::watches::Watched;
use crate::wake::{Expectations, Queue, Wake};

/// A watcher for the tree, and the queue from which a mount tells the kernel.
///
/// Two halves, because the tree has to be opened before it can be shown to a kernel.
pub fn watcher() -> (Arc<dyn Watcher>, Changes) {
    let (sender, receiver) = channel();
    (Arc::new(Inbox(sender)), Changes(receiver))
}

/// Changes that the kernel has not been told of yet.
pub struct Changes(Receiver<Change>);

struct Inbox(Sender<Change>);

#[derive(Debug, PartialEq, Eq)]
enum Change {
    Inode(Ino, What),
    Appeared(Ino, String),
    Removed(Box<Gone>),
    Unneeded(Ino, String),
}

impl Watcher for Inbox {
    fn changed(&self, ino: Ino, what: What) {
        self.put(Change::Inode(ino, what));
    }

    fn appeared(&self, parent: Ino, name: &str) {
        self.put(Change::Appeared(parent, name.to_owned()));
    }

    fn removed(&self, gone: Gone) {
        self.put(Change::Removed(Box::new(gone)));
    }

    fn unneeded(&self, parent: Ino, name: &str) {
        self.put(Change::Unneeded(parent, name.to_owned()));
    }
}

impl Inbox {
    fn put(&self, change: Change) {
        // Without a kernel there is nobody to tell.
        let _ = self.0.send(change);
    }
}

/// Programs that watch, and how they are told.
pub(super) struct Watchers {
    /// Taken away at the end: the thread that tells lives as long as the tree does.
    pub(super) tree: Arc<Mutex<Option<Filesystem>>>,
    pub(super) watched: Arc<Watched>,
    pub(super) queue: Arc<Queue>,
    pub(super) expectations: Arc<Expectations>,
}

/// Tells the kernel from a thread of its own, until the tree is gone or the kernel is.
pub(super) fn spawn(
    changes: Changes,
    notifier: Notifier,
    watchers: Option<Watchers>,
) -> io::Result<()> {
    thread::Builder::new()
        .name("fuse-notify".into())
        .spawn(move || {
            for change in changes.0 {
                match tell(&notifier, change, watchers.as_ref()) {
                    // The connection is gone: unmounted.
                    Err(error) if error.raw_os_error() == Some(libc::ENODEV) => break,
                    Err(error) => tracing::debug!(%error, "the kernel was not told"),
                    Ok(()) => {}
                }
            }
        })
        .map(drop)
}

fn tell(notifier: &Notifier, change: Change, watchers: Option<&Watchers>) -> io::Result<()> {
    match change {
        Change::Inode(ino, what) => {
            // Offset 0 and length 0: all pages, and the attributes.
            let told = notifier.inval_inode(INodeNo(ino), 0, 0);
            if let Some(watchers) = watchers {
                watchers.changed(ino, what);
            }
            told
        }
        Change::Appeared(parent, name) => {
            let told = forget(notifier, parent, &name);
            if let Some(watchers) = watchers {
                watchers.appeared(parent, name);
            }
            told
        }
        Change::Unneeded(parent, name) => forget(notifier, parent, &name),
        Change::Removed(gone) => {
            let (parent, name) = (gone.parent, gone.name.clone());
            if watchers.is_some_and(|watchers| watchers.removed(&gone)) {
                // The helper removes it before those who watch; nobody else sees it any more.
                return forget(notifier, parent, &name);
            }
            notifier
                .delete(INodeNo(parent), INodeNo(gone.attr.ino), OsStr::new(&name))
                // A directory that still shows entries is not deleted; it is looked up anew.
                .or_else(|_| forget(notifier, parent, &name))
        }
    }
}

/// Has the kernel ask for a name anew.
pub(super) fn forget(notifier: &Notifier, parent: Ino, name: &str) -> io::Result<()> {
    notifier.inval_entry(INodeNo(parent), OsStr::new(name))
}

impl Watchers {
    fn changed(&self, ino: Ino, what: What) {
        let watched = self.watched.now();
        if watched.is_empty() {
            return;
        }
        let place = self.tree.lock().as_ref().and_then(|tree| tree.place(ino));
        let Some(place) = place else {
            return;
        };
        if watched.contains(&place.parent) || watched.contains(&ino) {
            self.queue.put(Wake::Changed(ino, what), place.parent);
        }
    }

    fn appeared(&self, parent: Ino, name: String) {
        if self.watched.now().contains(&parent) {
            self.queue.put(Wake::Appeared(parent, name), parent);
        }
    }

    /// Whether the helper will remove the name. A directory is always removed by it while
    /// anything is watched: the way to what was watched inside leads through it.
    fn removed(&self, gone: &Gone) -> bool {
        let watched = self.watched.now();
        let is_directory = gone.attr.kind == Kind::Directory;
        if watched.is_empty() || !(is_directory || watched.contains(&gone.parent)) {
            return false;
        }
        // Before it is in the queue: the helper may be quick.
        self.expectations.lament(gone);
        let room = self
            .queue
            .put(Wake::Removed(Box::new(gone.clone())), gone.parent);
        if !room {
            self.expectations.laid_to_rest(gone.parent, &gone.name);
        }
        room
    }
}
