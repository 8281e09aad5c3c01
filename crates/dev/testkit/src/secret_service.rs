//! A private D-Bus session with a real GNOME keyring in it: nothing of the user's own.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::Error;
use crate::process::Process;
use crate::tools::{self, Tool};

/// A session bus and its keyring daemon; dropping it ends both.
#[derive(Debug)]
pub struct SecretService {
    daemon: Process,
    bus: Process,
    /// Removed after the processes are gone (fields drop in order).
    home: TempDir,
}

const READY_LIMIT: Duration = Duration::from_secs(20);
const PASSWORD: &str = "a login password";

impl SecretService {
    /// A keyring as it is after a login: unlocked.
    ///
    /// # Errors
    /// [`Error::Missing`] without `dbus-daemon` or `gnome-keyring-daemon`, or why it did not
    /// come up.
    pub fn start() -> Result<Self, Error> {
        let home = tempfile::tempdir().map_err(Error::io("make a folder for the session"))?;
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700))
            .map_err(Error::io("protect the session's folder"))?;
        let bus = start_bus(home.path())?;
        let daemon = start_daemon(home.path(), Some(PASSWORD))?;
        let mut session = Self { daemon, bus, home };
        session.wait_for_daemon()?;
        Ok(session)
    }

    /// The same keyring after a restart that nobody has logged in to: what it holds is
    /// locked, and nobody is there to unlock it.
    ///
    /// # Errors
    /// Why it did not come up.
    pub fn restart_locked(&mut self) -> Result<(), Error> {
        self.daemon.kill();
        self.daemon = start_daemon(self.home.path(), None)?;
        self.wait_for_daemon()
    }

    /// The keyring keeps its name on the bus, and never answers again.
    pub fn fall_silent(&self) {
        self.daemon.pause();
    }

    /// What a program needs to find this session.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        [
            ("DBUS_SESSION_BUS_ADDRESS", address(self.home.path())),
            ("XDG_RUNTIME_DIR", self.home.path().display().to_string()),
        ]
    }

    /// Asks `secret-tool`, libsecret's own command, for an entry: the outside witness.
    ///
    /// # Errors
    /// [`Error::Missing`], or that it could not be run.
    pub fn witness(&self, attributes: &[&str]) -> Result<Option<Vec<u8>>, Error> {
        let output = Command::new(tools::find(Tool::SecretTool)?)
            .arg("lookup")
            .args(attributes)
            .envs(self.environment())
            .output()
            .map_err(Error::io("run secret-tool"))?;
        Ok(output.status.success().then_some(output.stdout))
    }

    fn wait_for_daemon(&mut self) -> Result<(), Error> {
        let environment = self.environment();
        self.daemon
            .wait_ready(READY_LIMIT, || has_owner(&environment))?;
        // The bus is the daemon's ground: gone, it would explain everything.
        if self.bus.has_ended() {
            return self.bus.wait_ready(Duration::ZERO, || false);
        }
        Ok(())
    }
}

fn start_bus(home: &Path) -> Result<Process, Error> {
    let mut bus = Process::start(
        "dbus-daemon",
        &tools::find(Tool::DbusDaemon)?,
        &home.join("bus.log"),
        |command| {
            command
                .args(["--session", "--nofork", "--nopidfile"])
                .arg(format!("--address={}", address(home)))
                // No session services of the machine are started on this bus.
                .env("XDG_DATA_DIRS", home)
                .env("XDG_DATA_HOME", home)
                .env("HOME", home);
        },
    )?;
    bus.wait_ready(READY_LIMIT, || socket(home).exists())?;
    Ok(bus)
}

fn start_daemon(home: &Path, password: Option<&str>) -> Result<Process, Error> {
    let input = home.join("password");
    fs::File::create(&input)
        .and_then(|mut file| file.write_all(password.unwrap_or_default().as_bytes()))
        .map_err(Error::io("write the password"))?;
    let program = tools::find(Tool::GnomeKeyringDaemon)?;
    // Its standard input is the password, which a guarded process cannot have: a shell.
    let script = match password {
        Some(_) => "exec \"$0\" --foreground --components=secrets --unlock < \"$1\"",
        None => "exec \"$0\" --foreground --components=secrets",
    };
    let log = home.join("keyring.log");
    Process::start(
        "gnome-keyring-daemon",
        Path::new("/bin/sh"),
        &log,
        |command| {
            command
                .args(["-c", script])
                .arg(&program)
                .arg(&input)
                .env("HOME", home)
                .env("XDG_RUNTIME_DIR", home)
                .env("XDG_DATA_HOME", home.join("data"))
                .env("DBUS_SESSION_BUS_ADDRESS", address(home));
        },
    )
}

/// Whether somebody has the Secret Service's name on the bus.
fn has_owner(environment: &[(&'static str, String); 2]) -> bool {
    Command::new("dbus-send")
        .args([
            "--session",
            "--print-reply",
            "--dest=org.freedesktop.DBus",
            "/",
            "org.freedesktop.DBus.GetNameOwner",
            "string:org.freedesktop.secrets",
        ])
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn socket(home: &Path) -> PathBuf {
    home.join("bus")
}

fn address(home: &Path) -> String {
    format!("unix:path={}", socket(home).display())
}
