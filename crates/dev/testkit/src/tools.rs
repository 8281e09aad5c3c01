//! Outside programs that tests use, and how a test says that one is missing.

use std::env;
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::Error;

/// An outside program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tool {
    /// SeaweedFS.
    Weed,
    /// rclone.
    Rclone,
    /// The AWS command line.
    Aws,
    /// Python 3 with boto3.
    Python,
    /// JuiceFS.
    Juicefs,
    /// moto, AWS's answers without AWS.
    MotoServer,
    /// s5cmd.
    S5cmd,
    /// fusermount3, which lets an ordinary user mount.
    Fusermount3,
    /// git.
    Git,
    /// SQLite's command line.
    Sqlite3,
    /// The D-Bus message bus.
    DbusDaemon,
    /// GNOME's Secret Service.
    GnomeKeyringDaemon,
    /// libsecret's command line.
    SecretTool,
    /// age, which encrypts files.
    Age,
    /// PostgreSQL's server; its other programs are looked for beside it.
    Postgres,
    /// Foundry's Ethereum chain on one machine.
    Anvil,
}

impl Tool {
    /// The environment variable that names the program's path.
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Weed => "ARTIFACTS_WEED",
            Self::Rclone => "ARTIFACTS_RCLONE",
            Self::Aws => "ARTIFACTS_AWS",
            Self::Python => "ARTIFACTS_PYTHON",
            Self::Juicefs => "ARTIFACTS_JUICEFS",
            Self::MotoServer => "ARTIFACTS_MOTO_SERVER",
            Self::S5cmd => "ARTIFACTS_S5CMD",
            Self::Fusermount3 => "ARTIFACTS_FUSERMOUNT3",
            Self::Git => "ARTIFACTS_GIT",
            Self::Sqlite3 => "ARTIFACTS_SQLITE3",
            Self::DbusDaemon => "ARTIFACTS_DBUS_DAEMON",
            Self::GnomeKeyringDaemon => "ARTIFACTS_GNOME_KEYRING_DAEMON",
            Self::SecretTool => "ARTIFACTS_SECRET_TOOL",
            Self::Age => "ARTIFACTS_AGE",
            Self::Postgres => "ARTIFACTS_POSTGRES",
            Self::Anvil => "ARTIFACTS_ANVIL",
        }
    }

    /// The program's file name.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Weed => "weed",
            Self::Rclone => "rclone",
            Self::Aws => "aws",
            Self::Python => "python3",
            Self::Juicefs => "juicefs",
            Self::MotoServer => "moto_server",
            Self::S5cmd => "s5cmd",
            Self::Fusermount3 => "fusermount3",
            Self::Git => "git",
            Self::Sqlite3 => "sqlite3",
            Self::DbusDaemon => "dbus-daemon",
            Self::GnomeKeyringDaemon => "gnome-keyring-daemon",
            Self::SecretTool => "secret-tool",
            Self::Age => "age",
            Self::Postgres => "postgres",
            Self::Anvil => "anvil",
        }
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.program())
    }
}

/// Where a program is: its environment variable, else the repository's `.tools` (made by
/// `make tools`), else `PATH`.
///
/// # Errors
/// [`Error::Missing`].
pub fn find(tool: Tool) -> Result<PathBuf, Error> {
    let named = env::var_os(tool.variable()).map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = our_folders().into_iter().chain(env::split_paths(&path));
    locate(tool.program(), named, folders).ok_or(Error::Missing { tool })
}

/// Whether a missing program fails tests instead of skipping them: `ARTIFACTS_REAL_SERVERS=1`,
/// which `make test` sets.
pub fn required() -> bool {
    env::var_os("ARTIFACTS_REAL_SERVERS").is_some_and(|v| v == "1")
}

/// Says on stderr why the running test does not run, and in the file that
/// `ARTIFACTS_SKIP_LOG` names, from which `make test` counts. (The test runner swallows
/// what passing tests print.)
#[allow(clippy::print_stderr, reason = "a skip must be seen")]
pub fn note_skip(reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("?");
    let line = format!("SKIP {test}: {}", reason.replace('\n', "; "));
    eprintln!("{line}");
    let Some(log) = env::var_os("ARTIFACTS_SKIP_LOG") else {
        return;
    };
    let appended = std::fs::File::options().create(true).append(true).open(log);
    if let Ok(mut file) = appended {
        // Counting is best effort: the reason is on stderr already.
        let _ = writeln!(file, "{line}");
    }
}

/// Gives the path of a [`Tool`], or leaves the test with a printed reason.
///
/// With `ARTIFACTS_REAL_SERVERS=1` a missing program fails the test instead.
///
/// ```no_run
/// # fn test() {
/// let rclone = artifacts_testkit::require!(artifacts_testkit::tools::Tool::Rclone);
/// # }
/// ```
#[macro_export]
macro_rules! require {
    ($tool:expr) => {
        match $crate::tools::find($tool) {
            Ok(path) => path,
            Err(error) if $crate::tools::required() => panic!("{error}"),
            Err(error) => {
                $crate::tools::note_skip(&error.to_string());
                return;
            }
        }
    };
}

/// Leaves the test with a printed reason; for what is not a program (a device, a right).
#[macro_export]
macro_rules! skip {
    ($($reason:tt)*) => {{
        $crate::tools::note_skip(&format!($($reason)*));
        return;
    }};
}

/// Where `make tools` puts what comes from PyPI, and what comes from npm.
fn our_folders() -> [PathBuf; 3] {
    let repo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let tools = env::var_os("ARTIFACTS_TOOLS");
    let tools = tools.map_or_else(|| repo.join(".tools"), PathBuf::from);
    let npm = tools.join("contracts/node_modules/@foundry-rs");
    [
        tools.join("venv/bin"),
        npm.join("anvil-linux-amd64/bin"),
        npm.join("anvil-linux-arm64/bin"),
    ]
}

fn locate(
    program: &str,
    named: Option<PathBuf>,
    folders: impl Iterator<Item = PathBuf>,
) -> Option<PathBuf> {
    if let Some(path) = named {
        // A name without a folder is looked up like the default.
        return if path.components().count() > 1 {
            path.is_file().then_some(path)
        } else {
            first_file(folders, &path)
        };
    }
    first_file(folders, Path::new(program))
}

fn first_file(mut folders: impl Iterator<Item = PathBuf>, name: &Path) -> Option<PathBuf> {
    folders.find_map(|folder| Some(folder.join(name)).filter(|path| path.is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_path_wins_and_is_not_replaced_by_another() {
        let dir = tempfile::tempdir().unwrap();
        let here = dir.path().join("weed");
        std::fs::write(&here, "").unwrap();
        let folders = || std::iter::once(dir.path().to_owned());
        assert_eq!(
            locate("weed", Some(here.clone()), folders()),
            Some(here.clone())
        );
        assert_eq!(locate("weed", None, folders()), Some(here));
        assert_eq!(
            locate("weed", Some(dir.path().join("no/weed")), folders()),
            None
        );
    }

    #[test]
    fn missing_says_how_to_get_it() {
        let error = Error::Missing { tool: Tool::Weed };
        assert_eq!(
            error.to_string(),
            "weed is not installed\nhint: run `make tools`, or set ARTIFACTS_WEED to its path"
        );
    }
}
