//! The code that a person types, the machine behind it, and what they decide.

use api::UserCode;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use base::Failure;
use base::extract::{Form, Parameters};
use serde::Deserialize;

use super::{Page, View, refused, visitor};
use crate::app::App;
use crate::audit::Record;
use crate::caller::Caller;
use crate::endpoints::{Shared, devices};
use crate::refusal::Refusal;

#[derive(Deserialize)]
pub(super) struct Query {
    user_code: Option<String>,
}

/// Asks to sign in, for a code, or whether the machine is let in.
pub(super) async fn show(
    State(app): Shared,
    headers: HeaderMap,
    Parameters(query): Parameters<Query>,
) -> Response {
    let typed = query.user_code.as_deref().map(str::trim);
    let typed = typed.filter(|typed| !typed.is_empty());
    let Some(caller) = visitor(&app, &headers).await else {
        return ways_in(&app, typed);
    };
    let Some(typed) = typed else {
        return ask(&app, &caller, None);
    };
    match waiting(&app, &caller, typed).await {
        Ok(login) => {
            let page = Page {
                title: "Approve a machine",
                alert: None,
                view: View::Decide { login },
                csrf: app.csrf(&caller.token),
            };
            page.answer(StatusCode::OK)
        }
        Err(refusal) => ask(&app, &caller, Some(unknown(refusal))),
    }
}

fn ways_in(app: &App, typed: Option<&str>) -> Response {
    let code = typed.and_then(|typed| typed.parse::<UserCode>().ok());
    let doors = app.issuers.doors();
    let page = Page {
        title: "Sign in",
        alert: None,
        view: View::SignIn {
            doors: doors
                .map(|door| (door.number, door.name().to_owned()))
                .collect(),
            code: code.map_or_else(String::new, |code| code.to_string()),
        },
        csrf: String::new(),
    };
    page.answer(StatusCode::OK)
}

fn ask(app: &App, caller: &Caller, refusal: Option<Refusal>) -> Response {
    let status = refusal.as_ref().map_or(StatusCode::OK, Refusal::status);
    let page = Page {
        title: "Approve a machine",
        alert: refusal.map(|refusal| refusal.text()),
        view: View::Ask,
        csrf: app.csrf(&caller.token),
    };
    page.answer(status)
}

async fn waiting(
    app: &App,
    caller: &Caller,
    typed: &str,
) -> Result<api::vault::PendingLogin, Refusal> {
    let code: UserCode = typed
        .parse()
        .map_err(|error: api::InvalidUserCode| Failure::invalid(error.to_string()))?;
    devices::waiting(app, &caller.session.sub, code).await
}

fn unknown(refusal: Refusal) -> Refusal {
    if refusal.status() != StatusCode::NOT_FOUND {
        return refusal;
    }
    let text = "no machine waits with this code\nhint: check the letters; a code ends after ten minutes, and the machine can ask for another";
    Failure::other(api::ErrorCode::NotFound, text).into()
}

#[derive(Deserialize)]
pub(super) struct Decision {
    csrf: String,
    user_code: String,
    decision: String,
}

/// Lets the machine in, or not.
pub(super) async fn decide(
    State(app): Shared,
    headers: HeaderMap,
    Form(form): Form<Decision>,
) -> Response {
    let Some(caller) = visitor(&app, &headers).await else {
        return ways_in(&app, Some(&form.user_code));
    };
    match decided(&app, &caller, &form).await {
        Ok(page) => page.answer(StatusCode::OK),
        Err(refusal) => {
            let record = Record::by(&app, "device.decide", &caller);
            refused(app.refused(record, unknown(refusal)).await)
        }
    }
}

async fn decided(app: &App, caller: &Caller, form: &Decision) -> Result<Page, Refusal> {
    if !app.is_csrf(&caller.token, &form.csrf) {
        let text = "this form is not of this page\nhint: open the page again, and decide there";
        return Err(Failure::forbidden(text).into());
    }
    let approved = match form.decision.as_str() {
        "approve" => true,
        "deny" => false,
        _ => return Err(Failure::invalid("neither approved nor denied").into()),
    };
    let code: UserCode = form
        .user_code
        .parse()
        .map_err(|error: api::InvalidUserCode| Failure::invalid(error.to_string()))?;
    let login = devices::decided(app, caller, code, approved).await?;
    Ok(Page {
        title: if approved { "Approved" } else { "Denied" },
        alert: None,
        view: View::Done {
            machine: login.machine.to_string(),
            approved,
        },
        csrf: app.csrf(&caller.token),
    })
}
