//! `POST /sync`: a mount says what it has put into the bucket, or deleted.

use api::{Announced, Announcement, Change, Changes, Event, Mode, Source};
use axum::Json;
use axum::extract::State;
use base::Failure;
use base::extract::Body;

use super::{Answer, Shared};
use crate::auth::Caller;
use crate::document::refusals;

/// A mount says what it has put into the bucket, or deleted.
///
/// It is handed on to everybody who follows the workspace.
#[utoipa::path(
    post, path = "/sync", operation_id = "announce", tag = "changes",
    request_body = Announcement,
    responses(
        (status = 200, description = "Handed on", body = Announced),
        (status = 404, response = refusals::NotFound),
        (status = 429, response = refusals::RateLimited),
    ),
)]
pub(crate) async fn announce(
    State(app): Shared,
    caller: Caller,
    Body(said): Body<Announcement>,
) -> Answer<Announced> {
    app.limits.announcement(caller.tenant()?.tenant_id)?;
    let (_, mode) = super::workspaces::visible_by_id(&app, &caller, said.workspace_id).await?;
    if !mode.covers(Mode::Rw) {
        return Err(Failure::forbidden(
            "only who may write announces changes\nhint: use a token or a grant for reading and writing",
        ));
    }
    if said.changed.len() + said.deleted.len() > Announcement::MOST {
        return Err(Failure::invalid(
            "more than 1,000 objects\nhint: announce them in parts",
        ));
    }
    let workspace = said.workspace_id;
    let events = events(said);
    if events.is_empty() {
        return Ok(Json(Announced {
            last_event_id: None,
        }));
    }
    let last = app.store.add_events(workspace, app.now(), &events).await?;
    // It went between the two questions.
    let last = last.ok_or_else(|| Failure::not_found("workspace"))?;
    Ok(Json(Announced {
        last_event_id: Some(last),
    }))
}

fn events(said: Announcement) -> Vec<Event> {
    let changes = |objects: Vec<Change>| {
        let origin = said.origin.clone();
        let source = Source::Client;
        (!objects.is_empty()).then_some(Changes {
            objects,
            source,
            origin,
        })
    };
    let changed = changes(said.changed).map(Event::Changed);
    let deleted = changes(said.deleted).map(Event::Deleted);
    changed.into_iter().chain(deleted).collect()
}
