//! What other tools write into an object's user metadata of a file's mode, owner and times.
//!
//! Read when a file's bytes are fetched, or, where the mount is told to (`--attributes
//! head`), when its name is looked up; never in a listing. The attribute index goes first.
//! The spellings are [`model::file_metadata`]'s.

use bucket::{Etag, Metadata};
use model::file_metadata;

use crate::clock::from_nanos;
use crate::core::{Core, State};
use crate::tree::Attrs;
use crate::upload::TOKEN;
use crate::{FsError, Ino, Kind};

/// How far a foreign object's attributes are gone after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Attributes {
    /// What listings and the index tell, and what comes with a file's bytes.
    #[default]
    Index,
    /// A file looked up by name is asked for them too, once per version (one HEAD each).
    Head,
}

impl std::str::FromStr for Attributes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "index" => Ok(Self::Index),
            "head" => Ok(Self::Head),
            _ => Err(format!("{text:?} is neither index nor head")),
        }
    }
}

impl std::fmt::Display for Attributes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Index => "index",
            Self::Head => "head",
        })
    }
}

impl Core {
    /// Takes in what an answer of the bucket said of a file's attributes.
    pub(crate) fn take_foreign(&self, ino: Ino, etag: &Etag, metadata: &Metadata) {
        self.state().take_foreign(ino, etag, metadata);
    }

    /// Asks the bucket for a file's attributes where the mount is told to and nobody has yet.
    pub(crate) async fn ask_foreign(&self, ino: Ino) -> Result<(), FsError> {
        if self.settings.attributes != Attributes::Head {
            return Ok(());
        }
        let key = {
            let state = self.state();
            let node = state.tree.node(ino)?;
            let asked = node.told || node.attrs.chosen || node.kind() != Kind::File;
            if asked
                || node
                    .remote
                    .as_ref()
                    .is_none_or(|remote| remote.at.is_some())
            {
                return Ok(());
            }
            state.tree.key(ino)?
        };
        match self.bucket.head(&key).await {
            Ok(meta) => self.take_foreign(ino, &meta.etag, &meta.metadata),
            // The listing's defaults are shown; an object that is gone shows so by itself.
            Err(error) => drop(self.heard(&format!("head {key}"), &error)),
        }
        Ok(())
    }
}

impl State {
    fn take_foreign(&mut self, ino: Ino, etag: &Etag, metadata: &Metadata) {
        let Ok(node) = self.tree.node_mut(ino) else {
            return;
        };
        let this_version = node
            .remote
            .as_ref()
            .is_some_and(|remote| remote.etag == *etag);
        if !this_version || node.told || node.writers > 0 {
            return;
        }
        node.told = true;
        // Of our own objects the index tells what was set on purpose.
        if node.attrs.chosen || metadata.contains_key(TOKEN) {
            return;
        }
        if apply(metadata, &mut node.attrs) {
            self.unsaved.insert(ino);
        }
    }
}

/// Says whether anything changed.
fn apply(metadata: &Metadata, attrs: &mut Attrs) -> bool {
    let before = attrs.clone();
    let number = |name: &str| metadata.get(name).and_then(|text| text.parse().ok());
    attrs.uid = number("uid").unwrap_or(attrs.uid);
    attrs.gid = number("gid").unwrap_or(attrs.gid);
    attrs.mode = metadata
        .get("mode")
        .and_then(|text| file_metadata::mode(text))
        .unwrap_or(attrs.mode);
    attrs.mtime = metadata
        .get("mtime")
        .and_then(|text| file_metadata::mtime(text))
        .map(from_nanos)
        .unwrap_or(attrs.mtime);
    *attrs != before
}
