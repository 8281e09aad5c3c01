//! Starting a mount in the background: the parent returns when the child says "ready".
//!
//! The child is the same program in its foreground form. It tells how it went with one
//! JSON line on its standard output, a pipe to the parent, and then closes it. Nothing
//! secret is in its arguments; keys come by the environment or from their file as always.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::MountError;

/// How often the size of a running mount's log is looked at.
const LOG_CHECK: Duration = Duration::from_secs(60);

/// A log that has grown past this is set aside when the next mount starts, and by the
/// mount itself while it runs.
pub const MAX_LOG_BYTES: u64 = 4 << 20;

/// What the child tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Announcement<R = Ready> {
    /// It can be used.
    Ready(R),
    /// It failed.
    Failed(Failure),
}

/// A mount that is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The workspace's name on this machine.
    pub workspace: String,
    /// The mount point.
    pub mountpoint: PathBuf,
    /// The process that serves it.
    pub pid: u32,
    /// Whether changes are refused.
    pub read_only: bool,
    /// What the user should know, a sentence each.
    pub notes: Vec<String>,
}

/// An error of the child, to be shown by the parent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A stable word for scripts.
    pub code: String,
    /// What happened.
    pub message: String,
    /// The next step.
    pub hint: Option<String>,
}

/// Why there is no background mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaunchError {
    /// The child said so.
    Told(Failure),
    /// The child could not be started, or died.
    Child(MountError),
}

/// Starts `command` as a background process, such as a mount, and waits until it is ready or
/// has failed.
///
/// Its standard input is nothing, its standard error goes to the end of `log`.
///
/// # Errors
/// The child's own failure, or one that says where its log is.
pub fn launch<R: DeserializeOwned>(mut command: Command, log: &Path) -> Result<R, LaunchError> {
    let child = open_log(log).and_then(|log| {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::from(log))
            .spawn()
    });
    let mut child = child.map_err(|error| {
        LaunchError::Child(MountError::local("start the background process", error))
    })?;
    match announcement(&mut child) {
        Some(Announcement::Ready(ready)) => Ok(ready),
        Some(Announcement::Failed(failure)) => {
            // It ends by itself after it has spoken.
            let _ = child.wait();
            Err(LaunchError::Told(failure))
        }
        None => Err(LaunchError::Child(died(&mut child, log))),
    }
}

/// The child's side of the pipe.
#[derive(Debug)]
pub struct Announcer(());

impl Announcer {
    /// Takes standard output for the announcement, leaves the parent's session and its
    /// working directory: a background mount must not keep a terminal or a folder.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn detach() -> io::Result<Self> {
        // Fails only for the leader of a process group, which is its own session already.
        let _ = rustix::process::setsid();
        std::env::set_current_dir("/")?;
        Ok(Self(()))
    }

    /// Tells the parent, then lets go of it.
    ///
    /// # Errors
    /// When the parent is gone: the user has given up, so should the mount.
    pub fn announce<R: Serialize>(self, announcement: &Announcement<R>) -> io::Result<()> {
        let mut line = serde_json::to_vec(announcement)?;
        line.push(b'\n');
        let mut out = io::stdout().lock();
        out.write_all(&line)?;
        out.flush()?;
        let nothing = OpenOptions::new().write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdout(&nothing)?;
        Ok(())
    }
}

/// Opens a log for its owner alone, at its end; one that is too large is set aside first
/// as `NAME.1`.
///
/// # Errors
/// When the folder or the file cannot be made.
pub fn open_log(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    if fs::metadata(path).is_ok_and(|found| found.len() > MAX_LOG_BYTES) {
        let mut aside = path.as_os_str().to_owned();
        aside.push(".1");
        fs::rename(path, aside)?;
    }
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

/// Keeps the log of a running mount small: standard error goes to `path` anew each time
/// the file has grown past [`MAX_LOG_BYTES`]; the one before is kept as `NAME.1`. Never
/// returns.
pub async fn bound_log(path: PathBuf) {
    loop {
        tokio::time::sleep(LOG_CHECK).await;
        if !fs::metadata(&path).is_ok_and(|found| found.len() > MAX_LOG_BYTES) {
            continue;
        }
        // On failure the old file goes on growing, which beats losing the words.
        if let Ok(fresh) = open_log(&path) {
            let _ = rustix::stdio::dup2_stderr(&fresh);
        }
    }
}

fn announcement<R: DeserializeOwned>(child: &mut Child) -> Option<Announcement<R>> {
    let pipe = child.stdout.take()?;
    let mut line = String::new();
    BufReader::new(pipe).read_line(&mut line).ok()?;
    serde_json::from_str(&line).ok()
}

fn died(child: &mut Child, log: &Path) -> MountError {
    MountError::Died {
        how: child
            .wait()
            .map_or_else(|error| error.to_string(), |status| status.to_string()),
        log: log.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn the_child_says_how_it_went() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("logs/cases.log");
        let failed = r#"echo '{"failed":{"code":"c","message":"m","hint":null}}'; exit 4"#;
        let failure = Failure {
            code: "c".into(),
            message: "m".into(),
            hint: None,
        };
        let told = launch::<Ready>(shell(failed), &log);
        assert_eq!(told, Err(LaunchError::Told(failure)));
        let ready = r#"echo '{"ready":{"workspace":"w","mountpoint":"/m","pid":1,"read_only":false,"notes":[]}}'"#;
        let ready: Ready = launch(shell(ready), &log).expect("ready");
        assert_eq!(ready.workspace, "w");
    }

    #[test]
    fn a_child_that_dies_points_to_its_log() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("cases.log");
        let died = MountError::Died {
            how: "exit status: 3".into(),
            log: log.clone(),
        };
        let result = launch::<Ready>(shell("echo oh no >&2; exit 3"), &log);
        assert_eq!(result, Err(LaunchError::Child(died)));
        assert_eq!(fs::read_to_string(&log).expect("log"), "oh no\n");
    }

    #[test]
    fn a_log_that_is_too_large_is_set_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.log");
        let block = vec![b'x'; 1 << 20];
        for _ in 0..20 {
            open_log(&path)
                .expect("open")
                .write_all(&block)
                .expect("write");
        }
        let total: u64 = fs::read_dir(folder.path())
            .expect("list")
            .map(|entry| entry.expect("entry").metadata().expect("metadata").len())
            .sum();
        assert!(total <= 2 * MAX_LOG_BYTES + (2 << 20), "{total}");
    }
}
