//! The folder of a server's own.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Makes it when it is missing, for nobody else to look into.
pub(crate) fn make(folder: &Path) -> Result<(), String> {
    let mut builder = DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(folder);
    made.map_err(|error| {
        let folder = folder.display();
        format!("the folder {folder} cannot be made: {error}\nhint: choose another with --data")
    })
}
