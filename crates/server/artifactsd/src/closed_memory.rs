//! What holds keys that sign, or opens what is sealed, is closed to other programs.

/// No other program of the same user reads this process's memory, and no core dump holds it.
pub(crate) fn close() {
    if let Err(error) = base::memory::close() {
        tracing::warn!(%error, "a core dump could hold what is in memory");
    }
}
