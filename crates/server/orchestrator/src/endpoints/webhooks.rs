//! `POST /webhooks/{sender}/{tenant}`: a store says what happened in its buckets.
//!
//! The tenant in the path is the token's, or `all` for the operator's own stores, whose one
//! server has the buckets of many tenants: these notices reach workspaces in buckets of this
//! server's making only, because anybody may name any bucket as the place of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use api::{BucketName, TenantId, TenantState};
use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use base::Failure;
use base::extract::{Body, Named};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use subtle::ConstantTimeEq;

use super::Shared;
use crate::app::App;
use crate::auth::{Bearer, Caller, Who, hash};
use crate::document::refusals;
use crate::layers::{Context, RequestContext};
use crate::store::Situated;
use crate::webhooks::{Notice, Sender};

/// Questions to the database, at most, before it is asked for all workspaces of a bucket at once.
const FOLDERS: usize = 16;

/// Whose buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// One tenant's.
    Tenant(TenantId),
    /// Those of all tenants, in the operator's stores.
    All,
}

impl FromStr for Whose {
    type Err = api::InvalidId;

    fn from_str(text: &str) -> Result<Self, api::InvalidId> {
        match text {
            "all" => Ok(Self::All),
            id => id.parse().map(Self::Tenant),
        }
    }
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant(tenant) => tenant.fmt(f),
            Self::All => f.write_str("all"),
        }
    }
}

impl<'de> Deserialize<'de> for Whose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A store says what happened in its buckets; those who follow the workspaces are told.
///
/// 200, also when nobody's are meant: a store that is refused only asks again, and Tigris takes no other answer
/// for success.
#[utoipa::path(
    post, path = "/webhooks/{sender}/{tenant}", operation_id = "receive_webhook", tag = "changes",
    params(
        ("sender" = Sender, Path, description = "The form of the notice"),
        ("tenant" = String, Path, description = "Whose buckets: a tenant's number, or `all` for the operator's own stores",
            pattern = "^(all|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$"),
    ),
    request_body(content = Object, description = "The store's notice, in its own form"),
    responses(
        (status = 200, description = "Told"),
        (status = 429, response = refusals::RateLimited),
    ),
)]
pub(crate) async fn receive(
    State(app): Shared,
    Context(context): Context,
    Named((sender, whose)): Named<(Sender, Whose)>,
    Bearer(token): Bearer,
    request: Request,
) -> Result<StatusCode, Failure> {
    // Before the body is read, which may be large.
    check(&app, &token, whose, &context).await?;
    let Body(body) = Body::<Map<String, Value>>::from_request(request, &()).await?;
    let notices = sender.read(body);
    let notices = notices
        .map_err(|error| Failure::invalid(format!("not a notification of this kind: {error}")))?;
    app.metrics.webhook(sender.word());
    for (bucket, notices) in by_bucket(&notices) {
        tell(&app, sender, whose, bucket, &notices).await?;
    }
    Ok(StatusCode::OK)
}

/// That the token is for these buckets.
async fn check(
    app: &App,
    token: &SecretString,
    whose: Whose,
    context: &Arc<RequestContext>,
) -> Result<(), Failure> {
    let tenant = match whose {
        Whose::All => return check_operators(app, token, context),
        Whose::Tenant(tenant) => tenant,
    };
    let caller = Caller::of_token(app, token, context).await?;
    let is_its_store = match &caller.who {
        Who::Store(store) => {
            store.tenant.tenant_id == tenant && store.tenant.state == TenantState::Active
        }
        _ => false,
    };
    if !is_its_store {
        return Err(Failure::forbidden("the token is not for these buckets"));
    }
    app.limits.announcement(tenant)
}

fn check_operators(
    app: &App,
    token: &SecretString,
    context: &RequestContext,
) -> Result<(), Failure> {
    let given = hash(token.expose_secret());
    let wanted = app.settings.webhook_token.as_ref();
    if wanted.is_some_and(|wanted| given.ct_eq(wanted).into()) {
        return Ok(());
    }
    context.note_reason("not the operator's webhook token".into());
    Err(Failure::unauthenticated("the token does not count"))
}

fn by_bucket(notices: &[Notice]) -> BTreeMap<&str, Vec<&Notice>> {
    let mut buckets: BTreeMap<&str, Vec<&Notice>> = BTreeMap::new();
    for notice in notices {
        buckets.entry(&notice.bucket).or_default().push(notice);
    }
    buckets
}

async fn tell(
    app: &Arc<App>,
    sender: Sender,
    whose: Whose,
    bucket: &str,
    notices: &[&Notice],
) -> Result<(), Failure> {
    // One that breaks the rules is none of ours.
    let Ok(bucket) = bucket.parse::<BucketName>() else {
        return Ok(());
    };
    for place in places(app, &bucket, notices).await? {
        if !reaches(whose, &place) {
            continue;
        }
        let events = sender.events(&place.prefix, notices.iter().copied());
        if !events.is_empty() {
            app.store
                .add_events(place.workspace, app.now(), &events)
                .await?;
        }
    }
    Ok(())
}

/// The workspaces that the notices may be about. A bucket may have thousands: they are looked for
/// by the folders above the keys, unless these are many too.
async fn places(
    app: &App,
    bucket: &BucketName,
    notices: &[&Notice],
) -> Result<Vec<Situated>, Failure> {
    let Some(folders) = few_folders(notices.iter().map(|notice| notice.key.as_str())) else {
        return Ok(app.store.workspaces_in(bucket).await?);
    };
    let mut found = Vec::new();
    for folder in folders {
        found.extend(app.store.workspaces_at(bucket, folder).await?);
    }
    Ok(found)
}

/// Every folder that one of the keys is in, and the bucket itself; `None` if there are many.
fn few_folders<'a>(keys: impl Iterator<Item = &'a str>) -> Option<BTreeSet<&'a str>> {
    let mut folders = BTreeSet::from([""]);
    for key in keys {
        for (end, slash) in key.match_indices('/') {
            folders.insert(&key[..end + slash.len()]);
            if folders.len() > FOLDERS {
                return None;
            }
        }
    }
    Some(folders)
}

fn reaches(whose: Whose, place: &Situated) -> bool {
    match whose {
        Whose::Tenant(tenant) => place.tenant == tenant,
        Whose::All => place.managed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folders_above_keys_are_few_or_not_looked_for_one_by_one() {
        let of = |keys: &[&'static str]| few_folders(keys.iter().copied());
        let found = of(&["a/b/c.txt", "a/d", "e", "a//x"]).unwrap();
        assert_eq!(Vec::from_iter(found), ["", "a/", "a//", "a/b/"]);
        let most = "a/".repeat(FOLDERS - 1);
        let found = few_folders([most.as_str()].into_iter());
        assert_eq!(found.unwrap().len(), FOLDERS);
        let more = "a/".repeat(FOLDERS);
        assert_eq!(few_folders([more.as_str()].into_iter()), None);
    }
}
