//! `artifactsd provider`: the store behind the service, seen by its operator.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use provider::Kind;
use provider::check::{Limits, Outcome, Report, check};
use provider::verify::Reach;
use uuid::Uuid;

use crate::store_flags::StoreFlags;

/// Make buckets and keys at a store.
#[derive(Args)]
pub(crate) struct ProviderArguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prove that a store makes keys that open what they should and nothing else.
    ///
    /// Makes two scratch buckets (artifacts-check-…), issues keys for reading, for writing
    /// and for a part of a bucket, tries every verb with each of them, revokes them, proves
    /// that they are dead, and deletes everything. The administrator's keys come from
    /// ARTIFACTS_PROVIDER_ACCESS_KEY_ID and ARTIFACTS_PROVIDER_SECRET_ACCESS_KEY, or from a
    /// file. Exits with 0 when all is as it should be, else with 1.
    Check(CheckArguments),
}

#[derive(Args)]
struct CheckArguments {
    /// The kind of store: aws, tigris, seaweedfs, embedded or generic.
    #[arg(long, value_name = "KIND")]
    provider: Kind,
    #[command(flatten)]
    store: StoreFlags,
    /// How many seconds a new key may take until it works.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    alive_within: u64,
    /// How many seconds a revoked key may go on working.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    dead_within: u64,
    /// A table for people, or one JSON document.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// Runs the role, and prints what went wrong.
pub(crate) fn run(arguments: ProviderArguments) -> ExitCode {
    let Command::Check(arguments) = arguments.command;
    match run_check(arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[tokio::main(flavor = "current_thread")]
async fn run_check(arguments: CheckArguments) -> Result<bool> {
    let (format, limits) = (arguments.format, arguments.limits());
    let config = arguments.store.config(arguments.provider)?;
    let (ca_pem, patience) = (config.ca_pem.clone(), config.patience);
    let provider = provider::open(config)?;
    let reach = Reach {
        place: provider.place().clone(),
        ca_pem,
        patience,
    };
    let report = check(&*provider, &reach, limits, Uuid::new_v4).await;
    print(&report, format)?;
    Ok(report.is_good())
}

impl CheckArguments {
    fn limits(&self) -> Limits {
        Limits {
            alive: Duration::from_secs(self.alive_within),
            dead: Duration::from_secs(self.dead_within),
        }
    }
}

fn print(report: &Report, format: Format) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match format {
        Format::Json => {
            let document = serde_json::json!({ "ok": report.is_good(), "rows": report.rows });
            writeln!(out, "{document}")
        }
        Format::Table => {
            writeln!(out, "{}", table(report))?;
            let count = |outcome| {
                let rows = report.rows.iter();
                rows.filter(|row| row.outcome == outcome).count()
            };
            writeln!(
                out,
                "{} as it should be, {} not, {} not known to this store",
                count(Outcome::Passed),
                count(Outcome::Failed),
                count(Outcome::Unsupported)
            )
        }
    }
}

fn table(report: &Report) -> Table {
    let mut table = Table::new();
    table
        .load_preset(NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(["", "WHO", "WHAT", "SEEN"]);
    for row in &report.rows {
        let mark = match row.outcome {
            Outcome::Passed => "ok",
            Outcome::Failed => "FAILED",
            Outcome::Unsupported => "-",
        };
        table.add_row([mark, row.subject, &row.what, &row.seen]);
    }
    table
}
