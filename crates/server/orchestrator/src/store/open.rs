//! Which database a URL means.

use std::path::PathBuf;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use super::{PostgresStore, Result, SqliteStore, Store, StoreError};

/// Opens `sqlite://PATH` or `postgres://…` and brings it up to date.
///
/// # Errors
/// [`StoreError::Open`], without the URL's password.
pub async fn open(url: &SecretString) -> Result<Arc<dyn Store>> {
    match sqlite_path(url.expose_secret()) {
        Some(path) => Ok(Arc::new(SqliteStore::open(&path).await?)),
        None if is_postgres(url.expose_secret()) => Ok(Arc::new(PostgresStore::open(url).await?)),
        None => Err(StoreError::Open(
            "the database's URL is of no kind that is known\nhint: sqlite:///var/lib/artifacts/orchestrator.db or postgres://USER:PASSWORD@HOST/DATABASE"
                .into(),
        )),
    }
}

/// The path of `sqlite://relative` and `sqlite:///absolute`.
pub fn sqlite_path(url: &str) -> Option<PathBuf> {
    let path = url
        .strip_prefix("sqlite://")
        .or(url.strip_prefix("sqlite:"))?;
    (!path.is_empty()).then(|| PathBuf::from(path))
}

fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sqlite_url_is_a_path() {
        let path = |url| sqlite_path(url).map(|path| path.display().to_string());
        assert_eq!(path("sqlite:///var/a.db").as_deref(), Some("/var/a.db"));
        assert_eq!(path("sqlite://a.db").as_deref(), Some("a.db"));
        assert_eq!(path("sqlite://"), None);
        assert_eq!(path("postgres://u:p@h/d"), None);
    }
}
