//! Whether anybody has a file open for writing, asked by way of a read lease (fcntl(2),
//! `F_SETLEASE`): the kernel refuses one while a descriptor or a mapping for writing lives.
//!
//! That is the only way to learn of a program that mapped a file and closed it: with
//! passthrough its mapping is of our file, and no call of ours tells when it ends.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// asm-generic/fcntl.h; the crate libc lacks it.
const F_SETSIG: libc::c_int = 10;

/// `file` must be open for reading only, and belong to this process's user.
///
/// # Errors
/// Those of fcntl(2): a file system may know no leases (`EINVAL`).
pub(crate) fn is_open_for_writing(file: &File) -> io::Result<bool> {
    // Whoever opens the file while the lease is held makes the kernel send a signal; this
    // one is ignored unless asked for, where the usual SIGIO would end the process.
    set(file, F_SETSIG, libc::SIGURG)?;
    match set(file, libc::F_SETLEASE, libc::F_RDLCK) {
        Ok(()) => {
            set(file, libc::F_SETLEASE, libc::F_UNLCK)?;
            Ok(false)
        }
        Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Ok(true),
        Err(error) => Err(error),
    }
}

#[allow(
    unsafe_code,
    reason = "no safe binding of these commands exists; they take a number and touch no memory"
)]
fn set(file: &File, command: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `file` is borrowed.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, value) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_for_writing_is_seen_and_its_end_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let writing = File::create(&path).expect("made");
        let reading = File::open(&path).expect("opened");
        assert!(is_open_for_writing(&reading).expect("asked"));
        drop(writing);
        assert!(!is_open_for_writing(&reading).expect("asked"));
        let _other_reader = File::open(&path).expect("opened");
        assert!(!is_open_for_writing(&reading).expect("asked"));
    }
}
