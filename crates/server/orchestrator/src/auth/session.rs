//! Session tokens: ES256, an hour to weeks, each with a row that ends it early.

use api::{Scope, SessionId, TenantId};
use model::Actor;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use base::tokens::Peek;

use super::{AUDIENCE, Refused, check_times};
use crate::app::App;
use crate::store::NewSession;

/// The `typ` of session tokens of our own, so that no token of another kind is taken for one.
pub(super) const TYPE: &str = "session+jwt";

/// What a session token says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) sub: Actor,
    pub(super) aud: String,
    pub(super) exp: i64,
    pub(super) iat: i64,
    pub(super) jti: SessionId,
    pub(super) scope: Scope,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tenant: Option<TenantId>,
}

impl App {
    /// The token of a session that is in the database.
    pub(crate) fn session_token(&self, session: &NewSession) -> Option<SecretString> {
        let claims = Claims {
            iss: self.settings.public_url.clone(),
            sub: session.actor.clone(),
            aud: AUDIENCE.into(),
            exp: session.expires_at.seconds(),
            iat: session.created_at.seconds(),
            jti: session.id,
            scope: session.scope,
            tenant: session.tenant,
        };
        self.key.sign(TYPE, &claims)
    }

    /// A session that begins now.
    pub(crate) fn new_session(
        &self,
        actor: Actor,
        tenant: Option<TenantId>,
        scope: Scope,
        machine: &str,
    ) -> NewSession {
        let now = self.now();
        NewSession {
            id: SessionId::from(self.new_id()),
            actor,
            tenant,
            scope,
            machine: machine.to_owned(),
            created_at: now,
            expires_at: now.plus(self.settings.session_lifetime),
        }
    }

    pub(super) fn verify_session(&self, token: &str, seen: &Peek) -> Result<Claims, Refused> {
        let claims: Claims = self.key.verify(token, seen, TYPE)?;
        check_times(self.now(), claims.iat, None, claims.exp)?;
        Ok(claims)
    }
}
