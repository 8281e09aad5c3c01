//! Diagnostics to standard error, by `ARTIFACTS_LOG` or `RUST_LOG`.

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::variables;

/// Starts logging. Without either variable, warnings and errors are shown.
pub(crate) fn init() {
    let asked = [variables::LOG, variables::RUST_LOG]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    let filter = EnvFilter::new(asked.as_deref().unwrap_or("warn"));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_filter(filter)
        .with_filter(filter_fn(may_be_shown));
    // Only fails where a logger is set already, and this is the only place that sets one.
    let _ = tracing_subscriber::registry().with(lines).try_init();
}

/// Libraries below us print whole requests when asked for details: signatures, session
/// tokens, canonical requests. Whatever the filter says, of them only what is worth
/// knowing at level INFO gets through.
fn may_be_shown(metadata: &Metadata<'_>) -> bool {
    let ours = [
        "artifacts",
        "bucket",
        "credentials",
        "filesystem",
        "mount",
        "model",
    ];
    let target = metadata.target().split("::").next().unwrap_or_default();
    *metadata.level() <= Level::INFO || ours.iter().any(|name| target.starts_with(name))
}
