//! A folder on a disk.
//!
//! Every call goes from the root's descriptor downwards, follows no link and crosses into no
//! other file system, so nothing outside of the folder is ever read or changed.

mod at;
mod blocks;
mod flush;
mod receive;
mod walk;

use std::fs::{File, FileTimes};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bucket::{Body, Etag};
use md5::{Digest, Md5};
use model::entry_name::HIDDEN;
use rustix::fs::{AtFlags, RenameFlags, fstat, readlinkat, renameat_with, statat, unlinkat};
use rustix::io::Errno;
use uuid::Uuid;

use self::at::{Below, Tree, failed, stat_of};
use super::{Blocks, Folder, FolderError, Identity, Incoming, Reading, Result, Walked, body_of};
use crate::composite::Composite;
use crate::entry::{Hash, Kind, Stat};
use crate::ignored::Rules;
use crate::known::Known;
use crate::path::TreePath;
use crate::plan::folded;

/// The marker, below `.artifacts`.
pub(crate) const MARKER: &str = "folder.json";
/// Where files are received.
const TMP: &str = "tmp";
/// Where what was replaced or deleted lies.
const TRASH: &str = "trash";
/// Files up to this size are sent from memory: what is sent is then one version, whatever is
/// written meanwhile.
const SMALL: u64 = 8 << 20;
const CHUNK: usize = 256 * 1024;

/// A folder on a disk. Clones are the same folder.
#[derive(Clone)]
pub struct DiskFolder {
    tree: Arc<Tree>,
}

impl DiskFolder {
    /// Opens a folder that must be there.
    ///
    /// # Errors
    /// [`FolderError::NoFolder`].
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self {
            tree: Arc::new(Tree::open(path)?),
        })
    }

    /// Where files of a pass lie that it deleted or replaced.
    pub fn trash(root: &Path, pass: &str) -> PathBuf {
        root.join(HIDDEN).join(TRASH).join(pass)
    }

    /// Opens a file for reading that must look so.
    fn open_file(&self, path: &TreePath, stat: &Stat) -> Result<File> {
        let file = self.tree.open_file(path)?;
        check(&file, path, stat)?;
        Ok(file)
    }

    /// A link's target, if it looks so before and after.
    fn target(&self, path: &TreePath, stat: &Stat) -> Result<Vec<u8>> {
        let Some(parent) = self.tree.parent(path)? else {
            return Err(changed(path));
        };
        let target = readlinkat(&parent, path.name(), Vec::new());
        let target = target.map_err(|error| failed("read", path, error))?;
        match self.stat(path)? {
            Some((Kind::Link, now)) if now == *stat => Ok(target.into_bytes()),
            _ => Err(changed(path)),
        }
    }

    /// Whether a new name is the file's own, to a folder that does not tell cases apart.
    fn is_other_case(&self, from: &TreePath, stat: &Stat, to: &TreePath) -> Result<bool> {
        if from == to || folded(from.as_str()) != folded(to.as_str()) {
            return Ok(false);
        }
        Ok(self
            .stat(to)?
            .is_some_and(|(_, there)| there.ino == stat.ino))
    }

    /// Gives a file its own name in other letters, by way of a third: to such a folder the two
    /// are one, and a rename from one to the other does nothing.
    fn change_case(
        &self,
        from: &TreePath,
        stat: &Stat,
        to: &TreePath,
        place: &Below,
    ) -> Result<Option<Stat>> {
        let between = format!("{:.200}.renaming", to.name());
        self.set_aside(from, stat, place, &between)?;
        renameat_with(place, &between, place, to.name(), RenameFlags::NOREPLACE)
            .map_err(|error| failed("rename", to, error))?;
        place.sync();
        let now = self.stat(to)?;
        Ok(now.map(|(_, now)| now).filter(|now| now.is_renamed(stat)))
    }

    /// Moves a file out of the tree, to where `place` says; puts it back where it is another
    /// one than was meant.
    fn set_aside(&self, path: &TreePath, stat: &Stat, place: &Below, name: &str) -> Result<()> {
        let Some(parent) = self.tree.parent(path)? else {
            return Err(changed(path));
        };
        let there = statat(&parent, path.name(), AtFlags::SYMLINK_NOFOLLOW);
        if there.map_or(true, |there| stat_of(&there) != *stat) {
            return Err(changed(path));
        }
        renameat_with(&parent, path.name(), place, name, RenameFlags::NOREPLACE)
            .map_err(|error| failed("move", path, error))?;
        let moved = statat(place, name, AtFlags::SYMLINK_NOFOLLOW);
        let moved = moved.map_err(|error| failed("look at", path, error))?;
        if stat_of(&moved).is_renamed(stat) {
            return Ok(());
        }
        // Somebody saved in this very moment. Where the name is taken again meanwhile, this
        // version stays where it is, in the trash.
        let _ = renameat_with(place, name, &parent, path.name(), RenameFlags::NOREPLACE);
        Err(changed(path))
    }
}

/// A name with its letters in the other case.
pub(crate) fn other_case(name: &str) -> String {
    let swapped = name.chars().map(|letter| match letter {
        'a'..='z' => letter.to_ascii_uppercase(),
        letter => letter.to_ascii_lowercase(),
    });
    swapped.collect()
}

fn changed(path: &TreePath) -> FolderError {
    FolderError::Changed {
        path: path.to_string(),
    }
}

fn check(file: &File, path: &TreePath, stat: &Stat) -> Result<()> {
    let now = fstat(file).map_err(|error| failed("look at", path, error))?;
    if stat_of(&now) == *stat {
        Ok(())
    } else {
        Err(changed(path))
    }
}

/// Both hashes of a file of this many bytes.
fn hashes(file: &File, path: &TreePath, size: u64) -> Result<(Hash, [u8; 16])> {
    let (mut blake, mut md5) = (blake3::Hasher::new(), Md5::new());
    each_piece(file, path, size, |bytes| {
        blake.update(bytes);
        md5.update(bytes);
    })?;
    Ok((Hash(*blake.finalize().as_bytes()), md5.finalize().into()))
}

fn hash(file: &File, path: &TreePath, size: u64) -> Result<Hash> {
    let mut blake = blake3::Hasher::new();
    each_piece(file, path, size, |bytes| _ = blake.update(bytes))?;
    Ok(Hash(*blake.finalize().as_bytes()))
}

fn each_piece(file: &File, path: &TreePath, size: u64, mut take: impl FnMut(&[u8])) -> Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while at < size {
        let read = file
            .read_at(&mut buffer, at)
            .map_err(|error| FolderError::Io {
                action: "read",
                path: path.to_string(),
                reason: error.to_string(),
            })?;
        if read == 0 {
            return Err(changed(path));
        }
        take(&buffer[..read]);
        at += read as u64;
    }
    Ok(())
}

impl Folder for DiskFolder {
    fn is_slow(&self) -> bool {
        true
    }

    fn now(&self) -> i64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(0, |now| i64::try_from(now.as_nanos()).unwrap_or(i64::MAX))
    }

    fn identity(&self) -> Result<Identity> {
        let (ino, marker) = (self.tree.root_ino()?, self.tree.read_hidden(MARKER)?);
        Ok(Identity { ino, marker })
    }

    fn folds_case(&self, sample: Option<&str>) -> Result<bool> {
        let ours = self.tree.directory(HIDDEN).is_ok().then_some(HIDDEN);
        match ours.or(sample) {
            Some(name) => self.tree.is_same(name, &other_case(name)),
            None => Ok(false),
        }
    }

    fn mark(&self, marker: &str) -> Result<()> {
        self.tree.write_hidden(MARKER, marker.as_bytes())
    }

    fn walk(&self, known: &Known, step: i64, given: &Rules) -> Result<Walked> {
        walk::walk(&self.tree, known, step, given)
    }

    fn stat(&self, path: &TreePath) -> Result<Option<(Kind, Stat)>> {
        self.tree.stat(path)
    }

    fn hash(&self, path: &TreePath, kind: Kind, stat: &Stat) -> Result<(Hash, [u8; 16])> {
        if kind == Kind::Link {
            let target = self.target(path, stat)?;
            return Ok((Hash::of(&target), Md5::digest(&target).into()));
        }
        let file = self.open_file(path, stat)?;
        let hashes = hashes(&file, path, stat.size)?;
        check(&file, path, stat)?;
        Ok(hashes)
    }

    fn etag_of_parts(&self, path: &TreePath, stat: &Stat, length: u64) -> Result<Etag> {
        let file = self.open_file(path, stat)?;
        let mut composite = Composite::new(length);
        each_piece(&file, path, stat.size, |bytes| composite.take(bytes))?;
        check(&file, path, stat)?;
        Ok(composite.etag())
    }

    fn read(&self, path: &TreePath, kind: Kind, stat: &Stat) -> Result<Reading> {
        if kind == Kind::Link {
            let target = self.target(path, stat)?;
            return Ok(Reading {
                hash: Hash::of(&target),
                md5: Some(Md5::digest(&target).into()),
                body: body_of(target),
                mode: 0o644,
            });
        }
        let mut file = self.open_file(path, stat)?;
        let mode = fstat(&file).map_err(|error| failed("look at", path, error))?;
        let mode = mode.st_mode & 0o777;
        if stat.size > SMALL {
            let hash = hash(&file, path, stat.size)?;
            check(&file, path, stat)?;
            let (file, range) = (Arc::new(file), 0..stat.size);
            return Ok(Reading {
                body: Body::File { file, range },
                hash,
                md5: None,
                mode,
            });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(stat.size).unwrap_or(0));
        // One byte more than expected is enough to see that it grows.
        (&mut file)
            .take(stat.size + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| FolderError::Io {
                action: "read",
                path: path.to_string(),
                reason: error.to_string(),
            })?;
        check(&file, path, stat)?;
        Ok(Reading {
            hash: Hash::of(&bytes),
            md5: Some(Md5::digest(&bytes).into()),
            body: body_of(bytes),
            mode,
        })
    }

    fn read_small(&self, path: &TreePath) -> Result<Option<Vec<u8>>> {
        let file = match self.tree.open_file(path) {
            Ok(file) => file,
            Err(FolderError::Changed { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        let read = file.take(SMALL + 1).read_to_end(&mut bytes);
        read.map_err(|error| at::io("read", path.as_str(), &error))?;
        Ok((bytes.len() as u64 <= SMALL).then_some(bytes))
    }

    fn receive(&self, path: &TreePath) -> Result<Box<dyn Incoming>> {
        receive::begin(self.clone(), path)
    }

    fn receive_blocks(&self, path: &TreePath, name: &str, size: u64) -> Result<Arc<dyn Blocks>> {
        blocks::open(self.clone(), path, name, size)
    }

    fn free(&self) -> Option<u64> {
        self.tree.free()
    }

    fn set_time(&self, path: &TreePath, stat: &Stat, mtime: i64) -> Result<()> {
        let file = self.open_file(path, stat)?;
        let times = FileTimes::new().set_modified(receive::time_of(mtime));
        file.set_times(times)
            .map_err(|error| at::io("set the time of", path.as_str(), &error))
    }

    fn discard(&self, path: &TreePath, stat: &Stat, trash: &str) -> Result<()> {
        let (place, name) = self.tree.trash(trash, path)?;
        self.set_aside(path, stat, &place, &name)
    }

    fn restore(&self, path: &TreePath, from: &str, over: Option<&Stat>, to: &str) -> Result<bool> {
        let Some(bin) = self.tree.trash_of(from, path)? else {
            return Ok(false);
        };
        if let Some(stat) = over {
            self.discard(path, stat, to)?;
        }
        let place = self.tree.make_parent(path)?;
        match renameat_with(
            &bin,
            path.name(),
            &place,
            path.name(),
            RenameFlags::NOREPLACE,
        ) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST | Errno::ISDIR) => Err(changed(path)),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(failed("restore", path, error)),
        }
    }

    fn rename(&self, from: &TreePath, stat: &Stat, to: &TreePath) -> Result<Option<Stat>> {
        let place = self.tree.make_parent(to)?;
        if self.is_other_case(from, stat, to)? {
            return self.change_case(from, stat, to, &place);
        }
        match self.set_aside(from, stat, &place, to.name()) {
            Err(FolderError::Io { .. }) if self.tree.stat(to)?.is_some() => {
                return Err(changed(to));
            }
            other => other?,
        }
        let _ = self.tree.flush.wait_for(&place);
        let now = self.stat(to)?;
        Ok(now.map(|(_, now)| now).filter(|now| now.is_renamed(stat)))
    }

    fn make_directory(&self, path: &TreePath) -> Result<()> {
        self.tree.make_directory(path).map(drop)
    }

    fn remove_directory(&self, path: &TreePath) -> Result<bool> {
        let Some(parent) = self.tree.parent(path)? else {
            return Ok(true);
        };
        match unlinkat(&parent, path.name(), AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            Err(Errno::NOTDIR) => Err(changed(path)),
            Err(error) => Err(failed("remove", path, error)),
        }
    }

    fn clean(&self, is_old: &dyn Fn(&str) -> bool) -> Result<()> {
        self.tree.clean(TRASH, is_old)
    }

    fn clean_received(&self, is_left: &dyn Fn(&str) -> bool) -> Result<()> {
        // What has another name than ours was not put there by us.
        let goes = |name: &str| match blocks::name_of(name) {
            Some(name) => is_left(name),
            None => Uuid::try_parse(name).is_ok(),
        };
        self.tree.clean(TMP, &goes)
    }
}
