//! From a bearer token to who asks, and what they may do.

use std::sync::Arc;

use api::{
    Mode, Purpose, Role, Scope, SessionId, Tenant, TenantId, TenantState, Timestamp, WorkspaceId,
};
use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use base::Failure;
use base::tokens::{Peek, peek};
use model::Actor;
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use super::{Refused, SERVICE_PREFIX, hash, opaque, session, ticket};
use crate::app::App;
use crate::layers::RequestContext;
use crate::store::{Entry, Membership};

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Whom the token stands for.
    pub(crate) who: Who,
    /// When it ends by itself.
    pub(crate) ends: Option<Timestamp>,
    context: Arc<RequestContext>,
}

/// Whom a token stands for.
#[derive(Debug, Clone)]
pub(crate) enum Who {
    Person(Person),
    Service(Service),
    Store(Store),
}

/// A person or an agent.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) actor: Actor,
    /// Where they belong to, of what the token allows.
    pub(crate) member: Option<(Tenant, Role)>,
    /// The tenant that the token is for; it is no key to others, whatever became of that one.
    pub(crate) bound_to: Option<TenantId>,
    /// Whether they are an operator, and the token may be used for that.
    pub(crate) operator: bool,
    /// The session, where it was begun here.
    pub(crate) session: Option<SessionId>,
}

/// A program with a service token or a ticket.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) tenant: Tenant,
    pub(crate) workspace: Option<WorkspaceId>,
    pub(crate) mode: Mode,
    /// The token's or ticket's number, which keys issued to it end with.
    pub(crate) via: Uuid,
    name: String,
}

/// A store that says what changed in a tenant's buckets. It may do nothing else.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pub(crate) tenant: Tenant,
    name: String,
}

impl Caller {
    /// The tenant that the token stands in. A number in the request's body is never asked.
    pub(crate) fn tenant(&self) -> Result<&Tenant, Failure> {
        let tenant = match &self.who {
            Who::Person(person) => person.member.as_ref().map(|(tenant, _)| tenant),
            Who::Service(service) => Some(&service.tenant),
            Who::Store(_) => return Err(only_webhooks()),
        };
        tenant
            .filter(|tenant| tenant.state == TenantState::Active)
            .ok_or_else(|| {
                Failure::forbidden(
                    "this token stands in no active tenant\nhint: ask an operator to make you a member, or log in again for one tenant",
                )
            })
    }

    /// The tenant, if a person of it asks.
    pub(crate) fn member_of(&self) -> Result<&Tenant, Failure> {
        match &self.who {
            Who::Person(_) => self.tenant(),
            Who::Service(_) => Err(Failure::forbidden(
                "service tokens and tickets may not do this",
            )),
            Who::Store(_) => Err(only_webhooks()),
        }
    }

    /// The tenant, if an owner of it asks.
    pub(crate) fn owned(&self) -> Result<&Tenant, Failure> {
        let tenant = self.member_of()?;
        match &self.who {
            Who::Person(Person {
                member: Some((_, Role::Owner)),
                ..
            }) => Ok(tenant),
            _ => Err(Failure::forbidden(
                "only an owner of the tenant may do this",
            )),
        }
    }

    /// That an operator asks.
    pub(crate) fn operator(&self) -> Result<(), Failure> {
        match &self.who {
            Who::Person(Person { operator: true, .. }) => Ok(()),
            _ => Err(Failure::forbidden("only an operator may do this")),
        }
    }

    /// The person who asks.
    pub(crate) fn person(&self) -> Result<&Person, Failure> {
        match &self.who {
            Who::Person(person) => Ok(person),
            Who::Service(_) | Who::Store(_) => Err(Failure::forbidden("only a person may do this")),
        }
    }

    /// How rows and the audit name who asks.
    pub(crate) fn name(&self) -> String {
        match &self.who {
            Who::Person(person) => person.actor.to_string(),
            Who::Service(service) => service.name.clone(),
            Who::Store(store) => store.name.clone(),
        }
    }

    fn tenant_id(&self) -> Option<TenantId> {
        match &self.who {
            Who::Person(person) => person.member.as_ref().map(|(tenant, _)| tenant.tenant_id),
            Who::Service(service) => Some(service.tenant.tenant_id),
            Who::Store(store) => Some(store.tenant.tenant_id),
        }
    }

    /// Who holds this token, for a request with this context.
    pub(crate) async fn of_token(
        app: &App,
        token: &SecretString,
        context: &Arc<RequestContext>,
    ) -> Result<Self, Failure> {
        let found = app.authenticate(token.expose_secret()).await;
        let (who, ends) = found.map_err(|error| refused(app, context, error))?;
        let context = Arc::clone(context);
        let caller = Self { who, ends, context };
        let noted = (caller.name(), caller.tenant_id());
        caller.context.note_caller(noted.0, noted.1);
        Ok(caller)
    }

    /// The same person in one of their tenants: the named one if they belong to it, else the only
    /// one. A token that is for one tenant stays there.
    pub(crate) async fn standing_in(
        &self,
        app: &App,
        tenant: Option<TenantId>,
    ) -> Result<Self, Failure> {
        let Who::Person(person) = &self.who else {
            return Ok(self.clone());
        };
        if person.bound_to.is_some() || person.member.is_some() {
            return Ok(self.clone());
        }
        let mut found = app.store.memberships(&person.actor, tenant).await?;
        // One that has ended since it was chosen is no place to stay.
        found.retain(|membership| membership.tenant.tenant.state == TenantState::Active);
        if found.is_empty() && tenant.is_some() {
            found = app.store.memberships(&person.actor, None).await?;
        }
        let mut person = person.clone();
        person.member = <[Membership; 1]>::try_from(found)
            .ok()
            .map(|[only]| pair(only));
        let there = Self {
            who: Who::Person(person),
            ..self.clone()
        };
        let noted = (there.name(), there.tenant_id());
        there.context.note_caller(noted.0, noted.1);
        Ok(there)
    }

    /// What the audit holds of something that this caller does.
    pub(crate) fn entry(&self, app: &App, action: &'static str, subject: impl ToString) -> Entry {
        Entry {
            at: app.now(),
            action,
            actor: Some(self.name()),
            tenant: self.tenant_id(),
            subject: Some(subject.to_string()),
            reason: None,
            request_id: Some(self.context.id.clone()),
        }
    }
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Failure> {
        let context = RequestContext::of(&parts.extensions);
        Self::of_token(app, &bearer(parts)?, &context).await
    }
}

fn refused(app: &App, context: &RequestContext, error: Unauthenticated) -> Failure {
    match error {
        Unauthenticated::Refused(reason) => {
            app.metrics.refused_token(reason.word());
            context.note_reason(reason.to_string());
            match reason {
                Refused::KeysUnavailable => {
                    Failure::unavailable("the keys of the token's issuer cannot be fetched")
                }
                _ => Failure::unauthenticated("the token does not count\nhint: log in again"),
            }
        }
        Unauthenticated::Failed(failure) => failure,
    }
}

/// The refusal of a store's token where it is not for.
pub(crate) fn only_webhooks() -> Failure {
    Failure::forbidden("the token is for webhooks only")
}

/// The bearer token of a request, for those who use it once more later.
pub(crate) struct Bearer(pub(crate) SecretString);

impl FromRequestParts<Arc<App>> for Bearer {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Failure> {
        bearer(parts).map(Self)
    }
}

fn bearer(parts: &Parts) -> Result<SecretString, Failure> {
    let missing =
        || Failure::unauthenticated("a token is needed\nhint: Authorization: Bearer TOKEN");
    let value = parts
        .headers
        .get(header::AUTHORIZATION)
        .ok_or_else(missing)?;
    let value = value.to_str().map_err(|_| missing())?;
    let (scheme, token) = value.split_once(' ').ok_or_else(missing)?;
    let is_bearer = scheme.eq_ignore_ascii_case("bearer");
    let token = Some(token.trim()).filter(|_| is_bearer);
    Ok(token.ok_or_else(missing)?.into())
}

enum Unauthenticated {
    Refused(Refused),
    Failed(Failure),
}

impl From<Refused> for Unauthenticated {
    fn from(reason: Refused) -> Self {
        Self::Refused(reason)
    }
}

impl From<crate::store::StoreError> for Unauthenticated {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Failed(error.into())
    }
}

type Authenticated = Result<(Who, Option<Timestamp>), Unauthenticated>;

impl App {
    async fn authenticate(&self, token: &str) -> Authenticated {
        if token.starts_with(SERVICE_PREFIX) {
            return self.by_service_token(token).await;
        }
        let seen = peek(token)?;
        if seen.issuer != self.settings.public_url {
            return self.by_foreign_token(token, &seen).await;
        }
        match seen.kind.as_deref() {
            Some(session::TYPE) => self.by_session(token, &seen).await,
            Some(ticket::TYPE) => self.by_ticket(token, &seen).await,
            _ => Err(Refused::Type.into()),
        }
    }

    async fn by_service_token(&self, token: &str) -> Authenticated {
        let found = self.store.service_token(&hash(token)).await?;
        let row = found.ok_or(Refused::Unknown)?;
        opaque::counts(row.token.revoked_at, row.token.expires_at, self.now())?;
        let (tenant, name) = (row.tenant.tenant, opaque::audit_name(row.token.token_id));
        let who = match row.token.purpose {
            Purpose::Webhook => Who::Store(Store { tenant, name }),
            Purpose::Mount => Who::Service(Service {
                tenant,
                workspace: row.token.workspace_id,
                mode: row.token.mode,
                via: row.token.token_id.uuid(),
                name,
            }),
        };
        Ok((who, row.token.expires_at))
    }

    async fn by_ticket(&self, token: &str, seen: &Peek) -> Authenticated {
        let claims = self.verify_ticket(token, seen)?;
        let found = self.store.ticket(claims.jti).await?;
        let row = found.ok_or(Refused::Unknown)?;
        let ends = Some(row.ticket.expires_at);
        opaque::counts(row.ticket.revoked_at, ends, self.now())?;
        let service = Service {
            tenant: row.tenant.tenant,
            workspace: Some(row.ticket.workspace_id),
            mode: row.ticket.mode,
            via: claims.jti.uuid(),
            name: ticket::audit_name(claims.jti),
        };
        Ok((Who::Service(service), ends))
    }

    async fn by_session(&self, token: &str, seen: &Peek) -> Authenticated {
        let claims = self.verify_session(token, seen)?;
        let found = self.store.session(claims.jti, &claims.sub).await?;
        let row = found.ok_or(Refused::Unknown)?;
        if row.revoked_at.is_some() {
            return Err(Refused::Revoked.into());
        }
        // The row decides; a token that says otherwise was not made from it.
        if row.scope != claims.scope || row.tenant != claims.tenant {
            return Err(Refused::Claims.into());
        }
        let person = Person {
            actor: claims.sub,
            member: row.membership.map(pair),
            bound_to: row.tenant,
            operator: row.operator && row.scope == Scope::Operator,
            session: Some(claims.jti),
        };
        let ends = Timestamp::from_micros(claims.exp.saturating_mul(1_000_000));
        Ok((Who::Person(person), Some(ends)))
    }

    /// A tenant that such a token names only chooses among those that its actor belongs to.
    async fn by_foreign_token(&self, token: &str, seen: &Peek) -> Authenticated {
        let foreign = self.issuers.verify(token, seen, self.now()).await?;
        let found = self
            .store
            .memberships(&foreign.actor, foreign.tenant)
            .await?;
        let only = match <[Membership; 1]>::try_from(found) {
            Ok([only]) => Some(pair(only)),
            Err(_) => None,
        };
        let allowed = foreign.scope != Some(Scope::Tenant);
        let operator = allowed && self.store.is_operator(&foreign.actor).await?;
        let person = Person {
            actor: foreign.actor,
            member: only,
            bound_to: foreign.tenant,
            operator,
            session: None,
        };
        Ok((Who::Person(person), Some(foreign.ends)))
    }
}

fn pair(membership: Membership) -> (Tenant, Role) {
    (membership.tenant.tenant, membership.role)
}
