//! The folder of body files: named by random ids, written once, never changed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::Durability;

/// Where bodies are, and how carefully they are written.
#[derive(Clone)]
pub(crate) struct Files {
    root: PathBuf,
    durability: Durability,
}

/// A body file being written. Removed when dropped, unless [kept](NewFile::keep).
pub(crate) struct NewFile {
    file: File,
    path: PathBuf,
    id: String,
    sync: bool,
    kept: bool,
}

impl Files {
    /// Opens (and creates) the folder.
    pub(crate) fn open(root: PathBuf, durability: Durability) -> io::Result<Self> {
        for shard in 0..=u8::MAX {
            fs::create_dir_all(root.join(format!("{shard:02x}")))?;
        }
        Ok(Self { root, durability })
    }

    /// Starts a new body.
    pub(crate) fn create(&self) -> io::Result<NewFile> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let path = self.path(&id);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok(NewFile {
            file,
            path,
            id,
            sync: self.durability != Durability::Process,
            kept: false,
        })
    }

    /// Where the body of this id is.
    pub(crate) fn path(&self, id: &str) -> PathBuf {
        self.root.join(&id[..2]).join(id)
    }

    /// Removes every body file that `known` does not name; says how many went.
    pub(crate) fn sweep(&self, known: impl Fn(&str) -> bool) -> io::Result<usize> {
        let mut swept = 0;
        for shard in fs::read_dir(&self.root)? {
            for entry in fs::read_dir(shard?.path())? {
                let entry = entry?;
                if !entry.file_name().to_str().is_some_and(&known) {
                    fs::remove_file(entry.path())?;
                    swept += 1;
                }
            }
        }
        Ok(swept)
    }
}

impl NewFile {
    /// The id that the index will name.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Makes the bytes and the name survive a power cut, where that was asked for.
    pub(crate) fn settle(&mut self) -> io::Result<()> {
        if !self.sync {
            return Ok(());
        }
        self.file.sync_data()?;
        match self.path.parent() {
            Some(folder) => sync_folder(folder),
            None => Ok(()),
        }
    }

    /// The index names the file now: it stays.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(file = %self.path.display(), %error, "an unused body stays until the next start");
        }
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
