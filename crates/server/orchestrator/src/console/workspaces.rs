//! Workspaces: names, and where they lie.

use std::collections::HashMap;
use std::sync::Arc;

use api::{
    Backend, CreateWorkspace, ErrorCode, Grant, PageQuery, Place, Workspace, WorkspaceId,
    WorkspaceState,
};
use askama::Template;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use base::Failure;
use base::extract::{Named, Parameters};
use model::{Handle, WorkspaceName};

use super::form::{Fields, Post};
use super::shell::{Section, Shell, refusal};
use super::visitor::Visitor;
use super::{ListQuery, state};
use crate::app::App;
use crate::auth::Caller;
use crate::endpoints::{grants, workspaces};

#[derive(Template)]
#[template(path = "workspaces.html")]
struct List {
    shell: Shell,
    owner: bool,
    managed: bool,
    items: Vec<Workspace>,
    next: Option<String>,
    received: Vec<Received>,
}

/// A workspace of another tenant.
struct Received {
    workspace: Workspace,
    grant: Grant,
}

#[derive(Template)]
#[template(path = "workspace.html")]
struct One {
    shell: Shell,
    workspace: Workspace,
    /// Whether the visitor may delete it.
    own: bool,
}

/// The tenant's, and those that were granted to it.
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
    let asked = Parameters(query.part());
    let Json(page) = workspaces::list(state(app), caller.clone(), asked).await?;
    let shell = Shell::new(visitor, Section::Workspaces, "Workspaces");
    let template = List {
        shell: shell.saying(query.done.as_deref(), failure.as_ref()),
        owner: caller.owned().is_ok(),
        managed: caller.tenant()?.backend == Backend::Managed,
        items: page.items,
        next: page.next_page_token.map(|token| token.to_string()),
        received: received(app, caller).await?,
    };
    Ok(refusal(failure, &template))
}

async fn received(app: &Arc<App>, caller: &Caller) -> Result<Vec<Received>, Failure> {
    let first = Parameters(PageQuery::default());
    let Json(page) = grants::received(state(app), caller.clone(), first).await?;
    let mut all = Vec::new();
    for grant in page.items {
        match workspaces::visible_by_id(app, caller, grant.workspace_id).await {
            Ok((workspace, _)) => all.push(Received { workspace, grant }),
            // It is gone, or its grant has ended meanwhile.
            Err(failure) if failure.code == ErrorCode::NotFound => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(all)
}

/// As many of the tenant's workspaces as fit on a page.
async fn known(app: &Arc<App>, caller: &Caller) -> Result<Vec<Workspace>, Failure> {
    let limit = 1_000.try_into().map_err(|_| Failure::internal())?;
    let query = PageQuery {
        limit,
        page_token: None,
    };
    let asked = Parameters(query);
    let Json(page) = workspaces::list(state(app), caller.clone(), asked).await?;
    Ok(page.items)
}

/// What lists call workspaces: by name where that is known here, by number otherwise. Read once
/// for a page, with what its forms choose from.
pub(super) struct Names {
    own: Vec<Workspace>,
    all: HashMap<WorkspaceId, String>,
}

impl Names {
    pub(super) async fn read(app: &Arc<App>, caller: &Caller) -> Result<Self, Failure> {
        let own = known(app, caller).await?;
        let granted = received(app, caller).await?;
        let granted = granted.into_iter().map(|received| received.workspace);
        let named = |workspace: &Workspace| {
            let name = format!("{}/{}", workspace.handle, workspace.name);
            (workspace.workspace_id, name)
        };
        let granted = granted.map(|workspace| named(&workspace));
        Ok(Self {
            all: own.iter().map(named).chain(granted).collect(),
            own,
        })
    }

    /// The tenant's workspaces that can be used, for a form to choose one.
    pub(super) fn into_usable(self) -> Vec<Workspace> {
        let mut own = self.own;
        own.retain(|workspace| {
            use WorkspaceState::{Active, PendingFormat};
            matches!(workspace.state, Active | PendingFormat)
        });
        own
    }

    pub(super) fn of(&self, id: Option<WorkspaceId>) -> String {
        match id {
            None => "the whole bucket".into(),
            Some(id) => self.all.get(&id).cloned().unwrap_or_else(|| id.to_string()),
        }
    }
}

/// Makes one.
pub(super) async fn create(State(app): State<Arc<App>>, post: Post) -> Result<Response, Failure> {
    let done = async {
        let request = wanted(&post.fields)?;
        reserved(&app, &post.visitor.caller, &request).await
    };
    match done.await {
        Ok(made) => {
            let there = format!(
                "/console/workspaces/{}/{}?done=workspace-created",
                made.handle, made.name
            );
            Ok(Redirect::to(&there).into_response())
        }
        Err(failure) => all(&app, &post.visitor, &ListQuery::default(), Some(failure)).await,
    }
}

async fn reserved(
    app: &App,
    caller: &Caller,
    request: &CreateWorkspace,
) -> Result<Workspace, Failure> {
    match workspaces::reserve(app, caller, request).await? {
        workspaces::Reserved::Made(made) => Ok(made),
        workspaces::Reserved::Taken(taken) => Err(Failure::conflict(format!(
            "there is a workspace {}/{} already",
            taken.handle, taken.name
        ))),
    }
}

fn wanted(fields: &Fields) -> Result<CreateWorkspace, Failure> {
    let backend = fields.required("backend", "Storage")?;
    Ok(CreateWorkspace {
        name: fields.required("name", "Name")?,
        backend,
        place: match backend {
            Backend::Managed => None,
            Backend::Byo => Some(place(fields)?),
        },
    })
}

fn place(fields: &Fields) -> Result<Place, Failure> {
    let nothing = || "".parse().map_err(|_| Failure::internal());
    Ok(Place {
        bucket: fields.required("bucket", "Bucket")?,
        endpoint_url: fields.required("endpoint_url", "Endpoint")?,
        region: fields.required("region", "Region")?,
        prefix: match fields.optional("prefix", "Prefix")? {
            Some(prefix) => prefix,
            None => nothing()?,
        },
    })
}

/// One of them.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    Named(name): Named<(Handle, WorkspaceName)>,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Response, Failure> {
    one(&app, &visitor, name, query.done.as_deref(), None).await
}

async fn one(
    app: &Arc<App>,
    visitor: &Visitor,
    name: (Handle, WorkspaceName),
    done: Option<&str>,
    failure: Option<Failure>,
) -> Result<Response, Failure> {
    let caller = visitor.caller.clone();
    let Json(workspace) = workspaces::show(state(app), caller, Named(name)).await?;
    let title = format!("{}/{}", workspace.handle, workspace.name);
    let owned = visitor.caller.owned();
    let template = One {
        shell: Shell::new(visitor, Section::Workspaces, title).saying(done, failure.as_ref()),
        own: owned.is_ok_and(|tenant| tenant.tenant_id == workspace.tenant_id),
        workspace,
    };
    Ok(refusal(failure, &template))
}

/// Deletes one, if its name was typed.
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    Named((handle, name)): Named<(Handle, WorkspaceName)>,
    post: Post,
) -> Result<Response, Failure> {
    let whole = (handle.clone(), name.clone());
    let done = match post.fields.text("name") {
        Some(typed) if typed == name.as_str() => {
            workspaces::remove(state(&app), post.caller(), Named(whole)).await
        }
        _ => Err(Failure::invalid(
            "the name that was typed is not this workspace's, so nothing was done",
        )),
    };
    match done {
        Ok(_) => {
            let there = "/console/workspaces?done=workspace-deleting";
            Ok(Redirect::to(there).into_response())
        }
        Err(failure) => one(&app, &post.visitor, (handle, name), None, Some(failure)).await,
    }
}

/// How a page shows a state.
fn tone(state: &WorkspaceState) -> (&'static str, &'static str) {
    match state {
        WorkspaceState::PendingFormat => ("wait", "not formatted yet"),
        WorkspaceState::Active => ("good", "active"),
        WorkspaceState::Deleting => ("wait", "being deleted"),
        WorkspaceState::Deleted => ("off", "deleted"),
    }
}

fn backend(backend: &Backend) -> &'static str {
    match backend {
        Backend::Managed => "managed",
        Backend::Byo => "bring your own",
    }
}
