//! The helper process as the mount holds it.

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Serialize;

use super::WakeProgram;
use super::expected::{Expectations, kill};
use super::orders::{Answer, Hello, Order};

/// A helper that runs.
pub(super) struct Helper {
    child: Child,
    /// The process itself; its number may be another's once somebody reaped it.
    process: Arc<OwnedFd>,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    expectations: Arc<Expectations>,
    in_folder: bool,
}

impl Helper {
    /// Starts it. It inherits neither the environment, which may hold keys, nor the
    /// terminal's signals.
    pub(super) fn start(
        program: &WakeProgram,
        hello: &Hello,
        expectations: &Arc<Expectations>,
    ) -> io::Result<Self> {
        let mut child = Command::new(&program.program)
            // What lists of processes show.
            .arg0("artifacts")
            .args(&program.arguments)
            .env_clear()
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let (Some(orders), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the helper has no pipes"));
        };
        let process = match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(process) => Arc::new(process),
            Err(error) => {
                // Without its pipe it ends by itself.
                drop(orders);
                let _ = child.wait();
                return Err(error.into());
            }
        };
        expectations.recognise(child.id(), Arc::clone(&process));
        let mut helper = Self {
            child,
            process,
            orders,
            answers: BufReader::new(answers),
            expectations: Arc::clone(expectations),
            in_folder: false,
        };
        match helper.say(hello) {
            Ok(()) => Ok(helper),
            Err(error) => {
                helper.end();
                Err(error)
            }
        }
    }

    /// Whether it keeps the folder open.
    pub(super) fn is_in_folder(&self) -> bool {
        self.in_folder
    }

    /// Has a step done; gives the kernel's errno.
    ///
    /// # Errors
    /// When the helper has ended.
    pub(super) fn ask(&mut self, order: &Order) -> io::Result<Option<i32>> {
        self.in_folder = !matches!(order, Order::Rest);
        self.say(order)?;
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let answer: Answer = serde_json::from_str(&line)?;
        Ok(answer.errno)
    }

    /// Ends it, and recognises nobody as the helper before its number is free again.
    pub(super) fn end(mut self) {
        self.expectations.recognise_nobody();
        kill(&self.process);
        // `artifacts exec` reaps every child; then there is none to wait for.
        let _ = self.child.wait();
    }

    fn say(&mut self, what: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(what)?;
        line.push(b'\n');
        self.orders.write_all(&line)?;
        self.orders.flush()
    }
}
