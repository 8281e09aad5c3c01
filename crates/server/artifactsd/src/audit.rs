//! `artifactsd audit`: whether the orchestrator's audit is as it was written, and the audit
//! as JSON lines.

use std::io::{self, Write};
use std::process::ExitCode;
use std::str::FromStr;

use api::AuditRow;
use clap::{Args, Subcommand};
use orchestrator::store::Store;
use orchestrator::verify::{Verdict, verify};

use crate::database::Database;

/// Check or export the orchestrator's audit.
#[derive(Args)]
pub(crate) struct Audit {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Follow the chain of hashes; exit 1 where it is broken.
    Verify(Verify),
    /// Print every row as a line of JSON.
    Export(Export),
}

#[derive(Args)]
struct Verify {
    #[command(flatten)]
    database: Database,
    /// A row that was seen before, as `SEQ:HASH`: it must be there and be the same. Rows cut
    /// off at the end show only by it.
    #[arg(long, value_name = "SEQ:HASH")]
    seen: Option<Seen>,
}

#[derive(Args)]
struct Export {
    #[command(flatten)]
    database: Database,
    /// Only rows behind this number.
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    after: i64,
}

/// A row's number and hash, as `verify` prints them.
#[derive(Clone)]
struct Seen {
    seq: i64,
    hash: Vec<u8>,
}

impl FromStr for Seen {
    type Err = &'static str;

    fn from_str(text: &str) -> std::result::Result<Self, &'static str> {
        let parsed = text.split_once(':').and_then(|(seq, hash)| {
            let hash = hex::decode(hash).ok().filter(|hash| hash.len() == 32)?;
            let seq = seq.parse().ok().filter(|seq| *seq > 0)?;
            Some(Self { seq, hash })
        });
        parsed.ok_or("it is a row's number, a colon, and its hash as 64 hexadecimal digits")
    }
}

/// Rows in one read.
const BATCH: i64 = 1_000;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Runs the command, and prints what went wrong.
pub(crate) fn run(arguments: Audit) -> ExitCode {
    match act(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn act(arguments: Audit) -> Result {
    let database = match &arguments.action {
        Action::Verify(verify) => &verify.database,
        Action::Export(export) => &export.database,
    };
    let store = database.open().await?;
    let done = match &arguments.action {
        Action::Verify(arguments) => check(&*store, arguments.seen.as_ref()).await,
        Action::Export(arguments) => export(&*store, arguments.after).await,
    };
    store.close().await;
    done
}

async fn check(store: &dyn Store, seen: Option<&Seen>) -> Result {
    let (rows, head) = match verify(store).await? {
        Verdict::Whole { rows, head } => (rows, head),
        Verdict::Broken { seq } => {
            return Err(format!(
                "row {seq} is missing, or it or the one before it was changed\nhint: compare with an export that was kept elsewhere"
            )
            .into());
        }
    };
    if let Some(seen) = seen {
        let row = store.recorded(seen.seq - 1, 1).await?;
        if row.first().is_none_or(|row| row.hash != seen.hash) {
            let seq = seen.seq;
            return Err(format!(
                "row {seq} is not the one that was seen: rows were cut off, or the audit was written anew\nhint: compare with an export that was kept elsewhere"
            )
            .into());
        }
    }
    match head {
        None => writeln!(io::stdout(), "there are no rows")?,
        Some(hash) => writeln!(
            io::stdout(),
            "{rows} rows, each follows from the one before\nlast {rows}:{}",
            hex::encode(hash)
        )?,
    }
    Ok(())
}

async fn export(store: &dyn Store, mut after: i64) -> Result {
    let mut out = io::BufWriter::new(io::stdout().lock());
    loop {
        let rows = store.recorded(after, BATCH).await?;
        let Some(last) = rows.last() else {
            return Ok(out.flush()?);
        };
        after = last.seq;
        for row in rows {
            serde_json::to_writer(&mut out, &AuditRow::from(row))?;
            writeln!(out)?;
        }
    }
}
