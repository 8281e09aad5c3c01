//! What a rule leaves out: `.artifactsignore` files and `--exclude` and `--include`, in
//! gitignore's language and with its meaning.
//!
//! Each file counts for its own directory and below; the deepest that says something wins,
//! within one file the last line. What was given on the command line stands above all files,
//! the last that says something first. Below a directory that is left out nothing comes back,
//! so nobody looks there at all.

mod given;
mod sieve;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

pub use given::Filter;
pub(crate) use sieve::Sieve;

use crate::entry::Kind;
use crate::folder::{self, Folder};
use crate::path::TreePath;

/// How the files are called.
pub const NAME: &str = ".artifactsignore";

/// What is shown as the place of rules that were given on the command line.
const COMMAND_LINE: &str = "the command line";

/// The rules of one file, or of the command line.
#[derive(Debug)]
struct Lines {
    matcher: Gitignore,
    file: String,
    text: Vec<String>,
}

/// All rules of a folder. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    given: Option<Arc<Lines>>,
    /// By the directory in which their file lies; empty for the root.
    files: BTreeMap<String, Arc<Lines>>,
}

/// The rules that count in one directory, for whoever walks downwards.
#[derive(Debug, Clone, Default)]
pub(crate) struct Chain {
    given: Option<Arc<Lines>>,
    nearest: Option<Arc<Link>>,
}

#[derive(Debug)]
struct Link {
    lines: Arc<Lines>,
    above: Option<Arc<Link>>,
}

/// The line that decides about a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// The path that the line speaks of: this one, or a directory above.
    pub path: String,
    /// The file, below the folder; `None` for the command line.
    pub file: Option<String>,
    /// Where in it, counted from 1.
    pub number: usize,
    /// The line, as it is written.
    pub line: String,
    /// Whether it leaves the path out, or takes it in again.
    pub ignored: bool,
}

impl Lines {
    /// Reads lines that count in a directory. Those that are no pattern are told, and count as
    /// not there.
    ///
    /// # Errors
    /// Where no matcher can be made of them. Whoever asks must not go on as if there were no
    /// rules: what they leave out would be sent.
    fn read(directory: &str, file: &str, text: &str) -> folder::Result<(Self, Vec<String>)> {
        let mut builder = GitignoreBuilder::new(Path::new("/").join(directory));
        let mut wrong = Vec::new();
        // Git takes a mark at the beginning of a file for no part of its first line.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let text: Vec<String> = text.lines().map(str::to_owned).collect();
        for line in &text {
            if let Err(error) = builder.add_line(None, line) {
                wrong.push(format!("{file}: {error}"));
            }
        }
        let built = builder.build();
        let matcher = built.map_err(|error| folder::not_rules(file, &error.to_string()))?;
        let file = file.to_owned();
        let lines = Self {
            matcher,
            file,
            text,
        };
        Ok((lines, wrong))
    }

    /// What they say of a path: whether it is left out, and by which pattern.
    fn say(&self, absolute: &str, is_directory: bool) -> Option<(bool, &str)> {
        match self.matcher.matched(absolute, is_directory) {
            Match::None => None,
            Match::Ignore(glob) => Some((true, glob.original())),
            Match::Whitelist(glob) => Some((false, glob.original())),
        }
    }

    /// The line of a pattern: of several that are the same, the last counts.
    fn number(&self, pattern: &str) -> usize {
        let is_it = |line: &String| {
            let rest = line.strip_prefix(pattern);
            rest.is_some_and(|rest| rest.trim().is_empty())
        };
        self.text.iter().rposition(is_it).map_or(1, |at| at + 1)
    }
}

impl Rules {
    /// Those of the command line alone.
    ///
    /// # Errors
    /// Where they are too many or too large to count at all.
    pub fn given(filters: &[Filter]) -> folder::Result<Self> {
        let lines: Vec<&str> = filters.iter().map(Filter::line).collect();
        let given = match filters.is_empty() {
            true => None,
            false => Some(Arc::new(
                Lines::read("", COMMAND_LINE, &lines.join("\n"))?.0,
            )),
        };
        Ok(Self {
            given,
            files: BTreeMap::new(),
        })
    }

    /// Reads one file. Lines that are no pattern are told, and count as not there.
    ///
    /// # Errors
    /// Where the file as a whole cannot count: then nothing may be sent from its directory.
    pub fn add(&mut self, file: &TreePath, text: &str) -> folder::Result<Vec<String>> {
        let directory = file.parent();
        let directory = directory.as_ref().map_or("", TreePath::as_str);
        let (lines, wrong) = Lines::read(directory, file.as_str(), text)?;
        self.files.insert(directory.to_owned(), Arc::new(lines));
        Ok(wrong)
    }

    /// The files of them.
    pub(crate) fn names(&self) -> impl Iterator<Item = TreePath> + '_ {
        let files = self.files.values();
        files.filter_map(|lines| TreePath::parse(&lines.file).ok())
    }

    /// Goes on as if a file were not there.
    pub(crate) fn remove(&mut self, file: &TreePath) {
        self.files.remove(above(file.as_str()));
    }

    /// Takes over what another has of files.
    pub(crate) fn extend(&mut self, other: Self) {
        self.files.extend(other.files);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.given.is_none()
    }

    /// Whether a path is left out, itself or by a directory above.
    pub fn leaves_out(&self, path: &TreePath, is_directory: bool) -> bool {
        Sieve::new(self).leaves_out(path, is_directory)
    }

    /// The line that decides; `None` where no line speaks of the path.
    pub fn why(&self, path: &TreePath, is_directory: bool) -> Option<Why> {
        let mut above: Vec<TreePath> = path.ancestors().collect();
        above.reverse();
        for directory in above {
            let decided = self.why_itself(directory.as_str(), true);
            if let Some(why) = decided.filter(|why| why.ignored) {
                return Some(why);
            }
        }
        self.why_itself(path.as_str(), is_directory)
    }

    fn why_itself(&self, path: &str, is_directory: bool) -> Option<Why> {
        let (lines, ignored, pattern) = self.decide(path, is_directory)?;
        let given = self.given.as_deref();
        let is_given = given.is_some_and(|given| std::ptr::eq(given, lines));
        Some(Why {
            path: path.to_owned(),
            file: (!is_given).then(|| lines.file.clone()),
            number: lines.number(pattern),
            line: pattern.to_owned(),
            ignored,
        })
    }

    /// What is said of a path itself, whatever becomes of the directories above.
    fn decide(&self, path: &str, is_directory: bool) -> Option<(&Lines, bool, &str)> {
        let absolute = format!("/{path}");
        let mut directories = std::iter::successors(Some(above(path)), |directory| {
            (!directory.is_empty()).then(|| above(directory))
        });
        let given = self.given.as_deref();
        let of_given =
            given.and_then(|lines| lines.say(&absolute, is_directory).map(|s| (lines, s)));
        let said = of_given.or_else(|| {
            directories.find_map(|directory| {
                let lines = self.files.get(directory)?;
                Some((&**lines, lines.say(&absolute, is_directory)?))
            })
        });
        said.map(|(lines, (ignored, pattern))| (lines, ignored, pattern))
    }
}

/// The line that decides about a path of a folder, which need not be there: reads no more than
/// the files of rules above it.
///
/// # Errors
/// Those files'.
pub fn why(
    folder: &dyn Folder,
    filters: &[Filter],
    path: &TreePath,
    is_directory: bool,
) -> folder::Result<Option<Why>> {
    let mut rules = Rules::given(filters)?;
    let mut directories: Vec<Option<TreePath>> = path.ancestors().map(Some).collect();
    directories.push(None);
    for directory in directories.into_iter().rev() {
        // Nothing that lies below something left out has a say.
        if let Some(directory) = &directory
            && rules.leaves_out(directory, true)
        {
            break;
        }
        let file = match &directory {
            Some(directory) => directory.child(NAME),
            None => TreePath::parse(NAME),
        };
        let Ok(file) = file else { continue };
        if let Some((Kind::File, _)) = folder.stat(&file)? {
            let text = folder::text_of_rules(&file, folder.read_small(&file)?)?;
            rules.add(&file, &text)?;
        }
    }
    Ok(rules.why(path, is_directory))
}

fn above(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(above, _)| above)
}

impl Chain {
    /// What counts in the root, its own file aside.
    pub(crate) fn of(rules: &Rules) -> Self {
        Self {
            given: rules.given.clone(),
            nearest: None,
        }
    }

    /// What counts in a directory that has a file of rules. Says what is wrong in it, and keeps
    /// it for later in `rules`.
    ///
    /// # Errors
    /// Where the file as a whole cannot count.
    pub(crate) fn enter(
        &self,
        file: &TreePath,
        text: &str,
        rules: &mut Rules,
    ) -> folder::Result<(Self, Vec<String>)> {
        let wrong = rules.add(file, text)?;
        let directory = above(file.as_str());
        let nearest = rules.files.get(directory).map(|lines| {
            Arc::new(Link {
                lines: Arc::clone(lines),
                above: self.nearest.clone(),
            })
        });
        let given = self.given.clone();
        Ok((Self { given, nearest }, wrong))
    }

    /// Whether an entry of this directory is left out, by its path below the root.
    pub(crate) fn leaves_out(&self, path: &str, is_directory: bool) -> bool {
        if self.given.is_none() && self.nearest.is_none() {
            return false;
        }
        let absolute = format!("/{path}");
        let say = |lines: &Lines| lines.say(&absolute, is_directory).map(|(out, _)| out);
        if let Some(out) = self.given.as_deref().and_then(say) {
            return out;
        }
        let mut links =
            std::iter::successors(self.nearest.as_deref(), |link| link.above.as_deref());
        links.find_map(|link| say(&link.lines)).unwrap_or(false)
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
        let root = "*.log\n!keep.log\n# a note\n/build/  \n";
        assert!(rules.add(&path(NAME), root).unwrap().is_empty());
        let nested = rules.add(&path("d/.artifactsignore"), "!*.log\nsecret\n");
        assert!(nested.unwrap().is_empty());
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
        assert_eq!((why.file.as_deref(), why.number), (Some(NAME), 4));
        assert_eq!(rules.why(&path("other"), false), None);
    }

    #[test]
    fn the_command_line_stands_above_the_files_and_its_last_word_counts() {
        let filters = [
            Filter::exclude("*.md").unwrap(),
            Filter::include("/a.md").unwrap(),
            Filter::exclude("#x").unwrap(),
        ];
        let mut rules = Rules::given(&filters).unwrap();
        rules.add(&path(NAME), "a.md\n!b.md\n*.txt\n").unwrap();
        for (text, ignored) in [
            ("a.md", false),
            ("b.md", true),
            ("d/a.md", true),
            ("c.txt", true),
            ("#x", true),
        ] {
            assert_eq!(rules.leaves_out(&path(text), false), ignored, "{text}");
        }
        let why = rules.why(&path("b.md"), false).unwrap();
        assert_eq!((why.file, why.number, why.line.as_str()), (None, 1, "*.md"));
    }

    #[test]
    fn a_mark_at_the_beginning_is_no_part_of_the_first_line() {
        let mut rules = Rules::default();
        let text = "\u{feff}*.tmp\r\n\u{feff}x\n";
        rules.add(&path(NAME), text).unwrap();
        assert!(rules.leaves_out(&path("a.tmp"), false));
        assert!(!rules.leaves_out(&path("x"), false));
    }
}
