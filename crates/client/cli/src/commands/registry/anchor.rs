//! `artifacts registry anchor`: the head of an audit goes onto the chain.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use clap::Args;
use model::Actor;
use registrar::chain::ChainRegistrar;
use serde::Serialize;
use vault::audit::{Verdict, follow};

use crate::anchored::{Anchors, Head};
use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::registering::{OperatorChoice, WriteKey, chain_place, registry, unset};

/// Write the head of an audit onto the chain: `artifacts vault audit --anchors` shows from then on
/// where one of the records up to now is missing or was changed.
///
/// All that was anchored before must still be in the file. An operator has one list of anchors,
/// for one audit: that of another server is anchored by a wallet of its own.
#[derive(Args)]
pub(crate) struct Anchor {
    /// The audit of a worker, broker or signer.
    #[arg(value_name = "FILE", required_unless_present = "head")]
    file: Option<PathBuf>,
    /// The head of an audit that is elsewhere, as its server's command `audit` shows it. Its
    /// records are not looked at.
    #[arg(long, value_name = "RECORDS:HEAD", conflicts_with = "file")]
    head: Option<Head>,
    #[command(flatten)]
    operator: OperatorChoice,
}

/// What is on the chain now.
#[derive(Serialize)]
struct Shown<'a> {
    operator: &'a Actor,
    records: u64,
    head: String,
    /// How many anchors there are.
    anchors: usize,
    /// Whether one was added; else this head was the newest before.
    is_new: bool,
}

pub(super) fn run(command: &Anchor, context: &Context) -> Result<()> {
    let anchors = context.anchors(command.operator.operator.as_ref())?;
    let head = match (&command.file, command.head) {
        (Some(file), _) => head_of(file, &anchors)?,
        (None, Some(head)) => head,
        (None, None) => {
            return Err(Failure::new(
                Code::Usage,
                "neither a file nor a head is given",
            ));
        }
    };
    let is_new = anchors.last() != Some(head);
    if is_new {
        append(&anchors.operator, head, context)?;
    }
    let shown = Shown {
        operator: &anchors.operator,
        records: head.records,
        head: head.to_string(),
        anchors: anchors.count() + usize::from(is_new),
        is_new,
    };
    context.output.data(&shown, || {
        let how = if is_new {
            "anchored"
        } else {
            "anchored before"
        };
        format!("{how}: {}\nanchors: {}\n", shown.head, shown.anchors)
    })
}

fn append(operator: &Actor, head: Head, context: &Context) -> Result<()> {
    let settings = context.vault_settings()?;
    let WriteKey::Wallet(wallet) = context.write_key(&settings)? else {
        return Err(unset());
    };
    let place = chain_place(registry(&settings)?)?;
    let chain = ChainRegistrar::new(place, wallet, Some(operator.clone()))?;
    context.block_on(async { Ok(chain.anchor(head.hash, head.records).await?) })
}

/// The head of a file that is whole and has what was anchored before.
fn head_of(path: &Path, anchors: &Anchors) -> Result<Head> {
    let io = |e| credentials::Error::io("read", path, e);
    let file = File::open(path).map_err(io)?;
    let mut beside = anchors.beside();
    let mut head = None;
    let mut records = 0;
    let verdict = follow(BufReader::new(file), |link, _| {
        beside.see(&link);
        records = link.seq;
        head = Some(Head {
            records,
            hash: link.hash,
        });
    });
    let broken = |text: String| {
        Failure::new(Code::AuditBroken, text)
            .with_hint("nothing was anchored; compare the file with a copy")
    };
    if let Verdict::Broken { seq } = verdict.map_err(io)? {
        return Err(broken(format!(
            "record {seq} of {} was changed, or one before it is missing",
            path.display()
        )));
    }
    if let Some(lost) = beside.lost() {
        return Err(broken(lost.words(path, records)));
    }
    head.ok_or_else(|| {
        let text = format!("{} has no records", path.display());
        Failure::new(Code::InvalidValue, text).with_hint("anchor it once it has some")
    })
}
