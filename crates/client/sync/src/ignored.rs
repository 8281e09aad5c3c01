//! What a rule leaves out: `.artifactsignore` files, in gitignore's language and with its
//! meaning: each counts for its own directory and below, the deepest that says something wins,
//! within one file the last line, and below a directory that is left out nothing comes back.

use std::collections::BTreeMap;
use std::path::Path;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::path::TreePath;

/// How the files are called.
pub const NAME: &str = ".artifactsignore";

/// All rules of a folder.
#[derive(Default)]
pub struct Rules {
    /// By the directory in which their file lies; empty for the root.
    files: BTreeMap<String, Gitignore>,
}

/// The line that decides about a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// The path that the line speaks of: this one, or a directory above.
    pub path: String,
    /// The file.
    pub file: String,
    /// The line, as it is written.
    pub line: String,
    /// Whether it leaves the path out, or takes it in again.
    pub ignored: bool,
}

impl Rules {
    /// Reads one file. Lines that are no pattern are told, and count as not there.
    pub fn add(&mut self, file: &TreePath, text: &str) -> Vec<String> {
        let directory = file.parent();
        let directory = directory.as_ref().map_or("", TreePath::as_str);
        let mut builder = GitignoreBuilder::new(Path::new("/").join(directory));
        let mut wrong = Vec::new();
        for line in text.lines() {
            // Git takes a mark at the beginning of a file for no part of its first line.
            let line = line.strip_prefix('\u{feff}').unwrap_or(line);
            if let Err(error) = builder.add_line(None, line) {
                wrong.push(format!("{file}: {error}"));
            }
        }
        match builder.build() {
            Ok(rules) => {
                self.files.insert(directory.to_owned(), rules);
            }
            Err(error) => wrong.push(format!("{file}: {error}")),
        }
        wrong
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Whether a path is left out, itself or by a directory above.
    pub fn leaves_out(&self, path: &TreePath, is_directory: bool) -> bool {
        !self.is_empty() && self.why(path, is_directory).is_some_and(|why| why.ignored)
    }

    /// Answers for files that are asked for in the order of their paths: a directory that they
    /// share is judged once.
    pub(crate) fn in_order(&self) -> InOrder<'_> {
        InOrder {
            rules: self,
            directory: String::new(),
            is_out: false,
        }
    }

    /// The line that decides; `None` where no line speaks of the path.
    pub fn why(&self, path: &TreePath, is_directory: bool) -> Option<Why> {
        let mut above: Vec<TreePath> = path.ancestors().collect();
        above.reverse();
        for directory in above {
            let decided = self.decide(&directory, true);
            if let Some(why) = decided.filter(|why| why.ignored) {
                return Some(why);
            }
        }
        self.decide(path, is_directory)
    }

    fn decide(&self, path: &TreePath, is_directory: bool) -> Option<Why> {
        let absolute = Path::new("/").join(path.as_str());
        let nearest = path.ancestors().map(|above| above.to_string());
        for directory in nearest.chain([String::new()]) {
            let Some(rules) = self.files.get(&directory) else {
                continue;
            };
            let (glob, ignored) = match rules.matched(&absolute, is_directory) {
                Match::None => continue,
                Match::Ignore(glob) => (glob, true),
                Match::Whitelist(glob) => (glob, false),
            };
            return Some(Why {
                path: path.to_string(),
                file: match directory.as_str() {
                    "" => NAME.to_owned(),
                    directory => format!("{directory}/{NAME}"),
                },
                line: glob.original().to_owned(),
                ignored,
            });
        }
        None
    }
}

/// What [`Rules::in_order`] gives.
pub(crate) struct InOrder<'a> {
    rules: &'a Rules,
    /// The last directory, and whether it is left out.
    directory: String,
    is_out: bool,
}

impl InOrder<'_> {
    /// Whether a file is left out, itself or by a directory above.
    pub(crate) fn leaves_out(&mut self, path: &str) -> bool {
        let Ok(path) = TreePath::parse(path) else {
            return false;
        };
        let directory = path
            .as_str()
            .rsplit_once('/')
            .map_or("", |(above, _)| above);
        if directory != self.directory {
            self.is_out = path
                .parent()
                .is_some_and(|above| self.rules.leaves_out(&above, true));
            directory.clone_into(&mut self.directory);
        }
        self.is_out
            || self
                .rules
                .decide(&path, false)
                .is_some_and(|why| why.ignored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::parse(text).unwrap()
    }

    #[test]
    fn the_deepest_file_and_in_it_the_last_line_wins() {
        let mut rules = Rules::default();
        assert!(
            rules
                .add(&path(NAME), "*.log\n!keep.log\n/build/\n")
                .is_empty()
        );
        assert!(
            rules
                .add(&path("d/.artifactsignore"), "!*.log\nsecret\n")
                .is_empty()
        );
        for (text, ignored) in [
            ("a.log", true),
            ("keep.log", false),
            ("d/a.log", false),
            ("d/e/secret", true),
            ("secret", false),
            ("build/x", true),
            ("d/build/x", false),
        ] {
            assert_eq!(rules.leaves_out(&path(text), false), ignored, "{text}");
        }
        let why = rules.why(&path("build/x"), false).unwrap();
        assert_eq!((why.path.as_str(), why.line.as_str()), ("build", "/build/"));
        assert_eq!(rules.why(&path("other"), false), None);
    }
}
