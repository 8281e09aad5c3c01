//! A role that `artifactsd dev` runs beside the store: a process of its own, with its own files.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, getpid, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::parent;

/// A role unseals its secrets with a slow function before it is ready.
const PATIENCE: Duration = Duration::from_secs(60);
/// What is under way may end.
const GRACE: Duration = Duration::from_secs(15);
/// How much of a log goes into an error.
const TAIL: usize = 1_500;

/// A running role.
pub(super) struct Role {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Role {
    /// Starts `artifactsd NAME ARGUMENTS` and waits until it says that it is ready. What it logs
    /// goes to `NAME.log` in the folder.
    pub(super) async fn start(
        name: &'static str,
        arguments: Vec<OsString>,
        folder: &Path,
    ) -> Result<Self, String> {
        let (log, ready_file) = (
            folder.join(format!("{name}.log")),
            folder.join(format!("{name}.ready.json")),
        );
        let wrong = |what: &str| {
            let what = what.to_owned();
            move |error| format!("{what}: {error}")
        };
        // What an earlier run left says nothing of this one.
        match std::fs::remove_file(&ready_file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(format!("{}: {error}", ready_file.display()));
            }
            _ => {}
        }
        let out = File::options().create(true).append(true).open(&log);
        let out = out.map_err(wrong(&log.display().to_string()))?;
        let err = out.try_clone().map_err(wrong("the log"))?;
        let program = std::env::current_exe().map_err(wrong("the program's own file"))?;
        let child = Command::new(program)
            .arg(name)
            .args(arguments)
            .arg("--ready-file")
            .arg(&ready_file)
            .env(parent::VARIABLE, getpid().as_raw_nonzero().to_string())
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .kill_on_drop(true)
            .spawn()
            .map_err(wrong(name))?;
        let mut role = Self { name, child, log };
        role.wait_ready(&ready_file).await?;
        Ok(role)
    }

    /// Which it is.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Its process; `None` once it has ended.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Returns once it has ended by itself, which none should, with what it said last.
    pub(super) async fn ended(&mut self) -> String {
        let how = self.child.wait().await;
        let how = how.map_or_else(|error| error.to_string(), |status| status.to_string());
        format!("{} has ended ({how}){}", self.name, self.tail())
    }

    /// Tells it to end, and waits.
    pub(super) async fn stop(mut self) {
        let pid = self
            .child
            .id()
            .and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(pid) = pid {
            // It may have ended just now; the wait tells.
            let _ = kill_process(pid, Signal::TERM);
        }
        if timeout(GRACE, self.child.wait()).await.is_err() {
            tracing::warn!(
                role = self.name,
                "it did not end when told to, and is killed"
            );
            let _ = self.child.kill().await;
        }
    }

    async fn wait_ready(&mut self, file: &Path) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        loop {
            // It is there once it is whole.
            if file.exists() {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!(
                    "{} did not start ({status}){}",
                    self.name,
                    self.tail()
                ));
            }
            if Instant::now() > until {
                let waited = PATIENCE.as_secs();
                return Err(format!(
                    "{} is not ready after {waited} s{}",
                    self.name,
                    self.tail()
                ));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let from = text.len().saturating_sub(TAIL);
        let from = (from..=text.len()).find(|at| text.is_char_boundary(*at));
        let tail = from.map_or("", |from| &text[from..]);
        format!("\n{tail}\nhint: all of it is in {}", self.log.display())
    }
}
