//! Large files being received: in blocks, in any order, and gone on with after a crash.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

use super::super::{About, Blocks, Ready, Result};
use super::at::{Below, failed, io};
use super::receive::Temporary;
use super::{DiskFolder, hashes};
use crate::entry::Hash;
use crate::path::TreePath;

/// What tells their names from those of files that are received in one piece.
const PREFIX: &str = "part-";

/// Zeros of so many bytes, at a place that is a multiple of it, are left out: a page of a disk.
const PAGE: usize = 4096;

/// The name that a file in the folder for received ones was begun with.
pub(super) fn name_of(file: &str) -> Option<&str> {
    file.strip_prefix(PREFIX)
}

struct Gathering {
    folder: DiskFolder,
    path: TreePath,
    /// The file's name in the folder for received ones.
    name: String,
    place: Below,
    file: File,
    size: u64,
    is_new: bool,
}

pub(super) fn open(
    folder: DiskFolder,
    path: &TreePath,
    name: &str,
    size: u64,
) -> Result<Arc<dyn Blocks>> {
    let place = folder.tree.tmp()?;
    let name = format!("{PREFIX}{name}");
    let (file, is_new) =
        open_or_make(&place, &name).map_err(|error| failed("receive", path, error))?;
    // A file of another length is none of ours.
    let length = file.metadata().map(|known| known.len());
    let is_new = is_new || length.ok() != Some(size);
    if is_new {
        let emptied = file.set_len(0).and_then(|()| file.set_len(size));
        emptied.map_err(|error| io("receive", path.as_str(), &error))?;
    }
    Ok(Arc::new(Gathering {
        folder,
        path: path.clone(),
        name,
        place,
        file,
        size,
        is_new,
    }))
}

fn open_or_make(place: &Below, name: &str) -> std::result::Result<(File, bool), Errno> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    match openat(place, name, flags, Mode::empty()) {
        Ok(fd) => return Ok((fd.into(), false)),
        Err(Errno::NOENT) => {}
        Err(error) => return Err(error),
    }
    let flags = flags | OFlags::CREATE | OFlags::EXCL;
    // The user's umask decides, as for any new file; the directory is private.
    let fd = openat(place, name, flags, Mode::from_raw_mode(0o666))?;
    Ok((fd.into(), true))
}

impl Blocks for Gathering {
    fn is_new(&self) -> bool {
        self.is_new
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> Result<()> {
        for (start, run) in runs(at, bytes) {
            let written = self.file.write_all_at(run, start);
            written.map_err(|error| io("write", self.path.as_str(), &error))?;
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        let synced = self.file.sync_data();
        synced.map_err(|error| io("write", self.path.as_str(), &error))
    }

    fn hashes(&self) -> Result<(Hash, [u8; 16])> {
        hashes(&self.file, &self.path, self.size)
    }

    fn finish(&self, about: &About) -> Result<Box<dyn Ready>> {
        let failed = |error: std::io::Error| io("receive", self.path.as_str(), &error);
        let ready = Temporary {
            folder: self.folder.clone(),
            place: self.folder.tree.tmp()?,
            name: self.name.clone(),
            file: self.file.try_clone().map_err(failed)?,
            path: self.path.clone(),
            mode: about.mode,
            // Should it not find its place now, the next pass need not fetch it again.
            is_kept: true,
        };
        ready.finish_file(about).map_err(failed)?;
        Ok(Box::new(ready))
    }

    fn discard(&self) {
        let _ = unlinkat(&self.place, &self.name, AtFlags::empty());
    }
}

/// The pieces of some bytes that are not all zero, with their places.
fn runs(at: u64, bytes: &[u8]) -> Vec<(u64, &[u8])> {
    let mut runs: Vec<(u64, &[u8])> = Vec::new();
    let (mut begin, mut here) = (None, 0);
    while here < bytes.len() {
        // Pages count from the beginning of the file.
        let into = usize::try_from((at + here as u64) % PAGE as u64).unwrap_or(0);
        let end = bytes.len().min(here + PAGE - into);
        let is_hole = end - here == PAGE && bytes[here..end].iter().all(|byte| *byte == 0);
        match (is_hole, begin) {
            (true, Some(from)) => {
                runs.push((at + from as u64, &bytes[from..here]));
                begin = None;
            }
            (false, None) => begin = Some(here),
            _ => {}
        }
        here = end;
    }
    if let Some(from) = begin {
        runs.push((at + from as u64, &bytes[from..]));
    }
    runs
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::parse(text).unwrap()
    }

    #[test]
    fn pages_of_zeros_are_left_out_and_nothing_else() {
        let mut bytes = vec![0; 5 * PAGE];
        assert!(runs(0, &bytes).is_empty());
        bytes[PAGE + 7] = 1;
        bytes[4 * PAGE] = 1;
        let seen = |at| -> Vec<(u64, usize)> {
            let runs = runs(at, &bytes);
            runs.into_iter().map(|(at, run)| (at, run.len())).collect()
        };
        let page = PAGE as u64;
        assert_eq!(seen(0), [(page, PAGE), (4 * page, PAGE)]);
        // Between two pages nothing is a whole one.
        assert_eq!(seen(100)[0], (100, PAGE - 100 + PAGE));
    }

    #[test]
    fn blocks_make_the_file_whatever_their_order_and_holes_stay() {
        let root = tempfile::tempdir().unwrap();
        let folder = DiskFolder::open(root.path()).unwrap();
        let size = 64 << 20;
        let blocks = open(folder.clone(), &path("f"), "1", size).unwrap();
        assert!(blocks.is_new());
        blocks.write_at(size - 3, b"end").unwrap();
        blocks.write_at(0, &vec![0; 1 << 20]).unwrap();
        blocks.write_at(0, b"begin").unwrap();
        blocks.sync().unwrap();
        drop(blocks);
        let blocks = open(folder.clone(), &path("f"), "1", size).unwrap();
        assert!(!blocks.is_new(), "gone on with");
        let about = About {
            kind: crate::entry::Kind::File,
            mtime: 1_500_000_000_123_456_789,
            mode: Some(0o4640),
        };
        let ready = blocks.finish(&about).unwrap();
        ready.install(&path("f"), None, "t").unwrap().unwrap();
        drop(blocks);
        let made = std::fs::metadata(root.path().join("f")).unwrap();
        assert_eq!((made.size(), made.mode() & 0o7777), (size, 0o640));
        assert_eq!(
            (made.mtime(), made.mtime_nsec()),
            (1_500_000_000, 123_456_789)
        );
        assert!(made.blocks() * 512 < 1 << 20, "{} blocks", made.blocks());
        let content = std::fs::read(root.path().join("f")).unwrap();
        assert!(content.starts_with(b"begin\0") && content.ends_with(b"\0end"));
    }

    #[test]
    fn a_file_of_another_length_is_begun_anew() {
        let root = tempfile::tempdir().unwrap();
        let folder = DiskFolder::open(root.path()).unwrap();
        let blocks = open(folder.clone(), &path("f"), "1", 10).unwrap();
        blocks.write_at(0, b"0123456789").unwrap();
        assert!(!open(folder.clone(), &path("f"), "1", 10).unwrap().is_new());
        let other = open(folder, &path("f"), "1", 12).unwrap();
        assert!(other.is_new());
        assert_eq!(other.hashes().unwrap().0, Hash::of(&[0; 12]));
        other.discard();
        assert_eq!(
            std::fs::read_dir(root.path().join(".artifacts/tmp"))
                .unwrap()
                .count(),
            0
        );
    }
}
