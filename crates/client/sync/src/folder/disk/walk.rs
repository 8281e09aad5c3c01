//! The walk: all directories, side by side, by descriptors.

use std::sync::{Condvar, Mutex, PoisonError};

use model::entry_name::HIDDEN;
use rustix::fs::{AtFlags, Dir, FileType, statat};
use rustix::io::Errno;

use super::super::{Result, Walked};
use super::at::{Tree, kind_of, stat_of};
use crate::path::{PathError, TreePath};

/// The most threads: a disk gives no more.
const THREADS: usize = 4;

/// Lists the folder.
pub(super) fn walk(tree: &Tree) -> Result<Walked> {
    // The root has to be readable: else nothing is known at all.
    tree.directory("").map_err(|error| tree.no_folder(error))?;
    let queue = Queue::default();
    queue.add(None);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut walked = std::thread::scope(|scope| {
        let work = || {
            let mut found = Walked::default();
            while let Some(directory) = queue.take() {
                read(tree, directory, &queue, &mut found);
                queue.done();
            }
            found
        };
        let helpers: Vec<_> = (1..threads.min(THREADS))
            .map(|_| scope.spawn(work))
            .collect();
        let mut all = work();
        for helper in helpers {
            let found = helper
                .join()
                .unwrap_or_else(|p| std::panic::resume_unwind(p));
            all.entries.extend(found.entries);
            all.directories.extend(found.directories);
            all.unknown.extend(found.unknown);
            all.skipped.extend(found.skipped);
        }
        all
    });
    if let Some((_, reason)) = walked.skipped.iter().find(|(name, _)| name.is_empty()) {
        return Err(tree.unreadable(reason));
    }
    walked.entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    walked.directories.sort_unstable();
    walked.unknown.sort_unstable();
    walked.skipped.sort_unstable();
    Ok(walked)
}

/// Directories that wait to be read; `None` is the root.
#[derive(Default)]
struct Queue {
    state: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    directories: Vec<Option<TreePath>>,
    /// Directories that are being read, or wait.
    open: usize,
}

impl Queue {
    fn add(&self, directory: Option<TreePath>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.directories.push(directory);
        state.open += 1;
        self.changed.notify_one();
    }

    /// The next directory; `None` when all is read.
    #[allow(clippy::option_option, reason = "the root has no path")]
    fn take(&self) -> Option<Option<TreePath>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(next) = state.directories.pop() {
                return Some(next);
            }
            if state.open == 0 {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn done(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.open -= 1;
        if state.open == 0 {
            self.changed.notify_all();
        }
    }
}

fn read(tree: &Tree, directory: Option<TreePath>, queue: &Queue, found: &mut Walked) {
    let text = directory.as_ref().map_or("", TreePath::as_str);
    match entries(tree, directory.as_ref(), text, queue, found) {
        // It was removed since its parent was read.
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => {
            let reason = match error {
                Errno::XDEV => "another file system is mounted there".to_owned(),
                error => format!("its content is not known: {error}"),
            };
            match directory {
                Some(path) => found.unknown.push((path, reason)),
                None => found.skipped.push((String::new(), reason)),
            }
        }
    }
}

fn entries(
    tree: &Tree,
    directory: Option<&TreePath>,
    text: &str,
    queue: &Queue,
    found: &mut Walked,
) -> std::result::Result<(), Errno> {
    let fd = tree.directory(text)?;
    for entry in Dir::read_from(&fd)? {
        let entry = entry?;
        let bytes = entry.file_name().to_bytes();
        if matches!(bytes, b"." | b"..") {
            continue;
        }
        let Ok(name) = std::str::from_utf8(bytes) else {
            let shown = format!("{text}/{}", String::from_utf8_lossy(bytes));
            let reason = "its name is not UTF-8, which object keys are".to_owned();
            found.skipped.push((shown, reason));
            continue;
        };
        if directory.is_none() && name == HIDDEN {
            continue;
        }
        let path = match directory {
            Some(directory) => directory.child(name),
            None => TreePath::parse(name),
        };
        match path {
            Ok(path) => one(&fd, path, entry.file_type(), queue, found)?,
            Err(error) => found.skipped.push(unnamed(text, name, error)),
        }
    }
    Ok(())
}

fn unnamed(directory: &str, name: &str, error: PathError) -> (String, String) {
    (format!("{directory}/{name}"), error.to_string())
}

fn one(
    directory: &std::os::fd::OwnedFd,
    path: TreePath,
    kind: FileType,
    queue: &Queue,
    found: &mut Walked,
) -> std::result::Result<(), Errno> {
    if kind == FileType::Directory {
        found.directories.push(path.clone());
        queue.add(Some(path));
        return Ok(());
    }
    let stat = match statat(directory, path.name(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error),
    };
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        found.directories.push(path.clone());
        queue.add(Some(path));
        return Ok(());
    }
    match kind_of(&stat) {
        Some(kind) => found.entries.push((path, kind, stat_of(&stat))),
        None => found
            .unknown
            .push((path, "neither a file nor a link nor a directory".to_owned())),
    }
    Ok(())
}
