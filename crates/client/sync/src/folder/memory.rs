//! A folder in memory, with a clock of its own: for histories that must run by the thousand.
//!
//! It keeps the rules of a disk: times have steps, a rename changes `ctime`, an inode stays
//! with its file. What a user does to it is beside the port.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bucket::Etag;
use bytes::Bytes;
use md5::{Digest, Md5};
use parking_lot::Mutex;

use super::{
    About, Blocks, Folder, FolderError, Identity, Incoming, Reading, Ready, Result, Walked,
    body_of, text_of_rules, unruly,
};
use crate::composite::Composite;
use crate::entry::{Hash, Kind, Stat};
use crate::ignored::{self, Rules, Sieve};
use crate::known::Known;
use crate::path::TreePath;
use crate::plan::folded;

/// A folder in memory. Clones share the content.
#[derive(Clone, Default)]
pub struct MemoryFolder {
    disk: Arc<Mutex<Disk>>,
}

/// A file or link.
#[derive(Debug, Clone)]
struct Node {
    kind: Kind,
    content: Bytes,
    stat: Stat,
}

/// A file or link in the trash of a pass.
struct Trashed {
    pass: String,
    path: TreePath,
    kind: Kind,
    content: Bytes,
}

#[derive(Default)]
struct Disk {
    nodes: BTreeMap<TreePath, Node>,
    directories: BTreeSet<TreePath>,
    trash: Vec<Trashed>,
    /// What is received in blocks, by name.
    parts: BTreeMap<String, Vec<u8>>,
    marker: Option<String>,
    clock: i64,
    inodes: u64,
    gone: bool,
    folds: bool,
}

impl MemoryFolder {
    /// An empty folder whose clock shows this, in nanoseconds since 1970.
    pub fn new(clock: i64) -> Self {
        let folder = Self::default();
        folder.disk.lock().clock = clock;
        folder
    }

    /// Lets time pass.
    pub fn wait(&self, nanos: i64) {
        self.disk.lock().clock += nanos;
    }

    /// Writes a file as a user does; directories above are made. Says what was there, or
    /// `None` where the name is a directory's or lies below a file.
    pub fn write(&self, path: &TreePath, content: impl Into<Bytes>) -> Option<Option<Bytes>> {
        self.make(path, Kind::File, content.into())
    }

    /// Makes a link as a user does, in the place of what was there.
    pub fn link(&self, path: &TreePath, target: impl Into<Bytes>) -> Option<Option<Bytes>> {
        self.make(path, Kind::Link, target.into())
    }

    fn make(&self, path: &TreePath, kind: Kind, content: Bytes) -> Option<Option<Bytes>> {
        let mut disk = self.disk.lock();
        if disk.directories.contains(path) || !disk.make_directories(path) {
            return None;
        }
        let before = disk.nodes.get(path).cloned();
        // Written in place, or made anew.
        let same = before.as_ref().filter(|node| node.kind == kind);
        let ino = same.map_or_else(|| disk.inode(), |node| node.stat.ino);
        disk.put(path, kind, content, ino);
        Some(before.map(|node| node.content))
    }

    /// Sets a file's modification time as a user does. Says whether there is such a file.
    pub fn touch(&self, path: &TreePath, mtime: i64) -> bool {
        let mut disk = self.disk.lock();
        let clock = disk.clock;
        let node = disk.nodes.get_mut(path);
        node.is_some_and(|node| {
            (node.stat.mtime, node.stat.ctime) = (mtime, clock);
            true
        })
    }

    /// A file's modification time.
    pub fn mtime(&self, path: &TreePath) -> Option<i64> {
        Some(self.disk.lock().nodes.get(path)?.stat.mtime)
    }

    /// Deletes a file as a user does. Says what was there.
    pub fn delete(&self, path: &TreePath) -> Option<Bytes> {
        Some(self.disk.lock().nodes.remove(path)?.content)
    }

    /// Renames a file as a user does, over what is there. Says what that was, or `None` where
    /// it cannot be.
    pub fn mv(&self, from: &TreePath, to: &TreePath) -> Option<Option<Bytes>> {
        let mut disk = self.disk.lock();
        let possible = from != to && disk.nodes.contains_key(from) && !to.is_below(from);
        if !possible || disk.directories.contains(to) || !disk.make_directories(to) {
            return None;
        }
        let mut node = disk.nodes.remove(from)?;
        node.stat.ctime = disk.clock;
        let before = disk.nodes.insert(to.clone(), node);
        Some(before.map(|node| node.content))
    }

    /// Makes a directory as a user does.
    pub fn mkdir(&self, path: &TreePath) -> bool {
        let mut disk = self.disk.lock();
        if disk.nodes.contains_key(path) || !disk.make_directories(path) {
            return false;
        }
        disk.directories.insert(path.clone())
    }

    /// Removes an empty directory as a user does.
    pub fn rmdir(&self, path: &TreePath) -> bool {
        self.disk.lock().rmdir(path)
    }

    /// Takes the folder away, as an unmount does, or brings it back.
    pub fn set_gone(&self, gone: bool) {
        self.disk.lock().gone = gone;
    }

    /// Takes names for one from now on that differ only by case.
    pub fn fold_case(&self) {
        self.disk.lock().folds = true;
    }

    /// All files and links.
    pub fn files(&self) -> BTreeMap<TreePath, (Kind, Bytes)> {
        let disk = self.disk.lock();
        let files = disk.nodes.iter();
        files
            .map(|(path, node)| (path.clone(), (node.kind, node.content.clone())))
            .collect()
    }

    /// All directories.
    pub fn directories(&self) -> BTreeSet<TreePath> {
        self.disk.lock().directories.clone()
    }

    /// Everything in the trash.
    pub fn trash(&self) -> Vec<Bytes> {
        let disk = self.disk.lock();
        disk.trash.iter().map(|one| one.content.clone()).collect()
    }
}

impl Disk {
    fn inode(&mut self) -> u64 {
        self.inodes += 1;
        self.inodes
    }

    fn put(&mut self, path: &TreePath, kind: Kind, content: Bytes, ino: u64) {
        let stat = Stat {
            size: content.len() as u64,
            mtime: self.clock,
            ctime: self.clock,
            ino,
        };
        let node = Node {
            kind,
            content,
            stat,
        };
        self.nodes.insert(path.clone(), node);
    }

    /// Makes the directories above; says whether that was possible.
    fn make_directories(&mut self, path: &TreePath) -> bool {
        if path
            .ancestors()
            .any(|above| self.nodes.contains_key(&above))
        {
            return false;
        }
        self.directories.extend(path.ancestors());
        true
    }

    fn rmdir(&mut self, path: &TreePath) -> bool {
        let full = self.nodes.keys().any(|p| p.is_below(path))
            || self.directories.iter().any(|p| p.is_below(path));
        !full && self.directories.remove(path)
    }

    /// Whether the folder has this name in other letters.
    fn is_folded(&self, path: &TreePath) -> bool {
        let all = self.nodes.keys().chain(&self.directories);
        let mut others = all.filter(|other| *other != path);
        self.folds && others.any(|other| folded(other.as_str()) == folded(path.as_str()))
    }

    fn bin(&mut self, pass: &str, path: &TreePath, node: Node) {
        self.trash.push(Trashed {
            pass: pass.to_owned(),
            path: path.clone(),
            kind: node.kind,
            content: node.content,
        });
    }

    fn as_planned(&self, path: &TreePath, stat: &Stat) -> Result<&Node> {
        let node = self.nodes.get(path).filter(|node| node.stat == *stat);
        node.ok_or_else(|| changed(path))
    }
}

fn changed(path: &TreePath) -> FolderError {
    FolderError::Changed {
        path: path.to_string(),
    }
}

struct Receiving {
    disk: Arc<Mutex<Disk>>,
    bytes: Vec<u8>,
    about: Option<About>,
}

impl Incoming for Receiving {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(mut self: Box<Self>, about: &About) -> Result<Box<dyn Ready>> {
        self.about = Some(*about);
        Ok(self)
    }
}

impl Ready for Receiving {
    fn install(
        self: Box<Self>,
        path: &TreePath,
        over: Option<&Stat>,
        trash: &str,
    ) -> Result<Option<Stat>> {
        let mut disk = self.disk.lock();
        let disk = &mut *disk;
        match over {
            Some(stat) => {
                let node = disk.as_planned(path, stat)?.clone();
                disk.bin(trash, path, node);
            }
            None if disk.nodes.contains_key(path) || disk.is_folded(path) => {
                return Err(changed(path));
            }
            None => {}
        }
        if disk.directories.contains(path) || !disk.make_directories(path) {
            return Err(changed(path));
        }
        let ino = disk.inode();
        let kind = self.about.map_or(Kind::File, |about| about.kind);
        disk.put(path, kind, self.bytes.into(), ino);
        let node = disk.nodes.get_mut(path).ok_or_else(|| changed(path))?;
        node.stat.mtime = self.about.map_or(node.stat.mtime, |about| about.mtime);
        Ok(Some(node.stat))
    }
}

/// A file in blocks; kept in the folder while nobody has it.
struct Gathering {
    disk: Arc<Mutex<Disk>>,
    name: String,
    is_new: bool,
}

impl Gathering {
    fn with<T>(&self, work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        work(self.disk.lock().parts.entry(self.name.clone()).or_default())
    }
}

impl Blocks for Gathering {
    fn is_new(&self) -> bool {
        self.is_new
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> Result<()> {
        let from = usize::try_from(at).unwrap_or(usize::MAX);
        self.with(|all| all[from..from + bytes.len()].copy_from_slice(bytes));
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn hashes(&self) -> Result<(Hash, [u8; 16])> {
        Ok(self.with(|all| (Hash::of(all), Md5::digest(all).into())))
    }

    fn finish(&self, about: &About) -> Result<Box<dyn Ready>> {
        Ok(Box::new(Receiving {
            disk: Arc::clone(&self.disk),
            bytes: self.with(|all| all.clone()),
            about: Some(*about),
        }))
    }

    fn discard(&self) {
        self.disk.lock().parts.remove(&self.name);
    }
}

impl Folder for MemoryFolder {
    fn is_slow(&self) -> bool {
        false
    }

    fn now(&self) -> i64 {
        self.disk.lock().clock
    }

    fn identity(&self) -> Result<Identity> {
        let disk = self.disk.lock();
        if disk.gone {
            return Err(FolderError::NoFolder {
                path: "memory".to_owned(),
                reason: "it is gone".to_owned(),
            });
        }
        Ok(Identity {
            ino: 1,
            marker: disk.marker.clone(),
        })
    }

    fn folds_case(&self, _: Option<&str>) -> Result<bool> {
        Ok(self.disk.lock().folds)
    }

    fn mark(&self, marker: &str) -> Result<()> {
        self.disk.lock().marker = Some(marker.to_owned());
        Ok(())
    }

    fn walk(&self, known: &Known, step: i64, given: &Rules) -> Result<Walked> {
        let disk = self.disk.lock();
        let mut walked = Walked {
            rules: given.clone(),
            ..Walked::default()
        };
        let is_rules =
            |path: &TreePath, node: &Node| path.name() == ignored::NAME && node.kind == Kind::File;
        let mut bad = Vec::new();
        // Those below something that is left out say nothing: nothing comes back there.
        for (path, node) in disk
            .nodes
            .iter()
            .filter(|(path, node)| is_rules(path, node))
        {
            let text = text_of_rules(path, Some(node.content.to_vec()));
            match (
                text.and_then(|text| walked.rules.add(path, &text)),
                path.parent(),
            ) {
                (Ok(wrong), _) => {
                    let wrong = wrong.into_iter().map(|w| (path.to_string(), w));
                    walked.wrong.extend(wrong);
                }
                (Err(error), Some(directory)) => bad.push((directory, unruly(&error))),
                (Err(error), None) => return Err(error),
            }
        }
        let rules = walked.rules.clone();
        bad.retain(|(directory, _)| !rules.leaves_out(directory, true));
        walked.unknown = bad;
        let unknown = walked.unknown.clone();
        let is_unknown = |path: &TreePath| unknown.iter().any(|(above, _)| path.is_below(above));
        let mut sieve = Sieve::new(&rules);
        let mut near = 0;
        for (path, node) in &disk.nodes {
            if sieve.leaves_out(path, false) {
                walked.ignored.push(path.clone());
                continue;
            }
            if is_unknown(path) {
                continue;
            }
            match known.as_seen(path.as_str(), node.kind, &node.stat, step, &mut near) {
                Some(number) => walked.as_seen.push(number),
                None => walked.entries.push((path.clone(), node.kind, node.stat)),
            }
        }
        for path in &disk.directories {
            match sieve.leaves_out(path, true) {
                true => walked.ignored.push(path.clone()),
                false if is_unknown(path) => {}
                false => walked.directories.push(path.clone()),
            }
        }
        Ok(walked)
    }

    fn stat(&self, path: &TreePath) -> Result<Option<(Kind, Stat)>> {
        let disk = self.disk.lock();
        Ok(disk.nodes.get(path).map(|node| (node.kind, node.stat)))
    }

    fn hash(&self, path: &TreePath, _: Kind, stat: &Stat) -> Result<(Hash, [u8; 16])> {
        let disk = self.disk.lock();
        let content = &disk.as_planned(path, stat)?.content;
        Ok((Hash::of(content), Md5::digest(content).into()))
    }

    fn etag_of_parts(&self, path: &TreePath, stat: &Stat, length: u64) -> Result<Etag> {
        let mut composite = Composite::new(length);
        let disk = self.disk.lock();
        composite.take(&disk.as_planned(path, stat)?.content);
        Ok(composite.etag())
    }

    fn read(&self, path: &TreePath, _: Kind, stat: &Stat) -> Result<Reading> {
        let disk = self.disk.lock();
        let content = disk.as_planned(path, stat)?.content.clone();
        Ok(Reading {
            hash: Hash::of(&content),
            md5: Some(Md5::digest(&content).into()),
            body: body_of(content),
            mode: 0o644,
        })
    }

    fn read_small(&self, path: &TreePath) -> Result<Option<Vec<u8>>> {
        let disk = self.disk.lock();
        Ok(disk.nodes.get(path).map(|node| node.content.to_vec()))
    }

    fn receive(&self, _: &TreePath) -> Result<Box<dyn Incoming>> {
        Ok(Box::new(Receiving {
            disk: Arc::clone(&self.disk),
            bytes: Vec::new(),
            about: None,
        }))
    }

    fn receive_blocks(&self, _: &TreePath, name: &str, size: u64) -> Result<Arc<dyn Blocks>> {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let mut disk = self.disk.lock();
        let is_new = disk.parts.get(name).is_none_or(|all| all.len() != size);
        if is_new {
            disk.parts.insert(name.to_owned(), vec![0; size]);
        }
        Ok(Arc::new(Gathering {
            disk: Arc::clone(&self.disk),
            name: name.to_owned(),
            is_new,
        }))
    }

    fn free(&self) -> Option<u64> {
        None
    }

    fn set_time(&self, path: &TreePath, stat: &Stat, mtime: i64) -> Result<()> {
        let mut disk = self.disk.lock();
        disk.as_planned(path, stat)?;
        let clock = disk.clock;
        if let Some(node) = disk.nodes.get_mut(path) {
            node.stat.mtime = mtime;
            node.stat.ctime = clock;
        }
        Ok(())
    }

    fn discard(&self, path: &TreePath, stat: &Stat, trash: &str) -> Result<()> {
        let mut disk = self.disk.lock();
        let node = disk.as_planned(path, stat)?.clone();
        disk.nodes.remove(path);
        disk.bin(trash, path, node);
        Ok(())
    }

    fn restore(&self, path: &TreePath, from: &str, over: Option<&Stat>, to: &str) -> Result<bool> {
        let is_it = |one: &Trashed| one.pass == from && one.path == *path;
        let Some(at) = self.disk.lock().trash.iter().position(is_it) else {
            return Ok(false);
        };
        if let Some(stat) = over {
            self.discard(path, stat, to)?;
        }
        let mut disk = self.disk.lock();
        if disk.nodes.contains_key(path) || !disk.make_directories(path) {
            return Err(changed(path));
        }
        let one = disk.trash.remove(at);
        let ino = disk.inode();
        disk.put(path, one.kind, one.content, ino);
        Ok(true)
    }

    fn rename(&self, from: &TreePath, stat: &Stat, to: &TreePath) -> Result<Option<Stat>> {
        let mut disk = self.disk.lock();
        let mut node = disk.as_planned(from, stat)?.clone();
        if disk.nodes.contains_key(to) || disk.directories.contains(to) {
            return Err(changed(to));
        }
        if to.is_below(from) || !disk.make_directories(to) {
            return Err(changed(to));
        }
        node.stat.ctime = disk.clock;
        let stat = node.stat;
        disk.nodes.remove(from);
        disk.nodes.insert(to.clone(), node);
        Ok(Some(stat))
    }

    fn make_directory(&self, path: &TreePath) -> Result<()> {
        let mut disk = self.disk.lock();
        if disk.nodes.contains_key(path) || !disk.make_directories(path) {
            return Err(changed(path));
        }
        disk.directories.insert(path.clone());
        Ok(())
    }

    fn remove_directory(&self, path: &TreePath) -> Result<bool> {
        let mut disk = self.disk.lock();
        Ok(disk.rmdir(path) || !disk.directories.contains(path))
    }

    fn clean(&self, is_old: &dyn Fn(&str) -> bool) -> Result<()> {
        self.disk.lock().trash.retain(|one| !is_old(&one.pass));
        Ok(())
    }

    fn clean_received(&self, is_left: &dyn Fn(&str) -> bool) -> Result<()> {
        self.disk.lock().parts.retain(|name, _| !is_left(name));
        Ok(())
    }
}
