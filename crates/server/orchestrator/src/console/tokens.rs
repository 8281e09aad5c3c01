//! Service tokens, for programs that no person is logged in for.

use std::sync::Arc;

use api::{
    CreateServiceToken, Purpose, Secret, ServiceToken, ServiceTokenId, Timestamp, Workspace,
};
use askama::Template;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use base::Failure;
use base::extract::{Body, Named, Parameters};

use super::form::{Fields, Post};
use super::shell::{Section, Shell, page, refusal};
use super::visitor::Visitor;
use super::workspaces::Names;
use super::{ListQuery, state};
use crate::app::App;
use crate::endpoints::tokens;

#[derive(Template)]
#[template(path = "tokens.html")]
struct List {
    shell: Shell,
    owner: bool,
    items: Vec<Row>,
    next: Option<String>,
    workspaces: Vec<Workspace>,
}

struct Row {
    token: ServiceToken,
    opens: String,
    state: (&'static str, &'static str),
}

/// The one time that a secret text is shown.
#[derive(Template)]
#[template(path = "handed.html")]
pub(super) struct Handed {
    pub(super) shell: Shell,
    pub(super) what: &'static str,
    pub(super) how: &'static str,
    pub(super) text: Secret,
    pub(super) back: &'static str,
}

/// The tenant's tokens.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Response, Failure> {
    all(&app, &visitor, &query, None).await
}

async fn all(
    app: &Arc<App>,
    visitor: &Visitor,
    query: &ListQuery,
    failure: Option<Failure>,
) -> Result<Response, Failure> {
    let caller = &visitor.caller;
    let page = tokens::newest(app, caller, &query.part()).await?;
    let names = Names::read(app, caller).await?;
    let row = |token: ServiceToken| Row {
        opens: match token.purpose {
            Purpose::Mount => names.of(token.workspace_id),
            Purpose::Webhook => "announcements of a store".into(),
        },
        state: tone(&token, app.now()),
        token,
    };
    let shell = Shell::new(visitor, Section::Tokens, "Service tokens");
    let template = List {
        shell: shell.saying(query.done.as_deref(), failure.as_ref()),
        owner: caller.owned().is_ok(),
        items: page.items.into_iter().map(row).collect(),
        next: page.next_page_token.map(|token| token.to_string()),
        workspaces: names.into_usable(),
    };
    Ok(refusal(failure, &template))
}

fn tone(token: &ServiceToken, now: Timestamp) -> (&'static str, &'static str) {
    match token.revoked_at {
        Some(_) => ("off", "revoked"),
        None if token.expires_at.is_some_and(|end| end <= now) => ("off", "ended"),
        None => ("good", "active"),
    }
}

/// Makes one; it is on this page and nowhere else.
pub(super) async fn create(State(app): State<Arc<App>>, post: Post) -> Result<Response, Failure> {
    let done = async {
        let request = wanted(&post.fields)?;
        tokens::create(state(&app), post.caller(), Body(request)).await
    };
    match done.await {
        Ok((_, Json(issued))) => {
            let template = Handed {
                shell: Shell::new(&post.visitor, Section::Tokens, "Your new service token"),
                what: "service token",
                how: "A program shows it as its bearer token.",
                text: issued.token,
                back: "/console/tokens",
            };
            Ok(page(StatusCode::CREATED, &template))
        }
        Err(failure) => all(&app, &post.visitor, &ListQuery::default(), Some(failure)).await,
    }
}

fn wanted(fields: &Fields) -> Result<CreateServiceToken, Failure> {
    Ok(CreateServiceToken {
        description: fields.required("description", "Description")?,
        mode: fields.required("mode", "Access")?,
        workspace_id: fields.optional("workspace_id", "Opens")?,
        purpose: fields.required("purpose", "Use")?,
        ttl_seconds: fields.lifetime("ttl_seconds", "Lifetime")?,
    })
}

/// Revokes one.
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    Named(id): Named<ServiceTokenId>,
    post: Post,
) -> Result<Response, Failure> {
    match tokens::revoke(state(&app), post.caller(), Named(id)).await {
        Ok(_) => Ok(Redirect::to("/console/tokens?done=token-revoked").into_response()),
        Err(failure) => all(&app, &post.visitor, &ListQuery::default(), Some(failure)).await,
    }
}
