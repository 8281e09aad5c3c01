//! Files being received: under a name of ours until they are whole.

use std::fs::{File, FileTimes};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, Timespec, Timestamps, openat, renameat_with, statat,
    symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use uuid::Uuid;

use super::super::{About, Folder, Incoming, Ready, Result};
use super::at::{Below, failed, io, kind_of, stat_of};
use super::{DiskFolder, changed};
use crate::entry::{Kind, Stat};
use crate::path::TreePath;

/// What cannot be read here could never be synced again.
const OWNER_READS: u32 = 0o400;

/// A file under a name of ours; removed when dropped, unless it is kept.
pub(super) struct Temporary {
    pub(super) folder: DiskFolder,
    pub(super) place: Below,
    pub(super) name: String,
    pub(super) file: File,
    pub(super) path: TreePath,
    pub(super) mode: Option<u32>,
    pub(super) is_kept: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        // Once it has its own name there is nothing to remove.
        let _ = unlinkat(&self.place, &self.name, AtFlags::empty());
    }
}

pub(super) fn begin(folder: DiskFolder, path: &TreePath) -> Result<Box<dyn Incoming>> {
    let place = folder.tree.tmp()?;
    let name = Uuid::new_v4().to_string();
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    // The user's umask decides, as for any new file; the directory is private.
    let fd = openat(&place, &name, flags, Mode::from_raw_mode(0o666));
    let file = File::from(fd.map_err(|error| failed("receive", path, error))?);
    Ok(Box::new(Temporary {
        folder,
        place,
        name,
        file,
        path: path.clone(),
        mode: None,
        is_kept: false,
    }))
}

impl Incoming for Temporary {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all(bytes);
        written.map_err(|error| io("write", self.path.as_str(), &error))
    }

    fn finish(mut self: Box<Self>, about: &About) -> Result<Box<dyn Ready>> {
        self.mode = about.mode;
        match about.kind {
            Kind::File => self.finish_file(about),
            Kind::Link => self.become_link(about),
        }
        .map_err(|error| io("receive", self.path.as_str(), &error))?;
        Ok(self)
    }
}

impl Temporary {
    /// The mode is the object's, as far as this user's umask lets a new file have it.
    pub(super) fn finish_file(&self, about: &About) -> std::io::Result<()> {
        if let Some(told) = about.mode {
            let allowed = self.file.metadata()?.permissions().mode();
            let allowed = allowed | ((allowed & 0o444) >> 2);
            let mode = (told & allowed & 0o777) | OWNER_READS;
            self.file
                .set_permissions(std::fs::Permissions::from_mode(mode))?;
        }
        self.file
            .set_times(FileTimes::new().set_modified(time_of(about.mtime)))?;
        Ok(self.folder.tree.flush.wait_for(&self.file)?)
    }

    /// The bytes are a link's target.
    fn become_link(&mut self, about: &About) -> std::io::Result<()> {
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::fs::FileExt;
        let size = usize::try_from(self.file.metadata()?.len()).unwrap_or(usize::MAX);
        let mut target = vec![0; size.min(4096)];
        self.file.read_exact_at(&mut target, 0)?;
        unlinkat(&self.place, &self.name, AtFlags::empty())?;
        let target = std::ffi::OsStr::from_bytes(&target);
        symlinkat(target, &self.place, &self.name)?;
        let time = Timespec {
            tv_sec: about.mtime.div_euclid(1_000_000_000),
            tv_nsec: about.mtime.rem_euclid(1_000_000_000),
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        utimensat(&self.place, &self.name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    /// Onto a name that is free.
    fn place_new(&self, to: &Below, path: &TreePath) -> Result<()> {
        let flags = RenameFlags::NOREPLACE;
        match renameat_with(&self.place, &self.name, to, path.name(), flags) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST | Errno::ISDIR | Errno::NOTEMPTY) => Err(changed(path)),
            Err(error) => Err(failed("name", path, error)),
        }
    }

    /// Onto a file that looks so: the two change places in one step, so that the name always
    /// leads to one of them, and what was there is in our hands whatever it was. Ours waits for
    /// that in the trash, under the name that the old one shall have there: whatever ends this
    /// program, the old one lies where it can be brought back from.
    fn exchange(&self, to: &Below, path: &TreePath, over: &Stat, trash: &str) -> Result<()> {
        let there = statat(to, path.name(), AtFlags::SYMLINK_NOFOLLOW);
        let there = match there {
            Ok(there) if stat_of(&there) == *over => there,
            Ok(_) | Err(Errno::NOENT) => return Err(changed(path)),
            Err(error) => return Err(failed("look at", path, error)),
        };
        if kind_of(&there) == Some(Kind::File) {
            let mode = replacing(there.st_mode & 0o7777, self.mode);
            let _ = rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode));
        }
        let (bin, name) = self.folder.tree.trash(trash, path)?;
        let failed_to = |action, error| failed(action, path, error);
        let flags = RenameFlags::NOREPLACE;
        renameat_with(&self.place, &self.name, &bin, &name, flags)
            .map_err(|error| failed_to("make ready", error))?;
        let back = || {
            renameat_with(&bin, &name, &self.place, &self.name, flags)
                .map_err(|error| failed_to("put back", error))
        };
        let swap = || renameat_with(&bin, &name, to, path.name(), RenameFlags::EXCHANGE);
        match swap() {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOSYS) => {
                back()?;
                self.folder.discard(path, over, trash)?;
                return self.place_new(to, path);
            }
            Err(error) => {
                back()?;
                return Err(failed_to("replace", error));
            }
        }
        let old = statat(&bin, &name, AtFlags::SYMLINK_NOFOLLOW);
        if old.is_ok_and(|old| stat_of(&old).is_renamed(over)) {
            return Ok(());
        }
        swap().map_err(|error| failed_to("put back", error))?;
        back()?;
        Err(changed(path))
    }
}

impl Ready for Temporary {
    fn install(
        self: Box<Self>,
        path: &TreePath,
        over: Option<&Stat>,
        trash: &str,
    ) -> Result<Option<Stat>> {
        let to = self.folder.tree.make_parent(path)?;
        let before = rustix::fs::statat(&self.place, &self.name, AtFlags::SYMLINK_NOFOLLOW);
        let before = before.map_err(|error| failed("look at", path, error))?;
        match over {
            None => self.place_new(&to, path)?,
            Some(over) => self.exchange(&to, path, over, trash)?,
        }
        let _ = self.folder.tree.flush.wait_for(&to);
        let now = self.folder.stat(path)?;
        let ours = stat_of(&before);
        Ok(now.map(|(_, now)| now).filter(|now| now.is_renamed(&ours)))
    }
}

/// The mode of a file that takes the place of another: who may read and write stays as it was
/// set here, whether it can be executed the new version says.
fn replacing(there: u32, told: Option<u32>) -> u32 {
    match told {
        None => there,
        Some(told) if told & 0o100 == 0 => there & !0o111,
        Some(_) => there | ((there & 0o444) >> 2),
    }
}

pub(super) fn time_of(nanos: i64) -> SystemTime {
    let size = Duration::from_nanos(nanos.unsigned_abs());
    let time = match nanos < 0 {
        true => UNIX_EPOCH.checked_sub(size),
        false => UNIX_EPOCH.checked_add(size),
    };
    time.unwrap_or(UNIX_EPOCH)
}
