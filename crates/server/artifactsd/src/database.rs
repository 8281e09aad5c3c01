//! The orchestrator's database, as the roles that need it name it.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use orchestrator::store::{Store, StoreError};
use secrecy::SecretString;

/// The variable with the URL.
const VARIABLE: &str = "ARTIFACTS_ORCHESTRATOR_DATABASE";

#[derive(Args)]
pub(crate) struct Database {
    /// sqlite://PATH, or postgres://USER@HOST/DATABASE. A password belongs into the variable
    /// or into ~/.pgpass: other users see a command's arguments.
    #[arg(long, value_name = "URL", env = VARIABLE, hide_env_values = true)]
    database: Option<String>,
}

impl Database {
    /// Opens it and brings it up to date.
    ///
    /// # Errors
    /// None was named, a password among the arguments, or why it cannot be opened; never with the password.
    pub(crate) async fn open(&self) -> Result<Arc<dyn Store>, StoreError> {
        let Some(database) = &self.database else {
            return Err(StoreError::Open(format!(
                "no database is named\nhint: --database sqlite:///var/lib/artifacts/orchestrator.db, or set {VARIABLE}"
            )));
        };
        let is_argument = std::env::var(VARIABLE).ok().as_ref() != Some(database);
        if is_argument && has_password(database) {
            return Err(StoreError::Open(format!(
                "the database's URL has a password, and other users see a command's arguments\nhint: put the URL into {VARIABLE}, or the password into ~/.pgpass"
            )));
        }
        let url = SecretString::from(database.clone());
        orchestrator::store::open(&url).await
    }

    /// The file, if it is one.
    pub(crate) fn sqlite_path(&self) -> Option<PathBuf> {
        orchestrator::store::sqlite_path(self.database.as_deref()?)
    }
}

/// `scheme://user:password@…`, or a parameter `password=…`.
fn has_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let user = authority.rsplit_once('@').map(|(user, _)| user);
    user.is_some_and(|user| user.contains(':')) || rest.contains("password=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_seen_wherever_it_stands() {
        for url in [
            "postgres://u:p@h/d",
            "postgres://u:p@w@h:1/d",
            "postgresql://h/d?user=u&password=p",
        ] {
            assert!(has_password(url), "{url}");
        }
        for url in ["postgres://u@h:5432/d", "postgres://h/d", "sqlite:///a:b@c"] {
            assert!(!has_password(url), "{url}");
        }
    }
}
