//! A machine of its own for each test: a home folder, an environment, and the program.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod platform;
pub(crate) mod store;
pub(crate) mod synced;
pub(crate) mod terminal;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What must never be seen: the secrets that tests use.
pub(crate) const SECRET: &str = "s3cretKeyThatNobodyMaySee/+x";
pub(crate) const TOKEN: &str = "t0kenThatNobodyMaySeeEither==";
pub(crate) const ID: &str = "AKIATESTTESTTESTTEST";

/// A user's home and environment.
pub(crate) struct Machine {
    pub(crate) home: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

/// What a command said.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self {
            home: tempfile::tempdir().expect("a temporary folder"),
            variables: Vec::new(),
        }
    }

    /// A machine whose keys go to the keyring of this session.
    pub(crate) fn in_session(session: &testkit::secret_service::SecretService) -> Self {
        let mut machine = Self::new();
        machine.set("ARTIFACTS_KEYRING_TYPE", "system");
        for (name, value) in session.environment() {
            machine.set(name, &value);
        }
        machine
    }

    /// The same home with one more variable.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn unset(&mut self, name: &str) -> &mut Self {
        self.variables.retain(|(known, _)| known != name);
        self
    }

    pub(crate) fn set_keys(&mut self, id: &str, secret: &str) -> &mut Self {
        self.set("ARTIFACTS_S3_ACCESS_KEY_ID", id)
            .set("ARTIFACTS_S3_SECRET_ACCESS_KEY", secret)
    }

    pub(crate) fn unset_keys(&mut self) -> &mut Self {
        self.unset("ARTIFACTS_S3_ACCESS_KEY_ID")
            .unset("ARTIFACTS_S3_SECRET_ACCESS_KEY")
    }

    /// Any program in this machine's environment, `artifacts` on its `PATH`.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        let own = Path::new(env!("CARGO_BIN_EXE_artifacts"));
        let folder = own.parent().expect("a folder").display();
        command
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", format!("{folder}:/usr/local/bin:/usr/bin:/bin"))
            .envs(self.variables.iter().map(|(n, v)| (n, v)))
            .current_dir(self.home.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs `artifacts` with the words of a line. What it prints is searched for secrets.
    pub(crate) fn run(&self, line: &str) -> Said {
        let said = self.run_openly(line);
        for (stream, text) in [("stdout", &said.out), ("stderr", &said.err)] {
            for secret in [SECRET, TOKEN] {
                assert!(
                    !text.contains(secret),
                    "{line}: a secret on {stream}:\n{text}"
                );
            }
        }
        said
    }

    /// As [`run`](Self::run) for commands that print secrets on purpose.
    pub(crate) fn run_openly(&self, line: &str) -> Said {
        let output = self.artifacts(line).output().expect("started");
        Said::from(output)
    }

    /// Runs with text on standard input.
    pub(crate) fn run_with_input(&self, line: &str, input: &str) -> Said {
        let mut child = self
            .artifacts(line)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let mut stdin = child.stdin.take().expect("a pipe");
        // A command that refuses before it reads has closed its end.
        match stdin.write_all(input.as_bytes()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
            written => written.expect("written"),
        }
        drop(stdin);
        Said::from(child.wait_with_output().expect("ended"))
    }

    pub(crate) fn artifacts(&self, line: &str) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_artifacts"));
        command.args(line.split_whitespace());
        command
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.home.path().join(".config/artifacts")
    }

    pub(crate) fn credentials(&self) -> PathBuf {
        self.config().join("byo-credentials")
    }

    /// The cache file's settings, without comments.
    pub(crate) fn cached(&self) -> Vec<String> {
        let text = fs::read_to_string(self.credentials()).unwrap_or_default();
        let settings = text
            .lines()
            .filter(|l| !l.starts_with('#') && !l.is_empty());
        settings.map(str::to_owned).collect()
    }
}

impl Said {
    /// Succeeded, and said this on standard output.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self.out
    }

    /// Failed with this exit code, this sentence and this hint (parts of them), and
    /// printed nothing on standard output.
    #[track_caller]
    pub(crate) fn refused(self, code: i32, message: &str, hint: &str) {
        let (out, err) = (&self.out, &self.err);
        assert_eq!(self.code, code, "{out}{err}");
        let error = line_after(err, "error: ").unwrap_or_else(|| panic!("no error line:\n{err}"));
        assert!(error.contains(message), "{error:?} lacks {message:?}");
        let shown = line_after(err, "hint: ").unwrap_or_else(|| panic!("no hint:\n{err}"));
        assert!(shown.contains(hint), "{shown:?} lacks {hint:?}");
        assert_eq!(out, "");
    }

    /// The error object of a command that failed with `--format json`.
    #[track_caller]
    pub(crate) fn error(&self) -> serde_json::Value {
        let last = self.err.lines().last().unwrap_or_default();
        let value: serde_json::Value =
            serde_json::from_str(last).unwrap_or_else(|e| panic!("{e}: {}", self.err));
        value["error"].clone()
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Self {
            code: output.status.code().unwrap_or(-1),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

pub(crate) fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}

pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").permissions().mode() & 0o7777
}

/// The rest of the last paragraph line that begins so.
fn line_after<'t>(text: &'t str, start: &str) -> Option<&'t str> {
    text.lines()
        .filter_map(|line| line.strip_prefix(start))
        .next_back()
}
