//! The audit's rows.

use api::TenantId;
use async_trait::async_trait;
use sqlx::Row;

use super::columns::{number, some_id, some_text, text, time};
use super::{Adapter, Connection, DbRow, lock_audit};
use crate::store::{Audit, Entry, Recorded, Result};

statements! {
    LAST = "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1";
    APPEND = "INSERT INTO audit (seq, at, action, actor, tenant_id, subject, reason, request_id, hash)
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    BEHIND_OF = "SELECT * FROM audit WHERE tenant_id = $1 AND seq > $2 ORDER BY seq LIMIT $3";
    BEFORE_OF = "SELECT * FROM audit WHERE tenant_id = $1 AND seq < $2 ORDER BY seq DESC LIMIT $3";
    BEFORE = "SELECT * FROM audit WHERE seq < $1 ORDER BY seq DESC LIMIT $2";
    BEHIND = "SELECT * FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2";
}

/// Adds a row to the chain; the last thing in a transaction, because others wait for it.
pub(super) async fn append(connection: &mut Connection, entry: &Entry) -> Result<()> {
    lock_audit(connection).await?;
    let last = sqlx::query(LAST).fetch_optional(&mut *connection).await?;
    let last = last.as_ref().map(end_of_chain).transpose()?;
    let row = Recorded::following(last, entry);
    sqlx::query(APPEND)
        .bind(row.seq)
        .bind(row.at.micros())
        .bind(row.action)
        .bind(row.actor)
        .bind(row.tenant.map(TenantId::uuid))
        .bind(row.subject)
        .bind(row.reason)
        .bind(row.request_id)
        .bind(row.hash)
        .execute(connection)
        .await?;
    Ok(())
}

fn end_of_chain(row: &DbRow) -> Result<(i64, Vec<u8>)> {
    Ok((number(row, "seq")?, row.try_get("hash")?))
}

#[async_trait]
impl Audit for Adapter {
    async fn record(&self, entry: &Entry) -> Result<()> {
        let mut transaction = self.begin().await?;
        append(&mut transaction, entry).await?;
        Ok(transaction.commit().await?)
    }

    async fn recorded(&self, after: i64, limit: i64) -> Result<Vec<Recorded>> {
        self.all(sqlx::query(BEHIND).bind(after).bind(limit), recorded)
            .await
    }

    async fn recorded_of(&self, tenant: TenantId, after: i64, limit: i64) -> Result<Vec<Recorded>> {
        let statement = sqlx::query(BEHIND_OF)
            .bind(tenant.uuid())
            .bind(after)
            .bind(limit);
        self.all(statement, recorded).await
    }

    async fn recorded_before(
        &self,
        tenant: Option<TenantId>,
        before: i64,
        limit: i64,
    ) -> Result<Vec<Recorded>> {
        let statement = match tenant {
            Some(tenant) => sqlx::query(BEFORE_OF).bind(tenant.uuid()),
            None => sqlx::query(BEFORE),
        };
        self.all(statement.bind(before).bind(limit), recorded).await
    }
}

fn recorded(row: &DbRow) -> Result<Recorded> {
    Ok(Recorded {
        seq: number(row, "seq")?,
        at: time(row, "at")?,
        action: text(row, "action")?,
        actor: some_text(row, "actor")?,
        tenant: some_id(row, "tenant_id")?,
        subject: some_text(row, "subject")?,
        reason: some_text(row, "reason")?,
        request_id: some_text(row, "request_id")?,
        hash: row.try_get("hash")?,
    })
}
