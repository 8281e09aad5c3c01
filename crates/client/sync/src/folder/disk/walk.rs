//! The walk: all directories, side by side, by descriptors. A file that looks as it was known
//! to look costs one `stat` and no memory.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::{Condvar, Mutex, PoisonError};

use model::entry_name::HIDDEN;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;

use super::super::{FolderError, Result, Walked, text_of_rules, unruly};
use super::SMALL;
use super::at::{Tree, failed, io, kind_of, stat_of};
use crate::ignored::{self, Chain, Rules};
use crate::known::Known;
use crate::path::{PathError, TreePath};

/// The most threads: a disk gives no more.
const THREADS: usize = 4;

/// Lists the folder.
pub(super) fn walk(tree: &Tree, known: &Known, step: i64, given: &Rules) -> Result<Walked> {
    // The root has to be readable: else nothing is known at all.
    tree.directory("").map_err(|error| tree.no_folder(error))?;
    let queue = Queue::default();
    queue.add(None, Chain::of(given));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (mut walked, unruly) = std::thread::scope(|scope| {
        let work = || {
            let mut walk = Walk::new(tree, known, step, &queue);
            while let Some((directory, chain)) = queue.take() {
                walk.read(directory, chain);
                queue.done();
            }
            (walk.found, walk.unruly)
        };
        let helpers: Vec<_> = (1..threads.min(THREADS))
            .map(|_| scope.spawn(work))
            .collect();
        let (mut all, mut unruly) = work();
        for helper in helpers {
            let (found, more) = helper
                .join()
                .unwrap_or_else(|p| std::panic::resume_unwind(p));
            all.as_seen.extend(found.as_seen);
            all.entries.extend(found.entries);
            all.rules.extend(found.rules);
            all.directories.extend(found.directories);
            all.unknown.extend(found.unknown);
            all.skipped.extend(found.skipped);
            all.ignored.extend(found.ignored);
            all.wrong.extend(found.wrong);
            unruly.extend(more);
        }
        (all, unruly)
    });
    if let Some(error) = unruly.into_iter().next() {
        return Err(error);
    }
    let found = std::mem::replace(&mut walked.rules, given.clone());
    walked.rules.extend(found);
    if let Some((_, reason)) = walked.skipped.iter().find(|(name, _)| name.is_empty()) {
        return Err(tree.unreadable(reason));
    }
    walked.as_seen.sort_unstable();
    walked.entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    walked.directories.sort_unstable();
    walked.unknown.sort_unstable();
    walked.skipped.sort_unstable();
    walked.ignored.sort_unstable();
    walked.wrong.sort_unstable();
    Ok(walked)
}

/// A directory, `None` for the root, and the rules that count in it but for its own.
type Waits = (Option<TreePath>, Chain);

/// Directories that wait to be read.
#[derive(Default)]
struct Queue {
    state: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    directories: Vec<Waits>,
    /// Directories that are being read, or wait.
    open: usize,
}

impl Queue {
    fn add(&self, directory: Option<TreePath>, chain: Chain) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.directories.push((directory, chain));
        state.open += 1;
        self.changed.notify_one();
    }

    /// The next directory; `None` when all is read.
    fn take(&self) -> Option<Waits> {
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

/// One thread's part.
struct Walk<'a> {
    tree: &'a Tree,
    known: &'a Known,
    step: i64,
    queue: &'a Queue,
    found: Walked,
    /// Why the root's file of rules cannot be read.
    unruly: Vec<FolderError>,
    /// The path of the entry that is looked at.
    text: String,
    /// The names of the directory that is read, one after the other, and where they end.
    names: String,
    ends: Vec<(usize, FileType)>,
    /// Where the last file was among the known ones.
    near: usize,
}

impl<'a> Walk<'a> {
    fn new(tree: &'a Tree, known: &'a Known, step: i64, queue: &'a Queue) -> Self {
        Self {
            tree,
            known,
            step,
            queue,
            found: Walked::default(),
            unruly: Vec::new(),
            text: String::new(),
            names: String::new(),
            ends: Vec::new(),
            near: 0,
        }
    }

    fn read(&mut self, directory: Option<TreePath>, chain: Chain) {
        match self.entries(directory.as_ref(), chain) {
            // It was removed since its parent was read.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => {
                let reason = match error {
                    Errno::XDEV => "another file system is mounted there".to_owned(),
                    error => format!("its content is not known: {error}"),
                };
                match directory {
                    Some(path) => self.found.unknown.push((path, reason)),
                    None => self.found.skipped.push((String::new(), reason)),
                }
            }
        }
    }

    fn entries(
        &mut self,
        directory: Option<&TreePath>,
        chain: Chain,
    ) -> std::result::Result<(), Errno> {
        let fd = self
            .tree
            .directory(directory.map_or("", TreePath::as_str))?;
        self.gather(&fd, directory)?;
        // In the order of the known files, so that each is found where the last one was.
        let mut order: Vec<(&str, FileType)> = Vec::with_capacity(self.ends.len());
        let mut from = 0;
        for (end, kind) in &self.ends {
            order.push((&self.names[from..*end], *kind));
            from = *end;
        }
        order.sort_unstable_by_key(|(name, _)| *name);
        // The rules of a directory count for its own entries.
        let own = order.binary_search_by_key(&ignored::NAME, |(name, _)| *name);
        let chain = match own {
            Ok(at) => match own_rules(&fd, directory, order[at].1, chain, &mut self.found) {
                Ok(chain) => chain,
                // Nobody knows what they leave out: nothing below is sent.
                Err(error) => {
                    match directory {
                        Some(path) => self.found.unknown.push((path.clone(), unruly(&error))),
                        None => self.unruly.push(error),
                    }
                    return Ok(());
                }
            },
            Err(_) => chain,
        };
        let mut one = One {
            fd: &fd,
            directory,
            known: self.known,
            step: self.step,
            queue: self.queue,
            chain: &chain,
            found: &mut self.found,
            text: &mut self.text,
            near: &mut self.near,
        };
        for (name, kind) in order {
            one.look(name, kind)?;
        }
        Ok(())
    }

    /// Reads a directory's names.
    fn gather(
        &mut self,
        fd: &OwnedFd,
        directory: Option<&TreePath>,
    ) -> std::result::Result<(), Errno> {
        self.names.clear();
        self.ends.clear();
        for entry in Dir::read_from(fd)? {
            let entry = entry?;
            let bytes = entry.file_name().to_bytes();
            if matches!(bytes, b"." | b"..") {
                continue;
            }
            match std::str::from_utf8(bytes) {
                Ok(name) if directory.is_none() && name == HIDDEN => {}
                Ok(name) => {
                    self.names.push_str(name);
                    self.ends.push((self.names.len(), entry.file_type()));
                }
                Err(_) => {
                    let shown = String::from_utf8_lossy(bytes);
                    let above = directory.map_or("", TreePath::as_str);
                    let reason = "its name is not UTF-8, which object keys are".to_owned();
                    self.found
                        .skipped
                        .push((format!("{above}/{shown}"), reason));
                }
            }
        }
        Ok(())
    }
}

/// What an entry of a directory is looked at with.
struct One<'a> {
    fd: &'a OwnedFd,
    directory: Option<&'a TreePath>,
    known: &'a Known,
    step: i64,
    queue: &'a Queue,
    chain: &'a Chain,
    found: &'a mut Walked,
    text: &'a mut String,
    near: &'a mut usize,
}

impl One<'_> {
    fn look(&mut self, name: &str, kind: FileType) -> std::result::Result<(), Errno> {
        self.text.clear();
        if let Some(directory) = self.directory {
            self.text.push_str(directory.as_str());
            self.text.push('/');
        }
        self.text.push_str(name);
        // What is left out is not looked at, unless that is what tells what it is.
        if kind != FileType::Unknown && self.is_out(name, kind == FileType::Directory) {
            return Ok(());
        }
        if kind == FileType::Directory {
            self.add_directory(name);
            return Ok(());
        }
        let stat = match statat(self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error),
        };
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let is_news = kind == FileType::Unknown || is_directory;
        if is_news && self.is_out(name, is_directory) {
            return Ok(());
        }
        if is_directory {
            self.add_directory(name);
            return Ok(());
        }
        let Some(kind) = kind_of(&stat) else {
            if let Some(path) = self.path(name) {
                let reason = "neither a file nor a link nor a directory".to_owned();
                self.found.unknown.push((path, reason));
            }
            return Ok(());
        };
        let stat = stat_of(&stat);
        let known = self
            .known
            .as_seen(self.text, kind, &stat, self.step, self.near);
        if let Some(number) = known {
            self.found.as_seen.push(number);
        } else if let Some(path) = self.path(name) {
            self.found.entries.push((path, kind, stat));
        }
        Ok(())
    }

    /// Whether a rule leaves the entry out; then that is noted.
    fn is_out(&mut self, name: &str, is_directory: bool) -> bool {
        let out = self.chain.leaves_out(self.text, is_directory);
        if out && let Some(path) = self.path(name) {
            self.found.ignored.push(path);
        }
        out
    }

    fn add_directory(&mut self, name: &str) {
        if let Some(path) = self.path(name) {
            self.found.directories.push(path.clone());
            self.queue.add(Some(path), self.chain.clone());
        }
    }

    /// The path of an entry; a name that cannot be one is told.
    fn path(&mut self, name: &str) -> Option<TreePath> {
        let path = match self.directory {
            Some(directory) => directory.child(name),
            None => TreePath::parse(name),
        };
        path.map_err(|error| {
            self.found
                .skipped
                .push(unnamed(self.directory, name, error))
        })
        .ok()
    }
}

/// What counts in a directory that has a file of rules; what counted before where that is none
/// after all, but a link or a directory.
fn own_rules(
    fd: &OwnedFd,
    directory: Option<&TreePath>,
    kind: FileType,
    chain: Chain,
    found: &mut Walked,
) -> Result<Chain> {
    let path = match directory {
        Some(directory) => directory.child(ignored::NAME),
        None => TreePath::parse(ignored::NAME),
    };
    let Ok(file) = path else {
        return Ok(chain);
    };
    let kind = match kind {
        FileType::Unknown => statat(fd, ignored::NAME, AtFlags::SYMLINK_NOFOLLOW)
            .map(|stat| FileType::from_raw_mode(stat.st_mode))
            .map_err(|error| failed("look at", &file, error))?,
        kind => kind,
    };
    if kind != FileType::RegularFile {
        return Ok(chain);
    }
    let text = read_rules(fd, &file)?;
    let (own, wrong) = chain.enter(&file, &text, &mut found.rules)?;
    let wrong = wrong.into_iter().map(|wrong| (file.to_string(), wrong));
    found.wrong.extend(wrong);
    Ok(own)
}

fn read_rules(fd: &OwnedFd, file: &TreePath) -> Result<String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let opened = openat(fd, ignored::NAME, flags, Mode::empty());
    let opened = opened.map_err(|error| failed("open", file, error))?;
    let mut bytes = Vec::new();
    let read = File::from(opened).take(SMALL + 1).read_to_end(&mut bytes);
    read.map_err(|error| io("read", file.as_str(), &error))?;
    text_of_rules(file, (bytes.len() as u64 <= SMALL).then_some(bytes))
}

fn unnamed(directory: Option<&TreePath>, name: &str, error: PathError) -> (String, String) {
    let above = directory.map_or("", TreePath::as_str);
    (format!("{above}/{name}"), error.to_string())
}
