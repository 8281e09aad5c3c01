//! Whether bytes that came are those that the store names by its ETag.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::composite::is_md5;
use crate::entry::RemoteEntry;
use crate::folder::FolderError;
use crate::path::TreePath;

/// A store that gave an ETag of its own to so many objects, and an MD5 to none, has no MD5s.
const ENOUGH: u32 = 8;

/// What a pass has learnt of the store's ETags.
#[derive(Default)]
pub(super) struct Tags {
    is_md5: AtomicBool,
    others: AtomicU32,
}

/// What to do with bytes that came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They are the version.
    Taken,
    /// They are fetched once more, to see whether they come alike.
    Again,
}

impl Tags {
    /// Judges bytes by their MD5, and by that of the fetch before, where this is the second.
    ///
    /// An ETag of 32 hexadecimal digits is the MD5 of the bytes at most stores; where they are
    /// encrypted with keys of a service it looks the same and is none. So bytes at odds with it
    /// are taken only if a second fetch brings the same ones.
    pub(super) fn judge(
        &self,
        path: &TreePath,
        remote: &RemoteEntry,
        md5: [u8; 16],
        before: Option<[u8; 16]>,
    ) -> Result<Verdict, FolderError> {
        if !is_md5(remote.etag.as_str()) {
            return Ok(Verdict::Taken);
        }
        if may_be(remote, md5) {
            self.is_md5.store(true, Ordering::Relaxed);
            return Ok(Verdict::Taken);
        }
        match before {
            None if self.has_no_md5() => Ok(Verdict::Taken),
            None => Ok(Verdict::Again),
            Some(before) if before == md5 => {
                self.others.fetch_add(1, Ordering::Relaxed);
                Ok(Verdict::Taken)
            }
            Some(_) => Err(FolderError::Io {
                action: "receive",
                path: path.to_string(),
                reason: format!(
                    "what came is not what its ETag {} says, and was something else when it was \
                     fetched again: look for a proxy or a disk that damages data",
                    remote.etag.as_str()
                ),
            }),
        }
    }

    fn has_no_md5(&self) -> bool {
        self.others.load(Ordering::Relaxed) >= ENOUGH && !self.is_md5.load(Ordering::Relaxed)
    }
}

/// Whether bytes with this MD5 can be the version, as far as its ETag can tell.
pub(super) fn may_be(remote: &RemoteEntry, md5: [u8; 16]) -> bool {
    !is_md5(remote.etag.as_str()) || remote.etag.as_str().eq_ignore_ascii_case(&hex::encode(md5))
}

#[cfg(test)]
mod tests;
