//! How a request comes in: how large it may be, how many may be here at once, and its form.

use std::sync::Arc;
use std::time::Instant;

use api::vault::{LONGEST_BODY, PROOF_HEADER, Reason};
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use base::limits::Share;
use base::peer::Peer;
use futures::StreamExt;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, SemaphorePermit};
use zeroize::Zeroizing;

use crate::app::App;
use crate::refused::{Refused, Result};

/// The longest body of any endpoint.
pub(crate) const LONGEST: usize = LONGEST_BODY;

/// The longest body of those that bring no credential: a capability and some names.
pub(crate) const SHORT: usize = 16 * 1024;

/// A body's memory begins with this much, and doubles as more comes.
const FIRST: usize = 4 * 1024;

/// A request that is here whole. The body is wiped when it goes.
pub(crate) struct Arrived {
    pub(crate) body: Zeroizing<Vec<u8>>,
    pub(crate) proof: Proof,
    _room: Room,
}

/// What was sent as proof.
pub(crate) enum Proof {
    None,
    One(String),
    /// Two, or none that is text: it proves nothing.
    Odd,
}

impl Proof {
    /// What is to be verified. An odd one is none that could be valid.
    pub(crate) fn token(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::One(token) => Some(token),
            Self::Odd => Some(""),
        }
    }
}

/// Takes a request in, if it has at most `longest` bytes.
pub(crate) async fn take(app: &App, request: Request, longest: usize) -> Result<Arrived> {
    let (parts, body) = request.into_parts();
    let expected = announced(&parts.headers).unwrap_or(longest);
    if expected > longest {
        return Err(Reason::TooLarge.into());
    }
    let peer = parts.extensions.get::<Peer>().and_then(Peer::own_key);
    let mut room = Room {
        of_all: None,
        of_peer: peer.map(|peer| app.peers.of(peer)),
    };
    Ok(Arrived {
        body: read(app, body, expected, &mut room).await?,
        proof: proof(&parts.headers),
        _room: room,
    })
}

/// Reads the form. What was wrong is told by its place only: the text around it may be secret.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let text = format!(
            "the body is not of the form that is read here (line {line}, column {column})\nhint: use a client of the worker's version"
        );
        Refused::new(Reason::RequestInvalid, text)
    })
}

/// Its turn.
pub(crate) async fn turn(app: &App) -> Result<SemaphorePermit<'_>> {
    let place = tokio::time::timeout(app.settings.patience, app.places.acquire()).await;
    place
        .ok()
        .and_then(std::result::Result::ok)
        .ok_or(Reason::RateLimited.into())
}

/// Memory for a body, on the account of all bodies and on its client's.
struct Room {
    of_all: Option<OwnedSemaphorePermit>,
    of_peer: Option<Share>,
}

impl Room {
    /// So much more, if need be after a while.
    async fn grow(&mut self, app: &App, bytes: usize) -> Result<()> {
        if self.of_peer.as_mut().is_some_and(|peer| !peer.grow(bytes)) {
            return Err(Reason::RateLimited.into());
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let more = Arc::clone(&app.room).acquire_many_owned(bytes);
        let more = tokio::time::timeout(app.settings.patience, more).await;
        let Ok(Ok(more)) = more else {
            return Err(Reason::RateLimited.into());
        };
        match &mut self.of_all {
            Some(all) => all.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }
}

fn announced(headers: &HeaderMap) -> Option<usize> {
    let length = headers.get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

/// The body. Memory is taken for what has come, never for what was only announced, and none is
/// waited for longer than `silence`, nor all of it longer than `arrival`.
async fn read(
    app: &App,
    body: Body,
    longest: usize,
    room: &mut Room,
) -> Result<Zeroizing<Vec<u8>>> {
    let mut whole = Zeroizing::new(Vec::new());
    let mut left = app.settings.arrival;
    let mut stream = body.into_data_stream();
    loop {
        let since = Instant::now();
        let next = tokio::time::timeout(left.min(app.settings.silence), stream.next());
        let next = next.await.map_err(|_| late())?;
        left = left.saturating_sub(since.elapsed());
        let Some(part) = next else {
            return Ok(whole);
        };
        let part = part.map_err(|_| {
            let text = "the body broke off\nhint: try again";
            Refused::new(Reason::RequestInvalid, text)
        })?;
        let length = whole.len() + part.len();
        if length > longest {
            return Err(Reason::TooLarge.into());
        }
        if length > whole.capacity() {
            let wanted = length.next_power_of_two().max(FIRST).min(longest);
            room.grow(app, wanted - whole.capacity()).await?;
            whole = larger(&whole, wanted);
        }
        whole.extend_from_slice(&part);
    }
}

fn late() -> Refused {
    let text = "the body did not come in time\nhint: try again over a better connection";
    Refused::new(Reason::RequestInvalid, text)
}

/// The same in a larger piece of memory. The smaller one is wiped when it goes; a vector that
/// grows by itself would leave it as it is.
fn larger(bytes: &[u8], capacity: usize) -> Zeroizing<Vec<u8>> {
    let mut larger = Zeroizing::new(Vec::with_capacity(capacity));
    larger.extend_from_slice(bytes);
    larger
}

fn proof(headers: &HeaderMap) -> Proof {
    let mut all = headers.get_all(PROOF_HEADER).iter();
    match (all.next(), all.next()) {
        (None, _) => Proof::None,
        (Some(one), None) => one
            .to_str()
            .map_or(Proof::Odd, |text| Proof::One(text.to_owned())),
        _ => Proof::Odd,
    }
}
