//! A program on a pseudo-terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use super::Machine;

/// A program on a terminal of its own.
pub(crate) struct Terminal {
    child: Child,
    keyboard: File,
    /// Kept open, to look at its settings after the program has ended.
    line: OwnedFd,
    screen: Receiver<Vec<u8>>,
    pub(crate) seen: String,
}

const PATIENCE: Duration = Duration::from_secs(60);

impl Terminal {
    /// Starts `artifacts` with the terminal as its three streams and as its controlling
    /// terminal, so that Control-C means something.
    pub(crate) fn start(machine: &Machine, line: &str) -> Self {
        Self::start_with(machine, line, None)
    }

    /// The same with its standard error elsewhere than on the terminal.
    pub(crate) fn start_with(machine: &Machine, line: &str, errors: Option<Stdio>) -> Self {
        Self::start_program(machine, env!("CARGO_BIN_EXE_artifacts"), line, errors)
    }

    /// Any program on a terminal.
    pub(crate) fn start_program(
        machine: &Machine,
        program: &str,
        line: &str,
        errors: Option<Stdio>,
    ) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&keyboard).expect("granted");
        unlockpt(&keyboard).expect("unlocked");
        let name = ptsname(&keyboard, Vec::new()).expect("its name");
        let open = || {
            let path = name.to_str().expect("a path");
            File::options()
                .read(true)
                .write(true)
                .open(path)
                .expect("its other end")
        };
        let child = machine
            .command("setsid")
            .args(["--ctty", "--wait", program])
            .args(line.split_whitespace())
            .stdin(Stdio::from(open()))
            .stdout(Stdio::from(open()))
            .stderr(errors.unwrap_or_else(|| Stdio::from(open())))
            .spawn()
            .expect("setsid, of util-linux");
        let (sender, screen) = channel();
        let keyboard = File::from(keyboard);
        let mut output = keyboard.try_clone().expect("a second handle");
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                if sender.send(bytes[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            keyboard,
            line: open().into(),
            screen,
            seen: String::new(),
        }
    }

    /// Waits until the screen shows the text.
    #[track_caller]
    pub(crate) fn shows(&mut self, text: &str) -> &mut Self {
        let deadline = Instant::now() + PATIENCE;
        while !self.seen.contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            let bytes = self.screen.recv_timeout(left);
            let bytes = bytes.unwrap_or_else(|_| panic!("no {text:?} in {:?}", self.seen));
            self.seen.push_str(&String::from_utf8_lossy(&bytes));
        }
        self
    }

    /// Looks at nothing that the screen has shown so far.
    pub(crate) fn forgets(&mut self) -> &mut Self {
        self.seen.clear();
        self
    }

    /// Waits until what is typed is not shown, then types.
    pub(crate) fn types_unseen(&mut self, text: &str) -> &mut Self {
        let deadline = Instant::now() + PATIENCE;
        while self.echoes() {
            assert!(
                Instant::now() < deadline,
                "the terminal shows what is typed"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        self.types(text)
    }

    pub(crate) fn types(&mut self, text: &str) -> &mut Self {
        self.keyboard.write_all(text.as_bytes()).expect("typed");
        self
    }

    fn echoes(&self) -> bool {
        let settings = tcgetattr(&self.line).expect("a terminal");
        settings.local_modes.contains(LocalModes::ECHO)
    }

    /// The exit code; all that the screen has shown is in `seen` afterwards.
    pub(crate) fn ends(&mut self) -> i32 {
        let status = self.child.wait().expect("ended");
        while let Ok(bytes) = self.screen.recv_timeout(Duration::from_millis(200)) {
            self.seen.push_str(&String::from_utf8_lossy(&bytes));
        }
        assert!(self.echoes(), "the terminal is left without echo");
        status.code().unwrap_or(-1)
    }
}
