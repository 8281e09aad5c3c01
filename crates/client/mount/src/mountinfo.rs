//! The kernel's own list of mounts: `/proc/self/mountinfo` (proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// What the `source` column of our mounts begins with.
pub const SOURCE_PREFIX: &str = "artifacts:";

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountEntry {
    /// `major:minor` of the file system, as in `/sys/class/bdi/`.
    pub device: String,
    /// Where it is mounted, exactly.
    pub mountpoint: PathBuf,
    /// The file system's type: `ext4`, `fuse.artifacts` …
    pub kind: String,
    /// What is mounted: a device, or the name that a FUSE file system gave itself.
    pub source: String,
}

impl MountEntry {
    /// The workspace's name, when this is a mount of ours.
    pub fn workspace(&self) -> Option<&str> {
        if self.kind.starts_with("fuse") {
            self.source.strip_prefix(SOURCE_PREFIX)
        } else {
            None
        }
    }
}

/// All mounts that this process sees, in the order in which they cover each other.
pub fn mounts() -> std::io::Result<Vec<MountEntry>> {
    let text = fs::read("/proc/self/mountinfo")?;
    Ok(text.split(|b| *b == b'\n').filter_map(parse).collect())
}

/// The mount whose mount point is exactly `path`; the topmost, where several cover each
/// other.
pub fn at<'a>(mounts: &'a [MountEntry], path: &Path) -> Option<&'a MountEntry> {
    mounts.iter().rev().find(|mount| mount.mountpoint == path)
}

/// The mount of a workspace that `path` lies inside of (not on).
pub fn around<'a>(mounts: &'a [MountEntry], path: &Path) -> Option<&'a MountEntry> {
    mounts
        .iter()
        .filter(|mount| mount.workspace().is_some())
        .find(|mount| mount.mountpoint != path && path.starts_with(&mount.mountpoint))
}

fn parse(line: &[u8]) -> Option<MountEntry> {
    let fields: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let dash = fields.iter().position(|field| *field == b"-")?;
    let text = |field: &[u8]| String::from_utf8_lossy(&unescape(field)).into_owned();
    Some(MountEntry {
        device: text(fields.get(2)?),
        mountpoint: PathBuf::from(OsString::from_vec(unescape(fields.get(4)?))),
        kind: text(fields.get(dash + 1)?),
        source: text(fields.get(dash + 2)?),
    })
}

/// The kernel writes blank, tab, newline and backslash as `\ooo`.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = (byte == b'\\' && tail.len() >= 3)
            .then(|| std::str::from_utf8(&tail[..3]).ok())
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(code) => {
                out.push(code);
                rest = &tail[3..];
            }
            None => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    out
}

/// The path as the kernel would write it in `mountinfo`: without links, without touching
/// the last component, which may be a mount whose process is gone.
///
/// # Errors
/// What the system says of the parent.
pub fn kernel_path(path: &Path) -> std::io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Ok(path) => return Ok(path),
        Err(error) if is_dead(&error) || error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let path = std::path::absolute(path)?;
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if name.as_bytes() != b".." => {
            Ok(fs::canonicalize(parent)?.join(name))
        }
        _ => Ok(path),
    }
}

/// Whether an error is the one of a FUSE mount whose process is gone ("Transport endpoint
/// is not connected").
pub fn is_dead(error: &std::io::Error) -> bool {
    matches!(
        rustix::io::Errno::from_io_error(error),
        Some(rustix::io::Errno::NOTCONN | rustix::io::Errno::CONNABORTED)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &[u8] = b"22 27 0:21 / /proc rw,relatime - proc proc rw
70 27 0:60 / /mnt/work rw,nosuid,nodev,noatime shared:5 - fuse.artifacts artifacts:cases rw,user_id=0
71 27 0:61 / /mnt/a\\040b rw - fuse.artifacts artifacts:blank rw
72 27 0:62 / /mnt/other rw - fuse.sshfs artifacts.example:/x rw
";

    fn sample() -> Vec<MountEntry> {
        SAMPLE.split(|b| *b == b'\n').filter_map(parse).collect()
    }

    #[test]
    fn lines_are_read_with_their_escapes_and_optional_fields() {
        let mounts = sample();
        assert_eq!(mounts.len(), 4);
        assert_eq!(mounts[1].workspace(), Some("cases"));
        assert_eq!(mounts[1].device, "0:60");
        assert_eq!(mounts[2].mountpoint, Path::new("/mnt/a b"));
        assert_eq!(mounts[3].workspace(), None);
    }

    #[test]
    fn a_path_is_matched_whole_never_by_its_beginning() {
        let mounts = sample();
        assert!(at(&mounts, Path::new("/mnt/work")).is_some());
        assert!(at(&mounts, Path::new("/mnt/work2")).is_none());
        assert!(at(&mounts, Path::new("/mnt")).is_none());
        assert!(around(&mounts, Path::new("/mnt/work2/a")).is_none());
        assert!(around(&mounts, Path::new("/mnt/work")).is_none());
        let outer = around(&mounts, Path::new("/mnt/work/a/b")).expect("an outer mount");
        assert_eq!(outer.workspace(), Some("cases"));
    }

    #[test]
    fn the_real_table_has_a_root() {
        let mounts = mounts().expect("mountinfo");
        assert!(at(&mounts, Path::new("/")).is_some());
    }
}
