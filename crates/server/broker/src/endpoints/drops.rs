//! `POST /v1/drop`: an operator says what was revoked, so that daemons hear of it at once. The
//! broker looks at the registry by itself too; this only makes it quicker.

use api::vault::{DropEvent, OperatorEvent};
use axum::extract::State;
use axum::http::StatusCode;

use super::Shared;
use crate::app::App;
use crate::audit::Record;
use crate::caller::{Caller, Whole, read};
use crate::refusal::Refusal;

/// Tells all who follow this operator.
pub(crate) async fn tell(
    State(app): Shared,
    caller: Caller,
    Whole(body): Whole,
) -> Result<StatusCode, Refusal> {
    let mut record = Record::by(&app, "drop", &caller);
    match told(&app, &caller, &body, &mut record).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(refusal) => Err(app.refused(record, refusal).await),
    }
}

async fn told(app: &App, caller: &Caller, body: &[u8], record: &mut Record) -> Result<(), Refusal> {
    caller.require_operator()?;
    app.limits.drops.check(&caller.session.sub)?;
    let event: DropEvent = read(body)?;
    record.target.clone_from(&event.actor);
    record.service.clone_from(&event.service);
    app.record(record).await?;
    let operator = &caller.session.operator;
    app.happened(operator, &OperatorEvent::Drop(event)).await?;
    Ok(())
}
