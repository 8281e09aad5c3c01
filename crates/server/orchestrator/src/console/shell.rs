//! What every page has around its content, and how values are written on pages.

use api::Timestamp;
use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use base::Failure;
use model::Actor;

use super::visitor::Visitor;

/// The parts of the console, as the navigation has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Overview,
    Workspaces,
    Mounts,
    Keys,
    Sharing,
    Tokens,
    Audit,
    Tenants,
    Device,
}

/// An entry of the navigation.
pub(super) struct Link {
    pub(super) path: &'static str,
    pub(super) label: &'static str,
    pub(super) here: bool,
}

/// What is around a page's content.
pub(super) struct Shell {
    pub(super) title: String,
    pub(super) links: Vec<Link>,
    pub(super) person: Option<Person>,
    pub(super) notice: Option<&'static str>,
    pub(super) alert: Option<Alert>,
    pub(super) csrf: String,
}

/// Who is signed in.
pub(super) struct Person {
    pub(super) actor: String,
    pub(super) short: String,
    pub(super) tenant: Option<String>,
    pub(super) may_choose: bool,
}

/// Why what was asked was not done.
pub(super) struct Alert {
    pub(super) text: String,
    pub(super) hints: Vec<String>,
}

impl From<&Failure> for Alert {
    fn from(failure: &Failure) -> Self {
        let mut lines = failure.message.lines();
        let text = lines.next().unwrap_or("").to_owned();
        let hints = lines.map(|line| line.strip_prefix("hint: ").unwrap_or(line).to_owned());
        Self {
            text,
            hints: hints.collect(),
        }
    }
}

impl Shell {
    /// Around a page for somebody with a session.
    pub(super) fn new(visitor: &Visitor, section: Section, title: impl Into<String>) -> Self {
        let tenant = visitor.caller.tenant().ok();
        let person = visitor.caller.person().ok().map(|person| Person {
            actor: person.actor.to_string(),
            short: short(&person.actor),
            tenant: tenant.map(|tenant| tenant.handle.to_string()),
            may_choose: visitor.may_choose() && visitor.has_chosen,
        });
        Self {
            title: title.into(),
            links: links(visitor, section),
            person,
            notice: None,
            alert: None,
            csrf: visitor.csrf.clone(),
        }
    }

    /// Around a page for anybody.
    pub(super) fn bare(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            links: Vec::new(),
            person: None,
            notice: None,
            alert: None,
            csrf: String::new(),
        }
    }

    /// With the news of what was done, or the reason of what was not. `done` is a word of a link, and
    /// only known ones say anything.
    pub(super) fn saying(mut self, done: Option<&str>, failure: Option<&Failure>) -> Self {
        self.notice = done.and_then(notice);
        self.alert = failure.map(Alert::from);
        self
    }
}

fn links(visitor: &Visitor, section: Section) -> Vec<Link> {
    let caller = &visitor.caller;
    let in_tenant = caller.tenant().is_ok();
    let reads_audit = caller.operator().is_ok() || caller.owned().is_ok();
    let all = [
        (Section::Overview, "/", "Overview", true),
        (
            Section::Workspaces,
            "/console/workspaces",
            "Workspaces",
            in_tenant,
        ),
        (Section::Mounts, "/console/mounts", "Live mounts", in_tenant),
        (Section::Keys, "/console/keys", "Keys", in_tenant),
        (Section::Sharing, "/console/sharing", "Sharing", in_tenant),
        (
            Section::Tokens,
            "/console/tokens",
            "Service tokens",
            in_tenant,
        ),
        (Section::Audit, "/console/audit", "Audit", reads_audit),
        (
            Section::Tenants,
            "/console/tenants",
            "Tenants",
            caller.operator().is_ok(),
        ),
        (Section::Device, "/device", "Approve a device", true),
    ];
    let shown = all.into_iter().filter(|(.., shown)| *shown);
    shown
        .map(|(of, path, label, _)| Link {
            path,
            label,
            here: of == section,
        })
        .collect()
}

fn notice(done: &str) -> Option<&'static str> {
    Some(match done {
        "tenant-chosen" => "You are in another tenant now.",
        "tenant-created" => "The tenant was created.",
        "tenant-deleting" => "The tenant is being deleted: its keys are revoked first.",
        "member-put" => "The member was added.",
        "member-removed" => "The member was removed.",
        "workspace-created" => "The workspace was created.",
        "workspace-deleting" => "The workspace is being deleted: its keys are revoked first.",
        "key-revoked" => "The key was revoked.",
        "grant-created" => "The grant was given.",
        "grant-revoked" => "The grant was taken back, and every key that was issued by it.",
        "ticket-revoked" => {
            "The ticket was taken back, and every key that was issued to its holder."
        }
        "token-revoked" => {
            "The service token was revoked, and every key that was issued through it."
        }
        "signed-out" => "You are signed out.",
        _ => return None,
    })
}

/// A page, as the answer to a request.
pub(super) fn page(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => (status, Html(text)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be written");
            Failure::internal().into_response()
        }
    }
}

/// The page that says why something was not done, with the refusal's status. The refusal goes with
/// it for the layer that records.
pub(super) fn refusal(failure: Option<Failure>, template: &impl Template) -> Response {
    let Some(failure) = failure else {
        return page(StatusCode::OK, template);
    };
    let mut response = page(failure.status(), template);
    if let Some(seconds) = failure.retry_after {
        let headers = response.headers_mut();
        headers.insert(axum::http::header::RETRY_AFTER, seconds.into());
    }
    response.extensions_mut().insert(failure);
    response
}

/// The beginning of an actor's number: enough to tell people of one tenant apart.
pub(super) fn short(actor: &Actor) -> String {
    actor.as_str().chars().take(12).collect()
}

/// A moment on a page, to the minute; the exact one is in the element's `datetime`.
pub(super) fn minute(moment: &Timestamp) -> String {
    let text = moment.to_string();
    match (text.get(..10), text.get(11..16)) {
        (Some(day), Some(minute)) => format!("{day} {minute} UTC"),
        _ => text,
    }
}
