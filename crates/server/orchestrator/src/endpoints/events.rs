//! `GET /workspaces/{workspace_id}/events`: what happens in a workspace, as it happens
//! (Server-Sent Events, HTML Living Standard §9.2).

use std::convert::Infallible;
use std::mem;
use std::sync::Arc;

use api::{Event, EventId, WorkspaceId};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::sse::{Event as Message, Sse};
use axum::response::{IntoResponse, Response};
use base::Failure;
use base::extract::Named;
use secrecy::SecretString;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::Shared;
use crate::app::App;
use crate::auth::{Bearer, Caller};
use crate::document::refusals;
use crate::hub::{BATCH, Place};
use crate::layers::RequestContext;
use crate::store::Happened;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Tells nginx not to wait for more.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Messages that wait for a client that reads slowly. Whoever is slower still gets them from
/// the database.
const WAITING: usize = 16;

/// Follows a workspace: what happens in it, as it happens (Server-Sent Events).
///
/// With `Last-Event-ID` what was missed comes first, or `resync` if it is forgotten; without it the stream begins
/// with the newest event's number and no event. The type of an event is that of `Event`, and its data the rest of
/// it. A comment comes every 15 seconds.
#[utoipa::path(
    get, path = "/workspaces/{handle}/events", operation_id = "follow_events", tag = "changes",
    params(
        ("handle" = WorkspaceId, Path, description = "The workspace's number"),
        ("Last-Event-ID" = Option<i64>, Header, description = "The last event that was taken in"),
    ),
    responses(
        (status = 200, description = "The stream", body = String, content_type = "text/event-stream"),
        (status = 429, response = refusals::RateLimited),
    ),
)]
pub(crate) async fn follow(
    State(app): Shared,
    caller: Caller,
    Bearer(token): Bearer,
    Named(workspace): Named<WorkspaceId>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    super::workspaces::visible_by_id(&app, &caller, workspace).await?;
    let place = Place::take(&app, caller.tenant()?.tenant_id, workspace)?;
    let newest = app.store.newest_event(workspace).await?;
    let live = app.hub.follow(workspace, newest);
    let seen = headers.get(LAST_EVENT_ID).map(seen);
    let (sender, receiver) = mpsc::channel(WAITING);
    let follower = Follower {
        app,
        workspace,
        token,
        last: seen.unwrap_or(newest),
        is_in_doubt: false,
        live,
        sender,
        _place: place,
    };
    tokio::spawn(follower.run(seen.is_none()));
    let messages = futures::stream::unfold(receiver, async |mut receiver| {
        let message = receiver.recv().await?;
        Some((Ok::<_, Infallible>(message), receiver))
    });
    let mut response = Sse::new(messages).into_response();
    let no = HeaderValue::from_static("no");
    response.headers_mut().insert(UNBUFFERED, no);
    Ok(response)
}

/// The number in the header; one that is none is as good as one that nobody has.
fn seen(value: &HeaderValue) -> EventId {
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    EventId(number.unwrap_or(-1))
}

/// The one who writes a stream.
struct Follower {
    app: Arc<App>,
    workspace: WorkspaceId,
    token: SecretString,
    /// The last event that was sent.
    last: EventId,
    /// Whether a key was revoked just now, perhaps because this token may see less than before.
    is_in_doubt: bool,
    live: Receiver<Arc<Happened>>,
    sender: mpsc::Sender<Message>,
    /// Behind the receiver: fields are dropped in order.
    _place: Place,
}

/// Why a stream ends.
enum End {
    /// The client is gone.
    Gone,
    /// The database does not answer: the client comes again and misses nothing.
    Failed,
}

impl Follower {
    async fn run(mut self, is_new: bool) {
        let stop = self.app.stop.clone();
        let ended = tokio::select! {
            () = stop.cancelled() => return,
            ended = self.write(is_new) => ended,
        };
        if let Err(End::Failed) = ended {
            tracing::warn!(workspace = %self.workspace, "a stream of events was cut off");
        }
    }

    async fn write(&mut self, is_new: bool) -> Result<(), End> {
        if is_new {
            let number = self.last.to_string();
            let begin = Message::default().comment("from here").id(number);
            self.send(begin).await?;
        }
        // Only now, after it is followed: nothing is between what is read and what is heard.
        self.replay().await?;
        let mut beat = tokio::time::interval(self.app.settings.heartbeat);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beat.tick().await;
        loop {
            if mem::take(&mut self.is_in_doubt) && !self.may_go_on().await? {
                return Ok(());
            }
            tokio::select! {
                happened = self.live.recv() => match happened {
                    Ok(happened) => self.next(&happened).await?,
                    Err(RecvError::Lagged(_)) => self.replay().await?,
                    Err(RecvError::Closed) => return Err(End::Failed),
                },
                _ = beat.tick() => {
                    if !self.may_go_on().await? {
                        return Ok(());
                    }
                    self.send(Message::default().comment("")).await?;
                }
                () = self.sender.closed() => return Err(End::Gone),
            }
        }
    }

    /// Sends an event if it is the next one; otherwise what lies between comes first.
    async fn next(&mut self, happened: &Happened) -> Result<(), End> {
        if happened.id <= self.last {
            return Ok(());
        }
        if happened.id.0 == self.last.0 + 1 {
            return self.tell(happened.id, &happened.event).await;
        }
        self.replay().await
    }

    /// Sends what is behind the last event that was sent.
    async fn replay(&mut self) -> Result<(), End> {
        loop {
            let store = &self.app.store;
            let missed = store.events(self.workspace, self.last, BATCH).await;
            let missed = missed.map_err(|_| End::Failed)?;
            if missed.gap {
                return self.tell(missed.newest, &Event::Resync {}).await;
            }
            let count = missed.events.len();
            for happened in missed.events {
                self.tell(happened.id, &happened.event).await?;
            }
            if i64::try_from(count).unwrap_or(i64::MAX) < BATCH {
                return Ok(());
            }
        }
    }

    async fn tell(&mut self, id: EventId, event: &Event) -> Result<(), End> {
        let message = Message::default().id(id.to_string()).event(event.name());
        let message = message.json_data(event).map_err(|_| End::Failed)?;
        self.last = id;
        self.is_in_doubt |= matches!(event, Event::Revoked(_));
        self.send(message).await?;
        self.app.metrics.event_sent(event.name());
        Ok(())
    }

    async fn send(&self, message: Message) -> Result<(), End> {
        self.sender.send(message).await.map_err(|_| End::Gone)
    }

    /// Whether the token still opens the workspace. Whoever may no longer follow it is told
    /// nothing more; the next request says why.
    async fn may_go_on(&self) -> Result<bool, End> {
        let context = RequestContext::unnumbered();
        let caller = Caller::of_token(&self.app, &self.token, &context).await;
        let visible = match caller {
            Ok(caller) => {
                super::workspaces::visible_by_id(&self.app, &caller, self.workspace).await
            }
            Err(failure) => Err(failure),
        };
        match visible {
            Ok(_) => Ok(true),
            Err(failure) if failure.status().is_server_error() => Err(End::Failed),
            Err(_) => Ok(false),
        }
    }
}
