//! The user's service manager: where it keeps its files, and what it is told.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use model::WorkspaceName;

use super::{launchd, systemd};
use crate::failure::{Code, Failure, Result};
use crate::variables;

/// What a service runs.
#[derive(Debug, Clone)]
pub(super) struct Unit {
    /// The workspace, by which the service is named.
    pub(super) name: WorkspaceName,
    /// The program.
    pub(super) program: PathBuf,
    /// What it is given.
    pub(super) words: Vec<OsString>,
    /// Its variables.
    pub(super) environment: BTreeMap<&'static str, OsString>,
}

/// Which manager there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manager {
    /// `systemd --user`.
    Systemd,
    /// macOS's.
    Launchd,
}

impl Manager {
    const OWN: Self = match cfg!(target_os = "macos") {
        true => Self::Launchd,
        false => Self::Systemd,
    };

    /// The manager, where it answers.
    pub(super) fn reachable() -> Result<Self> {
        let asked: &[&str] = match Self::OWN {
            Self::Systemd => &["--user", "show", "--property=Version"],
            Self::Launchd => &["managername"],
        };
        Self::OWN.tell(asked).map_err(|failure| {
            let text = format!(
                "there is no service manager for this user: {}",
                failure.message
            );
            Failure::new(Code::NoServiceManager, text).with_hint(
                "run artifacts bisync NAME DIR --watch under another supervisor; over ssh or su \
                 a login session may be missing: XDG_RUNTIME_DIR says where its manager is",
            )
        })?;
        Ok(Self::OWN)
    }

    /// Where the service of a workspace is, or would be.
    pub(super) fn place(name: &WorkspaceName) -> Result<PathBuf> {
        Self::OWN.file(name)
    }

    pub(super) fn file(self, name: &WorkspaceName) -> Result<PathBuf> {
        let home = || etcetera::home_dir().map_err(|_| Failure::from(credentials::Error::NoHome));
        Ok(match self {
            Self::Systemd => {
                let set = variables::raw("XDG_CONFIG_HOME").map(PathBuf::from);
                let config = match set.filter(|path| path.is_absolute()) {
                    Some(path) => path,
                    None => home()?.join(".config"),
                };
                config.join("systemd/user").join(self.label(name))
            }
            Self::Launchd => {
                let file = format!("{}.plist", self.label(name));
                home()?.join("Library/LaunchAgents").join(file)
            }
        })
    }

    /// What the manager calls it.
    pub(super) fn label(self, name: &WorkspaceName) -> String {
        match self {
            Self::Systemd => format!("artifacts-bisync-{name}.service"),
            Self::Launchd => launchd::label(name.as_str()),
        }
    }

    /// Writes the service, in the place of an earlier one, and lets it begin with the session.
    pub(super) fn install(self, unit: &Unit) -> Result<PathBuf> {
        let file = self.file(&unit.name)?;
        let text = match self {
            Self::Systemd => systemd::text(unit),
            Self::Launchd => launchd::text(unit),
        };
        write(&file, &text).map_err(|error| unusable(&file, &error))?;
        if self == Self::Systemd {
            self.tell(&["--user", "daemon-reload"])?;
            self.tell(&["--user", "enable", &self.label(&unit.name)])?;
        }
        Ok(file)
    }

    pub(super) fn start(self, name: &WorkspaceName) -> Result<()> {
        let label = self.label(name);
        match self {
            Self::Systemd => self.tell(&["--user", "restart", &label]).map(drop),
            Self::Launchd => {
                let file = self.file(name)?;
                // Loaded already: then it is only to run.
                if self
                    .tell(&[
                        OsStr::new("bootstrap"),
                        OsStr::new(&domain()),
                        file.as_os_str(),
                    ])
                    .is_err()
                {
                    self.tell(&["kickstart", &target(&label)])?;
                }
                Ok(())
            }
        }
    }

    pub(super) fn stop(self, name: &WorkspaceName) -> Result<()> {
        let label = self.label(name);
        match self {
            Self::Systemd => self.tell(&["--user", "stop", &label]).map(drop),
            Self::Launchd => self.tell(&["bootout", &target(&label)]).map(drop),
        }
    }

    /// Stops it and takes its file away.
    pub(super) fn uninstall(self, name: &WorkspaceName) -> Result<()> {
        let file = self.file(name)?;
        match self {
            Self::Systemd => {
                let label = self.label(name);
                self.tell(&["--user", "disable", "--now", &label])?;
            }
            // One that is not loaded cannot be unloaded.
            Self::Launchd => drop(self.stop(name)),
        }
        std::fs::remove_file(&file).map_err(|error| unusable(&file, &error))?;
        match self {
            Self::Systemd => self.tell(&["--user", "daemon-reload"]).map(drop),
            Self::Launchd => Ok(()),
        }
    }

    /// How the service is, in the manager's words.
    pub(super) fn state(self, name: &WorkspaceName) -> Result<String> {
        let label = self.label(name);
        match self {
            Self::Systemd => {
                let asked = "--property=ActiveState,SubState,NRestarts";
                let told = self.tell(&["--user", "show", asked, &label])?;
                Ok(shown(&String::from_utf8_lossy(&told.stdout)))
            }
            Self::Launchd => {
                let told = self.tell(&["print", &target(&label)]);
                let runs = told.is_ok_and(|told| {
                    String::from_utf8_lossy(&told.stdout).contains("state = running")
                });
                Ok(if runs { "active" } else { "inactive" }.to_owned())
            }
        }
    }

    fn tell<S: AsRef<OsStr>>(self, words: &[S]) -> Result<Output> {
        let program = match self {
            Self::Systemd => "systemctl",
            Self::Launchd => "launchctl",
        };
        let output = Command::new(program)
            .args(words)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| {
                Failure::new(Code::NoServiceManager, format!("{program}: {error}"))
                    .with_hint("run artifacts bisync NAME DIR --watch under another supervisor")
            })?;
        if output.status.success() {
            return Ok(output);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let text = format!("{program}: {}", said.trim());
        Err(Failure::new(Code::Failed, text)
            .with_hint("its log may say more: journalctl --user --unit 'artifacts-bisync-*'"))
    }
}

/// `ActiveState=active` and so on, in one line.
fn shown(properties: &str) -> String {
    let value = |name: &str| {
        let mut lines = properties.lines();
        lines
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .unwrap_or("?")
            .to_owned()
    };
    let (active, sub) = (value("ActiveState"), value("SubState"));
    match value("NRestarts").as_str() {
        "0" | "?" => format!("{active} ({sub})"),
        times => format!("{active} ({sub}), restarted {times} times"),
    }
}

/// The session of this user, as launchd calls it.
fn domain() -> String {
    format!("gui/{}", rustix::process::getuid().as_raw())
}

fn target(label: &str) -> String {
    format!("{}/{label}", domain())
}

/// Replaces the file in one step: a manager may read it at any time.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder)?;
    let mut new = tempfile::Builder::new()
        .prefix(".artifacts-")
        .tempfile_in(folder)?;
    std::io::Write::write_all(&mut new, text.as_bytes())?;
    new.as_file().sync_all()?;
    new.persist(file)?;
    Ok(())
}

fn unusable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Code::FileUnusable, format!("{}: {error}", path.display()))
        .with_hint("look at the path and who may write there")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn unit() -> Unit {
        Unit {
            name: "my-notes".parse().expect("a name"),
            program: "/opt/my programs/artifacts".into(),
            words: [
                "bisync",
                "my-notes",
                "/home/ada/a b %h $HOME ${x} 'q' \"q\" back\\slash",
                "--watch",
            ]
            .map(OsString::from)
            .into(),
            environment: [("XDG_STATE_HOME", "/home/ada/100% \"state\"".into())].into(),
        }
    }

    #[test]
    fn a_state_is_one_line() {
        let said = "ActiveState=active\nSubState=running\nNRestarts=0\n";
        assert_eq!(shown(said), "active (running)");
        let said = "ActiveState=activating\nSubState=auto-restart\nNRestarts=3\n";
        assert_eq!(shown(said), "activating (auto-restart), restarted 3 times");
    }
}
