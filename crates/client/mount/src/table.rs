//! The mount table: one small JSON file per mount, in `mounts/` of the state folder.
//!
//! A record is a claim, never a proof: it counts only while exactly the process that wrote
//! it runs, and a mount exists only if the kernel's list has it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::error::MountError;
use crate::mountinfo::{self, MountEntry};
use crate::process::ProcessId;

/// The version of the record's format. Readers skip records of a later one.
const FORMAT: u32 = 1;

/// What a mount wrote about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountRecord {
    format: u32,
    /// The workspace's name on this machine.
    pub workspace: String,
    /// The mount point, as the kernel writes it.
    pub mountpoint: PathBuf,
    /// Who serves it.
    pub process: ProcessId,
    /// The control socket.
    pub socket: PathBuf,
    /// The log file; `None` in the foreground.
    pub log: Option<PathBuf>,
    /// Since when, in seconds since the Unix epoch.
    pub since: u64,
}

/// How a record and the kernel's list agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Liveness {
    /// The process runs and the folder is mounted.
    Mounted,
    /// The process runs, the folder is not mounted any more: its last uploads go on.
    Detached,
    /// The process is gone; what it had journalled waits for the next mount.
    Stale,
}

/// The folder of records.
#[derive(Debug, Clone)]
pub struct MountTable {
    folder: PathBuf,
}

impl MountTable {
    /// The table under a state folder (`~/.local/state/artifacts`), made when missing.
    ///
    /// # Errors
    /// [`MountError::Local`] when the folder cannot be made.
    pub fn open(state: &Path) -> Result<Self, MountError> {
        let folder = state.join("mounts");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|e| MountError::local(format!("make {}", folder.display()), e))?;
        Ok(Self { folder })
    }

    /// All records that can be read, oldest first, with their state.
    ///
    /// # Errors
    /// [`MountError::Local`] when the folder or the kernel's list cannot be read.
    pub fn list(&self) -> Result<Vec<(MountRecord, Liveness)>, MountError> {
        let mounts = kernel_mounts()?;
        let mut records: Vec<_> = self
            .records()?
            .into_iter()
            .map(|record| {
                let liveness = liveness(&record, &mounts);
                (record, liveness)
            })
            .collect();
        records.sort_by_key(|(record, _)| (record.since, record.workspace.clone()));
        Ok(records)
    }

    /// The record meant by a path or a workspace's name; live ones first.
    ///
    /// # Errors
    /// [`MountError::NotMounted`] when there is none.
    pub fn find(&self, what: &str) -> Result<(MountRecord, Liveness), MountError> {
        let path = mountinfo::kernel_path(Path::new(what)).ok();
        let is_path = what.contains('/') || what.starts_with('.');
        let by_path = |r: &MountRecord| Some(&r.mountpoint) == path.as_ref();
        let by_name = |r: &MountRecord| !is_path && r.workspace == what;
        let mut found: Vec<_> = self
            .list()?
            .into_iter()
            .filter(|(record, _)| by_path(record) || by_name(record))
            .collect();
        found.sort_by_key(|(_, liveness)| *liveness == Liveness::Stale);
        found
            .into_iter()
            .next()
            .ok_or_else(|| MountError::NotMounted {
                what: what.to_owned(),
            })
    }

    /// Where this process's control socket belongs.
    pub(crate) fn socket(&self, pid: u32) -> PathBuf {
        self.folder.join(format!("{pid}.sock"))
    }

    /// Writes the record of this process.
    pub(crate) fn put(
        &self,
        workspace: &str,
        mountpoint: &Path,
        log: Option<PathBuf>,
    ) -> Result<MountRecord, MountError> {
        let process = ProcessId::own().map_err(|e| MountError::local("read /proc/self", e))?;
        let since = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_secs());
        let record = MountRecord {
            format: FORMAT,
            workspace: workspace.to_owned(),
            mountpoint: mountpoint.to_owned(),
            socket: self.socket_of(process.pid, mountpoint),
            process,
            log,
            since,
        };
        self.write(&record)?;
        Ok(record)
    }

    /// Removes a record and its socket. What is not there is no error.
    pub(crate) fn remove(&self, record: &MountRecord) {
        for path in [self.path(record), record.socket.clone()] {
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "a mount record stays behind");
            }
        }
    }

    fn socket_of(&self, pid: u32, mountpoint: &Path) -> PathBuf {
        self.socket(pid)
            .with_extension(format!("{:08x}.sock", short_hash(mountpoint)))
    }

    fn path(&self, record: &MountRecord) -> PathBuf {
        let hash = short_hash(&record.mountpoint);
        self.folder
            .join(format!("{}.{hash:08x}.json", record.process.pid))
    }

    fn write(&self, record: &MountRecord) -> Result<(), MountError> {
        let path = self.path(record);
        let fail = |e: std::io::Error| MountError::local(format!("write {}", path.display()), e);
        let draft = path.with_extension("new");
        let text = serde_json::to_vec(record).map_err(|e| fail(e.into()))?;
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)
            .map_err(fail)?;
        file.write_all(&text).map_err(fail)?;
        fs::rename(&draft, &path).map_err(fail)
    }

    fn records(&self) -> Result<Vec<MountRecord>, MountError> {
        let fail = |e| MountError::local(format!("read {}", self.folder.display()), e);
        let mut records = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                records.extend(read(&path));
            }
        }
        Ok(records)
    }
}

pub(crate) fn kernel_mounts() -> Result<Vec<MountEntry>, MountError> {
    mountinfo::mounts().map_err(|e| MountError::local("read /proc/self/mountinfo", e))
}

fn liveness(record: &MountRecord, mounts: &[MountEntry]) -> Liveness {
    let mounted = mountinfo::at(mounts, &record.mountpoint)
        .is_some_and(|mount| mount.workspace() == Some(&record.workspace));
    match (record.process.is_alive(), mounted) {
        (true, true) => Liveness::Mounted,
        (true, false) => Liveness::Detached,
        (false, _) => Liveness::Stale,
    }
}

/// A record that cannot be read is nobody's: it is skipped, and said in the log.
fn read(path: &Path) -> Option<MountRecord> {
    let record: Result<MountRecord, String> = fs::read(path)
        .map_err(|e| e.to_string())
        .and_then(|text| serde_json::from_slice(&text).map_err(|e| e.to_string()));
    match record {
        Ok(record) if record.format <= FORMAT => Some(record),
        Ok(_) => None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a mount record cannot be read");
            None
        }
    }
}

/// Tells the mounts of one process apart (FNV-1a; names files, guards nothing).
fn short_hash(path: &Path) -> u32 {
    use std::os::unix::ffi::OsStrExt;
    path.as_os_str()
        .as_bytes()
        .iter()
        .fold(0x811c_9dc5, |hash, byte| {
            (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> (tempfile::TempDir, MountTable) {
        let state = tempfile::tempdir().expect("a folder");
        let table = MountTable::open(state.path()).expect("a table");
        (state, table)
    }

    #[test]
    fn a_record_is_found_by_its_exact_path_and_by_name() {
        let (state, table) = table();
        let work = state.path().canonicalize().expect("path").join("work");
        let written = table.put("cases", &work, None).expect("put");
        let found = table.find(work.to_str().expect("utf-8")).expect("by path");
        assert_eq!(found, (written.clone(), Liveness::Detached));
        assert_eq!(table.find("cases").expect("by name").0, written);
        for other in ["case", "cases2", &format!("{}2", work.display()), "./cases"] {
            assert_eq!(
                table.find(other),
                Err(MountError::NotMounted { what: other.into() })
            );
        }
        table.remove(&written);
        assert_eq!(table.list().expect("list"), []);
    }

    #[test]
    fn the_record_of_a_process_that_is_gone_is_stale() {
        let (_state, table) = table();
        let mut record = table.put("cases", Path::new("/mnt/x"), None).expect("put");
        record.process.start += 1;
        table.write(&record).expect("write");
        assert_eq!(table.list().expect("list"), [(record, Liveness::Stale)]);
    }

    #[test]
    fn a_broken_record_is_skipped_not_fatal() {
        let (state, table) = table();
        fs::write(state.path().join("mounts/1.json"), b"{\"format\":").expect("write");
        assert_eq!(table.list().expect("list"), []);
    }
}
