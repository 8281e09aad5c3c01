//! The workspace as a tree: namespace, cache, journal, upload. Knows no kernel type.

mod types;
pub use types::*;
