//! `artifacts secret store`.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use api::vault::LONGEST_PLAINTEXT;
use clap::Args;
use model::ServiceName;
use secrets::SecretValue;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::input;
use crate::vaulted::BackendChoice;

/// What to store.
#[derive(Args)]
pub(crate) struct Store {
    /// The service, such as openrouter.
    service: ServiceName,
    /// `-` or nothing: the secret comes from standard input, on a terminal it is asked for. A
    /// secret given here works too, and every process of this machine can read it meanwhile.
    #[arg(value_name = "-", allow_hyphen_values = true)]
    value: Option<String>,
    /// The secret is this file's content.
    #[arg(long, value_name = "FILE", conflicts_with = "value")]
    from_file: Option<PathBuf>,
    /// Keep a line break at the end of standard input or of the file.
    #[arg(long)]
    exact: bool,
    /// Only if none is stored yet.
    #[arg(long, conflicts_with = "expect_generation")]
    new: bool,
    /// Only if the stored one is at this generation.
    #[arg(long, value_name = "NUMBER")]
    expect_generation: Option<u64>,
    #[command(flatten)]
    backend: BackendChoice,
}

pub(super) fn run(command: &Store, context: &Context) -> Result<()> {
    let value = SecretValue::new(value(command, context)?)?;
    let expected = match command.new {
        true => Some(0),
        false => command.expect_generation,
    };
    let stored = context.block_on(async {
        let store = context.secret_store(&command.backend).await?;
        Ok(store.store(&command.service, &value, expected).await?)
    })?;
    context.output.data(&stored, || {
        let (service, generation) = (&stored.service, stored.generation);
        format!("{service} is stored (generation {generation})\n")
    })
}

fn value(command: &Store, context: &Context) -> Result<Zeroizing<Vec<u8>>> {
    let mut bytes = match (&command.from_file, command.value.as_deref()) {
        (Some(path), _) => file(path)?,
        (None, None | Some("-")) if io::stdin().is_terminal() => {
            let what = format!("secret of {}", command.service);
            let typed = input::secret(context, &what)?;
            return Ok(Zeroizing::new(typed.as_bytes().to_vec()));
        }
        (None, None | Some("-")) => input::whole("secret", LONGEST_PLAINTEXT)?,
        (None, Some(value)) => {
            context.output.warn(
                "a secret on the command line can be read by other programs, and stays in the shell's history",
                &format!("pipe it in: artifacts secret store {} -", command.service),
            );
            return Ok(Zeroizing::new(value.as_bytes().to_vec()));
        }
    };
    if !command.exact {
        // What echo and editors add, and no key has.
        for end in [b'\n', b'\r'] {
            if bytes.last() == Some(&end) {
                bytes.pop();
            }
        }
    }
    Ok(bytes)
}

fn file(path: &PathBuf) -> Result<Zeroizing<Vec<u8>>> {
    use std::io::Read;
    let fail = |e| Failure::from(credentials::Error::io("read", path, e));
    let file = std::fs::File::open(path).map_err(fail)?;
    let limit = LONGEST_PLAINTEXT as u64 + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST_PLAINTEXT + 1));
    file.take(limit).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() > LONGEST_PLAINTEXT {
        let text = format!("{} has more than {LONGEST_PLAINTEXT} bytes", path.display());
        return Err(Failure::new(Code::InvalidValue, text)
            .with_hint("a secret is a key or a token; keep files in a workspace"));
    }
    Ok(bytes)
}
