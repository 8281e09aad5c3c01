//! The helper's side: a process that does through the mount, one after the other, what it is
//! told on its standard input.

use std::io::{self, BufRead, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FallocateFlags, FileType, Mode, OFlags, ResolveFlags, chmod, fallocate, fgetxattr,
    fstat, mkdirat, mknodat, open, openat2, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::orders::{Answer, Hello, Made, Order, TOKEN_NAME};

/// Never out of the file system that was asked for, by whatever way.
const INSIDE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_XDEV)
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS);

/// Serves the orders of a mount until it closes its end of standard input.
///
/// # Errors
/// When the two do not speak the same language, or the mount has gone.
pub fn serve_wakes() -> io::Result<()> {
    let mut lines = io::stdin().lock().lines();
    let Some(hello) = lines.next() else {
        return Ok(());
    };
    let mut visitor = Visitor {
        hello: serde_json::from_str(&hello?)?,
        root: None,
    };
    let mut out = io::stdout().lock();
    for line in lines {
        let order: Order = serde_json::from_str(&line?)?;
        let done = visitor.carry_out(&order);
        let answer = Answer {
            errno: done.err().map(Errno::raw_os_error),
        };
        let mut line = serde_json::to_vec(&answer)?;
        line.push(b'\n');
        out.write_all(&line)?;
        out.flush()?;
    }
    Ok(())
}

struct Visitor {
    hello: Hello,
    /// The root of the mount, which has shown its word. As long as it is open the mount
    /// stays, and whatever is opened below it is the mount's.
    root: Option<OwnedFd>,
}

impl Visitor {
    fn carry_out(&mut self, order: &Order) -> Result<(), Errno> {
        match order {
            Order::Rest => {
                self.root = None;
                Ok(())
            }
            Order::Appear {
                directory,
                name,
                kind,
            } => appear(&self.folder(directory)?, single(name)?, *kind),
            Order::Vanish {
                directory,
                name,
                is_directory,
            } => {
                let flags = if *is_directory {
                    AtFlags::REMOVEDIR
                } else {
                    AtFlags::empty()
                };
                unlinkat(self.folder(directory)?, single(name)?, flags)
            }
            Order::Change { directory, name } => change(&self.folder(directory)?, single(name)?),
            Order::Chmod { directory, name } if name.is_empty() => {
                same_mode(&self.folder(directory)?)
            }
            Order::Chmod { directory, name } => {
                same_mode(&node(&self.folder(directory)?, single(name)?)?)
            }
        }
    }

    fn folder(&mut self, directory: &str) -> Result<OwnedFd, Errno> {
        let path = if directory.is_empty() { "." } else { directory };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat2(self.root()?, path, flags, Mode::empty(), INSIDE)
    }

    fn root(&mut self) -> Result<BorrowedFd<'_>, Errno> {
        let root = match self.root.take() {
            Some(root) => root,
            None => verified(&self.hello)?,
        };
        let root: &OwnedFd = self.root.insert(root);
        Ok(root.as_fd())
    }
}

/// The root of the mount, if that is what lies at its path.
fn verified(hello: &Hello) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = open(&hello.mountpoint, flags, Mode::empty())?;
    let mut said = [0; 128];
    let length = fgetxattr(&root, TOKEN_NAME, &mut said)?;
    if hello.token.is_empty() || said[..length] != *hello.token.as_bytes() {
        return Err(Errno::STALE);
    }
    Ok(root)
}

/// One name, never a path.
fn single(name: &str) -> Result<&str, Errno> {
    match name {
        "" | "." | ".." => Err(Errno::INVAL),
        name if name.contains('/') => Err(Errno::INVAL),
        name => Ok(name),
    }
}

fn appear(folder: &OwnedFd, name: &str, kind: Made) -> Result<(), Errno> {
    match kind {
        Made::Directory => mkdirat(folder, name, Mode::RWXU),
        Made::Symlink => symlinkat("artifacts", folder, name),
        Made::File => {
            mknodat(folder, name, FileType::RegularFile, Mode::RUSR, 0)?;
            // Who waits for a new file often waits for its content to be closed. That it is
            // there has been told, whatever becomes of this.
            let _ = change(folder, name);
            Ok(())
        }
    }
}

/// Tells of new content (IN_MODIFY, IN_CLOSE_WRITE) by reserving a byte without extending
/// the file: the one call that changes no content, whoever answers it. Where the file cannot
/// be opened for writing, because a program holds its old version through the kernel, or its
/// mode forbids it, the mode is set to what it is (IN_ATTRIB).
fn change(folder: &OwnedFd, name: &str) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = openat2(folder, name, flags, Mode::empty(), INSIDE);
    let done = opened.and_then(|file| fallocate(&file, FallocateFlags::KEEP_SIZE, 0, 1));
    done.or_else(|_| same_mode(&node(folder, name)?))
}

fn node(folder: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat2(folder, name, flags, Mode::empty(), INSIDE)
}

fn same_mode(node: &OwnedFd) -> Result<(), Errno> {
    let mode = fstat(node)?.st_mode;
    if FileType::from_raw_mode(mode) == FileType::Symlink {
        return Err(Errno::LOOP);
    }
    // A descriptor that only names a node is changed by its name in /proc.
    let path = format!("/proc/self/fd/{}", node.as_raw_fd());
    chmod(path, Mode::from_raw_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visitor(mountpoint: &std::path::Path, token: &str) -> Visitor {
        Visitor {
            hello: Hello {
                mountpoint: mountpoint.to_owned(),
                token: token.to_owned(),
            },
            root: None,
        }
    }

    fn vanish(directory: &str, name: &str) -> Order {
        Order::Vanish {
            directory: directory.to_owned(),
            name: name.to_owned(),
            is_directory: false,
        }
    }

    #[test]
    fn nothing_is_done_in_a_folder_that_does_not_know_the_word() {
        let folder = tempfile::tempdir().expect("a folder");
        let precious = folder.path().join("precious");
        std::fs::write(&precious, "x").expect("written");
        for token in ["", "word"] {
            let mut visitor = visitor(folder.path(), token);
            let refused = visitor.carry_out(&vanish("", "precious"));
            // Without the attribute, or on a file system without any.
            assert!(matches!(refused, Err(Errno::NODATA | Errno::OPNOTSUPP)));
        }
        assert!(precious.exists());
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let (inside, outside) = (tempfile::tempdir(), tempfile::tempdir());
        let (inside, outside) = (inside.expect("a folder"), outside.expect("a folder"));
        let precious = outside.path().join("precious");
        std::fs::write(&precious, "x").expect("written");
        std::os::unix::fs::symlink(outside.path(), inside.path().join("link")).expect("a link");
        let mut visitor = visitor(inside.path(), "word");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        visitor.root = Some(open(inside.path(), flags, Mode::empty()).expect("opened"));
        for (directory, name, errno) in [
            ("link", "precious", Errno::LOOP),
            ("..", "precious", Errno::XDEV),
            ("", "../precious", Errno::INVAL),
            ("", "..", Errno::INVAL),
            ("", "", Errno::INVAL),
        ] {
            let done = visitor.carry_out(&vanish(directory, name));
            assert_eq!(done, Err(errno), "{directory:?} {name:?}");
        }
        assert!(precious.exists());
    }

    #[test]
    fn telling_of_new_content_changes_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        std::fs::write(&path, "content").expect("written");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let root = open(folder.path(), flags, Mode::empty()).expect("opened");
        change(&root, "file").expect("told");
        same_mode(&node(&root, "file").expect("there")).expect("told");
        assert_eq!(std::fs::read(&path).expect("read"), b"content");
        let empty = folder.path().join("empty");
        std::fs::write(&empty, "").expect("written");
        change(&root, "empty").expect("told");
        assert_eq!(std::fs::read(&empty).expect("read"), b"");
    }
}
