//! Where an entry is below the root, the same on both sides.

use std::fmt;
use std::sync::Arc;

use model::entry_name::{self, HIDDEN};

/// A path below the root of folder and workspace: one or more segments, each of which can
/// be a file name and leads neither up nor out. Clones share the text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TreePath(Arc<str>);

/// Why a text is no [`TreePath`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// An empty segment, `.` or `..`, or a NUL.
    #[error("a folder cannot hold this name")]
    NotAName,
    /// A segment past 255 bytes.
    #[error("a name may have 255 bytes, this one has more")]
    NameTooLong,
    /// Begins with the mark of escaped names.
    #[error("names that begin with %! stand for keys that cannot be file names")]
    Escaped,
    /// Below the directory that is ours.
    #[error(".artifacts is kept for Artifacts itself")]
    Hidden,
}

impl TreePath {
    /// Checks a text with `/` between its segments.
    ///
    /// # Errors
    /// What is wrong with the first segment that is none.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        for segment in text.split('/') {
            check(segment)?;
        }
        match text.split('/').next() {
            Some(HIDDEN) => Err(PathError::Hidden),
            _ => Ok(Self(text.into())),
        }
    }

    /// The entry `name` of this directory.
    ///
    /// # Errors
    /// As [`TreePath::parse`].
    pub fn child(&self, name: &str) -> Result<Self, PathError> {
        check(name)?;
        Ok(Self(format!("{}/{name}", self.0).into()))
    }

    /// The entry `name` beside this one.
    ///
    /// # Errors
    /// As [`TreePath::parse`].
    pub fn sibling(&self, name: &str) -> Result<Self, PathError> {
        match self.parent() {
            Some(parent) => parent.child(name),
            None => Self::parse(name),
        }
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last segment.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The directory that holds it; `None` for what lies at the root.
    pub fn parent(&self) -> Option<Self> {
        let (parent, _) = self.0.rsplit_once('/')?;
        Some(Self(parent.into()))
    }

    /// The directories above, the nearest first.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> + use<> {
        std::iter::successors(self.parent(), Self::parent)
    }

    /// What comes, in order, right before all that lies below it: a bound, and no path.
    pub(crate) fn before_below(&self) -> Self {
        Self(format!("{}/", self.0).into())
    }

    /// Whether it lies below a directory.
    pub fn is_below(&self, directory: &Self) -> bool {
        let rest = self.0.strip_prefix(&*directory.0);
        rest.is_some_and(|rest| rest.starts_with('/'))
    }
}

fn check(segment: &str) -> Result<(), PathError> {
    if segment.len() > entry_name::MAX_BYTES {
        return Err(PathError::NameTooLong);
    }
    if matches!(segment, "" | "." | "..") || segment.contains('\0') {
        return Err(PathError::NotAName);
    }
    if !entry_name::may_create(segment) {
        return Err(PathError::Escaped);
    }
    Ok(())
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_out_or_cannot_be_a_name_is_no_path() {
        for (text, error) in [
            ("", PathError::NotAName),
            ("/a", PathError::NotAName),
            ("a/", PathError::NotAName),
            ("a//b", PathError::NotAName),
            ("a/../b", PathError::NotAName),
            ("./a", PathError::NotAName),
            ("a\0b", PathError::NotAName),
            ("a/%!b", PathError::Escaped),
            (".artifacts", PathError::Hidden),
            (".artifacts/x", PathError::Hidden),
        ] {
            assert_eq!(TreePath::parse(text), Err(error), "{text:?}");
        }
        let long = "n".repeat(256);
        assert_eq!(TreePath::parse(&long), Err(PathError::NameTooLong));
        for fine in ["a", "a/b.md", "a/.artifacts", "trailing.", " x ", "é\n"] {
            assert_eq!(
                TreePath::parse(fine).map(|p| p.to_string()),
                Ok(fine.into())
            );
        }
    }

    #[test]
    fn a_path_knows_what_is_above_it() {
        let path = TreePath::parse("a/b/c").unwrap();
        let above: Vec<String> = path.ancestors().map(|p| p.to_string()).collect();
        assert_eq!(above, ["a/b", "a"]);
        assert_eq!(path.name(), "c");
        assert!(path.is_below(&TreePath::parse("a").unwrap()));
        assert!(
            !TreePath::parse("ab")
                .unwrap()
                .is_below(&TreePath::parse("a").unwrap())
        );
        assert_eq!(path.sibling("d").unwrap().as_str(), "a/b/d");
    }
}
