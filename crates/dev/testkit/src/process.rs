//! An outside program that ends with the value that holds it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use crate::Error;

/// Runs the program beside a `cat` on a pipe that only this process holds open: when this
/// process is gone, however it went, `cat` ends and the whole group is killed. SIGTERM is
/// left to the program alone, from the first moment; the guard waits on (a `wait` is cut
/// short by the trap, so there are two).
const GUARD: &str = r#"exec 3<&0
trap '' TERM
( cat <&3 >/dev/null; kill -KILL 0 ) &
trap : TERM
"$@" 3<&- </dev/null &
server=$!
wait "$server"
wait "$server""#;

/// How much of a log goes into an error.
const TAIL_BYTES: u64 = 2_000;

/// A running program in a process group of its own. Dropping it kills exactly that group.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
    /// While it is held, the guard's `cat` lives, so the group's number stays taken.
    _alive: Option<ChildStdin>,
    killed: bool,
}

impl Process {
    /// Starts `program` with what `prepare` adds to it (arguments, environment, folder);
    /// its output goes to `log`.
    ///
    /// # Errors
    /// [`Error::Io`] when the log cannot be made or the program not be started.
    pub fn start(
        name: &'static str,
        program: &Path,
        log: &Path,
        prepare: impl FnOnce(&mut Command),
    ) -> Result<Self, Error> {
        let out = File::options().create(true).append(true).open(log);
        let out = out.map_err(Error::io(format!("create {}", log.display())))?;
        let err = out
            .try_clone()
            .map_err(Error::io("duplicate the log's descriptor"))?;
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, name]).arg(program);
        prepare(&mut command);
        command
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(err)
            .process_group(0);
        let mut child = command
            .spawn()
            .map_err(Error::io(format!("start {name}")))?;
        let alive = child.stdin.take();
        Ok(Self {
            name,
            child,
            log: log.to_owned(),
            _alive: alive,
            killed: false,
        })
    }

    /// The process group, which is also the pid of its first member.
    pub fn group(&self) -> u32 {
        self.child.id()
    }

    /// Asks `ready` every 50 ms until it says yes.
    ///
    /// # Errors
    /// [`Error::Ended`] when the program ends first, [`Error::NotReady`] after `limit`;
    /// both with the end of the log.
    pub fn wait_ready(&mut self, limit: Duration, ready: impl Fn() -> bool) -> Result<(), Error> {
        let begun = Instant::now();
        while !ready() {
            if self.has_ended() {
                let (name, log, tail) = (self.name, self.log.clone(), self.tail());
                return Err(Error::Ended { name, log, tail });
            }
            let waited = begun.elapsed();
            if waited > limit {
                let (name, log, tail) = (self.name, self.log.clone(), self.tail());
                return Err(Error::NotReady {
                    name,
                    waited,
                    log,
                    tail,
                });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Whether the program is gone.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Stops the group where it stands (SIGSTOP): connections stay open and nothing answers.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a paused group go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Asks the group to end (SIGTERM) and, after `patience`, kills it.
    pub fn stop(&mut self, patience: Duration) {
        self.signal(Signal::TERM);
        let begun = Instant::now();
        while !self.has_ended() && begun.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.kill();
    }

    /// Kills the group (SIGKILL) and waits until it is gone.
    pub fn kill(&mut self) {
        if self.killed {
            return;
        }
        self.signal(Signal::KILL);
        self.killed = true;
        // An error means that it was waited for before: gone is what was wanted.
        let _ = self.child.wait();
        self.wait_for_the_rest();
    }

    /// The leader is gone at once; a large program takes a moment to let go of its ports.
    fn wait_for_the_rest(&self) {
        let begun = Instant::now();
        let gone = || {
            self.pid()
                .is_none_or(|pid| test_kill_process_group(pid).is_err())
        };
        while !gone() && begun.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }

    /// After a kill the number may be anyone's, so it is never signalled again.
    fn signal(&self, signal: Signal) {
        if self.killed {
            return;
        }
        if let Some(pid) = self.pid() {
            // Fails only when nothing of the group is left.
            let _ = kill_process_group(pid, signal);
        }
    }

    fn tail(&self) -> String {
        tail(&self.log).unwrap_or_else(|e| format!("(unreadable: {e})"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(dir: &Path) -> Process {
        let log = dir.join("log");
        Process::start("sleeper", Path::new("sleep"), &log, |c| {
            c.arg("1000");
        })
        .unwrap()
    }

    fn group_lives(group: u32) -> bool {
        let pid = Pid::from_raw(i32::try_from(group).unwrap()).unwrap();
        test_kill_process_group(pid).is_ok()
    }

    #[test]
    fn dropping_ends_the_whole_group() {
        let dir = tempfile::tempdir().unwrap();
        let process = sleeper(dir.path());
        let group = process.group();
        assert!(group_lives(group));
        drop(process);
        assert!(!group_lives(group));
    }

    #[test]
    fn stopping_lets_the_program_end_in_good_order() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let script =
            "trap 'sleep 0.3; echo tidy; exit 0' TERM; echo up; while :; do sleep 0.05; done";
        let mut process = Process::start("sh", Path::new("sh"), &log, |c| {
            c.args(["-c", script]);
        })
        .unwrap();
        let up = || std::fs::read_to_string(&log).unwrap() == "up\n";
        process.wait_ready(Duration::from_secs(10), up).unwrap();
        process.stop(Duration::from_secs(10));
        let said = std::fs::read_to_string(&log).unwrap();
        assert!(said.ends_with("tidy\n"), "{said}");
    }

    #[test]
    fn a_program_that_ends_at_once_is_an_error_with_its_words() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut process = Process::start("sh", Path::new("sh"), &log, |c| {
            c.args(["-c", "echo 'port in use'; exit 3"]);
        })
        .unwrap();
        let error = process
            .wait_ready(Duration::from_secs(10), || false)
            .unwrap_err();
        match error {
            Error::Ended { name, tail, .. } => {
                assert_eq!(name, "sh");
                assert_eq!(tail, "port in use\n");
            }
            other => panic!("expected Ended, got {other:?}"),
        }
    }

    #[test]
    fn waiting_has_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = sleeper(dir.path());
        let error = process
            .wait_ready(Duration::from_millis(120), || false)
            .unwrap_err();
        assert!(
            matches!(
                error,
                Error::NotReady {
                    name: "sleeper",
                    ..
                }
            ),
            "{error:?}"
        );
    }
}
