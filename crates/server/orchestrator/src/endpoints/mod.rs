//! What can be asked: one file each, with all that belongs to it.

pub(crate) mod audit;
pub(crate) mod bootstrap;
pub(crate) mod credentials;
pub(crate) mod device;
pub(crate) mod events;
pub(crate) mod grants;
pub(crate) mod health;
pub(crate) mod jwks;
pub(crate) mod members;
pub(crate) mod metrics;
pub(crate) mod mount_info;
pub(crate) mod mounts;
pub(crate) mod openapi;
pub(crate) mod sessions;
pub(crate) mod sync;
pub(crate) mod tenants;
pub(crate) mod tickets;
pub(crate) mod tokens;
pub(crate) mod webhooks;
pub(crate) mod workspaces;

use std::sync::Arc;

use api::{Page, PageQuery, PageToken};
use axum::Json;
use axum::extract::State;
use base::Failure;
use uuid::Uuid;

use crate::app::App;

/// What every endpoint shares.
type Shared = State<Arc<App>>;

/// A JSON answer, or a refusal.
type Answer<T> = Result<Json<T>, Failure>;

/// A page from one row more than was asked for.
fn page<T>(mut items: Vec<T>, query: &PageQuery, id: impl Fn(&T) -> Uuid) -> Page<T> {
    let limit = usize::try_from(u32::from(query.limit)).unwrap_or(usize::MAX);
    let more = items.len() > limit;
    items.truncate(limit);
    let last = items.last().filter(|_| more);
    let next_page_token = last.map(|item| PageToken::after(id(item)));
    Page {
        items,
        next_page_token,
    }
}
