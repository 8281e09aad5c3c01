//! Attaching a FUSE file system to a folder, and taking it off again.
//!
//! As root (with CAP_SYS_ADMIN) by mount(2); as an ordinary user through the set-uid
//! helper `fusermount3`, which opens the device, mounts, and passes the descriptor back
//! over a socket named by `_FUSE_COMMFD` (fusermount3(1), libfuse `mount.c`).
//!
//! Own code rather than fuser's, because that one unmounts *by path* when it is dropped,
//! even where the folder has been unmounted (and perhaps mounted anew) by someone else.

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io::{ErrorKind, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use crate::error::MountError;
use crate::holders::holders;
use crate::mountinfo::SOURCE_PREFIX;

const DEVICE: &str = "/dev/fuse";
const SUBTYPE: &str = "artifacts";

/// How a workspace is attached.
#[derive(Debug, Clone)]
pub(crate) struct Attachment<'a> {
    pub(crate) workspace: &'a str,
    pub(crate) mountpoint: &'a Path,
    pub(crate) read_only: bool,
    pub(crate) allow_other: bool,
}

/// Mounts, and gives the descriptor on which the kernel will speak.
///
/// # Errors
/// [`MountError::FuseMissing`] and [`MountError::NotPermitted`].
pub(crate) fn attach(how: &Attachment<'_>) -> Result<OwnedFd, MountError> {
    let device = match open_device() {
        Ok(device) => device,
        // Only the helper, which is set-uid, may open it.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return through_helper(how),
        Err(error) => {
            return Err(MountError::FuseMissing {
                reason: format!("{DEVICE}: {error}"),
            });
        }
    };
    match direct(how, &device) {
        Ok(()) => Ok(device),
        Err(Errno::PERM) => {
            drop(device);
            through_helper(how)
        }
        Err(error) => Err(not_permitted(how.mountpoint, error)),
    }
}

/// Unmounts exactly this mount point; `lazy` detaches it even while it is in use.
/// What is not mounted is no error.
///
/// # Errors
/// [`MountError::Busy`] with those who use it; [`MountError::NotPermitted`].
pub(crate) fn detach(mountpoint: &Path, lazy: bool) -> Result<(), MountError> {
    let mut flags = UnmountFlags::NOFOLLOW;
    if lazy {
        flags |= UnmountFlags::DETACH;
    }
    match rustix::mount::unmount(mountpoint, flags) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(Errno::BUSY) => Err(busy(mountpoint)),
        Err(Errno::PERM) => detach_through_helper(mountpoint, lazy),
        Err(error) => Err(not_permitted(mountpoint, error)),
    }
}

/// Whether this process may open the device by itself (needed for one descriptor per
/// thread, `FUSE_DEV_IOC_CLONE`).
pub(crate) fn device_opens() -> bool {
    open_device().is_ok()
}

fn open_device() -> std::io::Result<OwnedFd> {
    let device = OpenOptions::new().read(true).write(true).open(DEVICE)?;
    Ok(device.into())
}

fn direct(how: &Attachment<'_>, device: &OwnedFd) -> Result<(), Errno> {
    let root_mode = std::fs::metadata(how.mountpoint)
        .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?
        .permissions()
        .mode();
    let mut data = format!(
        "fd={},rootmode={root_mode:o},user_id={},group_id={},default_permissions",
        device.as_raw_fd(),
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    if how.allow_other {
        data.push_str(",allow_other");
    }
    let data = CString::new(data).map_err(|_| Errno::INVAL)?;
    let mut flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOATIME;
    if how.read_only {
        flags |= MountFlags::RDONLY;
    }
    rustix::mount::mount(
        format!("{SOURCE_PREFIX}{}", how.workspace),
        how.mountpoint,
        format!("fuse.{SUBTYPE}"),
        flags,
        data.as_c_str(),
    )
}

fn through_helper(how: &Attachment<'_>) -> Result<OwnedFd, MountError> {
    let refused = |reason: String| MountError::NotPermitted {
        path: how.mountpoint.to_owned(),
        reason,
    };
    let (theirs, ours) = UnixStream::pair().map_err(|e| refused(e.to_string()))?;
    let mut command = Command::new(helper()?);
    command
        .args(["-o", &helper_options(how), "--"])
        .arg(how.mountpoint)
        // The helper's end of the socket is its standard input: no descriptor has to be
        // inherited by number.
        .env("_FUSE_COMMFD", "0")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| refused(e.to_string()))?;
    // Our copy of the helper's end, without which a failing helper would not end the wait.
    drop(command);
    let device = receive_descriptor(&ours);
    let words = stderr_of(&mut child);
    // The helper's exit status says nothing that the descriptor does not.
    let _ = child.wait();
    device.ok_or_else(|| refused(words))
}

fn helper_options(how: &Attachment<'_>) -> String {
    let access = if how.read_only { "ro" } else { "rw" };
    let others = if how.allow_other { ",allow_other" } else { "" };
    format!(
        "{access},nosuid,nodev,noatime,default_permissions,fsname={SOURCE_PREFIX}{},subtype={SUBTYPE}{others}",
        how.workspace
    )
}

fn receive_descriptor(socket: &UnixStream) -> Option<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0u8];
    loop {
        match rustix::net::recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut byte)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Err(Errno::INTR) => {}
            Err(_) => return None,
            Ok(_) => break,
        }
    }
    control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    })
}

fn detach_through_helper(mountpoint: &Path, lazy: bool) -> Result<(), MountError> {
    let mut command = Command::new(helper()?);
    command.arg("-u");
    if lazy {
        command.arg("-z");
    }
    let output = command
        .arg("--")
        .arg(mountpoint)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| MountError::local("run fusermount3", e))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if words.contains("busy") {
        return Err(busy(mountpoint));
    }
    if words.contains("not found in") {
        return Ok(());
    }
    Err(MountError::NotPermitted {
        path: mountpoint.to_owned(),
        reason: words,
    })
}

/// The helper's place: by `PATH`, else where distributions put it.
fn helper() -> Result<PathBuf, MountError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/bin", "/bin", "/usr/local/bin", "/sbin"].map(PathBuf::from))
        .flat_map(|folder| ["fusermount3", "fusermount"].map(|name| folder.join(name)))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| MountError::FuseMissing {
            reason: "fusermount3 is not installed, and only root may mount without it".into(),
        })
}

fn stderr_of(child: &mut std::process::Child) -> String {
    let mut words = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        // Half a message is better than none.
        let _ = stderr.read_to_string(&mut words);
    }
    words.trim().to_owned()
}

fn busy(mountpoint: &Path) -> MountError {
    MountError::Busy {
        path: mountpoint.to_owned(),
        holders: holders(mountpoint),
    }
}

fn not_permitted(path: &Path, error: Errno) -> MountError {
    MountError::NotPermitted {
        path: path.to_owned(),
        reason: std::io::Error::from(error).to_string(),
    }
}
