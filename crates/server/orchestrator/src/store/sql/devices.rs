//! The rows of machines that wait to be let in.

use api::{TenantId, Timestamp, UserCode};
use async_trait::async_trait;
use model::Actor;

use super::audit::append;
use super::columns::{number, some_id, some_time, some_value, time, value};
use super::people::insert_session;
use super::steps::took_place;
use super::{Adapter, DbRow};
use crate::store::decode::word;
use crate::store::{DevicePoll, DeviceRequest, Devices, Entry, NewDevice, NewSession, Result};

/// How much longer the pause gets (RFC 8628 §3.5).
const SLOWER: i64 = 5;

statements! {
    ADD = "INSERT INTO device_requests (device_hash, user_code, client_id, machine, scope,
               created_at, expires_at, poll_interval, polled_at, state, actor, tenant_id)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, NULL, 'pending', NULL, NULL)";
    BY_CODE = "SELECT * FROM device_requests WHERE user_code = $1";
    DECIDE = "UPDATE device_requests SET state = $2, actor = $3, tenant_id = $4
              WHERE user_code = $1 AND state = 'pending' AND expires_at > $5";
    BY_HASH = "SELECT * FROM device_requests WHERE device_hash = $1";
    POLLED = "UPDATE device_requests SET polled_at = $2, poll_interval = poll_interval + $3
              WHERE device_hash = $1";
    USE = "UPDATE device_requests SET state = 'used'
           WHERE device_hash = $1 AND state = 'approved' AND expires_at > $2";
}

#[async_trait]
impl Devices for Adapter {
    async fn add_device(&self, device: &NewDevice) -> Result<()> {
        sqlx::query(ADD)
            .bind(&device.device_hash)
            .bind(device.user_code.letters())
            .bind(device.client_id.as_str())
            .bind(device.machine.as_str())
            .bind(word(&device.scope)?)
            .bind(device.created_at.micros())
            .bind(device.expires_at.micros())
            .bind(device.interval)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn device_by_code(&self, code: &UserCode) -> Result<Option<DeviceRequest>> {
        self.one(sqlx::query(BY_CODE).bind(code.letters()), request)
            .await
    }

    async fn decide_device(
        &self,
        code: &UserCode,
        decision: Option<(&Actor, Option<TenantId>)>,
        now: Timestamp,
        entry: &Entry,
    ) -> Result<bool> {
        let statement = sqlx::query(DECIDE)
            .bind(code.letters())
            .bind(if decision.is_some() {
                "approved"
            } else {
                "denied"
            })
            .bind(decision.map(|(actor, _)| actor.as_str()))
            .bind(decision.and_then(|(_, tenant)| tenant).map(TenantId::uuid))
            .bind(now.micros());
        self.change(statement, entry).await
    }

    async fn poll_device(&self, device_hash: &[u8], now: Timestamp) -> Result<Option<DevicePoll>> {
        let mut transaction = self.begin().await?;
        let row = sqlx::query(BY_HASH).bind(device_hash);
        let Some(row) = row.fetch_optional(&mut *transaction).await? else {
            return Ok(None);
        };
        let pause = number(&row, "poll_interval")?.saturating_mul(1_000_000);
        let last = some_time(&row, "polled_at")?;
        let too_fast = last.is_some_and(|last| now.micros() - last.micros() < pause);
        sqlx::query(POLLED)
            .bind(device_hash)
            .bind(now.micros())
            .bind(if too_fast { SLOWER } else { 0 })
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(Some(DevicePoll {
            request: request(&row)?,
            too_fast,
        }))
    }

    async fn use_device(
        &self,
        device_hash: &[u8],
        session: &NewSession,
        entry: &Entry,
    ) -> Result<bool> {
        let mut transaction = self.begin().await?;
        let used = sqlx::query(USE)
            .bind(device_hash)
            .bind(session.created_at.micros());
        let used = took_place(&mut transaction, used).await?;
        if used {
            insert_session(&mut transaction, session).await?;
            append(&mut transaction, entry).await?;
        }
        transaction.commit().await?;
        Ok(used)
    }
}

fn request(row: &DbRow) -> Result<DeviceRequest> {
    Ok(DeviceRequest {
        user_code: value(row, "user_code")?,
        client_id: value(row, "client_id")?,
        machine: value(row, "machine")?,
        scope: value(row, "scope")?,
        created_at: time(row, "created_at")?,
        expires_at: time(row, "expires_at")?,
        state: value(row, "state")?,
        actor: some_value(row, "actor")?,
        tenant: some_id(row, "tenant_id")?,
    })
}
