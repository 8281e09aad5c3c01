//! Files that are on both sides as they were: nothing is done about them, but names and
//! directories are taken by them.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::known::Known;
use crate::path::TreePath;

/// Known files about which nothing has to be decided. They are in no other part of a picture.
#[derive(Debug, Clone, Default)]
pub struct Settled {
    known: Arc<Known>,
    /// By number.
    is: Vec<bool>,
    count: usize,
}

impl Settled {
    /// These of the known files.
    pub(crate) fn new(known: Arc<Known>, is: Vec<bool>) -> Self {
        let count = is.iter().filter(|is| **is).count();
        Self { known, is, count }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn contains(&self, path: &TreePath) -> bool {
        let number = self.known.find(path.as_str(), 0);
        number.is_ok_and(|number| self.is.get(number) == Some(&true))
    }

    /// Their paths, in byte order.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        let numbers = self.is.iter().enumerate().filter(|(_, is)| **is);
        numbers.map(|(number, _)| self.known.path(number))
    }

    /// The directories above them.
    pub(super) fn directories(&self) -> BTreeSet<TreePath> {
        let mut all = BTreeSet::new();
        let mut last = "";
        for path in self.paths() {
            let Some((above, _)) = path.rsplit_once('/').filter(|(above, _)| *above != last) else {
                continue;
            };
            last = above;
            let Ok(above) = TreePath::parse(above) else {
                continue;
            };
            add_with_ancestors(&mut all, above);
        }
        all
    }
}

/// Adds a directory and all above it to a set that has, of each directory in it, all above.
pub(super) fn add_with_ancestors(all: &mut BTreeSet<TreePath>, directory: TreePath) {
    let mut next = Some(directory);
    while let Some(directory) = next {
        next = directory.parent();
        if !all.insert(directory) {
            return;
        }
    }
}
