//! Looks at both sides and plans; changes nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use bucket::{GetOptions, Key};
use futures::StreamExt;

use crate::apply::Sides;
use crate::composite;
use crate::entry::{Hash, Kind, LocalEntry, RemoteEntry};
use crate::error::{Access, Result, SyncError};
use crate::folder::disk::other_case;
use crate::folder::{self, FolderError, Walked, text_of_rules, unruly};
use crate::folds;
use crate::ignored::{self, Rules, Sieve};
use crate::keys::{self, Keys};
use crate::known::Known;
use crate::marker::Marker;
use crate::path::TreePath;
use crate::plan::{Act, Base, Local, Picture, Plan, Refusal, plan};
use crate::record::Seen;
use crate::remote;
use crate::settings::Settings;
use crate::settle::{Found, settle};

/// Files that are hashed, or compared, at one time.
const AT_ONCE: usize = 4;

/// Objects that are asked for their times at one time.
const HEADS_AT_ONCE: usize = 16;

/// The largest file of rules.
const MOST_RULES: u64 = 8 << 20;

/// How often a plan's questions are answered: each answer may raise one more.
const ROUNDS: usize = 8;

/// Both sides as they are, and the plan that follows.
///
/// # Errors
/// [`SyncError`]; a stop is part of the plan.
pub async fn look(sides: &Sides, settings: &Settings) -> Result<(Plan, Picture)> {
    let (mut plan, picture) = planned(sides, settings).await?;
    plan.seen = seen(&picture, &plan);
    Ok((plan, picture))
}

/// What there is to say about both sides beside the plan, as they are after it.
fn seen(picture: &Picture, plan: &Plan) -> Seen {
    let (here, there) = (&picture.local.entries, &picture.remote.entries);
    let only_there = there.keys().filter(|path| !here.contains_key(*path));
    let mut seen = Seen {
        ignored_here: picture.left_out,
        ignored_there: picture.left_there.len() as u64,
        ignored_bytes: {
            let sizes = picture.left_there.values().map(|object| object.size);
            sizes.fold(0, u64::saturating_add)
        },
        left_alone: plan.refused.len() as u64,
        ..Seen::default()
    };
    for path in here.keys().chain(only_there) {
        seen.count(path.name(), true);
    }
    for path in picture.settled.paths() {
        seen.count(path.rsplit('/').next().unwrap_or(path), true);
    }
    for action in &plan.actions {
        match &action.act {
            Act::DeleteRemote { .. } | Act::DeleteLocal { .. } => {
                seen.count(action.path.name(), false)
            }
            Act::KeepTheirs { copy, .. }
            | Act::KeepOurs {
                copy: Some(copy), ..
            } => seen.count(copy.name(), true),
            Act::SetLocalAside { copy, .. } | Act::SetRemoteAside { copy, .. } => {
                seen.count(action.path.name(), false);
                seen.count(copy.name(), true);
            }
            Act::MoveLocal { from, .. } | Act::MoveRemote { from, .. } => {
                seen.count(from.name(), false)
            }
            _ => {}
        }
    }
    seen
}

async fn planned(sides: &Sides, settings: &Settings) -> Result<(Plan, Picture)> {
    check_access(sides, settings)?;
    let known = Arc::new(sides.state.known()?);
    let mut picture = Picture {
        base: Base {
            directories: sides.state.directories()?,
            ..Base::default()
        },
        sending: sides.state.sending()?,
        deleting: sides.state.deleting()?,
        lately: sides.state.deleted_lately(sides.folder.now())?,
        prefix_bytes: sides.keys.prefix().len(),
        ..Picture::default()
    };
    let walk = async {
        let (known, step) = (Arc::clone(&known), settings.time_step);
        let given = Rules::given(&settings.filters);
        let walked = folder::call(&sides.folder, move |folder| {
            let at = folder.now();
            folder
                .walk(&known, step, &given?)
                .map(|walked| (walked, at))
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
    picture.frozen.extend(listed.unbelievable);
    let mut rules = walked.rules.clone();
    let (here, ignored) = take_walk(&mut picture, walked, at, &sides.keys);
    let there = listed.as_stored;
    let later = rules_there(sides, &mut picture, &known, &here, &mut rules).await?;
    let later = without_gone(
        later,
        &picture,
        &known,
        (here.as_slice(), there.as_slice()),
        &rules,
    );
    keep_out(&mut picture, &later, &ignored);
    let found = Found { known, here, there };
    if folds_case(sides, &picture, &found).await? {
        folds::part(&mut picture, &found);
    }
    settle(&mut picture, found, &rules);
    leave_out(&mut picture, &rules, ignored);
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

/// Whether the folder takes names for one that differ only by case.
async fn folds_case(sides: &Sides, picture: &Picture, found: &Found) -> Result<bool> {
    let here = &picture.local.entries;
    let known = found
        .here
        .iter()
        .map(|number| found.known.path(*number as usize));
    // One that is there in other letters too, the two maybe links to one file, proves nothing.
    let is_alone = |path: &&str| {
        let other = other_case(path);
        let is_new = TreePath::parse(&other).is_ok_and(|other| here.contains_key(&other));
        other != *path && !is_new && found.known.find(&other, 0).is_err()
    };
    let mut names = here.keys().map(TreePath::as_str).chain(known);
    let sample = names.find(|path| !path.contains('/') && is_alone(path));
    let sample = sample.map(str::to_owned);
    let asked = folder::call(&sides.folder, move |folder| {
        folder.folds_case(sample.as_deref())
    });
    Ok(asked.await?)
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
        Some(marker) if marker.pair != info.pair && info.root.is_some() => {
            return Err(Access::OtherPair.into());
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

/// Takes what a walk found; gives back what looks as it was known, and what a rule leaves out.
fn take_walk(
    picture: &mut Picture,
    walked: Walked,
    at: i64,
    keys: &Keys,
) -> (Vec<u32>, Vec<TreePath>) {
    let Walked {
        as_seen,
        entries,
        directories,
        unknown,
        skipped,
        ignored,
        wrong,
        ..
    } = walked;
    let skipped = skipped.into_iter().chain(wrong);
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
    (as_seen, ignored)
}

/// Files of rules that the bucket has and the folder will have after this pass. They count from
/// now on: else what they leave out would be sent before they are here. `here` are the known
/// files that look as they did.
async fn rules_there(
    sides: &Sides,
    picture: &mut Picture,
    known: &Known,
    here: &[u32],
    rules: &mut Rules,
) -> Result<Later> {
    let mut later = Later {
        rules: rules.clone(),
        changes: Vec::new(),
    };
    let is_coming = |path: &TreePath| {
        // What is new or changed here stays, or is a conflict.
        let is_ours = picture.local.entries.contains_key(path);
        let as_it_was = known.find(path.as_str(), 0).ok().map(|number| {
            let number = u32::try_from(number);
            number.is_ok_and(|number| here.binary_search(&number).is_ok())
        });
        !is_ours && as_it_was != Some(false)
    };
    // What both sides had is no change there, also where no listing has shown it yet.
    let is_news = |path: &TreePath, there: &RemoteEntry| {
        let number = known.find(path.as_str(), 0).ok();
        let base = number.and_then(|number| known.entry(number));
        base.is_none_or(|(_, base)| base.etag != there.etag || base.kind != there.kind)
    };
    let others = picture.remote.entries.iter();
    let others = others.filter(|(path, there)| {
        path.name() == ignored::NAME
            && there.kind == Kind::File
            && !rules.leaves_out(path, false)
            && is_news(path, there)
    });
    let others: Vec<_> = others
        .map(|(path, there)| (path.clone(), there.clone(), is_coming(path)))
        .collect();
    for (path, there, is_coming) in &others {
        let bytes = read_small_object(sides, path, there).await?;
        let text = text_of_rules(path, bytes);
        if let Ok(text) = &text
            && later.rules.add(path, text).is_ok()
        {
            later.changes.push(path.clone());
        }
        if !is_coming {
            continue;
        }
        let wrong = match (text.and_then(|text| rules.add(path, &text)), path.parent()) {
            (Ok(wrong), _) => wrong.into_iter(),
            // Nobody knows what they leave out: nothing below is sent.
            (Err(error), Some(directory)) => {
                picture.refused.push(Refusal {
                    name: directory.to_string(),
                    reason: unruly(&error),
                });
                picture.frozen.insert(directory);
                continue;
            }
            (Err(error), None) => return Err(error.into()),
        };
        picture.refused.extend(wrong.map(|reason| Refusal {
            name: path.to_string(),
            reason,
        }));
    }
    Ok(later)
}

/// The rules as they would be here once all is fetched that others changed, and which files of
/// them that changes.
struct Later {
    rules: Rules,
    changes: Vec<TreePath>,
}

/// The same without files of rules that would go from here: those that were deleted in the
/// bucket, and those whose name a link or a directory has there.
fn without_gone(
    mut later: Later,
    picture: &Picture,
    known: &Known,
    (here, there): (&[u32], &[u32]),
    rules: &Rules,
) -> Later {
    let remote = &picture.remote;
    for file in rules.names() {
        let number = known.find(file.as_str(), 0).ok();
        let number = number.and_then(|number| u32::try_from(number).ok());
        let is_in = |all: &[u32]| number.is_some_and(|number| all.contains(&number));
        let object = remote.entries.get(&file);
        let is_deleted = object.is_none() && is_in(here) && !is_in(there);
        let is_link = object.is_some_and(|object| object.kind == Kind::Link);
        let is_directory = remote.markers.contains_key(&file) || {
            let mut after = remote.entries.range(file.before_below()..);
            after.next().is_some_and(|(path, _)| path.is_below(&file))
        };
        if is_deleted || is_link || is_directory {
            later.rules.remove(&file);
            later.changes.push(file);
        }
    }
    later
}

/// What is left out here stays so until the user of this folder says otherwise: whoever writes
/// to the bucket could have any file sent by a change of the rules. Such a change is not taken.
fn keep_out(picture: &mut Picture, later: &Later, ignored: &[TreePath]) {
    if later.changes.is_empty() {
        return;
    }
    let is_in = |path: &&TreePath| {
        !later.rules.leaves_out(path, false) && !later.rules.leaves_out(path, true)
    };
    let let_in: Vec<&TreePath> = ignored.iter().filter(is_in).collect();
    let Some(first) = let_in.first() else {
        return;
    };
    for file in &later.changes {
        picture.refused.push(Refusal {
            name: file.to_string(),
            reason: format!(
                "its change in the bucket is not taken: what is left out here would be sent, \
                 {} names, as {first}; to let them in, run with --include and a pattern, or make \
                 the change here",
                let_in.len()
            ),
        });
    }
    picture.frozen.extend(later.changes.iter().cloned());
    picture.frozen.extend(let_in.into_iter().cloned());
}

/// The bytes of an object; `None` where it is too large to be a file of rules.
async fn read_small_object(
    sides: &Sides,
    path: &TreePath,
    there: &RemoteEntry,
) -> Result<Option<Vec<u8>>> {
    let key = sides.keys.entry(there.kind, path);
    let Some(key) = key.filter(|_| there.size <= MOST_RULES) else {
        return Ok(None);
    };
    let options = GetOptions {
        range: None,
        if_match: Some(there.etag.clone()),
    };
    let mut body = sides.bucket.get(&key, options).await?.body;
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await {
        bytes.extend_from_slice(&chunk?);
    }
    Ok(Some(bytes))
}

/// Takes what the rules leave out from both sides. `here` was never looked at; more of it was
/// where a rule is new.
pub(crate) fn leave_out(picture: &mut Picture, rules: &Rules, mut here: Vec<TreePath>) {
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
    if !rules.is_empty() {
        let mut sieve = Sieve::new(rules);
        let mut keep = |path: &TreePath, is_directory| {
            let out = sieve.leaves_out(path, is_directory);
            if out {
                here.push(path.clone());
            }
            !out
        };
        local.entries.retain(|path, _| keep(path, false));
        local.directories.retain(|path| keep(path, true));
        let known = base.entries.keys();
        ignored.extend(known.filter(|path| sieve.leaves_out(path, false)).cloned());
        for path in ignored
            .iter()
            .filter(|path| remote.entries.contains_key(*path))
        {
            refused.push(Refusal {
                name: path.to_string(),
                reason:
                    "left out by a rule now; `artifacts bisync prune` removes the bucket's copy"
                        .to_owned(),
            });
        }
        remote.entries.retain(|path, entry| {
            let gone = sieve.leaves_out(path, false);
            if gone {
                left_there.insert(path.clone(), entry.clone());
            }
            !gone
        });
        remote
            .markers
            .retain(|path, _| !sieve.leaves_out(path, true));
        remote
            .shadowed
            .retain(|path, _| !sieve.leaves_out(path, false));
        base.directories
            .retain(|path| !sieve.leaves_out(path, true));
    }
    *left_out = here.len() as u64;
    kept.extend(here.iter().flat_map(TreePath::ancestors));
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
