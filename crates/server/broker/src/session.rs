//! Sessions: who gets one, and the token of it.

use std::time::Duration;

use api::{Scope, SessionToken};
use base::Failure;
use model::{Actor, DeviceId};
use secrecy::SecretString;
use vault::{Session, mint_session};

use crate::app::App;
use crate::audit::Record;
use crate::refusal::Refusal;
use crate::store::SessionRow;

impl App {
    /// A session of a person, that begins now; bound to the device that has proved itself.
    pub(crate) fn new_session(
        &self,
        actor: &Actor,
        device: Option<DeviceId>,
        way: &str,
    ) -> SessionRow {
        let lifetime = self.settings.session_lifetime;
        self.session_row(actor, actor, device, way, lifetime)
    }

    /// A session of an agent's device, that begins now.
    pub(crate) fn new_agent_session(
        &self,
        operator: &Actor,
        actor: &Actor,
        device: DeviceId,
        way: &str,
    ) -> SessionRow {
        let lifetime = self.settings.agent_session_lifetime;
        self.session_row(operator, actor, Some(device), way, lifetime)
    }

    fn session_row(
        &self,
        operator: &Actor,
        actor: &Actor,
        device: Option<DeviceId>,
        way: &str,
        lifetime: Duration,
    ) -> SessionRow {
        let now = self.now();
        SessionRow {
            jti: self.new_id(),
            actor: actor.clone(),
            operator: operator.clone(),
            device,
            way: way.to_owned(),
            created_at: now,
            expires_at: now.saturating_add(i64::try_from(lifetime.as_secs()).unwrap_or(0)),
        }
    }

    /// The record of a session that is about to be handed out.
    pub(crate) fn record_of(&self, row: &SessionRow) -> Record {
        Record {
            operator: Some(row.operator.clone()),
            actor: Some(row.actor.clone()),
            device: row.device,
            token: Some(row.jti.clone()),
            ..Record::of(self, format!("session.{}", row.way))
        }
    }

    /// The token of a session that is in the database.
    pub(crate) fn session_text(&self, row: &SessionRow) -> Result<SecretString, Refusal> {
        let session = Session {
            iss: self.settings.public_url.clone(),
            sub: row.actor.clone(),
            operator: row.operator.clone(),
            iat: row.created_at,
            exp: row.expires_at,
            jti: row.jti.clone(),
            device: row.device,
        };
        let token = mint_session(&session, &*self.signer()?);
        token.ok_or_else(|| Failure::internal().into())
    }

    /// The answer that hands a session over.
    pub(crate) fn handed_over(&self, row: &SessionRow) -> Result<SessionToken, Refusal> {
        let lifetime = row.expires_at.saturating_sub(row.created_at);
        Ok(SessionToken {
            access_token: self.session_text(row)?.into(),
            token_type: "Bearer".into(),
            expires_in: u64::try_from(lifetime).unwrap_or(0),
            scope: match row.actor == row.operator {
                true => Scope::Operator,
                false => Scope::Tenant,
            },
        })
    }

    /// Records, keeps and hands over a session that nothing has to be used up for.
    pub(crate) async fn begin_session(&self, row: &SessionRow) -> Result<SessionToken, Refusal> {
        self.record(&self.record_of(row)).await?;
        self.store.add_session(row).await?;
        self.handed_over(row)
    }
}
