//! Conflicts in a synced folder, settled by its files.

use std::path::{Path, PathBuf};

use model::conflict;
use sync::entry::{Kind, Stat};
use sync::folder::Folder;
use sync::folder::disk::DiskFolder;
use sync::ignored::Rules;
use sync::places::{Known, Places};
use sync::{Known as Nothing, TreePath};

use super::resolve::{NAMES, numbered};
use super::{Keep, Version, View, difference, not_one, several, time};
use crate::commands::bisync::standing;
use crate::context::Context;
use crate::failure::{Code, Failure, Result};

/// A synced folder.
pub(super) struct Here {
    root: PathBuf,
    folder: DiskFolder,
    known: Known,
}

/// A copy and what it is a copy of.
pub(super) struct Pair {
    copy: File,
    original: TreePath,
    theirs: Option<File>,
}

#[derive(Clone)]
struct File {
    path: TreePath,
    stat: Stat,
}

impl Here {
    /// The synced folder of this path; `None` where it is none.
    pub(super) fn of(what: &str, context: &Context) -> Result<Option<Self>> {
        let Ok(root) = Path::new(what).canonicalize() else {
            return Ok(None);
        };
        let known = Places::new(context.paths()?.state()).holding(&root);
        let Some(known) = known.filter(|known| known.record.folder == root) else {
            return Ok(None);
        };
        let folder = DiskFolder::open(&root).map_err(sync::SyncError::from)?;
        Ok(Some(Self {
            root,
            folder,
            known,
        }))
    }

    /// Every conflict copy, in the order of the paths.
    pub(super) fn all(&self) -> Result<Vec<Pair>> {
        let rules = Rules::given(&self.known.record.filters);
        let walked = rules.and_then(|rules| self.folder.walk(&Nothing::default(), 0, &rules));
        let walked = walked.map_err(sync::SyncError::from)?;
        let files: Vec<File> = walked
            .entries
            .into_iter()
            .filter(|(_, kind, _)| *kind == Kind::File)
            .map(|(path, _, stat)| File { path, stat })
            .collect();
        let pairs = files.iter().filter_map(|copy| {
            let original = original_of(&copy.path)?;
            let at = files.binary_search_by(|file| file.path.cmp(&original)).ok();
            Some(Pair {
                copy: copy.clone(),
                theirs: at.map(|at| files[at].clone()),
                original,
            })
        });
        Ok(pairs.collect())
    }

    /// One of them, by its own path or by its original's.
    pub(super) fn one(&self, path: &str) -> Result<Pair> {
        let shown = self.root.display().to_string();
        // As shells complete it.
        let below = std::path::absolute(path).ok();
        let below = below.and_then(|path| Some(path.strip_prefix(&self.root).ok()?.to_owned()));
        let is_it =
            |of: &TreePath| of.as_str() == path || below.as_deref() == Some(Path::new(of.as_str()));
        let mut all = self.all()?;
        if let Some(at) = all.iter().position(|pair| is_it(&pair.copy.path)) {
            return Ok(all.swap_remove(at));
        }
        all.retain(|pair| is_it(&pair.original));
        match all.len() {
            0 => Err(not_one(path, &shown)),
            1 => Ok(all.remove(0)),
            _ => Err(several(path, &shown)),
        }
    }

    /// How the two texts differ.
    pub(super) fn difference(&self, pair: &Pair) -> Result<Option<String>> {
        let Some(theirs) = &pair.theirs else {
            return Ok(None);
        };
        let both = [theirs, &pair.copy];
        if both.iter().any(|file| file.stat.size > difference::LIMIT) {
            return Ok(None);
        }
        let read = |file: &File| self.folder.read_small(&file.path);
        let bytes = both.map(read);
        let [theirs, mine] = bytes.map(|bytes| bytes.map_err(sync::SyncError::from));
        let (theirs, mine) = (theirs?.unwrap_or_default(), mine?.unwrap_or_default());
        let names = both.map(|file| file.path.as_str());
        Ok(difference::of(names, [&theirs, &mine]))
    }

    /// Settles a conflict; gives the paths that are left. Whatever is replaced goes to the
    /// folder's trash first.
    pub(super) fn resolve(&self, pair: &Pair, keep: Keep) -> Result<Vec<String>> {
        let trash = format!("{:020}-resolve", standing::now().max(0));
        let discard = |file: &File| {
            let done = self.folder.discard(&file.path, &file.stat, &trash);
            done.map_err(|error| changed(&file.path, error))
        };
        let theirs = pair.theirs.as_ref().map(|file| file.path.to_string());
        match keep {
            Keep::Theirs => {
                discard(&pair.copy)?;
                Ok(theirs.into_iter().collect())
            }
            Keep::Mine => {
                if let Some(theirs) = &pair.theirs {
                    discard(theirs)?;
                }
                self.rename(&pair.copy, &pair.original)?;
                Ok(vec![pair.original.to_string()])
            }
            Keep::Both => {
                let name = self.rename_to_free_name(pair)?;
                Ok(theirs.into_iter().chain([name]).collect())
            }
        }
    }

    fn rename_to_free_name(&self, pair: &Pair) -> Result<String> {
        for number in 2..2 + NAMES {
            let Ok(path) = TreePath::parse(&numbered(pair.original.as_str(), number)) else {
                break;
            };
            let there = self.folder.stat(&path).map_err(sync::SyncError::from)?;
            if there.is_none() {
                self.rename(&pair.copy, &path)?;
                return Ok(path.to_string());
            }
        }
        let text = format!("no free name beside {}", pair.original);
        Err(Failure::new(Code::Precondition, text).with_hint("rename one of the versions"))
    }

    fn rename(&self, from: &File, to: &TreePath) -> Result<()> {
        let renamed = self.folder.rename(&from.path, &from.stat, to);
        renamed
            .map(drop)
            .map_err(|error| changed(&from.path, error))
    }
}

impl Pair {
    pub(super) fn view(&self) -> View {
        View {
            copy: version(&self.copy),
            original: self.original.to_string(),
            theirs: self.theirs.as_ref().map(version),
        }
    }
}

fn version(file: &File) -> Version {
    Version {
        path: file.path.to_string(),
        size: file.stat.size,
        modified: time(i128::from(file.stat.mtime)),
        etag: None,
    }
}

fn original_of(path: &TreePath) -> Option<TreePath> {
    let name = conflict::original_name(path.name())?;
    path.sibling(&name).ok()
}

fn changed(path: &TreePath, error: sync::folder::FolderError) -> Failure {
    match error {
        sync::folder::FolderError::Changed { .. } => {
            let text = format!("{path} was changed this moment");
            Failure::new(Code::Precondition, text).with_hint("look at both again")
        }
        error => sync::SyncError::from(error).into(),
    }
}
