//! Where the passphrase of the sealed file comes from: a variable, a file, a credential of
//! systemd, or a person at a terminal. Never an argument: others see those.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use base::private_file;
use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use secrecy::SecretString;
use signer::seal::Passphrase;
use zeroize::Zeroizing;

use super::Result;

/// No passphrase is longer.
const LONGEST: u64 = 4096;

#[derive(Args)]
pub(super) struct PassphraseFlags {
    /// The environment variable that has the passphrase.
    #[arg(long, value_name = "NAME", group = "source")]
    passphrase_env: Option<String>,
    /// The file that has the passphrase (mode 0600), as its only line.
    #[arg(
        long,
        value_name = "FILE",
        group = "source",
        env = "ARTIFACTS_SIGNER_PASSPHRASE_FILE"
    )]
    passphrase_file: Option<PathBuf>,
    /// The credential that has it: LoadCredentialEncrypted=NAME:… of systemd.
    #[arg(long, value_name = "NAME", group = "source")]
    passphrase_credential: Option<String>,
}

#[derive(Args)]
pub(super) struct NewPassphrase {
    /// The environment variable that has the new passphrase.
    #[arg(long, value_name = "NAME", group = "new_source")]
    new_passphrase_env: Option<String>,
    /// The file that has the new passphrase (mode 0600), as its only line.
    #[arg(long, value_name = "FILE", group = "new_source")]
    new_passphrase_file: Option<PathBuf>,
}

impl PassphraseFlags {
    /// The passphrase of a file that is there.
    pub(super) fn read(&self) -> Result<Passphrase> {
        match self.given()? {
            Some(text) => Ok(Passphrase::new(text)?),
            None => Ok(Passphrase::new(typed("passphrase")?)?),
        }
    }

    /// A new one: typed twice, if it is typed.
    pub(super) fn read_new(&self, what: &str) -> Result<Passphrase> {
        match self.given()? {
            Some(text) => Ok(Passphrase::new(text)?),
            None => typed_twice(what),
        }
    }

    fn given(&self) -> Result<Option<SecretString>> {
        if let Some(name) = &self.passphrase_credential {
            let folder = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or(
                "there are no credentials\nhint: --passphrase-credential is for services of systemd",
            )?;
            let path = Path::new(&folder).join(name);
            // systemd gives its folder and its rights; who owns the file differs.
            let file = File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            return line_of(file, &path).map(Some);
        }
        given(
            self.passphrase_env.as_deref(),
            self.passphrase_file.as_deref(),
        )
    }
}

impl NewPassphrase {
    pub(super) fn read(&self) -> Result<Passphrase> {
        let named = self.new_passphrase_env.as_deref();
        match given(named, self.new_passphrase_file.as_deref())? {
            Some(text) => Ok(Passphrase::new(text)?),
            None => typed_twice("new passphrase"),
        }
    }
}

fn given(variable: Option<&str>, file: Option<&Path>) -> Result<Option<SecretString>> {
    if let Some(name) = variable {
        let text = std::env::var(name).map_err(|_| format!("{name} is not set"))?;
        return Ok(Some(text.into()));
    }
    let Some(path) = file else { return Ok(None) };
    line_of(private_file::open(path)?, path).map(Some)
}

/// A file's only line.
fn line_of(file: File, path: &Path) -> Result<SecretString> {
    let wrong = |error: io::Error| format!("{}: {error}", path.display());
    let mut text = Zeroizing::new(String::with_capacity(4096));
    file.take(LONGEST)
        .read_to_string(&mut text)
        .map_err(wrong)?;
    Ok(text.trim_end_matches(['\n', '\r']).into())
}

fn typed_twice(what: &str) -> Result<Passphrase> {
    let passphrase = typed(what)?;
    let again = typed(&format!("{what} again"))?;
    let same = {
        use secrecy::ExposeSecret;
        passphrase.expose_secret() == again.expose_secret()
    };
    if !same {
        return Err("the two are not the same; nothing was changed".into());
    }
    Ok(Passphrase::new(passphrase)?)
}

/// Asks at the terminal, without showing what is typed.
fn typed(what: &str) -> Result<SecretString> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        let text = format!(
            "the {what} would have to be typed, and there is no terminal\nhint: --passphrase-file, --passphrase-env or --passphrase-credential"
        );
        return Err(text.into());
    }
    write!(io::stderr(), "{what}: ")?;
    let quiet = Quiet::begin()?;
    let mut line = Zeroizing::new(String::with_capacity(4096));
    let read = stdin.read_line(&mut line);
    drop(quiet);
    writeln!(io::stderr())?;
    read?;
    Ok(line.trim_end_matches(['\n', '\r']).into())
}

/// The terminal without echo, until dropped. Control-C is left to be a character, so that the
/// terminal is put right again before the command ends.
struct Quiet(Termios);

impl Quiet {
    fn begin() -> Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ISIG);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // It was a terminal a moment ago.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
