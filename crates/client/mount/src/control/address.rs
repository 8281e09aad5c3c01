//! A unix socket's path has at most 107 bytes (unix(7)), a state folder may lie deeper.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

const MAX_BYTES: usize = 107;

/// A short way to a socket, valid as long as this lives.
pub(super) struct Address {
    path: PathBuf,
    _folder: Option<File>,
}

impl Address {
    /// A way to `socket` that fits: the path itself, or through an open folder.
    pub(super) fn new(socket: &Path) -> io::Result<Self> {
        if socket.as_os_str().len() <= MAX_BYTES {
            return Ok(Self {
                path: socket.to_owned(),
                _folder: None,
            });
        }
        let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let folder = File::open(folder)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
        Ok(Self {
            path,
            _folder: Some(folder),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn a_socket_in_a_deep_folder_can_be_reached() {
        let root = tempfile::tempdir().expect("a folder");
        let deep = root.path().join("d".repeat(100)).join("e".repeat(100));
        std::fs::create_dir_all(&deep).expect("folders");
        let socket = deep.join("1.sock");
        assert!(UnixListener::bind(&socket).is_err(), "too long by itself");
        let address = Address::new(&socket).expect("an address");
        let _listener = UnixListener::bind(address.path()).expect("bound");
        assert!(socket.exists());
        let address = Address::new(&socket).expect("an address");
        UnixStream::connect(address.path()).expect("connected");
    }
}
