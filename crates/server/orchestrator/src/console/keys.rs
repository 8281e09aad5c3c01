//! Storage keys: listed without their secrets, issued with the secret shown once, revoked.

use std::sync::Arc;

use api::{
    Credential, CredentialId, CredentialState, Deletion, IssueCredential, IssuedCredential,
    Workspace,
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
use crate::endpoints::credentials;

#[derive(Template)]
#[template(path = "keys.html")]
struct List {
    shell: Shell,
    items: Vec<Row>,
    next: Option<String>,
    workspaces: Vec<Workspace>,
    bucket: bool,
}

struct Row {
    key: Credential,
    opens: String,
}

#[derive(Template)]
#[template(path = "key.html")]
struct Issued {
    shell: Shell,
    key: IssuedCredential,
}

/// The tenant's keys.
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
    let page = credentials::newest(app, caller, &query.part()).await?;
    let names = Names::read(app, caller).await?;
    let row = |key: Credential| Row {
        opens: names.of(key.workspace_id),
        key,
    };
    let shell = Shell::new(visitor, Section::Keys, "Storage keys");
    let template = List {
        shell: shell.saying(query.done.as_deref(), failure.as_ref()),
        items: page.items.into_iter().map(row).collect(),
        next: page.next_page_token.map(|token| token.to_string()),
        workspaces: names.into_usable(),
        bucket: caller.tenant()?.bucket_name.is_some(),
    };
    Ok(refusal(failure, &template))
}

/// Issues one. Its secret is on this page and nowhere else.
pub(super) async fn issue(State(app): State<Arc<App>>, post: Post) -> Result<Response, Failure> {
    let done = async {
        let request = wanted(&post.fields)?;
        credentials::issue(state(&app), post.caller(), Some(Body(request))).await
    };
    match done.await {
        Ok((_, Json(key))) => {
            let shell = Shell::new(&post.visitor, Section::Keys, "Your new key");
            Ok(page(StatusCode::CREATED, &Issued { shell, key }))
        }
        Err(failure) => all(&app, &post.visitor, &ListQuery::default(), Some(failure)).await,
    }
}

fn wanted(fields: &Fields) -> Result<IssueCredential, Failure> {
    Ok(IssueCredential {
        mode: fields.optional("mode", "Access")?,
        description: fields.optional("description", "Description")?,
        ttl_seconds: fields.lifetime("ttl_seconds", "Lifetime")?,
        workspace_id: fields.optional("workspace_id", "Opens")?,
    })
}

/// Revokes one.
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    Named(id): Named<CredentialId>,
    post: Post,
) -> Result<Response, Failure> {
    match credentials::revoke(state(&app), post.caller(), Named(id)).await {
        Ok(_) => Ok(Redirect::to("/console/keys?done=key-revoked").into_response()),
        Err(failure) => all(&app, &post.visitor, &ListQuery::default(), Some(failure)).await,
    }
}

/// How a page shows how far a key is.
fn tone(key: &Credential) -> (&'static str, &'static str) {
    match (key.state, key.deletion_status) {
        (CredentialState::Pending, _) => ("wait", "being made"),
        (CredentialState::Active, _) => ("good", "active"),
        (CredentialState::Revoking, Some(Deletion::Failed)) => ("bad", "revoking, asked again"),
        (CredentialState::Revoking, _) => ("wait", "being revoked"),
        (CredentialState::Revoked, _) => ("off", "revoked"),
    }
}
