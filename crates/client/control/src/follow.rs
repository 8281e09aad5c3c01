//! A mount hears what happens in its workspace, and says how it is itself.
//!
//! The stream's numbers are trusted, not its order of arrival: after a break the server
//! replays from the last number that was heard, or says `resync`. While the orchestrator is
//! away the mount goes on by its profile's times.

use std::sync::Arc;
use std::time::{Duration, Instant};

use api::{
    CredentialId, Description, ErrorCode, Event, EventId, Mode, MountId, ReportMount, RevokedKey,
    WorkspaceId,
};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use sse_stream::{Sse, SseByteStream};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::client::Orchestrator;
use crate::error::{ControlError, Result};

/// Between two tries to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Whoever is refused asks again, because a login can be renewed, but not often.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);
/// A stream that lasted so long was a good one.
const GOOD: Duration = Duration::from_secs(10);
/// A thousand keys of 1,024 bytes, escaped.
const LARGEST_EVENT: usize = 8 << 20;
/// How often a mount looks whether there is something new to say of itself.
const LOOK: Duration = Duration::from_secs(1);
/// How often it says so when there is nothing new (`LiveMount::FORGOTTEN_AFTER_SECONDS`).
const REPORT: Duration = Duration::from_secs(15);

/// Which mount of which workspace this is.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The workspace's number at the orchestrator.
    pub workspace: WorkspaceId,
    /// The mount's own number, chosen when it began; its announcements carry it as origin.
    pub mount: MountId,
    /// The machine's name.
    pub machine: Description,
    /// What the mount may do.
    pub mode: Mode,
    /// The key that it uses, where that was issued.
    pub key: Option<CredentialId>,
}

/// What a mount does about what it hears.
pub trait Follower: Send + Sync + 'static {
    /// These objects changed in the bucket, or are gone: whole keys.
    fn changed(&self, keys: &[String]);
    /// Anything may have changed.
    fn resync(&self);
    /// The mount's own key was taken back.
    fn revoked(&self);
    /// What is not in the bucket yet: changes and their bytes.
    fn pending(&self) -> (u64, u64);
}

/// How a mount stands with its orchestrator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Whether events come in.
    pub connected: bool,
    /// Why not, if not.
    pub trouble: Option<String>,
    /// The last event that was taken in.
    pub last_event_id: Option<i64>,
    /// Whether the mount's key was taken back.
    pub revoked: bool,
}

/// Follows a workspace, for ever.
pub async fn run(
    orchestrator: Orchestrator,
    subject: Subject,
    follower: Arc<dyn Follower>,
    standing: watch::Sender<Standing>,
) {
    let mut following = Following {
        orchestrator,
        subject,
        follower,
        standing,
    };
    let mut pause = FIRST_PAUSE;
    loop {
        let began = Instant::now();
        let ended = following.stream().await;
        let trouble = match &ended {
            Ok(()) => "the server ended the stream; connecting again".to_owned(),
            Err(error) => error.to_string(),
        };
        following.standing.send_modify(|standing| {
            standing.connected = false;
            standing.trouble = Some(trouble);
        });
        if began.elapsed() >= GOOD {
            pause = FIRST_PAUSE;
        }
        sleep(following.rest(ended, pause)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

struct Following {
    orchestrator: Orchestrator,
    subject: Subject,
    follower: Arc<dyn Follower>,
    standing: watch::Sender<Standing>,
}

impl Following {
    /// One stream, from its beginning to its end.
    async fn stream(&mut self) -> Result<()> {
        self.check_key().await?;
        let path = format!("/workspaces/{}/events", self.subject.workspace);
        let last = self.standing.borrow().last_event_id.map(EventId);
        let response = self.orchestrator.stream(&path, last).await?;
        if last.is_none() {
            // What happened between the first listing and now was told to nobody.
            self.follower.resync();
        }
        self.standing.send_modify(|standing| {
            standing.connected = true;
            standing.trouble = None;
        });
        let mut size = EventSize::default();
        let bytes = response.bytes_stream().map(|chunk| match chunk {
            Ok(chunk) if size.grows_by(&chunk) => {
                Err(self.orchestrator.strange("an event without end"))
            }
            Ok(chunk) => Ok(chunk),
            Err(error) => Err(self.orchestrator.unreachable(&error)),
        });
        let mut messages = std::pin::pin!(SseByteStream::new(bytes));
        while let Some(message) = messages.next().await {
            let message = message.map_err(|error| self.broken(error))?;
            self.take(&message);
        }
        Ok(())
    }

    /// What a stream broke off with.
    fn broken(&self, error: sse_stream::Error) -> ControlError {
        let reason = match error {
            sse_stream::Error::Body(cause) => match cause.downcast::<ControlError>() {
                Ok(known) => return *known,
                Err(other) => other.to_string(),
            },
            other => other.to_string(),
        };
        ControlError::Unreachable {
            url: self.orchestrator.url().clone(),
            reason,
        }
    }

    /// Says that the key is used, and hears whether it still counts: what happened while
    /// nobody listened may be forgotten by now.
    async fn check_key(&self) -> Result<()> {
        let Some(key) = self.subject.key.filter(|_| !self.standing.borrow().revoked) else {
            return Ok(());
        };
        match self.orchestrator.key_in_use(key).await {
            Err(error) if error.is(ErrorCode::Conflict) => {
                self.end_writes();
                Ok(())
            }
            // Of other tenants' keys it says that there are none: the login is another's by
            // now, and says nothing about the key. The store does.
            Err(error) if error.is(ErrorCode::NotFound) => {
                tracing::warn!("the login does not know the key of this mount");
                Ok(())
            }
            other => other,
        }
    }

    fn take(&self, message: &Sse) {
        if let Some(data) = message.data.as_deref().filter(|data| !data.is_empty()) {
            match serde_json::from_str(data) {
                Ok(event) => self.heed(event),
                // A later version's. Whatever it is about may have changed.
                Err(_) => self.follower.resync(),
            }
        }
        let number = message.id.as_deref().and_then(|id| id.parse().ok());
        if let Some(number) = number {
            self.standing
                .send_modify(|standing| standing.last_event_id = Some(number));
        }
    }

    fn heed(&self, event: Event) {
        match event {
            Event::Changed(changes) | Event::Deleted(changes) => {
                let own = self.subject.mount.to_string();
                let is_own = changes.origin.as_ref().map(Description::as_str) == Some(&own);
                if !is_own {
                    let keys = changes.objects.into_iter();
                    let keys: Vec<String> = keys.map(|object| object.key.into()).collect();
                    self.follower.changed(&keys);
                }
            }
            Event::Revoked(RevokedKey { credential_id, .. }) => {
                if self.subject.key == Some(credential_id) {
                    self.end_writes();
                }
            }
            Event::Resync {} => self.follower.resync(),
        }
    }

    fn end_writes(&self) {
        let already = self.standing.borrow().revoked;
        if !already {
            self.standing
                .send_modify(|standing| standing.revoked = true);
            self.follower.revoked();
        }
    }

    fn rest(&self, ended: Result<()>, pause: Duration) -> Duration {
        let Err(error) = ended else {
            // The server ended it in good order: all of its followers come at once.
            return pause.mul_f64(0.5 + 0.5 * self.spread());
        };
        tracing::warn!(%error, "events of the workspace do not come in");
        match &error {
            ControlError::Refused {
                retry_after: Some(seconds),
                ..
            } => Duration::from_secs((*seconds).min(300)),
            error if error.is_temporary() => pause.mul_f64(0.5 + 0.5 * self.spread()),
            _ => REFUSED_PAUSE,
        }
    }

    /// A number of its own for each mount, from 0 to 1.
    fn spread(&self) -> f64 {
        f64::from(self.subject.mount.uuid().as_bytes()[15]) / 255.0
    }
}

/// How much of an event has come in: events end with an empty line.
#[derive(Default)]
struct EventSize {
    bytes: usize,
    at_line_start: bool,
}

impl EventSize {
    /// Takes a chunk in; whether the event is larger than any may be.
    fn grows_by(&mut self, chunk: &[u8]) -> bool {
        for byte in chunk {
            match byte {
                b'\n' if self.at_line_start => self.bytes = 0,
                b'\r' => {}
                _ => self.bytes += 1,
            }
            self.at_line_start = *byte == b'\n' || (*byte == b'\r' && self.at_line_start);
        }
        self.bytes > LARGEST_EVENT
    }
}

/// Says how the mount is, for ever; [`farewell`] says that it has ended.
pub async fn report(
    orchestrator: Orchestrator,
    subject: Subject,
    follower: Arc<dyn Follower>,
    standing: watch::Receiver<Standing>,
) {
    let mut last: Option<(Instant, ReportMount)> = None;
    let mut wait = Duration::ZERO;
    loop {
        sleep(wait).await;
        wait = LOOK;
        let said = describe(&subject, &*follower, &standing.borrow());
        let is_due = last
            .as_ref()
            .is_none_or(|(at, known)| *known != said || at.elapsed() >= REPORT);
        if !is_due {
            continue;
        }
        match orchestrator
            .report(subject.workspace, subject.mount, &said)
            .await
        {
            Ok(()) => last = Some((Instant::now(), said)),
            Err(error) if error.is_temporary() => wait = REPORT,
            Err(error) => {
                tracing::debug!(%error, "the orchestrator does not hear how the mount is");
                wait = REFUSED_PAUSE;
            }
        }
    }
}

/// Says that the mount has ended, if the orchestrator hears it soon.
pub async fn farewell(orchestrator: &Orchestrator, subject: &Subject, patience: Duration) {
    let said = orchestrator.report_end(subject.workspace, subject.mount);
    if let Ok(Err(error)) = tokio::time::timeout(patience, said).await {
        tracing::debug!(%error, "the orchestrator does not hear that the mount has ended");
    }
}

fn describe(subject: &Subject, follower: &dyn Follower, standing: &Standing) -> ReportMount {
    let (pending, pending_bytes) = follower.pending();
    ReportMount {
        machine: subject.machine.clone(),
        mode: if standing.revoked {
            Mode::Ro
        } else {
            subject.mode
        },
        last_event_id: standing.last_event_id.map(EventId),
        pending,
        pending_bytes,
        oldest_pending_seconds: None,
    }
}
