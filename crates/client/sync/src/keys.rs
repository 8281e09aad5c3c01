//! Which object a path is, and which path an object is.

use bucket::Key;
use model::entry_name::{HIDDEN, LINK_SUFFIX};

use crate::entry::Kind;
use crate::path::{PathError, TreePath};

/// What a key below the workspace's prefix stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// A file or a link.
    Entry(Kind, TreePath),
    /// A directory that must exist while empty.
    Directory(TreePath),
    /// Something of ours.
    Hidden,
    /// No folder can hold it under this name.
    Refused(PathError),
}

/// The names of a workspace's objects.
#[derive(Debug, Clone)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    /// For the workspace below this prefix (empty, or ending in `/`).
    pub fn new(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
        }
    }

    /// What every key of the workspace begins with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The object of a file or link; `None` where the key would be too long.
    pub fn entry(&self, kind: Kind, path: &TreePath) -> Option<Key> {
        let suffix = match kind {
            Kind::File => "",
            Kind::Link => LINK_SUFFIX,
        };
        Key::new(format!("{}{path}{suffix}", self.prefix)).ok()
    }

    /// The object of an empty directory.
    pub fn directory(&self, path: &TreePath) -> Option<Key> {
        Key::new(format!("{}{path}/", self.prefix)).ok()
    }

    /// A place below `.artifacts/`.
    pub fn hidden(&self, rest: &str) -> Option<Key> {
        Key::new(format!("{}{HIDDEN}/{rest}", self.prefix)).ok()
    }

    /// A key's kind and path, where it is a file's or link's as far as a look at its end tells.
    pub(crate) fn plain<'k>(&self, key: &'k Key) -> Option<(Kind, &'k str)> {
        let rest = key.as_str().strip_prefix(self.prefix.as_str())?;
        match rest.strip_suffix(LINK_SUFFIX) {
            Some(path) if is_reserved_name(rest) => Some((Kind::Link, path)),
            _ => Some((Kind::File, rest)),
        }
    }

    /// What a key says; `None` where it is not below the prefix.
    pub fn meaning(&self, key: &Key) -> Option<Meaning> {
        let rest = key.as_str().strip_prefix(&self.prefix)?;
        let meant = match rest.strip_suffix('/') {
            // The marker of the prefix itself, as consoles of stores make it.
            _ if rest.is_empty() => return Some(Meaning::Hidden),
            Some(directory) => TreePath::parse(directory).map(Meaning::Directory),
            None => entry(rest),
        };
        Some(match meant {
            Ok(meaning) => meaning,
            Err(PathError::Hidden) => Meaning::Hidden,
            Err(error) => Meaning::Refused(error),
        })
    }
}

fn entry(rest: &str) -> Result<Meaning, PathError> {
    // `.rclonelink` alone is a file: a link needs a name.
    let link = rest.strip_suffix(LINK_SUFFIX);
    match link.filter(|path| !path.is_empty() && !path.ends_with('/')) {
        Some(path) => Ok(Meaning::Entry(Kind::Link, TreePath::parse(path)?)),
        None => Ok(Meaning::Entry(Kind::File, TreePath::parse(rest)?)),
    }
}

/// Whether others would take a local file of this name for a link.
pub(crate) fn is_reserved(path: &TreePath) -> bool {
    is_reserved_name(path.as_str())
}

/// The same of a path as text.
pub(crate) fn is_reserved_name(path: &str) -> bool {
    let above = path.strip_suffix(LINK_SUFFIX);
    above.is_some_and(|above| !above.is_empty() && !above.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_paths_map_to_each_other() {
        let keys = Keys::new("p/");
        let path = TreePath::parse("a/b").unwrap();
        for (key, meaning) in [
            ("p/a/b", Meaning::Entry(Kind::File, path.clone())),
            ("p/a/b.rclonelink", Meaning::Entry(Kind::Link, path.clone())),
            ("p/a/b/", Meaning::Directory(path.clone())),
            ("p/.artifacts/workspace.json", Meaning::Hidden),
            ("p/", Meaning::Hidden),
            ("p//", Meaning::Refused(PathError::NotAName)),
            ("p/a//b", Meaning::Refused(PathError::NotAName)),
            ("p/a/..", Meaning::Refused(PathError::NotAName)),
        ] {
            let key = Key::new(key).unwrap();
            assert_eq!(keys.meaning(&key), Some(meaning.clone()), "{key}");
            let back = match meaning {
                Meaning::Entry(kind, path) => keys.entry(kind, &path),
                Meaning::Directory(path) => keys.directory(&path),
                _ => continue,
            };
            assert_eq!(back, Some(key));
        }
        assert_eq!(keys.meaning(&Key::new("other").unwrap()), None);
        let bare = keys.meaning(&Key::new("p/.rclonelink").unwrap());
        assert_eq!(
            bare,
            Some(Meaning::Entry(
                Kind::File,
                TreePath::parse(".rclonelink").unwrap()
            ))
        );
    }
}
