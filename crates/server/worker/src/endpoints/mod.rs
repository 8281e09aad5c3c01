//! The endpoints, one file each: what it takes, what it does once the checks are passed, and what
//! it answers. What all have in common is here.

pub(crate) mod fetch;
pub(crate) mod list;
mod objects;
pub(crate) mod ready;
pub(crate) mod store;
pub(crate) mod teardown;

use std::sync::Arc;

use api::Secret;
use axum::extract::{Request, State};
use axum::response::Response;
use model::{Actor, ServiceName};
use serde::Serialize;
use serde::de::DeserializeOwned;
use vault::Op;

use crate::app::App;
use crate::checks::{Admitted, Asked, admit};
use crate::intake::{self, Arrived};
use crate::outcome::{Story, carry_out};
use crate::refused::Result;

/// What is done with credentials, at one path.
pub(crate) trait Endpoint: Send + 'static {
    const OP: Op;
    const PATH: &'static str;
    /// The longest body.
    const LONGEST: usize;

    type Request: DeserializeOwned + Send + Sync;
    type Answer: Serialize + Send;

    /// What the request names.
    fn subject(request: &Self::Request) -> Subject<'_>;

    /// What is wrong with the form beyond what the types say.
    fn check(_: &Self::Request) -> Result<()> {
        Ok(())
    }

    /// What remains to be done for somebody who may.
    fn perform(
        app: &App,
        request: Self::Request,
        admitted: Admitted,
        story: &mut Story,
    ) -> impl Future<Output = Result<Self::Answer>> + Send;
}

/// What a request names.
pub(crate) struct Subject<'a> {
    pub(crate) cap: &'a Secret,
    pub(crate) service: Option<&'a ServiceName>,
    pub(crate) target: Option<&'a Actor>,
    pub(crate) label: Option<&'a str>,
}

/// The handler of an endpoint.
pub(crate) async fn answer<E: Endpoint>(State(app): State<Arc<App>>, request: Request) -> Response {
    let arrived = intake::take(&app, request, E::LONGEST).await;
    carry_out::<E>(app, arrived).await
}

/// All that happens between a request's arrival and its record in the audit.
pub(crate) async fn run<E: Endpoint>(
    app: &App,
    arrived: Result<Arrived>,
    story: &mut Story,
) -> Result<E::Answer> {
    let arrived = arrived?;
    let request: E::Request = intake::parse(&arrived.body)?;
    let subject = E::subject(&request);
    story.0.service = subject.service.cloned();
    story.0.target = subject.target.cloned();
    E::check(&request)?;
    let _turn = intake::turn(app).await?;
    let asked = Asked {
        op: E::OP,
        cap: subject.cap.expose(),
        proof: arrived.proof.token(),
        path: E::PATH,
        body: &arrived.body,
        service: subject.service,
        target: subject.target,
        label: subject.label,
    };
    let admitted = admit(app, &asked, story).await?;
    E::perform(app, request, admitted, story).await
}
