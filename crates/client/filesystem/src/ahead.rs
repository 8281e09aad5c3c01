//! Body files made ahead: where many are needed in a row, the next ones are made beside it, so
//! that no `create` waits for the disk to find room for an inode. (An ext4 without a journal,
//! as in many small virtual machines, takes long for that after many deletions.)

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use parking_lot::Mutex;

use crate::body::{BodyId, make_folders, new_file, path_of};

/// At most so many wait, each with its file open.
const MOST: usize = 128;
/// Who needs a single file leaves few unused ones behind.
const FIRST: usize = 4;

/// Empty files that are nobody's body yet. They go when this is dropped.
pub(crate) struct Ahead(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    folders: Once,
    state: Mutex<State>,
}

struct State {
    ready: VecDeque<(BodyId, File)>,
    /// How many are to be ready: more, the faster they are taken.
    wanted: usize,
    filling: bool,
    over: bool,
}

impl Ahead {
    pub(crate) fn new(folder: &Path) -> Self {
        let state = State {
            ready: VecDeque::new(),
            wanted: FIRST,
            filling: false,
            over: false,
        };
        Self(Arc::new(Inner {
            folder: folder.to_owned(),
            folders: Once::new(),
            state: Mutex::new(state),
        }))
    }

    /// A file that is ready, if any; and how many [`Self::fill`] is to make.
    pub(crate) fn take(&self) -> (Option<(BodyId, File)>, usize) {
        let mut state = self.0.state.lock();
        let found = state.take_ready();
        if found.is_none() {
            state.wanted = (state.wanted * 2).min(MOST);
        }
        let missing = state.wanted - state.ready.len().min(state.wanted);
        if state.filling || missing < state.wanted / 2 {
            return (found, 0);
        }
        state.filling = true;
        (found, missing)
    }

    /// Makes files of these names in the background; what cannot be made now, who needs a file
    /// makes, and hears why not.
    pub(crate) fn fill(&self, names: Vec<BodyId>) {
        let inner = Arc::clone(&self.0);
        let thread = std::thread::Builder::new().name("bodies".to_owned());
        if thread.spawn(move || inner.fill(names)).is_err() {
            self.0.state.lock().filling = false;
        }
    }
}

impl State {
    /// The next file that is still in its folder: somebody may have emptied that meanwhile.
    fn take_ready(&mut self) -> Option<(BodyId, File)> {
        let linked = |file: &File| file.metadata().is_ok_and(|meta| meta.nlink() > 0);
        std::iter::from_fn(|| self.ready.pop_front()).find(|(_, file)| linked(file))
    }
}

impl Inner {
    fn fill(&self, names: Vec<BodyId>) {
        // Where that fails, making the files tells.
        self.folders.call_once(|| drop(make_folders(&self.folder)));
        for id in names {
            let Ok(file) = new_file(&self.folder, &id) else {
                break;
            };
            let mut state = self.state.lock();
            if state.over {
                let _ = std::fs::remove_file(path_of(&self.folder, &id));
                return;
            }
            state.ready.push_back((id, file));
        }
        self.state.lock().filling = false;
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.over = true;
        for (id, _) in state.ready.drain(..) {
            let _ = std::fs::remove_file(path_of(&self.0.folder, &id));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;

    fn files(folder: &Path) -> usize {
        let shards = std::fs::read_dir(folder).expect("a folder");
        shards
            .map(|shard| {
                std::fs::read_dir(shard.expect("a shard").path()).map_or(0, Iterator::count)
            })
            .sum()
    }

    fn names(count: usize) -> Vec<BodyId> {
        (0..count).map(|_| BodyId::random()).collect()
    }

    fn wait_until_filled(ahead: &Ahead) {
        for _ in 0..500 {
            if !ahead.0.state.lock().filling {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("still filling");
    }

    #[test]
    fn files_are_made_in_growing_numbers_given_once_and_go_at_the_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let ahead = Ahead::new(folder.path());
        let mut given = HashSet::new();
        let mut asked = Vec::new();
        for _ in 0..1000 {
            let (found, more) = ahead.take();
            if let Some((id, file)) = found {
                assert_eq!(file.metadata().expect("its meta data").len(), 0);
                assert!(path_of(folder.path(), &id).exists());
                assert!(given.insert(id), "given once");
            }
            if more > 0 {
                asked.push(more);
                ahead.fill(names(more));
                wait_until_filled(&ahead);
            }
        }
        assert_eq!(asked.first(), Some(&(2 * FIRST)), "few at first");
        assert!(asked.iter().all(|more| *more <= MOST));
        assert!(given.len() > 900, "{} were ready", given.len());
        assert!(files(folder.path()) > given.len(), "some wait");
        drop(ahead);
        assert_eq!(
            files(folder.path()),
            given.len(),
            "those not given are gone"
        );
    }

    #[test]
    fn a_file_that_somebody_deleted_meanwhile_is_not_given() {
        let folder = tempfile::tempdir().expect("a folder");
        let ahead = Ahead::new(folder.path());
        let (_, more) = ahead.take();
        let ids = names(more);
        ahead.fill(ids.clone());
        wait_until_filled(&ahead);
        let (kept, deleted) = ids.split_last().expect("some");
        for id in deleted {
            std::fs::remove_file(path_of(folder.path(), id)).expect("there");
        }
        let (found, _) = ahead.take();
        assert_eq!(found.map(|(id, _)| id).as_ref(), Some(kept));
    }

    #[test]
    fn where_no_file_can_be_made_nothing_is_ready_and_it_is_tried_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let nowhere = folder.path().join("file");
        std::fs::write(&nowhere, b"").expect("a file");
        let ahead = Ahead::new(&nowhere);
        for _ in 0..3 {
            let (found, more) = ahead.take();
            assert!(found.is_none());
            assert!(more > 0, "tried again");
            ahead.fill(names(more));
            wait_until_filled(&ahead);
        }
    }
}
