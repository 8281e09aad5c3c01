//! Who uses a mounted folder: read from `/proc`, so that a busy mount can say by whom.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A process with something open, or its working directory, in a mounted folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// The program's short name.
    pub name: String,
    /// What it holds: `cwd`, `root`, `exe`, or a path that is open or mapped.
    pub holds: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {}: {})", self.name, self.pid, self.holds)
    }
}

/// The processes that hold something under `mountpoint`, as far as this user may see.
///
/// Reads only `/proc`; never touches the mount, which may hang.
pub fn holders(mountpoint: &Path) -> Vec<Holder> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let own = std::process::id();
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != own)
        .filter_map(|pid| holder(pid, mountpoint))
        .collect()
}

fn holder(pid: u32, mountpoint: &Path) -> Option<Holder> {
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let holds = place(&proc, mountpoint)
        .or_else(|| open_file(&proc, mountpoint))
        .or_else(|| mapping(&proc, mountpoint))?;
    let name = fs::read_to_string(proc.join("comm")).unwrap_or_default();
    Some(Holder {
        pid,
        name: name.trim().to_owned(),
        holds,
    })
}

fn place(proc: &Path, mountpoint: &Path) -> Option<String> {
    ["cwd", "root", "exe"]
        .into_iter()
        .find(|what| links_into(&proc.join(what), mountpoint).is_some())
        .map(str::to_owned)
}

fn open_file(proc: &Path, mountpoint: &Path) -> Option<String> {
    let path = fs::read_dir(proc.join("fd"))
        .ok()?
        .flatten()
        .find_map(|fd| links_into(&fd.path(), mountpoint))?;
    Some(path.display().to_string())
}

fn mapping(proc: &Path, mountpoint: &Path) -> Option<String> {
    let maps = fs::read_to_string(proc.join("maps")).ok()?;
    maps.lines()
        .filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])))
        .find(|path| path.starts_with(mountpoint))
        .map(|path| path.display().to_string())
}

fn links_into(link: &Path, mountpoint: &Path) -> Option<PathBuf> {
    fs::read_link(link)
        .ok()
        .filter(|target| target.starts_with(mountpoint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_by_its_directory_and_by_its_open_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().canonicalize().expect("a path");
        assert_eq!(holders(&folder), []);
        let mut child = std::process::Command::new("sleep")
            .arg("30")
            .current_dir(&folder)
            .spawn()
            .expect("sleep");
        let found = holders(&folder);
        child.kill().expect("kill");
        child.wait().expect("wait");
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].pid, found[0].holds.as_str()), (child.id(), "cwd"));
    }

    #[test]
    fn a_longer_name_is_another_folder() {
        let proc = Path::new("/proc/self");
        let cwd = fs::read_link("/proc/self/cwd").expect("cwd");
        let mut shorter = cwd.clone().into_os_string().into_string().expect("utf-8");
        shorter.pop();
        assert_eq!(place(proc, &cwd), Some("cwd".into()));
        if shorter.len() > 1 && !shorter.ends_with('/') {
            assert!(links_into(&proc.join("cwd"), Path::new(&shorter)).is_none());
        }
    }
}
