//! Roles that another process of ours has started end with it, however it ends.

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// Holds the number of the process to end with.
pub(crate) const VARIABLE: &str = "ARTIFACTSD_PARENT";

/// Asks to be told (SIGTERM) when the parent is gone. What was started by somebody else, or whose
/// parent is gone already, is told so.
pub(crate) fn follow() -> Result<(), String> {
    let Ok(named) = std::env::var(VARIABLE) else {
        return Ok(());
    };
    let failed = |error| format!("the parent's end cannot be followed: {error}");
    set_parent_process_death_signal(Some(Signal::TERM)).map_err(failed)?;
    // It may have gone before the line above.
    let parent = getppid().map(|pid| pid.as_raw_nonzero().to_string());
    match parent {
        Some(parent) if parent == named => Ok(()),
        _ => Err(format!(
            "the process {named}, which started this one, is gone"
        )),
    }
}
