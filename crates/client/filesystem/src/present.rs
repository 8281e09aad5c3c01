//! What is known without asking anybody: for a kernel that has to be answered at once.

use crate::{Entry, Filesystem, Ino, Place};

impl Filesystem {
    /// Looks a name up among those that are known, however old they are. Counts one
    /// reference when it is there, as [`Self::lookup`] does.
    pub fn lookup_known(&self, parent: Ino, name: &str) -> Option<Entry> {
        let mut state = self.core.state();
        let ino = state.tree.child(parent, name).ok().flatten()?;
        state.tree.node_mut(ino).ok()?.references += 1;
        self.core.entry(&state, ino).ok()
    }

    /// Whether a name is known to be there.
    pub fn is_known(&self, parent: Ino, name: &str) -> bool {
        let state = self.core.state();
        matches!(state.tree.child(parent, name), Ok(Some(_)))
    }

    /// Attributes as they are known.
    pub fn known_attr(&self, ino: Ino) -> Option<Entry> {
        let mut state = self.core.state();
        self.core.refresh_written(&mut state, ino);
        self.core.entry(&state, ino).ok()
    }

    /// Where an inode has its name; `None` for the root and for what has none.
    pub fn place(&self, ino: Ino) -> Option<Place> {
        let state = self.core.state();
        let node = state.tree.node(ino).ok().filter(|node| !node.unlinked)?;
        if ino == crate::ROOT {
            return None;
        }
        Some(Place {
            parent: node.parent,
            directory: state.tree.path_of(node.parent).ok()?,
            name: node.name.to_string(),
            attr: node.attr(),
        })
    }

    /// The same by a directory and a name.
    pub fn place_of(&self, parent: Ino, name: &str) -> Option<Place> {
        let ino = self.core.state().tree.child(parent, name).ok().flatten()?;
        self.place(ino)
    }
}
