//! Which folders of this machine are synced, and whether a folder may be.
//!
//! A folder is known by its marker and its inode, not by its path alone: one that was moved
//! goes on where it was, a copy of one is another folder.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use model::entry_name::HIDDEN;
use uuid::Uuid;

use crate::folder::disk::MARKER;
use crate::marker::Marker;
use crate::pair::PairFiles;
use crate::record::Record;

/// Where the states of all pairs are.
#[derive(Debug, Clone)]
pub struct Places {
    state: PathBuf,
}

/// A pair that this machine knows.
#[derive(Debug, Clone)]
pub struct Known {
    /// What is known of it.
    pub record: Record,
    /// Its files.
    pub files: PairFiles,
}

/// The files of a pair that is meant, by its workspace and folder.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its files.
    pub files: PairFiles,
    /// Where the folder was before, if that was elsewhere.
    pub moved_from: Option<PathBuf>,
}

/// Why a folder cannot be synced with a workspace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misplaced {
    /// Another synced folder is around it.
    #[error("{folder} lies in {outer}, which is synced with workspace {name} already")]
    Inside {
        /// The folder.
        folder: String,
        /// The one around it.
        outer: String,
        /// That one's workspace.
        name: String,
    },
    /// Another synced folder is in it.
    #[error("{inner}, which is synced with workspace {name} already, lies in {folder}")]
    Around {
        /// The folder.
        folder: String,
        /// The one in it.
        inner: String,
        /// That one's workspace.
        name: String,
    },
    /// It is synced with another workspace.
    #[error("{folder} is synced with workspace {name} already")]
    Taken {
        /// The folder.
        folder: String,
        /// The other workspace.
        name: String,
    },
    /// It is a copy of a synced folder.
    #[error("{folder} is a copy of {original}, which is synced with workspace {name}")]
    Copy {
        /// The folder.
        folder: String,
        /// What it is a copy of.
        original: String,
        /// That one's workspace.
        name: String,
    },
    /// It may be a synced folder that is on another disk now, or a copy of one that is gone.
    #[error(
        "{folder} has the marker of {original}, which is not there any more, and is another directory"
    )]
    Transplanted {
        /// The folder.
        folder: String,
        /// Where the one was.
        original: String,
    },
}

impl Misplaced {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Inside { .. } | Self::Around { .. } => {
                "choose a folder beside it: a file that two syncs have would go in circles"
            }
            Self::Taken { .. } => {
                "choose another folder; to give this one up for the other workspace, delete \
                 .artifacts in it, then begin anew"
            }
            Self::Copy { .. } => {
                "sync the original; or, to keep the copy as a folder of its own, begin anew with \
                 --resync, which deletes nothing"
            }
            Self::Transplanted { .. } => {
                "if this is the folder now, begin anew with --resync, which deletes nothing"
            }
        }
    }
}

impl Places {
    /// Below the folder that has one folder for each workspace.
    pub fn new(state: &Path) -> Self {
        Self {
            state: state.to_owned(),
        }
    }

    /// Every pair that was synced, in the order of their folders.
    pub fn all(&self) -> Vec<Known> {
        let workspaces = fs::read_dir(&self.state).into_iter().flatten().flatten();
        let mut all: Vec<Known> = workspaces
            .flat_map(|workspace| PairFiles::all(&workspace.path()))
            .filter_map(|files| {
                let record = files.record()?;
                Some(Known { record, files })
            })
            .collect();
        all.sort_by(|a, b| a.record.folder.cmp(&b.record.folder));
        all
    }

    /// The synced folder that a path lies in, or is.
    pub fn holding(&self, path: &Path) -> Option<Known> {
        let mut all = self.all();
        all.retain(|known| path.starts_with(&known.record.folder) && known.is_there());
        all.pop()
    }

    /// The files of a pair. `anew`: whether the folder may be one that was another pair's.
    ///
    /// # Errors
    /// [`Misplaced`].
    pub fn find(&self, workspace: Uuid, folder: &Path, anew: bool) -> Result<Found, Misplaced> {
        let all = self.all();
        check_neighbours(&all, folder)?;
        let marker = marker_of(folder);
        let by_marker = marker.as_ref().and_then(|marker| {
            let pair = |known: &&Known| known.record.pair == marker.pair;
            all.iter().find(pair)
        });
        if let Some(known) = by_marker {
            if known.record.workspace != workspace {
                return Err(Misplaced::Taken {
                    folder: folder.display().to_string(),
                    name: known.record.name.clone(),
                });
            }
            match known.stands_to(folder) {
                Ok(moved_from) => {
                    let files = known.files.clone();
                    return Ok(Found { files, moved_from });
                }
                Err(_) if anew => {}
                Err(misplaced) => return Err(misplaced),
            }
        }
        let here = |known: &&Known| {
            let record = &known.record;
            record.workspace == workspace
                && record.folder == folder
                && by_marker.is_none_or(|other| other.record.pair == record.pair)
        };
        let files = match all.iter().find(here) {
            Some(known) => known.files.clone(),
            None => PairFiles::free(&self.state.join(workspace.to_string()), folder),
        };
        Ok(Found {
            files,
            moved_from: None,
        })
    }
}

impl Known {
    /// Whether the folder is where it was.
    pub fn is_there(&self) -> bool {
        marker_of(&self.record.folder).is_some_and(|marker| marker.pair == self.record.pair)
    }

    /// How a folder with this pair's marker stands to it: it is the one, or was moved from
    /// where that was.
    fn stands_to(&self, folder: &Path) -> Result<Option<PathBuf>, Misplaced> {
        let record = &self.record;
        if record.folder == folder {
            return Ok(None);
        }
        let same = inode(folder).is_some() && inode(folder) == record.root;
        if self.is_there() {
            // A mount of the same directory elsewhere is the same directory.
            if same && device(folder) == device(&record.folder) {
                return Ok(None);
            }
            return Err(Misplaced::Copy {
                folder: folder.display().to_string(),
                original: record.folder.display().to_string(),
                name: record.name.clone(),
            });
        }
        match same {
            true => Ok(Some(record.folder.clone())),
            false => Err(Misplaced::Transplanted {
                folder: folder.display().to_string(),
                original: record.folder.display().to_string(),
            }),
        }
    }
}

/// Refuses a folder in another synced one, or around it.
fn check_neighbours(all: &[Known], folder: &Path) -> Result<(), Misplaced> {
    for known in all.iter().filter(|known| known.record.folder != folder) {
        let other = &known.record.folder;
        let (shown, name) = (folder.display().to_string(), known.record.name.clone());
        if folder.starts_with(other) && known.is_there() {
            return Err(Misplaced::Inside {
                folder: shown,
                outer: other.display().to_string(),
                name,
            });
        }
        if other.starts_with(folder) && known.is_there() {
            return Err(Misplaced::Around {
                folder: shown,
                inner: other.display().to_string(),
                name,
            });
        }
    }
    // Another user's, or another machine's on a shared disk.
    let above = folder.ancestors().skip(1);
    let marked = above
        .filter_map(|outer| Some((outer, marker_of(outer)?)))
        .next();
    match marked {
        None => Ok(()),
        Some((outer, marker)) => Err(Misplaced::Inside {
            folder: folder.display().to_string(),
            outer: outer.display().to_string(),
            name: marker.workspace.to_string(),
        }),
    }
}

/// The marker of a folder; `None` where there is none.
fn marker_of(folder: &Path) -> Option<Marker> {
    let text = fs::read_to_string(folder.join(HIDDEN).join(MARKER)).ok()?;
    Marker::parse(&text)
}

fn inode(folder: &Path) -> Option<u64> {
    fs::metadata(folder).ok().map(|found| found.ino())
}

fn device(folder: &Path) -> Option<u64> {
    fs::metadata(folder).ok().map(|found| found.dev())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::PairInfo;

    struct Site {
        root: tempfile::TempDir,
        places: Places,
        workspace: Uuid,
    }

    impl Site {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            Self {
                places: Places::new(&root.path().join("state")),
                root,
                workspace: Uuid::new_v4(),
            }
        }

        fn at(&self, name: &str) -> PathBuf {
            self.root.path().join(name)
        }

        /// Makes a folder, synced as the program does.
        fn synced(&self, name: &str) -> Found {
            let folder = self.at(name);
            fs::create_dir_all(folder.join(HIDDEN)).unwrap();
            let found = self.find(name).unwrap();
            let pair = Uuid::new_v4();
            let mut record = Record::new(pair, self.workspace, "notes", &folder);
            record.root = inode(&folder);
            let info = PairInfo {
                pair,
                workspace: self.workspace,
                root: record.root,
            };
            let marker = folder.join(HIDDEN).join(MARKER);
            fs::write(marker, Marker::of(&info).text()).unwrap();
            found.files.tell(&record, true).unwrap();
            found
        }

        fn find(&self, name: &str) -> Result<Found, Misplaced> {
            self.places.find(self.workspace, &self.at(name), false)
        }
    }

    #[test]
    fn a_folder_that_was_moved_is_the_same_pair() {
        let site = Site::new();
        let before = site.synced("a");
        fs::rename(site.at("a"), site.at("b")).unwrap();
        let found = site.find("b").unwrap();
        assert_eq!(found.files, before.files);
        assert_eq!(found.moved_from, Some(site.at("a")));
        // Another takes its old place, and is another pair.
        fs::create_dir(site.at("a")).unwrap();
        let other = site.find("a").unwrap();
        assert_eq!(
            other.files, before.files,
            "no marker: its own pass refuses it"
        );
        let mut record = found.files.record().unwrap();
        record.folder = site.at("b");
        found.files.tell(&record, true).unwrap();
        let other = site.find("a").unwrap();
        assert_ne!(other.files, before.files);
        assert_eq!(other.moved_from, None);
    }

    #[test]
    fn two_folders_that_change_places_keep_their_pairs() {
        let site = Site::new();
        let (a, b) = (site.synced("a"), site.synced("b"));
        assert_ne!(a.files, b.files);
        fs::rename(site.at("a"), site.at("c")).unwrap();
        fs::rename(site.at("b"), site.at("a")).unwrap();
        fs::rename(site.at("c"), site.at("b")).unwrap();
        assert_eq!(site.find("a").unwrap().files, b.files);
        assert_eq!(site.find("b").unwrap().files, a.files);
    }

    #[test]
    fn a_copy_is_refused_unless_it_begins_anew() {
        let site = Site::new();
        let original = site.synced("a");
        fs::create_dir_all(site.at("b").join(HIDDEN)).unwrap();
        let marker = |name: &str| site.at(name).join(HIDDEN).join(MARKER);
        fs::copy(marker("a"), marker("b")).unwrap();
        let refused = site.find("b").unwrap_err();
        assert!(matches!(refused, Misplaced::Copy { .. }), "{refused}");
        let anew = site
            .places
            .find(site.workspace, &site.at("b"), true)
            .unwrap();
        assert_ne!(anew.files, original.files);
        fs::remove_dir_all(site.at("a")).unwrap();
        let refused = site.find("b").unwrap_err();
        assert!(
            matches!(refused, Misplaced::Transplanted { .. }),
            "{refused}"
        );
    }

    #[test]
    fn a_folder_in_or_around_another_or_of_another_workspace_is_refused() {
        let site = Site::new();
        site.synced("a/b");
        fs::create_dir_all(site.at("a/b/c")).unwrap();
        fs::create_dir_all(site.at("a/bc")).unwrap();
        let inside = site.find("a/b/c").unwrap_err();
        assert!(matches!(inside, Misplaced::Inside { .. }), "{inside}");
        let around = site.find("a").unwrap_err();
        assert!(matches!(around, Misplaced::Around { .. }), "{around}");
        assert!(site.find("a/bc").is_ok());
        let other = Uuid::new_v4();
        let taken = site.places.find(other, &site.at("a/b"), false).unwrap_err();
        assert!(matches!(taken, Misplaced::Taken { .. }), "{taken}");
        // Known by its marker alone, as to another user.
        let strange = Places::new(&site.at("nothing"));
        let inside = strange.find(other, &site.at("a/b/c"), false).unwrap_err();
        assert!(matches!(inside, Misplaced::Inside { .. }), "{inside}");
        // A folder that is gone is in nobody's way.
        fs::remove_dir_all(site.at("a/b")).unwrap();
        assert!(site.find("a").is_ok());
    }

    #[test]
    fn a_path_is_found_in_the_nearest_folder_that_is_there() {
        let site = Site::new();
        site.synced("a");
        site.synced("ab");
        let of = |path: &str| {
            let found = site.places.holding(&site.at(path));
            found.map(|known| known.record.folder)
        };
        assert_eq!(of("a/x/y"), Some(site.at("a")));
        assert_eq!(of("a"), Some(site.at("a")));
        assert_eq!(of("ab/x"), Some(site.at("ab")));
        assert_eq!(of("abc"), None);
        assert_eq!(site.places.all().len(), 2);
    }
}
