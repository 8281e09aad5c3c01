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
    Ok(begin_temporary(folder, path)?)
}

fn begin_temporary(folder: DiskFolder, path: &TreePath) -> Result<Box<Temporary>> {
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
            // Whose bytes they were may run as another user; these are others.
            let mode = replacing(there.st_mode & 0o777, self.mode);
            let _ = rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode));
        }
        let waiting = self.wait_in_trash(path, trash)?;
        match waiting.swap(to, path.name()) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOSYS) => {
                waiting
                    .back(self)
                    .map_err(|error| failed("put back", path, error))?;
                self.folder.discard(path, over, trash)?;
                return self.place_new(to, path);
            }
            Err(error) => {
                waiting
                    .back(self)
                    .map_err(|error| failed("put back", path, error))?;
                return Err(failed("replace", path, error));
            }
        }
        let old = waiting.held();
        if old.is_ok_and(|old| stat_of(&old).is_renamed(over)) {
            return Ok(());
        }
        let given = waiting.give_back(self, to, path.name());
        given.map_err(|error| failed("put back", path, error))?;
        Err(changed(path))
    }

    /// Moves the new version to where the old one shall lie.
    fn wait_in_trash(&self, path: &TreePath, trash: &str) -> Result<Waiting> {
        let ours = statat(&self.place, &self.name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| failed("look at", path, error))?;
        let (bin, name) = self.folder.tree.trash(trash, path)?;
        let flags = RenameFlags::NOREPLACE;
        renameat_with(&self.place, &self.name, &bin, &name, flags)
            .map_err(|error| failed("make ready", path, error))?;
        let ino = ours.st_ino;
        Ok(Waiting { bin, name, ino })
    }
}

/// A new version in the trash, where the exchange puts the old one in its place.
struct Waiting {
    bin: Below,
    name: String,
    /// The new version's inode.
    ino: u64,
}

impl Waiting {
    fn swap(&self, to: &Below, name: &str) -> std::result::Result<(), Errno> {
        renameat_with(&self.bin, &self.name, to, name, RenameFlags::EXCHANGE)
    }

    fn held(&self) -> std::result::Result<rustix::fs::Stat, Errno> {
        statat(&self.bin, &self.name, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Takes the new version out of the trash again.
    fn back(&self, to: &Temporary) -> std::result::Result<(), Errno> {
        let flags = RenameFlags::NOREPLACE;
        renameat_with(&self.bin, &self.name, &to.place, &to.name, flags)
    }

    /// Somebody saved between the look and the exchange: what they saved last gets the name,
    /// and what they saved before stays in the trash. Should the name be gone by now, what was
    /// exchanged stays there too.
    fn give_back(&self, new: &Temporary, to: &Below, name: &str) -> std::result::Result<(), Errno> {
        self.swap(to, name)?;
        if self.held()?.st_ino == self.ino {
            return self.back(new);
        }
        // They saved once more meanwhile, over the new version.
        self.swap(to, name)
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A file `f` that says "first", and a new version that waits in the trash for its name.
    fn waiting(root: &std::path::Path) -> (Box<Temporary>, Below, Waiting) {
        let path = TreePath::parse("f").unwrap();
        let folder = DiskFolder::open(root).unwrap();
        fs::write(root.join("f"), "first").unwrap();
        let new = begin_temporary(folder, &path).unwrap();
        (&new.file).write_all(b"new").unwrap();
        let to = new.folder.tree.make_parent(&path).unwrap();
        let waiting = new.wait_in_trash(&path, "t").unwrap();
        (new, to, waiting)
    }

    fn save(root: &std::path::Path, text: &str) {
        fs::write(root.join("saved"), text).unwrap();
        fs::rename(root.join("saved"), root.join("f")).unwrap();
    }

    fn text(path: std::path::PathBuf) -> String {
        fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn what_was_saved_before_the_exchange_gets_its_name_back() {
        let root = tempfile::tempdir().unwrap();
        let (new, to, waiting) = waiting(root.path());
        save(root.path(), "second");
        waiting.swap(&to, "f").unwrap();
        waiting.give_back(&new, &to, "f").unwrap();
        assert_eq!(text(root.path().join("f")), "second");
        let received = root.path().join(".artifacts/tmp").join(&new.name);
        assert_eq!(text(received.clone()), "new");
        drop(new);
        assert!(!received.exists());
    }

    #[test]
    fn what_was_saved_twice_is_kept_twice() {
        let root = tempfile::tempdir().unwrap();
        let (new, to, waiting) = waiting(root.path());
        save(root.path(), "second");
        waiting.swap(&to, "f").unwrap();
        save(root.path(), "third");
        waiting.give_back(&new, &to, "f").unwrap();
        drop(new);
        assert_eq!(text(root.path().join("f")), "third");
        assert_eq!(text(root.path().join(".artifacts/trash/t/f")), "second");
    }

    #[test]
    fn what_was_saved_and_renamed_stays_in_the_trash() {
        let root = tempfile::tempdir().unwrap();
        let (new, to, waiting) = waiting(root.path());
        save(root.path(), "second");
        waiting.swap(&to, "f").unwrap();
        fs::rename(root.path().join("f"), root.path().join("f~")).unwrap();
        assert_eq!(waiting.give_back(&new, &to, "f"), Err(Errno::NOENT));
        drop(new);
        assert_eq!(text(root.path().join(".artifacts/trash/t/f")), "second");
        assert_eq!(text(root.path().join("f~")), "new");
    }

    /// Of set-user-id nothing stays: the bytes are others'.
    #[test]
    fn a_new_version_runs_as_nobody_else() {
        let root = tempfile::tempdir().unwrap();
        let path = TreePath::parse("f").unwrap();
        let folder = DiskFolder::open(root.path()).unwrap();
        fs::write(root.path().join("f"), "old").unwrap();
        fs::set_permissions(root.path().join("f"), fs::Permissions::from_mode(0o4755)).unwrap();
        let (_, stat) = folder.stat(&path).unwrap().unwrap();
        let mut new = begin_temporary(folder, &path).unwrap();
        new.mode = Some(0o4755);
        new.install(&path, Some(&stat), "t").unwrap().unwrap();
        let mode = fs::metadata(root.path().join("f"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o755);
    }
}
