//! `bootstrap`: the worker as AWS Lambda runs it (`make lambda`). All that `artifactsd worker serve`
//! takes as flags comes from the variables of the same names; the audit's lines go to standard
//! output unless ARTIFACTS_WORKER_AUDIT names a file.

mod closed_memory;
mod own_folder;
mod registry_flags;
mod worker_app;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use worker_app::{Lifetime, WorkerFlags};

/// The worker of the vault behind AWS Lambda.
#[derive(Parser)]
#[command(name = "bootstrap", version)]
struct Arguments {
    /// Where clients reach this worker: the function's URL or the gateway's. Proofs are made for it.
    #[arg(long, value_name = "URL", env = "ARTIFACTS_WORKER_PUBLIC_URL")]
    public_url: String,
    /// Take a registry of signed documents, although each process that Lambda starts has seen none
    /// of them: whoever serves or writes them can put back an older one, from before a revocation,
    /// down to the `min_version` of operators.json.
    #[arg(
        long,
        env = "ARTIFACTS_WORKER_MAY_FORGET",
        value_parser = clap::builder::BoolishValueParser::new()
    )]
    may_forget: bool,
    #[command(flatten)]
    worker: WorkerFlags,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = std::env::var("ARTIFACTS_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(io::stderr)
        .with_target(false)
        .with_ansi(false)
        .init();
    match serve(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn serve(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    closed_memory::close();
    if !worker::under_lambda() {
        let text = "this is for AWS Lambda, which did not start it\nhint: artifactsd worker serve is the server of the same";
        return Err(text.into());
    }
    let opened = arguments
        .worker
        .open(
            &arguments.public_url,
            Lifetime::Short {
                may_forget: arguments.may_forget,
            },
        )
        .await?;
    let served = worker::serve_lambda(worker::router(Arc::clone(&opened.app))).await;
    opened.app.settle(true).await;
    opened.records.sync();
    served.map_err(|error| error as Box<dyn std::error::Error>)
}
