//! How a request comes in: how large it may be, how many may be here at once, and its form.

use std::sync::Arc;
use std::time::Duration;

use api::vault::{LONGEST_BODY, PROOF_HEADER, Reason};
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
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

/// A body has this long to come.
const ARRIVAL: Duration = Duration::from_secs(10);

/// A request that is here whole. The body is wiped when it goes.
pub(crate) struct Arrived {
    pub(crate) body: Zeroizing<Vec<u8>>,
    pub(crate) proof: Proof,
    _room: OwnedSemaphorePermit,
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
    let room = room(app, expected).await?;
    let body = tokio::time::timeout(ARRIVAL, read(body, expected, longest)).await;
    let late = |_| {
        let text = "the body did not come in time\nhint: try again over a better connection";
        Err(Refused::new(Reason::RequestInvalid, text))
    };
    Ok(Arrived {
        body: body.unwrap_or_else(late)?,
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

async fn room(app: &App, bytes: usize) -> Result<OwnedSemaphorePermit> {
    // A request takes memory even without a body.
    let bytes = u32::try_from(bytes.max(4 * 1024)).unwrap_or(u32::MAX);
    let room = Arc::clone(&app.room).acquire_many_owned(bytes);
    let room = tokio::time::timeout(app.settings.patience, room).await;
    room.ok()
        .and_then(std::result::Result::ok)
        .ok_or(Reason::RateLimited.into())
}

fn announced(headers: &HeaderMap) -> Option<usize> {
    let length = headers.get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

/// The body, in a piece of memory that does not grow: a grown one would leave copies unwiped.
async fn read(body: Body, expected: usize, longest: usize) -> Result<Zeroizing<Vec<u8>>> {
    let mut whole = Zeroizing::new(Vec::with_capacity(expected));
    let mut stream = body.into_data_stream();
    while let Some(part) = stream.next().await {
        let part = part.map_err(|_| {
            let text = "the body broke off\nhint: try again";
            Refused::new(Reason::RequestInvalid, text)
        })?;
        if whole.len() + part.len() > longest.min(whole.capacity()) {
            return Err(Reason::TooLarge.into());
        }
        whole.extend_from_slice(&part);
    }
    Ok(whole)
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
