//! What holds keys that sign, or opens what is sealed, is closed to other programs.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// No other program of the same user reads this process's memory, and no core dump holds it.
pub(crate) fn close() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let closed = set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .and_then(|()| setrlimit(Resource::Core, none));
    if let Err(error) = closed {
        tracing::warn!(%error, "a core dump could hold what is in memory");
    }
}
