//! `GET /v1/sse/operator/{actor}`: what daemons of an operator are told, as it happens
//! (Server-Sent Events, HTML Living Standard §9.2).

use std::convert::Infallible;
use std::sync::Arc;

use api::vault::OperatorEvent;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::sse::{Event as Message, Sse};
use axum::response::{IntoResponse, Response};
use base::Failure;
use base::extract::Named;
use model::Actor;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::Shared;
use crate::app::App;
use crate::audit::Record;
use crate::caller::Caller;
use crate::hub::{Follower, Most};
use crate::refusal::Refusal;
use crate::store::EVERYBODY;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Tells nginx not to wait for more.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Messages that wait for a client that reads slowly. Whoever is slower still gets them from
/// the database.
const WAITING: usize = 16;

/// Events that are read at once.
const BATCH: i64 = 64;

/// Follows an operator: for their own session, and for those of their agents, who are told of
/// themselves only.
pub(crate) async fn follow(
    State(app): Shared,
    caller: Caller,
    Named(operator): Named<Actor>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    match stream(&app, caller, &operator, &headers).await {
        Ok(response) => Ok(response),
        Err((record, refusal)) => Err(app.refused(record, refusal).await),
    }
}

async fn stream(
    app: &Arc<App>,
    caller: Caller,
    operator: &Actor,
    headers: &HeaderMap,
) -> Result<Response, (Record, Refusal)> {
    let mut record = Record::by(app, "events.follow", &caller);
    record.target = Some(operator.clone());
    match begin(app, caller, operator, headers).await {
        Ok(response) => Ok(response),
        Err(refusal) => Err((record, refusal)),
    }
}

async fn begin(
    app: &Arc<App>,
    caller: Caller,
    operator: &Actor,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    if caller.session.operator != *operator {
        let text =
            "this is another operator\nhint: a daemon follows the operator of its own session";
        return Err(Failure::forbidden(text).into());
    }
    caller.require_follower(app).await?;
    let most = Most {
        of_operator: app.settings.streams_per_operator,
        of_one: app.settings.streams_per_device,
    };
    let session = &caller.session;
    let one = session.device.map(|device| device.to_string());
    let one = one.unwrap_or_else(|| session.jti.clone());
    let follower = app.hub.follow(operator, one, most)?;
    let newest = app.store.newest_event().await?;
    let seen = headers.get(LAST_EVENT_ID).map(seen);
    let (sender, receiver) = mpsc::channel(WAITING);
    let writer = Writer {
        app: Arc::clone(app),
        caller,
        last: seen.unwrap_or(newest),
        sender,
        follower,
    };
    tokio::spawn(writer.run(seen.is_none()));
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
fn seen(value: &HeaderValue) -> i64 {
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    number.unwrap_or(-1)
}

/// The one who writes a stream.
struct Writer {
    app: Arc<App>,
    caller: Caller,
    /// The last event that was sent or passed over.
    last: i64,
    sender: mpsc::Sender<Message>,
    follower: Follower,
}

/// Why a stream ends.
enum End {
    /// The client is gone, or may not follow any more.
    Gone,
    /// The database does not answer: the client comes again and misses nothing.
    Failed,
}

impl Writer {
    async fn run(mut self, is_new: bool) {
        let stop = self.app.stop.clone();
        let ended = tokio::select! {
            () = stop.cancelled() => return,
            ended = self.write(is_new) => ended,
        };
        if let Err(End::Failed) = ended {
            tracing::warn!(operator = %self.caller.session.operator, "a stream was cut off");
        }
    }

    async fn write(&mut self, is_new: bool) -> Result<(), End> {
        if is_new {
            let begin = Message::default().comment("from here");
            self.send(begin.id(self.last.to_string())).await?;
        }
        let mut beat = tokio::time::interval(self.app.settings.heartbeat);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beat.tick().await;
        loop {
            self.replay().await?;
            tokio::select! {
                woken = self.follower.woken.changed() => woken.map_err(|_| End::Failed)?,
                _ = beat.tick() => {
                    self.check().await?;
                    self.send(Message::default().comment("")).await?;
                }
                () = self.sender.closed() => return Err(End::Gone),
            }
        }
    }

    /// Sends what is behind the last event.
    async fn replay(&mut self) -> Result<(), End> {
        loop {
            let operator = &self.caller.session.operator;
            let missed = self.app.store.events(operator, self.last, BATCH).await;
            let missed = missed.map_err(|_| End::Failed)?;
            if missed.gap {
                self.last = missed.newest;
                return self.tell(missed.newest, &OperatorEvent::Resync).await;
            }
            let count = missed.events.len();
            for happened in missed.events {
                self.last = happened.id;
                if self.concerns(&happened.event) {
                    self.tell(happened.id, &happened.event).await?;
                }
            }
            if i64::try_from(count).unwrap_or(i64::MAX) < BATCH {
                return Ok(());
            }
        }
    }

    /// An agent is not told what others of its operator have.
    fn concerns(&self, event: &OperatorEvent) -> bool {
        if self.caller.is_operator() {
            return true;
        }
        let session = &self.caller.session;
        match event {
            OperatorEvent::Drop(drop) => drop
                .actor
                .as_ref()
                .is_none_or(|actor| *actor == session.sub),
            OperatorEvent::DeviceRevoked { device } => session.device.as_ref() == Some(device),
            OperatorEvent::Epoch { .. } | OperatorEvent::Resync => true,
        }
    }

    async fn tell(&self, id: i64, event: &OperatorEvent) -> Result<(), End> {
        let message = Message::default().id(id.to_string()).event(kind(event));
        let message = message.json_data(event).map_err(|_| End::Failed)?;
        self.send(message).await
    }

    async fn send(&self, message: Message) -> Result<(), End> {
        self.sender.send(message).await.map_err(|_| End::Gone)
    }

    /// Whoever may no longer follow is told nothing more; the next request says why. While the
    /// registry is away nothing is known, and the stream goes on.
    async fn check(&self) -> Result<(), End> {
        let token = self.caller.token.clone();
        let stands = match Caller::of_token(&self.app, token).await {
            Ok(caller) => caller.require_follower(&self.app).await,
            Err(refusal) => Err(refusal),
        };
        match stands {
            Ok(()) => Ok(()),
            Err(Refusal::Reason(api::vault::Reason::RegistryUnavailable)) => Ok(()),
            Err(Refusal::Plain(failure)) if failure.status().is_server_error() => Err(End::Failed),
            Err(_) => Err(End::Gone),
        }
    }
}

/// The word of an event, in `event:` as in its data.
fn kind(event: &OperatorEvent) -> &'static str {
    match event {
        OperatorEvent::Drop(_) => "drop",
        OperatorEvent::DeviceRevoked { .. } => "device_revoked",
        OperatorEvent::Epoch { .. } => "epoch",
        OperatorEvent::Resync => "resync",
    }
}

impl App {
    /// Keeps an event of an operator's, and wakes their followers.
    pub(crate) async fn happened(
        &self,
        operator: &Actor,
        event: &OperatorEvent,
    ) -> Result<(), Refusal> {
        let now = self.now();
        self.store.add_event(operator.as_str(), event, now).await?;
        self.hub.wake(operator);
        Ok(())
    }

    /// The same of everybody's.
    pub(crate) async fn happened_to_all(&self, event: &OperatorEvent) -> Result<(), Refusal> {
        let now = self.now();
        self.store.add_event(EVERYBODY, event, now).await?;
        self.hub.wake_all();
        Ok(())
    }
}
