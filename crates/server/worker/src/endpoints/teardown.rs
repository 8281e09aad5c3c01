//! `POST /v1/cred/teardown`: all credentials of one actor of the operator's, deleted.

use api::vault::{Reason, Teardown, TornDown};
use bucket::{DeleteOutcome, Error, Key, ListRequest};
use vault::{Op, Place};

use super::objects::{Objects, audited};
use super::{Endpoint, Subject};
use crate::app::App;
use crate::checks::Admitted;
use crate::intake::SHORT;
use crate::outcome::Story;
use crate::refused::{Refused, Result};

/// How many names of what is left are told.
const NAMED: usize = 100;

pub(crate) struct TearDown;

impl Endpoint for TearDown {
    const OP: Op = Op::Teardown;
    const PATH: &'static str = "/v1/cred/teardown";
    const LONGEST: usize = SHORT;

    type Request = Teardown;
    type Answer = TornDown;

    fn subject(request: &Teardown) -> Subject<'_> {
        Subject {
            cap: &request.cap,
            service: None,
            target: Some(&request.target),
            label: request.label.as_deref(),
        }
    }

    async fn perform(
        app: &App,
        request: Teardown,
        admitted: Admitted,
        story: &mut Story,
    ) -> Result<TornDown> {
        audited(app).await?;
        let owner = admitted.owner;
        let objects = Objects::of(app, &owner, request.cap.expose());
        let prefix = Place::prefix(&owner);
        let mut torn = TornDown {
            deleted: 0,
            failed: 0,
            left: Vec::new(),
        };
        let mut token = None;
        loop {
            let ended = page(&objects, &prefix, &mut token, &mut torn).await;
            story.0.deleted = Some(torn.deleted);
            story.0.failed = Some(torn.failed);
            if ended? {
                return Ok(torn);
            }
        }
    }
}

/// Deletes one page; whether it was the last. All objects below the prefix go, whatever their
/// names.
async fn page(
    objects: &Objects<'_>,
    prefix: &str,
    token: &mut Option<String>,
    torn: &mut TornDown,
) -> Result<bool> {
    let request = &ListRequest {
        prefix: prefix.to_owned(),
        token: token.clone(),
        ..ListRequest::default()
    };
    let page = objects
        .ask(|bucket| async move { bucket.list(request).await })
        .await;
    let page = page.map_err(|trouble| partly(trouble.into(), torn))?;
    let keys: Vec<Key> = page.objects.into_iter().map(|object| object.key).collect();
    // A listing of another prefix would make us delete what nobody asked for.
    if keys.iter().any(|key| !key.as_str().starts_with(prefix)) {
        tracing::error!("the store lists objects of another prefix");
        return Err(Reason::BucketUnavailable.into());
    }
    if !keys.is_empty() {
        let keys = &keys;
        let outcomes = objects
            .ask(|bucket| async move { bucket.delete_many(keys).await })
            .await;
        let outcomes = outcomes.map_err(|trouble| partly(trouble.into(), torn))?;
        count(outcomes, prefix, torn);
    }
    *token = page.next;
    Ok(token.is_none())
}

fn count(outcomes: Vec<DeleteOutcome>, prefix: &str, torn: &mut TornDown) {
    for DeleteOutcome { key, result } in outcomes {
        match result {
            Ok(()) | Err(Error::NotFound { .. }) => torn.deleted += 1,
            Err(error) => {
                tracing::warn!(%key, %error, "a credential was not deleted");
                torn.failed += 1;
                if torn.left.len() < NAMED {
                    let name = key.as_str().strip_prefix(prefix).unwrap_or(key.as_str());
                    torn.left.push(name.escape_debug().to_string());
                }
            }
        }
    }
}

/// A teardown that the store broke off: how far it came is said, because that much is gone.
fn partly(refused: Refused, torn: &TornDown) -> Refused {
    if torn.deleted == 0 {
        return refused;
    }
    let text = format!(
        "the bucket failed after {} objects were deleted\nhint: try again; what is gone stays gone",
        torn.deleted
    );
    Refused::new(refused.reason, text)
}
