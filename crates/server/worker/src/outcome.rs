//! How a request ends: carried out behind the client's back, told to the audit, answered. In this
//! order: a client that goes away changes nothing, and nobody is answered what the audit does not
//! know.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use api::vault::Reason;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::FutureExt;
use serde::Serialize;
use vault::Cap;
use zeroize::Zeroizing;

use crate::app::App;
use crate::audit::Record;
use crate::endpoints::{self, Endpoint};
use crate::intake::Arrived;
use crate::refused::{Refused, Result};

/// What the audit will be told.
pub(crate) struct Story(pub(crate) Record);

impl Story {
    pub(crate) fn of_cap(&mut self, cap: &Cap) {
        let record = &mut self.0;
        record.operator = Some(cap.operator.clone());
        record.actor = Some(cap.sub.clone());
        record.device = Some(cap.device);
        record.cap = Some(cap.jti.clone());
    }
}

/// Carries out a request in a task of its own, which goes on if the client does not.
pub(crate) async fn carry_out<E: Endpoint>(app: Arc<App>, arrived: Result<Arrived>) -> Response {
    let task = tokio::spawn(async move {
        let mut story = Story(Record::of(E::OP.as_str()));
        let work = endpoints::run::<E>(&app, arrived, &mut story);
        let result = match AssertUnwindSafe(work).catch_unwind().await {
            Ok(result) => result.and_then(|answer| encode(&answer)),
            Err(_) => {
                tracing::error!(op = E::OP.as_str(), "a request panicked");
                Err(Reason::Internal.into())
            }
        };
        conclude(&app, story, result).await
    });
    match task.await {
        Ok(response) => response,
        // The process is about to end.
        Err(_) => Refused::from(Reason::Internal).into_response(),
    }
}

/// Writes the record, then lets the answer out.
async fn conclude(app: &App, story: Story, result: Result<Zeroizing<Vec<u8>>>) -> Response {
    let mut record = story.0;
    record.at = app.clock.now();
    record.outcome = result
        .as_ref()
        .map(|_| ())
        .map_err(|refused| refused.reason);
    app.settle(false).await;
    if let Some(refused) = omitted(app, &record, &result) {
        return private(refused.into_response());
    }
    if let Err(away) = app.audit.write(&record).await {
        return private(Refused::away(Reason::AuditUnavailable, &away).into_response());
    }
    private(match result {
        // Wiped once the last byte has left.
        Ok(body) => {
            let json = [(header::CONTENT_TYPE, "application/json")];
            (json, Bytes::from_owner(body)).into_response()
        }
        Err(refused) => refused.into_response(),
    })
}

/// A refusal that is only counted: of a caller without a verified capability, beyond so many in a
/// minute.
fn omitted<T>(app: &App, record: &Record, result: &Result<T>) -> Option<Refused> {
    let refused = result.as_ref().err()?;
    let is_stranger = record.cap.is_none();
    let counted = is_stranger && !app.strangers.is_recorded(record.at, refused.reason);
    counted.then(|| refused.clone())
}

/// The answer as JSON, in one piece of memory that is wiped: none that grows, which would leave
/// copies behind.
fn encode<A: Serialize>(answer: &A) -> Result<Zeroizing<Vec<u8>>> {
    let wrong = |error: serde_json::Error| {
        tracing::error!(%error, "an answer cannot be written");
        Refused::from(Reason::Internal)
    };
    let mut length = Length(0);
    serde_json::to_writer(&mut length, answer).map_err(wrong)?;
    let mut body = Zeroizing::new(Vec::with_capacity(length.0));
    serde_json::to_writer(&mut *body, answer).map_err(wrong)?;
    Ok(body)
}

/// Counts and keeps nothing.
struct Length(usize);

impl std::io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Answers are about one caller and one moment, and some hold a secret.
fn private(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let no_store = header::HeaderValue::from_static("no-store");
    headers.insert(header::CACHE_CONTROL, no_store);
    let nosniff = header::HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}
