//! The clients of the vault's benchmark: as many as are wanted, each a device with a key of its
//! own, that store and fetch through a worker; and the same objects put and got at the store
//! without one. Figures go to stdout, as JSON.

mod client;
mod devices;
mod envelope;
mod figures;
mod raw;
mod trouble;
mod worker;

use std::process::ExitCode;

use clap::Parser;

/// Load for a worker of the vault, and for the store behind it.
#[derive(Parser)]
#[command(name = "artifacts-load")]
enum Arguments {
    /// Makes device keys in a folder, and prints their numbers, one a line.
    Devices(devices::Arguments),
    /// Stores or fetches through a worker.
    Worker(worker::Arguments),
    /// Seals and opens envelopes, without anybody else.
    Envelope(envelope::Arguments),
    /// Puts or gets objects of the same size at the store.
    Raw(raw::Arguments),
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[allow(
    clippy::print_stderr,
    reason = "a program says on stderr why it failed"
)]
fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("artifacts-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    // One provider of cryptography in a program; that it is there already is no trouble.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    match arguments {
        Arguments::Devices(arguments) => devices::run(&arguments),
        Arguments::Envelope(arguments) => envelope::run(&arguments),
        Arguments::Worker(arguments) => runtime.block_on(worker::run(arguments)),
        Arguments::Raw(arguments) => runtime.block_on(raw::run(arguments)),
    }
}
