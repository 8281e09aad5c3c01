//! One cached file body: a sparse local file and which of its bytes are here.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use rangemap::RangeSet;
use tokio::sync::Notify;

use crate::FsError;
use crate::clock::{self, Stamp};

/// A body's name in the cache folder: random, so that a new version never meets an old
/// version's file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct BodyId(String);

impl BodyId {
    pub(crate) fn random() -> Self {
        Self(uuid::Uuid::new_v4().simple().to_string())
    }

    /// Takes an id read from disk; only what [`Self::random`] makes is one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let valid = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        valid.then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A sparse copy of one version of one file, or a file being written here.
pub(crate) struct Body {
    id: BodyId,
    path: PathBuf,
    state: Mutex<State>,
    /// Woken whenever bytes arrive or a fetch ends.
    pub(crate) arrived: Notify,
    /// Parts being fetched, with how to wait for each.
    pub(crate) fetches: Mutex<Vec<(Range<u64>, crate::fetch::Wait)>>,
    /// Bytes on disk of all bodies of one cache.
    total: Arc<AtomicU64>,
}

struct State {
    /// Open for reading and writing.
    file: Weak<File>,
    /// Open for reading only.
    reading: Weak<File>,
    /// `None`: every byte of the file is real.
    missing: Option<Present>,
    counted: u64,
    /// The file is no longer on the disk: what handles still bring in takes no room there.
    discarded: bool,
    used: Stamp,
    /// How the file looked when all of it was last known to survive a power cut.
    synced: Option<BodyStamp>,
    /// How the file was last seen to look, and since when.
    seen: Option<(BodyStamp, Stamp)>,
}

struct Present {
    length: u64,
    ranges: RangeSet<u64>,
}

/// Longer than any tick of the clock that files are stamped with.
pub(crate) const RECENT: Duration = Duration::from_millis(20);

/// What tells that a file's content may have changed: the kernel moves `ctime` with every
/// write, also with those that never pass through us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BodyStamp {
    pub(crate) size: u64,
    pub(crate) mtime: i128,
    pub(crate) ctime: i128,
}

impl BodyStamp {
    pub(crate) fn of(meta: &std::fs::Metadata) -> Self {
        Self {
            size: meta.size(),
            mtime: i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec()),
            ctime: i128::from(meta.ctime()) * 1_000_000_000 + i128::from(meta.ctime_nsec()),
        }
    }

    pub(crate) fn modified(&self) -> SystemTime {
        clock::from_nanos(i64::try_from(self.mtime).unwrap_or(i64::MAX))
    }

    /// Whether a write right after this stamp could leave it unmoved: the clock that files
    /// are stamped with may tick only every few milliseconds.
    pub(crate) fn is_recent(&self) -> bool {
        let now = i128::from(clock::to_nanos(SystemTime::now()));
        // A write now would not be stamped with a time to come.
        now >= self.ctime && self.age() < RECENT
    }

    /// How long ago the file changed by the wall clock; zero when that was set back since,
    /// see [`Body::still_for`].
    pub(crate) fn age(&self) -> Duration {
        let now = i128::from(clock::to_nanos(SystemTime::now()));
        Duration::from_nanos(u64::try_from(now - self.ctime).unwrap_or(0))
    }
}

impl Body {
    pub(crate) fn create(
        folder: &Path,
        id: BodyId,
        total: Arc<AtomicU64>,
        length: Option<u64>,
    ) -> io::Result<(Arc<Self>, Arc<File>)> {
        let path = path_of(folder, &id);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => {
                    std::fs::create_dir_all(path.parent().unwrap_or(folder))?;
                    // Else a power cut could take the new folder with what is synced in it.
                    File::open(folder)?.sync_all()?;
                    OpenOptions::new()
                        .read(true)
                        .write(true)
                        .create_new(true)
                        .open(&path)
                }
                _ => Err(error),
            })?;
        if let Some(length) = length {
            file.set_len(length)?;
        }
        let file = Arc::new(file);
        let missing = length.filter(|length| *length > 0).map(|length| Present {
            length,
            ranges: RangeSet::new(),
        });
        let body = Self::assemble(id, path, total, missing, 0, Arc::downgrade(&file));
        Ok((Arc::new(body), file))
    }

    /// A whole body left by an earlier mount.
    pub(crate) fn reopen(folder: &Path, id: BodyId, total: Arc<AtomicU64>, size: u64) -> Arc<Self> {
        let path = path_of(folder, &id);
        total.fetch_add(size, Ordering::Relaxed);
        Arc::new(Self::assemble(id, path, total, None, size, Weak::new()))
    }

    fn assemble(
        id: BodyId,
        path: PathBuf,
        total: Arc<AtomicU64>,
        missing: Option<Present>,
        counted: u64,
        file: Weak<File>,
    ) -> Self {
        Self {
            id,
            path,
            state: Mutex::new(State {
                file,
                reading: Weak::new(),
                missing,
                counted,
                discarded: false,
                used: Stamp::now(),
                synced: None,
                seen: None,
            }),
            arrived: Notify::new(),
            fetches: Mutex::new(Vec::new()),
            total,
        }
    }

    pub(crate) fn id(&self) -> &BodyId {
        &self.id
    }

    /// The file, open for reading and writing; opened when nobody has it open so.
    pub(crate) fn file(&self) -> Result<Arc<File>, FsError> {
        let mut state = self.state.lock();
        state.used = Stamp::now();
        shared(&mut state.file, || {
            OpenOptions::new().read(true).write(true).open(&self.path)
        })
    }

    /// The file, open for reading only: who only reads must not look like a writer, see
    /// [`Self::has_writers`].
    pub(crate) fn reading(&self) -> Result<Arc<File>, FsError> {
        let mut state = self.state.lock();
        state.used = Stamp::now();
        shared(&mut state.reading, || File::open(&self.path))
    }

    /// Whether anybody may still change the file, this process or a program to which the
    /// kernel gave it (a mapping counts too, after its descriptor was closed).
    pub(crate) fn has_writers(&self) -> Result<bool, FsError> {
        File::open(&self.path)
            .and_then(|file| crate::lease::is_open_for_writing(&file))
            .map_err(|error| local_error(&error))
    }

    /// Whether someone removed the file from the cache folder.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(std::fs::metadata(&self.path), Err(error) if error.kind() == io::ErrorKind::NotFound)
    }

    pub(crate) fn used(&self) -> Stamp {
        self.state.lock().used
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.state.lock().missing.is_none()
    }

    pub(crate) fn has(&self, range: &Range<u64>) -> bool {
        if range.is_empty() {
            return true;
        }
        match &self.state.lock().missing {
            None => true,
            Some(present) => present.ranges.gaps(range).next().is_none(),
        }
    }

    /// The first missing bytes at or after `from`, up to the body's end.
    pub(crate) fn first_gap(&self, from: u64) -> Option<Range<u64>> {
        let state = self.state.lock();
        let present = state.missing.as_ref()?;
        if from >= present.length {
            return None;
        }
        present.ranges.gaps(&(from..present.length)).next()
    }

    /// Writes fetched bytes and tells whoever waits for them.
    pub(crate) fn fill(&self, file: &File, offset: u64, bytes: &[u8]) -> Result<(), FsError> {
        if bytes.is_empty() {
            return Ok(());
        }
        file.write_all_at(bytes, offset)
            .map_err(|error| local_error(&error))?;
        let mut state = self.state.lock();
        if let Some(present) = &mut state.missing {
            let end = offset + bytes.len() as u64;
            present.ranges.insert(offset..end);
            let whole = present.ranges.gaps(&(0..present.length)).next().is_none();
            if whole {
                state.missing = None;
            }
        }
        drop(state);
        self.count(bytes.len() as u64);
        self.arrived.notify_waiters();
        Ok(())
    }

    pub(crate) fn read(&self, file: &File, range: Range<u64>) -> Result<Bytes, FsError> {
        let length = usize::try_from(range.end - range.start).map_err(|_| FsError::Invalid)?;
        let mut buffer = BytesMut::zeroed(length);
        let mut filled = 0;
        while filled < length {
            match file.read_at(&mut buffer[filled..], range.start + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(local_error(&error)),
            }
        }
        buffer.truncate(filled);
        Ok(buffer.freeze())
    }

    /// What the file looks like now.
    pub(crate) fn stamp(&self) -> Result<BodyStamp, FsError> {
        let open = {
            let state = self.state.lock();
            state.file.upgrade().or_else(|| state.reading.upgrade())
        };
        let meta = match open {
            Some(file) => file.metadata(),
            None => std::fs::metadata(&self.path),
        }
        .map_err(|error| local_error(&error))?;
        Ok(BodyStamp::of(&meta))
    }

    /// For how long the file has looked so, on the boot clock: the wall clock, by which the
    /// kernel stamps files, may be set back.
    pub(crate) fn still_for(&self, stamp: BodyStamp, now: Stamp) -> Duration {
        let mut state = self.state.lock();
        match state.seen {
            Some((seen, since)) if seen == stamp => now.since(since).max(stamp.age()),
            _ => {
                state.seen = Some((stamp, now));
                stamp.age()
            }
        }
    }

    /// Makes the cache's byte count what was written here.
    pub(crate) fn recount(&self, size: u64) {
        let mut state = self.state.lock();
        if !state.discarded {
            self.total.fetch_add(size, Ordering::Relaxed);
            self.total.fetch_sub(state.counted, Ordering::Relaxed);
            state.counted = size;
        }
    }

    /// Makes content and name survive a crash of the machine.
    pub(crate) fn sync(&self) -> Result<(), FsError> {
        let stamp = self.stamp()?;
        let file = self.reading()?;
        let folder = self.path.parent().unwrap_or(&self.path);
        file.sync_all()
            .and_then(|()| File::open(folder)?.sync_all())
            .map_err(|error| local_error(&error))?;
        self.is_synced_at(stamp);
        Ok(())
    }

    /// All that the file held when it looked so is known to survive a crash of the machine.
    pub(crate) fn is_synced_at(&self, stamp: BodyStamp) {
        self.state.lock().synced = Some(stamp);
    }

    /// How the file looked when that was last so.
    pub(crate) fn synced(&self) -> Option<BodyStamp> {
        self.state.lock().synced
    }

    /// Removes the file from the disk; handles that are open go on reading it.
    pub(crate) fn discard(&self) {
        {
            let mut state = self.state.lock();
            state.discarded = true;
            let counted = std::mem::take(&mut state.counted);
            self.total.fetch_sub(counted, Ordering::Relaxed);
        }
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, body = self.id.as_str(), "a cached body could not be removed");
        }
    }

    fn count(&self, bytes: u64) {
        let mut state = self.state.lock();
        if !state.discarded {
            state.counted += bytes;
            self.total.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

/// The file behind `slot`, opened when it is not open.
fn shared(
    slot: &mut Weak<File>,
    open: impl FnOnce() -> io::Result<File>,
) -> Result<Arc<File>, FsError> {
    if let Some(file) = slot.upgrade() {
        return Ok(file);
    }
    let file = Arc::new(open().map_err(|error| local_error(&error))?);
    *slot = Arc::downgrade(&file);
    Ok(file)
}

/// Where a body lies: 256 folders, so that none grows huge.
pub(crate) fn path_of(folder: &Path, id: &BodyId) -> PathBuf {
    folder.join(&id.0[..2]).join(&id.0)
}

/// A local I/O error as the tree says it.
pub(crate) fn local_error(error: &io::Error) -> FsError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FsError::NoSpace,
        io::ErrorKind::FileTooLarge => FsError::FileTooLarge,
        io::ErrorKind::ReadOnlyFilesystem => FsError::NoSpace,
        io::ErrorKind::InvalidInput => FsError::Invalid,
        _ => FsError::Local(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_still_after_a_while_although_the_wall_clock_was_set_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let total = Arc::new(AtomicU64::new(0));
        let made = Body::create(folder.path(), BodyId::random(), total, None);
        let (body, _file) = made.expect("a body");
        let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
        let stamp = BodyStamp {
            size: 1,
            mtime: 0,
            ctime: i128::from(clock::to_nanos(tomorrow)),
        };
        assert!(!stamp.is_recent(), "a write now would be stamped otherwise");
        let now = Stamp::now();
        assert_eq!(body.still_for(stamp, now), Duration::ZERO);
        let later = now.after(Duration::from_secs(6));
        assert_eq!(body.still_for(stamp, later), Duration::from_secs(6));
        let written = BodyStamp { size: 2, ..stamp };
        assert_eq!(body.still_for(written, later), Duration::ZERO);
    }
}
