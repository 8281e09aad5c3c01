//! `artifacts secret read`.

use clap::Args;
use model::ServiceName;
use secrets::ReadSecret;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::vaulted::BackendChoice;

/// What to print.
#[derive(Args)]
pub(crate) struct Read {
    /// The service.
    service: ServiceName,
    /// Also a secret that is older than what this machine has seen, which then counts as the
    /// present one: after a teardown, or a bucket that was restored.
    #[arg(long)]
    accept_older: bool,
    #[command(flatten)]
    backend: BackendChoice,
}

#[derive(Serialize)]
struct Shown<'a> {
    service: &'a ServiceName,
    /// Where it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    /// Where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<&'a str>,
    version: u8,
    epoch: u32,
    generation: u64,
}

pub(super) fn run(command: &Read, context: &Context) -> Result<()> {
    let read = context.block_on(async {
        let store = context.secret_store(&command.backend).await?;
        Ok(store.read(&command.service, command.accept_older).await?)
    })?;
    if !context.output.is_json() {
        return context.output.bytes(read.value.expose());
    }
    let bytes = read.value.expose();
    let text = std::str::from_utf8(bytes).ok();
    let encoded = Zeroizing::new(base64_simd::STANDARD.encode_to_string(bytes));
    let ReadSecret {
        version,
        epoch,
        generation,
        ..
    } = read;
    let shown = Shown {
        service: &command.service,
        value: text,
        value_base64: text.is_none().then_some(encoded.as_str()),
        version,
        epoch,
        generation,
    };
    // In a buffer that does not grow, so that no half of the secret stays behind.
    let mut line = Zeroizing::new(Vec::with_capacity(512 * 1024));
    serde_json::to_writer_pretty(&mut *line, &shown)
        .map_err(|_| Failure::new(Code::Failed, "the secret has no JSON form"))?;
    line.push(b'\n');
    context.output.bytes(&line)
}
