//! Why a server of the testkit did not come up.

use std::path::PathBuf;
use std::time::Duration;

use crate::tools::Tool;

/// What went wrong in the testkit.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An outside program is not installed.
    #[error("{tool} is not installed\nhint: run `make tools`, or set {} to its path", tool.variable())]
    Missing {
        /// The program.
        tool: Tool,
    },
    /// A program could not be started or its files not be made.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A program ended before it was ready.
    #[error("{name} ended before it was ready; the end of its log {}:\n{tail}", log.display())]
    Ended {
        /// The program.
        name: &'static str,
        /// Where its output is.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// A server did not answer in time.
    #[error("{name} was not ready after {waited:?}; the end of its log {}:\n{tail}", log.display())]
    NotReady {
        /// The server.
        name: &'static str,
        /// How long was waited.
        waited: Duration,
        /// Where its output is.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// No free pair of ports was found.
    #[error("no free pair of ports (p, p + 10000) on 127.0.0.1")]
    NoPorts,
    /// A store refused something that the testkit asked of it.
    #[error("{what}: {cause}")]
    Store {
        /// What was asked.
        what: String,
        /// What the store said.
        cause: String,
    },
}

impl Error {
    /// Names what was being done when the system refused.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
