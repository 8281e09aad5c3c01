//! Undo: what a pass replaced or deleted comes back, each on its own side, as something new.
//!
//! Only what is in a trash can come back, and only where nobody has put anything else since:
//! the folder's file must be as the pass left it, the bucket's name must be free. The next
//! pass carries what came back to the other side.

use bucket::{Condition, CopyOptions, Error as BucketError};

use crate::apply::Sides;
use crate::error::Result;
use crate::folder::{self, FolderError};
use crate::state::{Outcome, Pass, Taken};

/// What came of it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Undone {
    /// Files that are back in the folder.
    pub here: Vec<String>,
    /// Objects that are back in the bucket.
    pub there: Vec<String>,
    /// What could not come back, with the reason.
    pub left: Vec<(String, String)>,
}

/// The last pass that changed anything, with what it took away; `None` where it took nothing.
/// What an earlier one took stays in the trash: others have built on that since.
///
/// # Errors
/// The state's.
pub fn last(sides: &Sides) -> Result<Option<(Pass, Vec<Taken>)>> {
    for pass in sides.state.passes(u32::MAX)? {
        let taken = sides.state.taken(pass.id)?;
        if !taken.is_empty() {
            return Ok(Some((pass, taken)));
        }
        if !pass.is_no_change() {
            return Ok(None);
        }
    }
    Ok(None)
}

/// Brings back what a pass took away. What cannot come back now may do so later: it is known as
/// that pass's until it is in no trash any more.
///
/// # Errors
/// The folder's, the bucket's and the state's. What came back until then stays, and is noted.
pub async fn undo(sides: &Sides, pass: &Pass, taken: &[Taken]) -> Result<Undone> {
    let log = sides.state.begin_pass(sides.folder.now())?;
    let mut undone = Undone::default();
    let ended = each(sides, pass, &log, taken, &mut undone).await;
    let mut summary = format!(
        "undo: {} back here, {} in the bucket, {} left",
        undone.here.len(),
        undone.there.len(),
        undone.left.len()
    );
    let outcome = match &ended {
        Ok(()) => Outcome::Done,
        Err(error) => {
            summary += &format!("; {error}");
            Outcome::Failed
        }
    };
    let state = &sides.state;
    state.end_pass(&log, sides.folder.now(), outcome, &summary)?;
    ended.map(|()| undone)
}

async fn each(
    sides: &Sides,
    pass: &Pass,
    log: &Pass,
    taken: &[Taken],
    undone: &mut Undone,
) -> Result<()> {
    for one in taken {
        let shown = one.path.to_string();
        let back = match one.here {
            true => restore_here(sides, pass, log, one).await?,
            false => restore_there(sides, pass, one).await?,
        };
        if back
            .as_ref()
            .err()
            .is_none_or(|reason| reason == GONE || reason == GONE_THERE)
        {
            sides.state.forget_taken(pass, one)?;
        }
        match back {
            Err(reason) => undone.left.push((shown, reason)),
            Ok(()) if one.here => undone.here.push(shown),
            Ok(()) => undone.there.push(shown),
        }
    }
    Ok(())
}

const GONE: &str = "it is not in the folder's trash any more";
const GONE_THERE: &str = "it is not in the bucket's trash any more";

type Back = std::result::Result<(), String>;

async fn restore_here(sides: &Sides, pass: &Pass, log: &Pass, taken: &Taken) -> Result<Back> {
    let path = taken.path.clone();
    let of = path.clone();
    let there = folder::call(&sides.folder, move |folder| folder.stat(&of)).await?;
    let seen = sides.state.entry(&path)?.and_then(|entry| entry.seen);
    let as_left = there.is_none_or(|(_, stat)| seen.is_some_and(|seen| seen.stat == stat));
    if !as_left {
        return Ok(Err("the file here was changed since".to_owned()));
    }
    if there.is_some() {
        let kind = taken.kind;
        let taken = Taken {
            path: path.clone(),
            here: true,
            kind,
        };
        sides.state.take(log, &taken)?;
    }
    let (over, from, to) = (
        there.map(|(_, stat)| stat),
        pass.name.clone(),
        log.name.clone(),
    );
    let restored = folder::call(&sides.folder, move |folder| {
        folder.restore(&path, &from, over.as_ref(), &to)
    });
    match restored.await {
        Ok(true) => Ok(Ok(())),
        Ok(false) => Ok(Err(GONE.to_owned())),
        Err(FolderError::Changed { .. }) => Ok(Err("the file here was changed since".to_owned())),
        Err(error) => Err(error.into()),
    }
}

async fn restore_there(sides: &Sides, pass: &Pass, taken: &Taken) -> Result<Back> {
    let keys = &sides.keys;
    let trash = keys.hidden(&format!("trash/{}/{}", pass.name, taken.path));
    let Some((from, to)) = trash.zip(keys.entry(taken.kind, &taken.path)) else {
        return Ok(Err("its name is too long".to_owned()));
    };
    let taken_since = Ok(Err(
        "the bucket has another file of that name now".to_owned()
    ));
    if !sides.capabilities.copy_if_absent {
        match sides.bucket.head(&to).await {
            Ok(_) => return taken_since,
            Err(BucketError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let options = CopyOptions {
        condition: match sides.capabilities.copy_if_absent {
            true => Condition::Absent,
            false => Condition::None,
        },
        ..CopyOptions::default()
    };
    match sides.bucket.copy(&from, &to, options).await {
        Ok(_) => Ok(Ok(())),
        Err(BucketError::NotFound { .. }) => Ok(Err(GONE_THERE.to_owned())),
        Err(BucketError::Precondition { .. }) => taken_since,
        Err(error) => Err(error.into()),
    }
}
