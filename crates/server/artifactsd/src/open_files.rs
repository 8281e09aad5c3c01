//! How many connections the system lets this process have.

use rustix::process::{Resource, getrlimit, setrlimit};

/// More than the server takes connections.
const ENOUGH: u64 = 1 << 14;

/// Every client is a connection, those that follow events for hours; the usual soft limit of
/// 1,024 open files would be their end.
pub(crate) fn allow_many() {
    let mut limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(ENOUGH).min(ENOUGH);
    if limit.current.is_some_and(|now| now < most) {
        limit.current = Some(most);
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "the limit of open files stays as it is");
        }
    }
    if most < ENOUGH {
        tracing::warn!(
            most,
            "few files may be open, and so few clients connect\nhint: raise the hard limit (LimitNOFILE= of systemd, ulimit -Hn)"
        );
    }
}
