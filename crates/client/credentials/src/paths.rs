//! Where the user's files are: the XDG base directories, on every system.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use etcetera::base_strategy::{BaseStrategy, Xdg};

use crate::{Error, Result};

/// The file of storage keys inside the configuration folder.
pub const CREDENTIALS_FILE: &str = "byo-credentials";

/// The roots of everything that this product keeps on the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    config: PathBuf,
    cache: PathBuf,
    state: PathBuf,
    data: PathBuf,
    config_file: PathBuf,
}

impl Paths {
    /// Reads `XDG_CONFIG_HOME`, `XDG_CACHE_HOME`, `XDG_STATE_HOME`, `XDG_DATA_HOME` (each
    /// only when absolute, as the XDG specification demands), `HOME` and
    /// `ARTIFACTS_CONFIG`. Creates nothing.
    pub fn from_environment() -> Result<Self> {
        let xdg = Xdg::new().map_err(|_| Error::NoHome)?;
        let state = xdg.state_dir().ok_or(Error::NoHome)?;
        Ok(Self::assemble(
            [xdg.config_dir(), xdg.cache_dir(), state, xdg.data_dir()],
            std::env::var_os("ARTIFACTS_CONFIG"),
        ))
    }

    /// All roots under one folder, laid out as under a home folder. For tests.
    pub fn under(home: &Path) -> Self {
        let at = |rest: &str| home.join(rest);
        Self::assemble(
            [
                at(".config"),
                at(".cache"),
                at(".local/state"),
                at(".local/share"),
            ],
            None,
        )
    }

    /// `~/.config/artifacts`: storage keys, `config.toml`, `workspaces/`. Mode 0700.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// `~/.cache/artifacts`: file bodies that the bucket has too. Mode 0700.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// `~/.local/state/artifacts`: journals, mount table, logs. Mode 0700.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// `~/.local/share/artifacts`: what is neither configuration nor state. Mode 0700.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// `config.toml`, or the file that `ARTIFACTS_CONFIG` names.
    pub fn config_file(&self) -> &Path {
        &self.config_file
    }

    /// The file of storage keys.
    pub fn credentials_file(&self) -> PathBuf {
        self.config.join(CREDENTIALS_FILE)
    }

    /// The folder of `NAME.toml` files.
    pub fn workspaces(&self) -> PathBuf {
        self.config.join("workspaces")
    }

    fn assemble([config, cache, state, data]: [PathBuf; 4], config_file: Option<OsString>) -> Self {
        let own = |root: PathBuf| root.join("artifacts");
        let config = own(config);
        let config_file = config_file
            .filter(|name| !name.is_empty())
            .map_or_else(|| config.join("config.toml"), PathBuf::from);
        Self {
            cache: own(cache),
            state: own(state),
            data: own(data),
            config,
            config_file,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_lies_in_folders_of_its_own() {
        let paths = Paths::under(Path::new("/home/ada"));
        assert_eq!(
            paths.credentials_file(),
            Path::new("/home/ada/.config/artifacts/byo-credentials")
        );
        assert_eq!(paths.state(), Path::new("/home/ada/.local/state/artifacts"));
        assert_eq!(paths.config_file(), paths.config().join("config.toml"));
    }

    #[test]
    fn another_configuration_file_can_be_named_but_not_by_an_empty_variable() {
        let roots = || ["/c", "/k", "/s", "/d"].map(PathBuf::from);
        let named = Paths::assemble(roots(), Some("/etc/a.toml".into()));
        assert_eq!(named.config_file(), Path::new("/etc/a.toml"));
        let empty = Paths::assemble(roots(), Some("".into()));
        assert_eq!(empty.config_file(), Path::new("/c/artifacts/config.toml"));
    }
}
