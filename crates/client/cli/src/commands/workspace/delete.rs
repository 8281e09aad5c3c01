//! `artifacts workspace delete`.

use api::{ErrorCode, WorkspaceState};
use bucket::{Bucket, Condition, Key, ListRequest, ObjectMeta};
use clap::Args;
use control::Orchestrator;
use credentials::{Prefix, Registration};
use model::WorkspaceName;
use mount::control::Outcome;
use mount::{MountError, units};
use serde::Serialize;

use crate::commands::mount as mounting;
use crate::context::Context;
use crate::failure::{Code, Failure, Result};
use crate::input;
use crate::key_choice::KeyChoice;
use crate::marker::Marker;
use crate::registered::{Right, forget_key, give_back, own_handle};
use crate::workspace::{Opened, open, place};

/// Forgets a workspace on this machine. The bucket is left alone unless `--purge` is given.
#[derive(Args)]
pub(crate) struct Delete {
    /// The workspace.
    name: WorkspaceName,
    /// Remove every object of the workspace from its bucket first, for good.
    #[arg(long)]
    purge: bool,
    /// End it at the orchestrator, too: its name is free, and the keys of every machine are
    /// revoked. With --purge that is so anyway.
    #[arg(long)]
    everywhere: bool,
    /// Do not ask before the purge.
    #[arg(long)]
    yes: bool,
    /// Also when changes that are not in the bucket wait in the journal on this machine, or the
    /// key to it cannot be given back.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    keys: KeyChoice,
}

/// What was done, for programs.
#[derive(Serialize)]
struct Answer<'a> {
    name: &'a WorkspaceName,
    #[serde(flatten)]
    purged: Option<Counts>,
}

/// How the purge went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Counts {
    /// Objects removed.
    deleted: u64,
    /// Objects that the store refused to remove.
    failed: u64,
    /// Objects that are still there, new ones included.
    left: u64,
    /// The first refusal's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub(crate) fn run(delete: &Delete, context: &Context) -> Result<()> {
    let name = &delete.name;
    refuse_mounted(name, context)?;
    if !delete.force {
        refuse_pending(name, context)?;
    }
    let ending = ending(delete, context)?;
    let purged = match delete.purge {
        true => Some(purge(delete, context)?),
        false => None,
    };
    if let Some(counts) = purged.as_ref().filter(|counts| counts.left > 0) {
        return Err(undone(name, counts));
    }
    if let Some((orchestrator, known)) = &ending {
        end(orchestrator, known, context)?;
    }
    end_keys(delete, context)?;
    context.workspaces()?.delete(name)?;
    context.output.note(&match &purged {
        Some(counts) => format!(
            "Removed {} and forgot workspace {name}.",
            objects(counts.deleted)
        ),
        None => format!("Forgot workspace {name}. Its files are still in the bucket."),
    });
    if context.output.is_json() {
        context.output.data(&Answer { name, purged }, String::new)?;
    }
    Ok(())
}

/// The orchestrator that is to end a workspace, asked beforehand whether it may be.
fn ending(delete: &Delete, context: &Context) -> Result<Option<(Orchestrator, Registration)>> {
    let known = context.workspaces()?.load(&delete.name)?.orchestrator;
    let Some(known) = known.filter(|_| delete.everywhere || delete.purge) else {
        if delete.everywhere {
            let text = format!(
                "no orchestrator knows {}: there is nothing to end elsewhere",
                delete.name
            );
            return Err(Failure::new(Code::Usage, text).with_hint("leave --everywhere out"));
        }
        return Ok(None);
    };
    let orchestrator = context.orchestrator_at(known.url.clone())?;
    let own = own_handle(context, &orchestrator)?;
    if own != known.handle {
        let text = format!(
            "{known} is {}'s, and this login stands in {own}",
            known.handle
        );
        return Err(Failure::new(Code::NotAllowed, text)
            .with_hint("forget it on this machine with neither --everywhere nor --purge"));
    }
    Ok(Some((orchestrator, known)))
}

/// Ends the workspace at its orchestrator, and with it the keys of every machine.
fn end(orchestrator: &Orchestrator, known: &Registration, context: &Context) -> Result<()> {
    let end = orchestrator.end_workspace(&known.handle, &known.name);
    match context.block_on(async { Ok(end.await) })? {
        Ok(workspace) if workspace.state == WorkspaceState::Deleted => {}
        Ok(_) => context.output.note(
            "The orchestrator goes on revoking the keys of other machines to this workspace.",
        ),
        Err(error) if error.is(ErrorCode::NotFound) => {}
        Err(error) => return Err(error.into()),
    }
    context
        .output
        .note(&format!("Ended {known} at {}.", known.url));
    Ok(())
}

/// Gives back the keys that this machine was issued.
fn end_keys(delete: &Delete, context: &Context) -> Result<()> {
    let name = &delete.name;
    let mut config = context.workspaces()?.load(name)?;
    let Some(known) = config.orchestrator.clone() else {
        return Ok(());
    };
    let has_login = context.session(&known.url)?.is_some();
    if !has_login && known.key.is_none() {
        if known.ticket_key.is_some() {
            forget_key(context, name, &mut config, Right::Ticket)?;
            context
                .output
                .note("The key that this machine got for a ticket ends with the ticket.");
        }
        return Ok(());
    }
    let orchestrator = context.orchestrator_at(known.url.clone())?;
    let returned = give_back(context, &orchestrator, name, &[Right::Login, Right::Ticket]);
    match returned {
        Ok(_) => Ok(()),
        Err(failure) if delete.force => {
            let hint = failure.hint.as_deref().unwrap_or_default();
            context.output.warn(&failure.message, hint);
            for right in [Right::Login, Right::Ticket] {
                forget_key(context, name, &mut config, right)?;
            }
            Ok(())
        }
        Err(failure) => Err(failure),
    }
}

/// A mount goes on with a workspace that this machine no longer knows, and nothing says how
/// to mount it again.
fn refuse_mounted(name: &WorkspaceName, context: &Context) -> Result<()> {
    match mounting::served(context, |workspace| workspace == name.as_str())? {
        None => Ok(()),
        Some(record) => Err(MountError::WorkspaceBusy {
            workspace: record.workspace,
            at: Some(record.mountpoint),
        }
        .into()),
    }
}

/// What was closed and is nowhere but here must not be forgotten by the way.
fn refuse_pending(name: &WorkspaceName, context: &Context) -> Result<()> {
    let id = context.workspaces()?.load(name)?.id;
    let left = mounting::left(context, id)?;
    if left.is_nothing() {
        return Ok(());
    }
    let folder = context.paths()?.state().join(id.to_string());
    let pending = units::pending(&Outcome::from(left));
    Err(Failure::new(
        Code::LeftUndone,
        format!(
            "{pending} of {name} are only in the journal on this machine, in {}",
            folder.display()
        ),
    )
    .with_hint(format!(
        "upload them: artifacts mount {name} FOLDER, then artifacts unmount {name}; to forget \
         the workspace without them: artifacts workspace delete --force {name}"
    )))
}

fn purge(delete: &Delete, context: &Context) -> Result<Counts> {
    let opened = open(context, &delete.name, &delete.keys.settled(context)?)?;
    let found = context.block_on(async {
        opened.check_marker().await?;
        survey(opened.bucket.as_ref(), &opened.config.prefix).await
    });
    let (count, bytes) = match found {
        // An earlier purge was interrupted between the bucket and the orchestrator.
        Err(failure)
            if failure.code == Code::NotInBucket && opened.config.orchestrator.is_some() =>
        {
            return Ok(Counts::default());
        }
        found => found?,
    };
    if !delete.yes {
        let question = format!(
            "This removes {} ({bytes} bytes) at {} for good, whoever put them there.",
            objects(count),
            place(&opened.config)
        );
        input::confirm(context, &question, delete.name.as_str(), "--yes")?;
    }
    context.block_on(sweep(&opened))
}

/// How many objects, and how many bytes.
async fn survey(bucket: &dyn Bucket, prefix: &Prefix) -> Result<(u64, u64)> {
    let (mut count, mut bytes) = (0, 0);
    let mut pages = Pages::new(bucket, prefix);
    while let Some(objects) = pages.next().await? {
        count += objects.len() as u64;
        bytes += objects.iter().map(|o| o.size).sum::<u64>();
    }
    Ok((count, bytes))
}

/// Removes everything, the marker last: what is interrupted can be run again.
async fn sweep(opened: &Opened) -> Result<Counts> {
    let (bucket, prefix) = (opened.bucket.as_ref(), &opened.config.prefix);
    let marker = Marker::key(prefix)?;
    let mut counts = Counts::default();
    let mut pages = Pages::new(bucket, prefix);
    while let Some(objects) = pages.next().await? {
        let keys: Vec<Key> = objects.into_iter().map(|o| o.key).collect();
        let keys: Vec<Key> = keys.into_iter().filter(|key| *key != marker).collect();
        counts.remove(bucket, &keys).await;
    }
    let (left, _) = survey(bucket, prefix).await?;
    if left > 1 {
        counts.left = left;
        return Ok(counts);
    }
    match bucket.delete(&marker, Condition::None).await {
        Ok(()) => counts.deleted += 1,
        Err(e) => counts.refused(1, &e),
    }
    (counts.left, _) = survey(bucket, prefix).await?;
    Ok(counts)
}

impl Counts {
    async fn remove(&mut self, bucket: &dyn Bucket, keys: &[Key]) {
        if keys.is_empty() {
            return;
        }
        match bucket.delete_many(keys).await {
            Err(e) => self.refused(keys.len() as u64, &e),
            Ok(outcomes) => {
                for outcome in outcomes {
                    match outcome.result {
                        Ok(()) => self.deleted += 1,
                        Err(e) => self.refused(1, &e),
                    }
                }
            }
        }
    }

    fn refused(&mut self, count: u64, error: &bucket::Error) {
        self.failed += count;
        self.reason.get_or_insert_with(|| error.to_string());
    }
}

fn undone(name: &WorkspaceName, counts: &Counts) -> Failure {
    let reason = match &counts.reason {
        Some(reason) => format!(": {reason}"),
        None => " (written while the purge ran)".to_owned(),
    };
    Failure::new(
        Code::LeftUndone,
        format!(
            "{} removed, {} refused, {} still in the bucket{reason}",
            objects(counts.deleted),
            counts.failed,
            counts.left
        ),
    )
    .with_hint(format!(
        "remove the cause, then run again: artifacts workspace delete {name} --purge"
    ))
}

fn objects(count: u64) -> String {
    match count {
        1 => "1 object".to_owned(),
        n => format!("{n} objects"),
    }
}

/// All pages of a prefix. Goes on after the last key seen, so that deleting on the way
/// does not make it lose its place.
struct Pages<'a> {
    bucket: &'a dyn Bucket,
    request: ListRequest,
    ended: bool,
}

impl<'a> Pages<'a> {
    fn new(bucket: &'a dyn Bucket, prefix: &Prefix) -> Self {
        let request = ListRequest {
            prefix: prefix.as_str().to_owned(),
            ..ListRequest::default()
        };
        Self {
            bucket,
            request,
            ended: false,
        }
    }

    async fn next(&mut self) -> Result<Option<Vec<ObjectMeta>>> {
        if self.ended {
            return Ok(None);
        }
        let page = self.bucket.list(&self.request).await?;
        self.ended = page.next.is_none() || page.objects.is_empty();
        self.request.start_after = page.objects.last().map(|o| o.key.as_str().to_owned());
        Ok(Some(page.objects))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_counted_and_explained() {
        let mut counts = Counts {
            deleted: 3,
            ..Counts::default()
        };
        counts.refused(
            2,
            &bucket::Error::PermissionDenied {
                action: "delete a".into(),
            },
        );
        counts.left = 2;
        let failure = undone(&"w".parse().expect("a name"), &counts);
        assert_eq!(failure.code.exit(), 8);
        assert_eq!(
            failure.message,
            "3 objects removed, 2 refused, 2 still in the bucket: not permitted to delete a"
        );
    }
}
