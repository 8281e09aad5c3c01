//! Modification times of a path whose content is the same on both sides.
//!
//! A time is carried where somebody set it since the sides were last alike; where both did,
//! the later one. A difference alone says nothing: file systems and other tools round times.

use super::{Act, Picture};
use crate::entry::{BaseEntry, Kind, LocalEntry, RemoteEntry};
use crate::path::TreePath;

/// How the times of the two sides stand.
pub(super) enum Times {
    /// Nobody set one, or both say the same.
    Alike,
    /// What the object says is not known.
    Unknown,
    /// One side gets the other's.
    Differ(Act),
}

pub(super) fn judge(
    picture: &Picture,
    path: &TreePath,
    base: &BaseEntry,
    local: &LocalEntry,
    remote: &RemoteEntry,
) -> Times {
    if local.kind == Kind::Link {
        return Times::Alike;
    }
    let here = base
        .seen
        .is_some_and(|seen| seen.stat.mtime != local.stat.mtime);
    let there = base.modified.is_some_and(|known| known != remote.modified);
    let mtime = local.stat.mtime;
    let told = picture.answers.times.get(path);
    match (here, there, told) {
        (false, false, _) => Times::Alike,
        (true, false, _) => Times::Differ(send(picture, base, local, remote)),
        (_, true, None) => Times::Unknown,
        // Whoever wrote the metadata anew left the time out.
        (true, true, Some(None)) => Times::Differ(send(picture, base, local, remote)),
        (false, true, Some(None)) => Times::Alike,
        (_, true, Some(Some(told))) if *told == mtime => Times::Alike,
        (true, true, Some(Some(told))) if mtime > *told => {
            Times::Differ(send(picture, base, local, remote))
        }
        (_, true, Some(Some(told))) => Times::Differ(Act::SetTime {
            local: local.clone(),
            remote: remote.clone(),
            mtime: *told,
            hash: base.hash,
        }),
    }
}

fn send(picture: &Picture, base: &BaseEntry, local: &LocalEntry, remote: &RemoteEntry) -> Act {
    Act::SendTime {
        local: local.clone(),
        remote: remote.clone(),
        at: picture.local.at,
        hash: base.hash,
    }
}
