//! What must hold before a workspace is mounted on a folder; what a crash left is mended.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use crate::attach;
use crate::error::MountError;
use crate::mountinfo::{self, MountEntry};
use crate::table::{Liveness, MountRecord, MountTable, kernel_mounts};

/// How long a mount point may take to say whether it lives.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long to wait for a process that is just ending to let go of its workspace.
const LOCK_PATIENCE: Duration = Duration::from_millis(700);
/// How long to wait for a process whose mount is dead to be gone: killed, it ends when its
/// last call on the disk does.
const ENDING: Duration = Duration::from_secs(10);

/// The right to mount one workspace on one folder, held until it is dropped.
///
/// Only one process on a machine holds a workspace: its journal and cache have one writer.
#[derive(Debug)]
pub struct Claim {
    workspace: String,
    mountpoint: PathBuf,
    repaired: bool,
    table: MountTable,
    _lock: File,
}

impl Claim {
    /// Checks the folder, mends a stale mount there, and locks the workspace.
    ///
    /// `state` is the workspace's own state folder. A missing mount point is made when its
    /// parent exists.
    ///
    /// # Errors
    /// Everything a mount can be refused for; see [`MountError`].
    pub fn take(
        table: &MountTable,
        workspace: &str,
        path: &Path,
        state: &Path,
    ) -> Result<Self, MountError> {
        if !Path::new("/dev/fuse").exists() {
            return Err(MountError::FuseMissing {
                reason: "there is no /dev/fuse".into(),
            });
        }
        let mountpoint = resolve(path)?;
        let repaired = clear(table, &mountpoint)?;
        let missing = check_folder(&mountpoint)?;
        let lock = lock(table, workspace, state)?;
        if missing {
            fs::create_dir(&mountpoint).map_err(|error| refused(&mountpoint, &error))?;
        }
        forget_stale(table, &mountpoint, workspace);
        Ok(Self {
            workspace: workspace.to_owned(),
            mountpoint,
            repaired,
            table: table.clone(),
            _lock: lock,
        })
    }

    /// The workspace.
    pub fn workspace(&self) -> &str {
        &self.workspace
    }

    /// The mount point, as the kernel writes it.
    pub fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    /// Whether a stale mount was taken away.
    pub fn repaired(&self) -> bool {
        self.repaired
    }

    pub(crate) fn table(&self) -> &MountTable {
        &self.table
    }
}

/// Takes away what a process that is gone left behind: its dead mount and its record. The
/// journal stays for the next mount.
///
/// # Errors
/// What the system refuses.
pub fn clear_stale(table: &MountTable, record: &MountRecord) -> Result<(), MountError> {
    let mounts = kernel_mounts()?;
    let ours = mountinfo::at(&mounts, &record.mountpoint)
        .is_some_and(|mount| mount.workspace() == Some(&record.workspace));
    if ours && is_dead_mount(&record.mountpoint) {
        attach::detach(&record.mountpoint, true)?;
    }
    table.remove(record);
    Ok(())
}

fn resolve(path: &Path) -> Result<PathBuf, MountError> {
    mountinfo::kernel_path(path).map_err(|error| {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let mounts = kernel_mounts().unwrap_or_default();
        match mountinfo::around(&mounts, &absolute) {
            Some(outer) if mountinfo::is_dead(&error) => MountError::Stale {
                path: outer.mountpoint.clone(),
                workspace: outer.workspace().unwrap_or_default().to_owned(),
            },
            _ if error.kind() == std::io::ErrorKind::NotFound => MountError::NotFound {
                path: absolute.parent().map_or(absolute.clone(), Path::to_owned),
            },
            _ => MountError::NotPermitted {
                path: absolute,
                reason: error.to_string(),
            },
        }
    })
}

/// Refuses what is mounted there or around; takes a dead mount of ours away.
fn clear(table: &MountTable, mountpoint: &Path) -> Result<bool, MountError> {
    let mut repaired = false;
    // A mount that crashed and was mounted over lies there more than once.
    for _ in 0..16 {
        let mounts = kernel_mounts()?;
        if let Some(outer) = mountinfo::around(&mounts, mountpoint) {
            return Err(MountError::InsideMount {
                path: mountpoint.to_owned(),
                outer: outer.mountpoint.clone(),
                workspace: outer.workspace().unwrap_or_default().to_owned(),
            });
        }
        let Some(mount) = mountinfo::at(&mounts, mountpoint) else {
            break;
        };
        refuse_unless_dead(table, mount)?;
        tracing::warn!(path = %mountpoint.display(), "taking away a mount whose process is gone");
        attach::detach(mountpoint, true)?;
        repaired = true;
    }
    Ok(repaired)
}

fn refuse_unless_dead(table: &MountTable, mount: &MountEntry) -> Result<(), MountError> {
    let Some(workspace) = mount.workspace() else {
        return Err(MountError::ForeignMount {
            path: mount.mountpoint.clone(),
            kind: mount.kind.clone(),
        });
    };
    let since = Instant::now();
    while is_dead_mount(&mount.mountpoint) {
        let served = table.list()?.iter().any(|(record, liveness)| {
            record.mountpoint == mount.mountpoint && *liveness == Liveness::Mounted
        });
        if !served {
            return Ok(());
        }
        // It was killed a moment ago, and a thread of it still waits for the disk.
        if since.elapsed() > ENDING {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    Err(MountError::AlreadyMounted {
        path: mount.mountpoint.clone(),
        workspace: workspace.to_owned(),
    })
}

/// Asks the mount point in a thread of its own, for one that hangs would hold us too.
fn is_dead_mount(mountpoint: &Path) -> bool {
    let (answer, answered) = mpsc::channel();
    let path = mountpoint.to_owned();
    thread::spawn(move || {
        let dead = fs::metadata(&path).is_err_and(|error| mountinfo::is_dead(&error));
        // Nobody waits any more after the time-out.
        let _ = answer.send(dead);
    });
    answered.recv_timeout(PROBE_TIMEOUT).unwrap_or(false)
}

/// Whether the folder has yet to be made.
fn check_folder(path: &Path) -> Result<bool, MountError> {
    match fs::metadata(path) {
        Ok(found) if !found.is_dir() => {
            return Err(MountError::NotADirectory {
                path: path.to_owned(),
            });
        }
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(refused(path, &error)),
    }
    let mut entries = fs::read_dir(path).map_err(|error| refused(path, &error))?;
    if entries.next().is_some() {
        return Err(MountError::NotEmpty {
            path: path.to_owned(),
        });
    }
    Ok(false)
}

fn refused(path: &Path, error: &std::io::Error) -> MountError {
    MountError::NotPermitted {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

fn lock(table: &MountTable, workspace: &str, state: &Path) -> Result<File, MountError> {
    let path = state.join("mount.lock");
    let fail = |e: &dyn std::fmt::Display| MountError::local(format!("lock {}", path.display()), e);
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|e| fail(&e))?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let at = where_served(table, workspace);
                if at.is_some() || Instant::now() >= deadline {
                    let workspace = workspace.to_owned();
                    return Err(MountError::WorkspaceBusy { workspace, at });
                }
                thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(fail(&error)),
        }
    }
}

fn where_served(table: &MountTable, workspace: &str) -> Option<PathBuf> {
    table
        .list()
        .ok()?
        .into_iter()
        .find(|(record, liveness)| record.workspace == workspace && *liveness == Liveness::Mounted)
        .map(|(record, _)| record.mountpoint)
}

/// Records of dead processes for this folder or workspace say nothing any more: we hold
/// the workspace's lock.
fn forget_stale(table: &MountTable, mountpoint: &Path, workspace: &str) {
    for (record, liveness) in table.list().unwrap_or_default() {
        let ours = record.mountpoint == mountpoint || record.workspace == workspace;
        if ours && liveness == Liveness::Stale {
            table.remove(&record);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place {
        _folder: tempfile::TempDir,
        root: PathBuf,
        table: MountTable,
    }

    fn place() -> Place {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("a path");
        let table = MountTable::open(&root.join("state")).expect("a table");
        Place {
            _folder: folder,
            root,
            table,
        }
    }

    impl Place {
        fn claim(&self, workspace: &str, path: &Path) -> Result<Claim, MountError> {
            let state = self.root.join("state").join(workspace);
            fs::create_dir_all(&state).expect("state");
            Claim::take(&self.table, workspace, path, &state)
        }
    }

    #[test]
    fn a_missing_folder_is_made_but_not_its_parents() {
        let place = place();
        let claim = place
            .claim("cases", &place.root.join("new"))
            .expect("claim");
        assert!(claim.mountpoint().is_dir());
        assert!(!claim.repaired());
        assert_eq!(
            place.claim("other", &place.root.join("no/where")).err(),
            Some(MountError::NotFound {
                path: place.root.join("no")
            })
        );
    }

    #[test]
    fn a_file_and_a_folder_with_entries_are_refused() {
        let place = place();
        let file = place.root.join("file");
        fs::write(&file, b"x").expect("write");
        assert_eq!(
            place.claim("cases", &file).err(),
            Some(MountError::NotADirectory { path: file.clone() })
        );
        assert_eq!(
            place.claim("cases", &place.root).err(),
            Some(MountError::NotEmpty {
                path: place.root.clone()
            })
        );
    }

    #[test]
    fn somebody_elses_mount_point_is_refused() {
        let place = place();
        assert_eq!(
            place.claim("cases", Path::new("/proc")).err(),
            Some(MountError::ForeignMount {
                path: "/proc".into(),
                kind: "proc".into()
            })
        );
    }

    #[test]
    fn a_workspace_has_one_holder() {
        let place = place();
        let first = place.claim("cases", &place.root.join("a")).expect("claim");
        assert_eq!(
            place.claim("cases", &place.root.join("b")).err(),
            Some(MountError::WorkspaceBusy {
                workspace: "cases".into(),
                at: None
            })
        );
        drop(first);
        place
            .claim("cases", &place.root.join("b"))
            .expect("free again");
    }
}
