//! The page where a person lets a machine in (RFC 8628 §3.3).

use std::sync::Arc;

use api::{DeviceDecision, PendingDevice, Scope, Tenant, UserCode};
use askama::Template;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use base::Failure;
use base::extract::{Named, Parameters};
use serde::Deserialize;

use super::form::Post;
use super::overview::memberships;
use super::shell::{Section, Shell, page, refusal};
use super::state;
use super::visitor::Visitor;
use crate::app::App;
use crate::endpoints::device;
use crate::store::DeviceRequest;

#[derive(Default, Deserialize)]
pub(super) struct Query {
    user_code: Option<String>,
}

/// Where the code is typed.
#[derive(Template)]
#[template(path = "device.html")]
struct Ask {
    shell: Shell,
}

/// What is about to be let in.
#[derive(Template)]
#[template(path = "device_decide.html")]
struct Decide {
    shell: Shell,
    device: PendingDevice,
    tenants: Vec<(Tenant, bool)>,
    fixed: Option<String>,
}

#[derive(Template)]
#[template(path = "device_done.html")]
struct Done {
    shell: Shell,
    machine: String,
    approved: bool,
}

/// Asks for a code, or shows the machine whose code it is.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    Parameters(query): Parameters<Query>,
) -> Result<Response, Failure> {
    let typed = query.user_code.as_deref().map(str::trim);
    let Some(typed) = typed.filter(|typed| !typed.is_empty()) else {
        return Ok(ask(&visitor, None));
    };
    match waiting(&app, &visitor, typed).await {
        Ok(device) => decide_page(&app, &visitor, device, None).await,
        Err(failure) => Ok(ask(&visitor, Some(failure))),
    }
}

async fn waiting(app: &Arc<App>, visitor: &Visitor, typed: &str) -> Result<PendingDevice, Failure> {
    let code: UserCode = typed
        .parse()
        .map_err(|error: api::InvalidUserCode| Failure::invalid(error.to_string()))?;
    let caller = visitor.signed_in.clone();
    let found = device::show(state(app), caller, Named(code)).await;
    let Json(device) = found.map_err(unknown)?;
    Ok(device)
}

fn unknown(failure: Failure) -> Failure {
    match failure.code {
        api::ErrorCode::NotFound => Failure {
            message: "no machine waits with this code\nhint: check the letters; a code ends after ten minutes, and the machine can ask for another".into(),
            ..failure
        },
        _ => failure,
    }
}

fn ask(visitor: &Visitor, failure: Option<Failure>) -> Response {
    let shell = Shell::new(visitor, Section::Device, "Approve a device");
    let shell = shell.saying(None, failure.as_ref());
    refusal(failure, &Ask { shell })
}

async fn decide_page(
    app: &Arc<App>,
    visitor: &Visitor,
    device: PendingDevice,
    failure: Option<Failure>,
) -> Result<Response, Failure> {
    let own = visitor.caller.tenant().ok();
    let all = memberships(app, visitor).await?;
    let tenants = all.into_iter().map(|found| {
        let tenant = found.tenant.tenant;
        let here = own.is_some_and(|own| own.tenant_id == tenant.tenant_id);
        (tenant, here)
    });
    let shell = Shell::new(visitor, Section::Device, "Approve a device");
    let template = Decide {
        shell: shell.saying(None, failure.as_ref()),
        device,
        tenants: tenants.collect(),
        fixed: own.map(|tenant| tenant.handle.to_string()),
    };
    Ok(refusal(failure, &template))
}

/// Lets the machine in, or not.
pub(super) async fn decide(State(app): State<Arc<App>>, post: Post) -> Result<Response, Failure> {
    match decided(&app, &post).await {
        Ok((request, approved)) => {
            let title = if approved { "Approved" } else { "Denied" };
            let template = Done {
                shell: Shell::new(&post.visitor, Section::Device, title),
                machine: request.machine.to_string(),
                approved,
            };
            Ok(page(StatusCode::OK, &template))
        }
        Err(failure) => {
            let typed = post.fields.text("user_code").unwrap_or("");
            match waiting(&app, &post.visitor, typed).await {
                Ok(device) => decide_page(&app, &post.visitor, device, Some(failure)).await,
                Err(_) => Ok(ask(&post.visitor, Some(unknown(failure)))),
            }
        }
    }
}

/// Answers what was decided about, and whether it was approved. Whoever's session is for no tenant
/// chooses one here.
async fn decided(app: &App, post: &Post) -> Result<(DeviceRequest, bool), Failure> {
    let user_code: UserCode = post.fields.required("user_code", "Code")?;
    let caller = &post.visitor.signed_in;
    match post.fields.text("decision") {
        Some("approve") => {
            let chosen = post.fields.optional("tenant_id", "Tenant")?;
            let own = post.visitor.caller.tenant().ok();
            let decision = DeviceDecision {
                user_code,
                tenant_id: chosen.or(own.map(|tenant| tenant.tenant_id)),
            };
            let request = device::let_in(app, caller, &decision).await?;
            Ok((request, true))
        }
        Some("deny") => {
            let request = device::turn_away(app, caller, &user_code).await?;
            Ok((request, false))
        }
        _ => Err(Failure::invalid("neither approved nor denied")),
    }
}
