//! Looks at both sides and plans; changes nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use bucket::{GetOptions, Key};
use futures::StreamExt;

use crate::apply::Sides;
use crate::composite;
use crate::entry::{Hash, Kind, LocalEntry, RemoteEntry};
use crate::error::{Access, Result, SyncError};
use crate::folder::{self, FolderError, Walked};
use crate::ignored::Rules;
use crate::keys::{self, Keys};
use crate::known::Known;
use crate::marker::Marker;
use crate::path::TreePath;
use crate::plan::{Base, Local, Picture, Plan, Refusal, plan};
use crate::remote;
use crate::settings::Settings;
use crate::settle::{Found, settle};

/// Files that are hashed, or compared, at one time.
const AT_ONCE: usize = 4;

/// Objects that are asked for their times at one time.
const HEADS_AT_ONCE: usize = 16;

/// How often a plan's questions are answered: each answer may raise one more.
const ROUNDS: usize = 8;

/// Both sides as they are, and the plan that follows.
///
/// # Errors
/// [`SyncError`]; a stop is part of the plan.
pub async fn look(sides: &Sides, settings: &Settings) -> Result<(Plan, Picture)> {
    check_access(sides, settings)?;
    let known = Arc::new(sides.state.known()?);
    let mut picture = Picture {
        base: Base {
            directories: sides.state.directories()?,
            ..Base::default()
        },
        sending: sides.state.sending()?,
        deleting: sides.state.deleting()?,
        prefix_bytes: sides.keys.prefix().len(),
        ..Picture::default()
    };
    let walk = async {
        let (known, step) = (Arc::clone(&known), settings.time_step);
        let walked = folder::call(&sides.folder, move |folder| {
            let at = folder.now();
            folder.walk(&known, step).map(|walked| (walked, at))
        });
        walked.await.map_err(SyncError::from)
    };
    let list = async {
        let listed = remote::list(&sides.bucket, &sides.keys, &known).await;
        listed.map_err(SyncError::from)
    };
    let ((walked, at), listed) = futures::try_join!(walk, list)?;
    picture.remote = listed.remote;
    picture.refused = listed.refused;
    let (here, files) = take_walk(&mut picture, walked, at, &sides.keys);
    let rules = rules(sides, &mut picture, files).await?;
    let there = listed.as_stored;
    settle(&mut picture, Found { known, here, there }, &rules);
    leave_out(&mut picture, &rules);
    for _ in 0..ROUNDS {
        let plan = plan(&picture, settings);
        if plan.questions.is_empty() {
            return Ok((plan, picture));
        }
        answer(sides, &mut picture, &plan).await?;
    }
    // Files that change faster than they can be read wait for a quieter moment.
    let open = plan(&picture, settings).questions;
    picture.frozen.extend(open.hash);
    picture.frozen.extend(open.same);
    picture.frozen.extend(open.times);
    Ok((plan(&picture, settings), picture))
}

/// Refuses a folder that is not the one that was synced.
fn check_access(sides: &Sides, settings: &Settings) -> Result<()> {
    let identity = sides.folder.identity()?;
    let info = sides.state.info()?;
    let marker = identity.marker.as_deref().and_then(Marker::parse);
    match marker {
        Some(marker) if marker.workspace != info.workspace => {
            return Err(Access::Other(marker.workspace.to_string()).into());
        }
        None if info.root.is_some() => return Err(Access::NoMarker.into()),
        _ => {}
    }
    let replaced = info.root.is_some_and(|root| root != identity.ino);
    if replaced && settings.check_access {
        return Err(Access::Replaced.into());
    }
    Ok(())
}

/// Takes what a walk found; gives back what looks as it was known, and the files of rules.
fn take_walk(
    picture: &mut Picture,
    walked: Walked,
    at: i64,
    keys: &Keys,
) -> (Vec<u32>, Vec<TreePath>) {
    let Walked {
        as_seen,
        rules,
        entries,
        directories,
        unknown,
        skipped,
    } = walked;
    let skipped = skipped.into_iter();
    picture
        .refused
        .extend(skipped.map(|(name, reason)| Refusal { name, reason }));
    for (path, reason) in unknown {
        picture.refused.push(Refusal {
            name: path.to_string(),
            reason,
        });
        picture.frozen.insert(path);
    }
    let mut local = Local {
        directories: directories.into_iter().collect(),
        at,
        ..Local::default()
    };
    for (path, kind, stat) in entries {
        if let Some(reason) = unfit(&path, kind, keys) {
            picture.refused.push(Refusal {
                name: path.to_string(),
                reason: reason.to_owned(),
            });
            picture.frozen.insert(path.clone());
        }
        let hash = None;
        local.entries.insert(path, LocalEntry { kind, stat, hash });
    }
    picture.local = local;
    (as_seen, rules)
}

/// The rules that count in a folder, and what is wrong with them.
///
/// # Errors
/// The folder's.
pub async fn rules_of(sides: &Sides) -> Result<(Rules, Vec<Refusal>)> {
    let walk = |folder: &dyn folder::Folder| folder.walk(&Known::default(), 0);
    let walked = folder::call(&sides.folder, walk).await?;
    let mut picture = Picture::default();
    let rules = rules(sides, &mut picture, walked.rules).await?;
    Ok((rules, picture.refused))
}

/// The rules of the folder. Files that lie below something left out do not count, as in git,
/// because nothing below can come back.
async fn rules(sides: &Sides, picture: &mut Picture, files: Vec<TreePath>) -> Result<Rules> {
    let mut rules = Rules::default();
    for file in files {
        let of = file.clone();
        let bytes = folder::call(&sides.folder, move |folder| folder.read_small(&of)).await?;
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        let Some(text) = text else {
            // Without its rules, what they leave out would be sent.
            return Err(FolderError::Io {
                action: "read",
                path: file.to_string(),
                reason: "it is not a text of rules in UTF-8, or was changed this moment".to_owned(),
            }
            .into());
        };
        let wrong = rules.add(&file, &text).into_iter();
        picture.refused.extend(wrong.map(|reason| Refusal {
            name: file.to_string(),
            reason,
        }));
    }
    Ok(rules)
}

/// Takes what the rules leave out from both sides.
pub(crate) fn leave_out(picture: &mut Picture, rules: &Rules) {
    if rules.is_empty() {
        return;
    }
    let out = |path: &TreePath, is_directory| rules.leaves_out(path, is_directory);
    let Picture {
        base,
        local,
        remote,
        ignored,
        kept,
        left_out,
        left_there,
        refused,
        ..
    } = picture;
    for path in remote.entries.keys() {
        if base.entries.contains_key(path) && out(path, false) {
            refused.push(Refusal {
                name: path.to_string(),
                reason:
                    "left out by a rule now; `artifacts bisync prune` removes the bucket's copy"
                        .to_owned(),
            });
        }
    }
    local.entries.retain(|path, _| {
        let gone = out(path, false);
        if gone {
            *left_out += 1;
            kept.extend(path.ancestors());
        }
        !gone
    });
    local.directories.retain(|path| {
        let gone = out(path, true);
        if gone {
            kept.extend(path.ancestors());
        }
        !gone
    });
    remote.entries.retain(|path, entry| {
        let gone = out(path, false);
        if gone {
            left_there.insert(path.clone(), entry.clone());
        }
        !gone
    });
    remote.markers.retain(|path, _| !out(path, true));
    remote.shadowed.retain(|path, _| !out(path, false));
    let known = base.entries.keys().filter(|path| out(path, false));
    ignored.extend(known.cloned());
    base.directories.retain(|path| !out(path, true));
}

/// Why the bucket cannot hold a file of this name.
fn unfit(path: &TreePath, kind: Kind, keys: &Keys) -> Option<&'static str> {
    if keys::is_reserved(path) {
        return Some("names that end in .rclonelink stand for symbolic links");
    }
    match keys.entry(kind, path) {
        Some(_) => None,
        None => Some("the path is too long for an object's key (1,024 bytes)"),
    }
}

async fn answer(sides: &Sides, picture: &mut Picture, plan: &Plan) -> Result<()> {
    hash_all(sides, picture, &plan.questions.hash).await?;
    compare_all(sides, picture, &plan.questions.same).await?;
    ask_times(sides, picture, &plan.questions.times).await
}

/// What objects say of their modification times; only those that a plan asks for, because each
/// is one request.
async fn ask_times(sides: &Sides, picture: &mut Picture, paths: &BTreeSet<TreePath>) -> Result<()> {
    let entries = &picture.remote.entries;
    let wanted = paths.iter().filter_map(|path| {
        let entry = entries.get(path)?;
        let key = sides.keys.entry(entry.kind, path)?;
        Some((path.clone(), key, entry.etag.clone()))
    });
    let wanted: Vec<_> = wanted.collect();
    let answers: Vec<_> = futures::stream::iter(wanted)
        .map(|(path, key, etag)| async move {
            let told = sides.bucket.head(&key).await;
            (path, told.map(|meta| (meta.etag == etag).then_some(meta)))
        })
        .buffer_unordered(HEADS_AT_ONCE)
        .collect()
        .await;
    for (path, told) in answers {
        match told {
            Ok(Some(meta)) => {
                let mtime = mtime_of(&meta.metadata);
                picture.answers.times.insert(path, mtime);
            }
            // Another version by now.
            Ok(None) | Err(bucket::Error::NotFound { .. }) => {
                picture.frozen.insert(path);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The modification time that an object says it has.
pub(crate) fn mtime_of(metadata: &bucket::Metadata) -> Option<i64> {
    let text = metadata.get("mtime")?;
    model::file_metadata::mtime(text)
}

async fn hash_all(sides: &Sides, picture: &mut Picture, paths: &BTreeSet<TreePath>) -> Result<()> {
    let entries = &picture.local.entries;
    let wanted = paths.iter().filter_map(|path| {
        let entry = entries.get(path)?;
        Some((path.clone(), entry.clone()))
    });
    let answers: Vec<_> = futures::stream::iter(wanted.collect::<Vec<_>>())
        .map(|(path, entry)| async move {
            let hash = hash(sides, &path, &entry).await;
            (path, hash)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    for (path, hash) in answers {
        match (hash, picture.local.entries.get_mut(&path)) {
            (Ok((hash, _)), Some(entry)) => entry.hash = Some(hash),
            (Err(error), _) => freeze(picture, path, &error)?,
            (Ok(_), None) => {}
        }
    }
    Ok(())
}

async fn hash(
    sides: &Sides,
    path: &TreePath,
    entry: &LocalEntry,
) -> folder::Result<(Hash, [u8; 16])> {
    let (of, kind, stat) = (path.clone(), entry.kind, entry.stat);
    folder::call(&sides.folder, move |folder| folder.hash(&of, kind, &stat)).await
}

/// A file that cannot be read now is left alone in this pass.
fn freeze(picture: &mut Picture, path: TreePath, error: &FolderError) -> Result<()> {
    if let FolderError::NoFolder { .. } = error {
        return Err(error.clone().into());
    }
    let reason = match error {
        FolderError::Changed { .. } => "somebody writes to it; the next run looks again".to_owned(),
        error => error.to_string(),
    };
    picture.refused.push(Refusal {
        name: path.to_string(),
        reason,
    });
    picture.frozen.insert(path);
    Ok(())
}

async fn compare_all(
    sides: &Sides,
    picture: &mut Picture,
    paths: &BTreeSet<TreePath>,
) -> Result<()> {
    let wanted: Vec<_> = paths
        .iter()
        .filter_map(|path| {
            let local = picture.local.entries.get(path)?.clone();
            let remote = picture.remote.entries.get(path)?.clone();
            Some((path.clone(), local, remote))
        })
        .collect();
    let answers: Vec<_> = futures::stream::iter(wanted)
        .map(|(path, local, remote)| async move {
            let answer = compare(sides, &path, &local, &remote).await;
            (path, answer)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    for (path, answer) in answers {
        match answer {
            Ok((same, hash)) => {
                if let Some(entry) = picture.local.entries.get_mut(&path) {
                    entry.hash = Some(hash);
                }
                picture.answers.same.insert(path, (same, hash));
            }
            Err(SyncError::Folder(error)) => freeze(picture, path, &error)?,
            Err(SyncError::Bucket(
                bucket::Error::NotFound { .. } | bucket::Error::Precondition { .. },
            )) => {
                picture.frozen.insert(path);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether two contents of one size are the same: by the ETag where that is an MD5, of the whole
/// or of its parts, else byte for byte.
async fn compare(
    sides: &Sides,
    path: &TreePath,
    local: &LocalEntry,
    remote: &RemoteEntry,
) -> Result<(bool, Hash)> {
    let (ours, md5) = hash(sides, path, local).await?;
    if hex::encode(md5) == remote.etag.as_str() {
        return Ok((true, ours));
    }
    for length in composite::lengths(&remote.etag, remote.size) {
        let (of, stat) = (path.clone(), local.stat);
        let etag = folder::call(&sides.folder, move |folder| {
            folder.etag_of_parts(&of, &stat, length)
        });
        if local.kind == Kind::File && etag.await? == remote.etag {
            return Ok((true, ours));
        }
    }
    let Some(key) = sides.keys.entry(remote.kind, path) else {
        return Ok((false, ours));
    };
    let theirs = hash_object(sides, &key, remote).await?;
    Ok((ours == theirs, ours))
}

async fn hash_object(sides: &Sides, key: &Key, remote: &RemoteEntry) -> Result<Hash> {
    let options = GetOptions {
        range: None,
        if_match: Some(remote.etag.clone()),
    };
    let mut body = sides.bucket.get(key, options).await?.body;
    let mut hasher = blake3::Hasher::new();
    while let Some(chunk) = body.next().await {
        hasher.update(&chunk?);
    }
    Ok(Hash(*hasher.finalize().as_bytes()))
}
