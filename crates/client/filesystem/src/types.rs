//! What the tree says to whoever shows it to a kernel (or a test): plain types, no kernel's.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The number of an inode, stable while the mount lives and, where the local database
/// remembers the object, from mount to mount. The root is [`ROOT`].
pub type Ino = u64;

/// The root directory's inode number.
pub const ROOT: Ino = 1;

/// What an inode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file: one object.
    File,
    /// A directory: a key prefix.
    Directory,
    /// A symbolic link: one object whose body is the target.
    Symlink,
}

/// What `stat` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attr {
    /// Inode number.
    pub ino: Ino,
    /// Type.
    pub kind: Kind,
    /// Bytes.
    pub size: u64,
    /// Permission bits (`0o7777`).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Links: 1 for files, 2 + subdirectories for directories.
    pub nlink: u32,
    /// Last change of the content.
    pub mtime: SystemTime,
    /// Last change of content or attributes.
    pub ctime: SystemTime,
    /// Last access (not kept up to date by reads).
    pub atime: SystemTime,
}

/// A name looked up or made.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What it is.
    pub attr: Attr,
    /// For how long the answer may be reused without asking again.
    pub ttl: Duration,
}

/// A name in a directory being read.
#[derive(Debug, Clone)]
pub struct DirEntry {
    /// The name; `.` and `..` are included, first.
    pub name: String,
    /// What it is, and for how long that holds.
    pub entry: Entry,
    /// Give this to [`Filesystem::readdir`](crate::Filesystem::readdir) to go on after
    /// this entry.
    pub next: u64,
}

/// An open file or directory.
pub type Handle = u64;

/// How a file was asked to be opened.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenMode {
    /// For reading.
    pub read: bool,
    /// For writing.
    pub write: bool,
    /// Cut to nothing first.
    pub truncate: bool,
}

/// A file that was opened.
#[derive(Debug)]
pub struct Opened {
    /// The handle for the calls that follow, until [`Filesystem::release`](crate::Filesystem::release).
    pub handle: Handle,
    /// How its bytes are reached. All handles of one inode that are open at one time have
    /// the same kind of access.
    pub access: Access,
    /// Whether pages that a kernel cached of this inode are still good.
    pub keep_cache: bool,
    /// Whether each close has to be told with [`Filesystem::flush`](crate::Filesystem::flush):
    /// only where closing waits for the bucket.
    pub flushes: bool,
}

/// How the bytes of an open file are reached.
#[derive(Debug, Clone)]
pub enum Access {
    /// Through [`Filesystem::read`](crate::Filesystem::read) and
    /// [`Filesystem::write`](crate::Filesystem::write).
    Calls,
    /// Straight from and to this local file, which is whole; the tree looks at it again
    /// on flush, fsync, getattr and release. Reads and writes by call work too.
    Backing(Arc<File>),
}

/// A change of attributes; `None` leaves as is.
#[derive(Debug, Clone, Copy, Default)]
pub struct SetAttr {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Truncate or extend to this many bytes.
    pub size: Option<u64>,
    /// Access time.
    pub atime: Option<SystemTime>,
    /// Modification time.
    pub mtime: Option<SystemTime>,
}

/// Who makes a new entry.
#[derive(Debug, Clone, Copy)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What a rename does with a name that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RenameMode {
    /// Replace it, as rename(2) does.
    #[default]
    Replace,
    /// Fail with [`FsError::Exists`] (`RENAME_NOREPLACE`).
    NoReplace,
    /// Swap the two (`RENAME_EXCHANGE`).
    Exchange,
}

/// What `statfs` shows: the local disk's room bounds what can be written at once.
#[derive(Debug, Clone, Copy)]
pub struct Space {
    /// Bytes in all (a bucket has no end, so this is a large constant).
    pub total: u64,
    /// Bytes free.
    pub free: u64,
    /// Entries known.
    pub entries: u64,
}

/// Why an operation failed. The crate `mount` turns each into one errno.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FsError {
    /// No such name or inode (ENOENT).
    #[error("no such file or directory")]
    NotFound,
    /// The name is taken (EEXIST).
    #[error("file exists")]
    Exists,
    /// A directory was needed (ENOTDIR).
    #[error("not a directory")]
    NotADirectory,
    /// A directory was not wanted (EISDIR).
    #[error("is a directory")]
    IsADirectory,
    /// The directory has entries (ENOTEMPTY).
    #[error("directory not empty")]
    NotEmpty,
    /// The name cannot be used here: NUL, `.`, or the escape mark (EINVAL).
    #[error("invalid name or argument")]
    Invalid,
    /// The name has over 255 bytes, or the key over 1,024 (ENAMETOOLONG).
    #[error("name too long")]
    NameTooLong,
    /// The name is not UTF-8, so it cannot be an object key (EILSEQ).
    #[error("name is not UTF-8")]
    NotUtf8,
    /// The mount, or the keys, may only read (EROFS).
    #[error("read-only workspace")]
    ReadOnly,
    /// The local disk is full, or as much is waiting for the bucket as may wait (ENOSPC).
    #[error("no space: the local disk is full or too much waits for upload")]
    NoSpace,
    /// The store refused (EACCES).
    #[error("permission denied by the store")]
    Denied,
    /// Not permitted by the tree's rules (EPERM).
    #[error("operation not permitted")]
    NotPermitted,
    /// The bucket does not answer and the bytes are not here (EIO).
    #[error("the bucket cannot be reached")]
    Unreachable,
    /// The object changed elsewhere while this handle was reading it (ESTALE): open again.
    #[error("the file changed elsewhere; open it again")]
    Changed,
    /// No such extended attribute (ENODATA).
    #[error("no such attribute")]
    NoAttribute,
    /// The extended attribute's name space is not kept here (EOPNOTSUPP).
    #[error("not supported")]
    NotSupported,
    /// An attribute's value does not fit (ERANGE / E2BIG).
    #[error("value too large")]
    TooLarge,
    /// A file past what the store can take (EFBIG).
    #[error("file too large")]
    FileTooLarge,
    /// Somebody has the file open, maybe to run it (ETXTBSY).
    #[error("the file is in use")]
    InUse,
    /// A local file failed (EIO), with the system's words for the log.
    #[error("local disk: {0}")]
    Local(String),
    /// A handle that is not open (EBADF).
    #[error("bad handle")]
    BadHandle,
}

/// Whom the tree tells that what a kernel may have cached is no longer so. Called from the
/// tree's own tasks, never from inside one of the [`Filesystem`](crate::Filesystem) calls,
/// and must return at once (queue, do not wait).
pub trait Watcher: Send + Sync + 'static {
    /// What an inode holds, or only its attributes, changed elsewhere.
    fn changed(&self, ino: Ino, change: Change);
    /// The name appeared, or leads elsewhere.
    fn appeared(&self, parent: Ino, name: &str);
    /// The name went away elsewhere. What is below a directory goes before it.
    fn removed(&self, gone: Gone);
    /// Nothing happened to the name; a kernel may forget it, so that its memory is free.
    fn unneeded(&self, parent: Ino, name: &str);
}

/// What changed about an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Its bytes, and with them its attributes.
    Content,
    /// Mode, owner, times or extended attributes.
    Attributes,
}

/// A name that went away elsewhere, as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gone {
    /// The directory that had it; it may be gone too by now.
    pub parent: Ino,
    /// The path of that directory in the workspace: empty for the root.
    pub directory: String,
    /// The name.
    pub name: String,
    /// What it was.
    pub attr: Attr,
}

/// Where an inode has its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The directory that has it.
    pub parent: Ino,
    /// The path of that directory in the workspace: empty for the root.
    pub directory: String,
    /// The name.
    pub name: String,
    /// What it is.
    pub attr: Attr,
}

/// What setting an extended attribute requires of the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum XattrMode {
    /// Anything.
    #[default]
    Any,
    /// It must not be there (`XATTR_CREATE`).
    Create,
    /// It must be there (`XATTR_REPLACE`).
    Replace,
}
