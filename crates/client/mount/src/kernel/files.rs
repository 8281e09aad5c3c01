//! Which files the kernel holds open, and which of them it reads and writes by itself.
//!
//! Passthrough: the kernel may be given a local file that stands behind an open file; then
//! reads, writes and mappings never reach this process (Linux 6.9, FUSE ABI 7.40, needs
//! CAP_SYS_ADMIN). Its rule: all opens of one inode at one time name the same backing id,
//! and none of them goes through the page cache of the FUSE inode. So ids are counted per
//! inode here, and once the kernel refuses, nothing new is handed to it.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use filesystem::{Filesystem, Handle, Ino};
use fuser::BackingId;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Whether the kernel reads and writes whole local files by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Passthrough {
    /// It does.
    On,
    /// Every read and write comes to this process.
    Off {
        /// Why.
        reason: String,
    },
}

/// The files that the kernel holds open.
pub(crate) struct OpenFiles {
    inner: Mutex<Inner>,
}

struct Inner {
    passthrough: Passthrough,
    handles: HashMap<Handle, Reached>,
    backing: HashMap<Ino, Backing>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reached {
    ByCalls,
    ThroughKernel,
}

struct Backing {
    id: Arc<BackingId>,
    opens: usize,
    /// Device and inode number of the local file.
    file: (u64, u64),
}

impl OpenFiles {
    pub(super) fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                passthrough: Passthrough::Off {
                    reason: "not agreed with the kernel".into(),
                },
                handles: HashMap::new(),
                backing: HashMap::new(),
            }),
        }
    }

    pub(super) fn passthrough(&self) -> Passthrough {
        self.inner.lock().passthrough.clone()
    }

    pub(super) fn agree(&self, passthrough: Passthrough) {
        self.inner.lock().passthrough = passthrough;
    }

    /// Notes an open file whose reads and writes come here.
    pub(super) fn opened(&self, handle: Handle) {
        self.inner.lock().handles.insert(handle, Reached::ByCalls);
    }

    /// Notes an open file and gives the backing id for it; `None` when its reads and
    /// writes have to come here after all.
    ///
    /// `register` asks the kernel for an id and is called at most once, with the lock
    /// held: two opens of one inode must not get two ids.
    pub(super) fn opened_with(
        &self,
        handle: Handle,
        ino: Ino,
        file: &File,
        register: impl FnOnce(&File) -> io::Result<BackingId>,
    ) -> Option<Arc<BackingId>> {
        let mut inner = self.inner.lock();
        let id = inner.backing_id(ino, file, register);
        let reached = if id.is_some() {
            Reached::ThroughKernel
        } else {
            Reached::ByCalls
        };
        inner.handles.insert(handle, reached);
        id
    }

    /// Notes the last close of a handle.
    pub(super) fn released(&self, handle: Handle, ino: Ino) {
        let mut inner = self.inner.lock();
        if inner.handles.remove(&handle) != Some(Reached::ThroughKernel) {
            return;
        }
        if let Some(backing) = inner.backing.get_mut(&ino) {
            backing.opens -= 1;
            if backing.opens == 0 {
                inner.backing.remove(&ino);
            }
        }
    }

    /// Releases what the kernel did not: at the end of a session.
    pub(super) async fn release_all(&self, tree: &Filesystem) {
        let handles: Vec<Handle> = {
            let mut inner = self.inner.lock();
            inner.backing.clear();
            inner.handles.drain().map(|(handle, _)| handle).collect()
        };
        for handle in handles {
            tree.release(handle).await;
        }
    }
}

impl Inner {
    fn backing_id(
        &mut self,
        ino: Ino,
        file: &File,
        register: impl FnOnce(&File) -> io::Result<BackingId>,
    ) -> Option<Arc<BackingId>> {
        let meta = file.metadata().ok()?;
        let local = (meta.dev(), meta.ino());
        if let Some(backing) = self.backing.get_mut(&ino) {
            // The tree never exchanges a file that the kernel has: what is written here would
            // go nowhere. Without an id the kernel refuses the open.
            if backing.file != local {
                tracing::error!(ino, "another backing file than the one that is open");
                return None;
            }
            backing.opens += 1;
            return Some(backing.id.clone());
        }
        if self.passthrough != Passthrough::On {
            return None;
        }
        match register(file) {
            Ok(id) => {
                let id = Arc::new(id);
                self.backing.insert(
                    ino,
                    Backing {
                        id: id.clone(),
                        opens: 1,
                        file: local,
                    },
                );
                Some(id)
            }
            Err(error) => {
                tracing::warn!(%error, "the kernel does not take backing files; serving by calls");
                self.passthrough = Passthrough::Off {
                    reason: format!("the kernel refused a backing file: {error}"),
                };
                None
            }
        }
    }
}
