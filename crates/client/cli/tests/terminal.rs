//! What is asked on a terminal, driven through a pseudo-terminal: prompts, no echo, and a
//! Control-C that leaves nothing half-written.

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use support::{ID, Machine, SECRET};

/// A program on a terminal of its own.
struct Terminal {
    child: Child,
    keyboard: File,
    /// Kept open, to look at its settings after the program has ended.
    line: OwnedFd,
    screen: Receiver<Vec<u8>>,
    seen: String,
}

const PATIENCE: Duration = Duration::from_secs(60);

impl Terminal {
    /// Starts `artifacts` with the terminal as its three streams and as its controlling
    /// terminal, so that Control-C means something.
    fn start(machine: &Machine, line: &str) -> Self {
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
            .args(["--ctty", "--wait", env!("CARGO_BIN_EXE_artifacts")])
            .args(line.split_whitespace())
            .stdin(Stdio::from(open()))
            .stdout(Stdio::from(open()))
            .stderr(Stdio::from(open()))
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
    fn shows(&mut self, text: &str) -> &mut Self {
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
    fn forgets(&mut self) -> &mut Self {
        self.seen.clear();
        self
    }

    /// Waits until what is typed is not shown, then types.
    fn types_unseen(&mut self, text: &str) -> &mut Self {
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

    fn types(&mut self, text: &str) -> &mut Self {
        self.keyboard.write_all(text.as_bytes()).expect("typed");
        self
    }

    fn echoes(&self) -> bool {
        let settings = tcgetattr(&self.line).expect("a terminal");
        settings.local_modes.contains(LocalModes::ECHO)
    }

    /// The exit code; all that the screen has shown is in `seen` afterwards.
    fn ends(&mut self) -> i32 {
        let status = self.child.wait().expect("ended");
        while let Ok(bytes) = self.screen.recv_timeout(Duration::from_millis(200)) {
            self.seen.push_str(&String::from_utf8_lossy(&bytes));
        }
        assert!(self.echoes(), "the terminal is left without echo");
        status.code().unwrap_or(-1)
    }
}

fn machine() -> Machine {
    let mut machine = Machine::new();
    machine.set("ARTIFACTS_KEYRING_TYPE", "file");
    machine
}

const PASSWORD: &str = "correct horse";

#[test]
fn a_new_keyring_asks_twice_and_shows_nothing_of_it() {
    let machine = machine();
    let line = format!("storage set --access-key-id {ID} --secret-access-key -");
    let mut terminal = Terminal::start(&machine, &line);
    terminal
        .shows("secret access key: ")
        .types_unseen(&format!("{SECRET}x\x7f\r"))
        .shows("a password for the new keyring")
        .types_unseen(&format!("{PASSWORD}\r"))
        .shows("the same password again: ")
        .types_unseen(&format!("{PASSWORD}\r"))
        .shows("Saved ACCESS_KEY_ID, SECRET_ACCESS_KEY in the keyring");
    assert_eq!(terminal.ends(), 0);
    for secret in [SECRET, PASSWORD] {
        assert!(!terminal.seen.contains(secret), "{}", terminal.seen);
    }
    machine.run("auth keyring lock").ok();
    let mut terminal = Terminal::start(&machine, "storage show");
    terminal
        .shows("password of the keyring")
        .types_unseen("a mistyped one\r")
        .forgets()
        .shows("password of the keyring")
        .types_unseen(&format!("{PASSWORD}\r"))
        .shows("ACCESS_KEY_ID");
    assert_eq!(terminal.ends(), 0, "a mistyped password may be typed again");
}

#[test]
fn two_different_passwords_make_nothing() {
    let machine = machine();
    let line = format!("storage set --access-key-id {ID} --secret-access-key -");
    let mut terminal = Terminal::start(&machine, &line);
    terminal
        .shows("secret access key: ")
        .types_unseen(&format!("{SECRET}\r"))
        .shows("a password for the new keyring")
        .types_unseen("correct horse\r")
        .shows("again: ")
        .types_unseen("correct house\r")
        .shows("the two passwords differ; nothing was changed");
    assert_eq!(terminal.ends(), 1);
    let head = machine
        .home
        .path()
        .join(".local/share/artifacts/keyring/head");
    assert!(!head.exists());
}

#[test]
fn control_c_leaves_nothing_half_written_and_the_terminal_as_it_was() {
    let machine = machine();
    let line = format!("storage set --access-key-id {ID} --secret-access-key -");
    let mut terminal = Terminal::start(&machine, &line);
    terminal
        .shows("secret access key: ")
        .types_unseen("half a sec\x03")
        .shows("interrupted; nothing was changed");
    assert_eq!(terminal.ends(), 1);
    let mut terminal = Terminal::start(&machine, &line);
    terminal
        .shows("secret access key: ")
        .types_unseen(&format!("{SECRET}\r"))
        .shows("a password for the new keyring")
        .types_unseen("corr\x03")
        .shows("interrupted; nothing was changed");
    assert_eq!(terminal.ends(), 1);
    assert!(!machine.credentials().exists());
    let head = machine
        .home
        .path()
        .join(".local/share/artifacts/keyring/head");
    assert!(!head.exists());
}

#[test]
fn without_input_nothing_is_asked_even_on_a_terminal() {
    let machine = machine();
    for line in [
        "storage set --secret-access-key - --no-input",
        "auth user configure --no-input",
        "auth user configure --access-key-id A --no-input",
    ] {
        let mut terminal = Terminal::start(&machine, line);
        terminal.shows("error: ");
        assert_eq!(terminal.ends(), 2, "{}", terminal.seen);
    }
}
