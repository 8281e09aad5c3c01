//! Who is let in: operators, sessions, memberships.

use api::{Role, Scope, SessionId, TenantId, Timestamp};
use async_trait::async_trait;
use model::Actor;

use super::{Entry, Part, Result, TenantRow};

/// A session that begins.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// Its number, the `jti` of its token.
    pub id: SessionId,
    /// Whose.
    pub actor: Actor,
    /// The tenant that it stands in.
    pub tenant: Option<TenantId>,
    /// What it may be used for.
    pub scope: Scope,
    /// On which machine.
    pub machine: String,
    /// Since when.
    pub created_at: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
}

/// A tenant and somebody's role in it.
#[derive(Debug, Clone)]
pub struct Membership {
    /// The tenant.
    pub tenant: TenantRow,
    /// The role.
    pub role: Role,
}

/// What a session's token opens right now.
#[derive(Debug, Clone)]
pub struct SessionRow {
    /// When it was ended early.
    pub revoked_at: Option<Timestamp>,
    /// What it may be used for.
    pub scope: Scope,
    /// The tenant that it was begun for.
    pub tenant: Option<TenantId>,
    /// Whether its actor is an operator now.
    pub operator: bool,
    /// Its tenant and the actor's role, where the actor is a member now.
    pub membership: Option<Membership>,
}

/// Who is let in.
#[async_trait]
pub trait People {
    /// Whether there is an operator at all.
    async fn has_operator(&self) -> Result<bool>;

    /// Whether somebody is an operator.
    async fn is_operator(&self, actor: &Actor) -> Result<bool>;

    /// Keeps the hash of a bootstrap token; earlier ones end.
    async fn put_bootstrap(&self, hash: &[u8], expires_at: Timestamp, entry: &Entry) -> Result<()>;

    /// Uses a bootstrap token up: its bearer becomes an operator, with a session. `false` if
    /// it is none, was used or has ended.
    async fn use_bootstrap(&self, hash: &[u8], session: &NewSession, entry: &Entry)
    -> Result<bool>;

    /// Begins a session.
    async fn add_session(&self, session: &NewSession, entry: &Entry) -> Result<()>;

    /// What a session's token opens; `None` if there is no such session of this actor.
    async fn session(&self, id: SessionId, actor: &Actor) -> Result<Option<SessionRow>>;

    /// Ends a session; `false` if it had ended.
    async fn revoke_session(&self, id: SessionId, now: Timestamp, entry: &Entry) -> Result<bool>;

    /// The living tenants that somebody belongs to; only `tenant` if one is named. At most two:
    /// more than one is a question, however many there are.
    async fn memberships(&self, actor: &Actor, tenant: Option<TenantId>)
    -> Result<Vec<Membership>>;

    /// The same of all of them, in the order of the tenants' numbers.
    async fn memberships_part(&self, actor: &Actor, part: Part) -> Result<Vec<Membership>>;

    /// Forgets sessions and device requests that ended before `before`.
    async fn forget_ended(&self, before: Timestamp) -> Result<u64>;
}
