//! The rows of operators, sessions and memberships.

use api::{SessionId, TenantId, Timestamp};
use async_trait::async_trait;
use model::Actor;

use super::audit::append;
use super::columns::{some_id, some_text, some_time, some_value, value};
use super::steps::part_of;
use super::tenants::tenant_row;
use super::{Adapter, Connection, DbRow};
use crate::store::decode::word;
use crate::store::{Entry, Membership, NewSession, Part, People, Result, SessionRow};

statements! {
    ANY_OPERATOR = "SELECT actor FROM operators LIMIT 1";
    OPERATOR = "SELECT actor FROM operators WHERE actor = $1";
    ADD_OPERATOR = "INSERT INTO operators (actor, created_at) VALUES ($1, $2)
                    ON CONFLICT (actor) DO NOTHING";
    END_BOOTSTRAPS = "DELETE FROM bootstrap_tokens";
    ADD_BOOTSTRAP = "INSERT INTO bootstrap_tokens (hash, expires_at) VALUES ($1, $2)";
    USE_BOOTSTRAP = "DELETE FROM bootstrap_tokens WHERE hash = $1 AND expires_at > $2";
    ADD_SESSION = "INSERT INTO sessions (id, actor, tenant_id, scope, machine, created_at,
                       expires_at, revoked_at)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, NULL)";
    // One question for all that a session opens: every request with a token asks it.
    SESSION = "SELECT t.*, m.role AS member_role, o.actor AS operator_actor,
                   s.revoked_at AS session_revoked_at, s.scope AS session_scope,
                   s.tenant_id AS session_tenant_id
               FROM sessions s
               LEFT JOIN operators o ON o.actor = s.actor
               LEFT JOIN members m ON m.actor = s.actor AND m.tenant_id = s.tenant_id
               LEFT JOIN tenants t ON t.id = m.tenant_id
               WHERE s.id = $1 AND s.actor = $2";
    REVOKE_SESSION = "UPDATE sessions SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
    MEMBERSHIPS = "SELECT t.*, m.role AS member_role FROM members m
                   JOIN tenants t ON t.id = m.tenant_id
                   WHERE m.actor = $1 AND t.state NOT IN ('deleted', 'failed')
                   LIMIT 2";
    MEMBERSHIP = "SELECT t.*, m.role AS member_role FROM members m
                  JOIN tenants t ON t.id = m.tenant_id
                  WHERE m.actor = $1 AND m.tenant_id = $2";
    MEMBERSHIPS_PART = "SELECT t.*, m.role AS member_role FROM members m
                        JOIN tenants t ON t.id = m.tenant_id
                        WHERE m.actor = $1 AND m.tenant_id > $2
                          AND t.state NOT IN ('deleted', 'failed')
                        ORDER BY m.tenant_id LIMIT $3";
    FORGET_SESSIONS = "DELETE FROM sessions WHERE expires_at < $1";
    FORGET_DEVICES = "DELETE FROM device_requests WHERE expires_at < $1";
}

#[async_trait]
impl People for Adapter {
    async fn has_operator(&self) -> Result<bool> {
        let found = sqlx::query(ANY_OPERATOR).fetch_optional(&self.pool).await?;
        Ok(found.is_some())
    }

    async fn is_operator(&self, actor: &Actor) -> Result<bool> {
        let found = sqlx::query(OPERATOR).bind(actor.as_str());
        Ok(found.fetch_optional(&self.pool).await?.is_some())
    }

    async fn put_bootstrap(&self, hash: &[u8], expires_at: Timestamp, entry: &Entry) -> Result<()> {
        let mut transaction = self.begin().await?;
        sqlx::query(END_BOOTSTRAPS)
            .execute(&mut *transaction)
            .await?;
        let added = sqlx::query(ADD_BOOTSTRAP)
            .bind(hash)
            .bind(expires_at.micros());
        added.execute(&mut *transaction).await?;
        append(&mut transaction, entry).await?;
        Ok(transaction.commit().await?)
    }

    async fn use_bootstrap(
        &self,
        hash: &[u8],
        session: &NewSession,
        entry: &Entry,
    ) -> Result<bool> {
        let mut transaction = self.begin().await?;
        let now = session.created_at.micros();
        let used = sqlx::query(USE_BOOTSTRAP).bind(hash).bind(now);
        if used.execute(&mut *transaction).await?.rows_affected() == 0 {
            return Ok(false);
        }
        let added = sqlx::query(ADD_OPERATOR)
            .bind(session.actor.as_str())
            .bind(now);
        added.execute(&mut *transaction).await?;
        insert_session(&mut transaction, session).await?;
        append(&mut transaction, entry).await?;
        transaction.commit().await?;
        Ok(true)
    }

    async fn add_session(&self, session: &NewSession, entry: &Entry) -> Result<()> {
        let mut transaction = self.begin().await?;
        insert_session(&mut transaction, session).await?;
        append(&mut transaction, entry).await?;
        Ok(transaction.commit().await?)
    }

    async fn session(&self, id: SessionId, actor: &Actor) -> Result<Option<SessionRow>> {
        self.one(
            sqlx::query(SESSION).bind(id.uuid()).bind(actor.as_str()),
            session_row,
        )
        .await
    }

    async fn revoke_session(&self, id: SessionId, now: Timestamp, entry: &Entry) -> Result<bool> {
        let statement = sqlx::query(REVOKE_SESSION)
            .bind(id.uuid())
            .bind(now.micros());
        self.change(statement, entry).await
    }

    async fn memberships(
        &self,
        actor: &Actor,
        tenant: Option<TenantId>,
    ) -> Result<Vec<Membership>> {
        let query = match tenant {
            None => sqlx::query(MEMBERSHIPS).bind(actor.as_str()),
            Some(tenant) => sqlx::query(MEMBERSHIP)
                .bind(actor.as_str())
                .bind(tenant.uuid()),
        };
        query
            .fetch_all(&self.pool)
            .await?
            .iter()
            .map(membership)
            .collect()
    }

    async fn memberships_part(&self, actor: &Actor, part: Part) -> Result<Vec<Membership>> {
        let statement = sqlx::query(MEMBERSHIPS_PART).bind(actor.as_str());
        self.all(part_of(statement, part), membership).await
    }

    async fn forget_ended(&self, before: Timestamp) -> Result<u64> {
        let mut forgotten = 0;
        for statement in [FORGET_SESSIONS, FORGET_DEVICES] {
            let deleted = sqlx::query(statement).bind(before.micros());
            forgotten += deleted.execute(&self.pool).await?.rows_affected();
        }
        Ok(forgotten)
    }
}

pub(super) async fn insert_session(
    connection: &mut Connection,
    session: &NewSession,
) -> Result<()> {
    sqlx::query(ADD_SESSION)
        .bind(session.id.uuid())
        .bind(session.actor.as_str())
        .bind(session.tenant.map(TenantId::uuid))
        .bind(word(&session.scope)?)
        .bind(&session.machine)
        .bind(session.created_at.micros())
        .bind(session.expires_at.micros())
        .execute(connection)
        .await?;
    Ok(())
}

fn session_row(row: &DbRow) -> Result<SessionRow> {
    let role: Option<api::Role> = some_value(row, "member_role")?;
    Ok(SessionRow {
        revoked_at: some_time(row, "session_revoked_at")?,
        scope: value(row, "session_scope")?,
        tenant: some_id(row, "session_tenant_id")?,
        operator: some_text(row, "operator_actor")?.is_some(),
        membership: role.map(|_| membership(row)).transpose()?,
    })
}

fn membership(row: &DbRow) -> Result<Membership> {
    Ok(Membership {
        tenant: tenant_row(row)?,
        role: value(row, "member_role")?,
    })
}
