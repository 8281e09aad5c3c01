//! The rows of tenants and members.

use api::{Member, Tenant, TenantId, Timestamp};
use async_trait::async_trait;
use model::{Actor, Handle};
use uuid::Uuid;

use super::audit::append;
use super::columns::{id, number, some_text, some_value, time, value};
use super::steps::{due_by, part_of, took_place};
use super::{Adapter, Connection, DbRow};
use crate::store::decode::word;
use crate::store::{
    Due, Entry, NewMember, NewTenant, Part, Result, TenantChange, TenantRow, Tenants,
};

statements! {
    ADD = "INSERT INTO tenants (id, handle, display_name, backend, bucket, state, delete_bucket,
               created_by, created_at, attempts, trouble, due_at)
           VALUES ($1, $2, $3, $4, $5, $6, 0, $7, $8, 0, NULL, $9)";
    BY_ID = "SELECT * FROM tenants WHERE id = $1";
    BY_HANDLE = "SELECT * FROM tenants WHERE handle = $1 AND state NOT IN ('deleted', 'failed')";
    PART = "SELECT * FROM tenants WHERE id > $1 ORDER BY id LIMIT $2";
    CHANGE = "UPDATE tenants SET state = $3, trouble = $4, attempts = $5, due_at = $6
              WHERE id = $1 AND state = $2";
    BEGIN_END = "UPDATE tenants SET state = 'deleting', delete_bucket = $2, trouble = NULL,
                     attempts = 0, due_at = $3
                 WHERE id = $1 AND state IN ('active', 'provisioning', 'undoing')";
    END_GRANTS_BY = "UPDATE grants SET revoked_at = $2 WHERE tenant_id = $1 AND revoked_at IS NULL";
    END_GRANTS_TO = "UPDATE grants SET revoked_at = $2 WHERE grantee_id = $1 AND revoked_at IS NULL";
    DUE = "UPDATE tenants SET due_at = $2
           WHERE due_at <= $1
             AND id IN (SELECT id FROM tenants WHERE due_at <= $1 ORDER BY due_at LIMIT $3)
           RETURNING *";
    PUT_MEMBER = "INSERT INTO members (id, tenant_id, actor, role, created_at)
                  VALUES ($1, $2, $3, $4, $5)
                  ON CONFLICT (actor, tenant_id) DO UPDATE SET role = excluded.role";
    REMOVE_MEMBER = "DELETE FROM members WHERE actor = $1 AND tenant_id = $2";
    MEMBERS = "SELECT * FROM members WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3";
}

#[async_trait]
impl Tenants for Adapter {
    async fn add_tenant(&self, tenant: &NewTenant, entry: &Entry) -> Result<()> {
        let mut transaction = self.begin().await?;
        sqlx::query(ADD)
            .bind(tenant.id.uuid())
            .bind(tenant.handle.as_str())
            .bind(tenant.display_name.as_ref().map(|name| name.as_str()))
            .bind(word(&tenant.backend)?)
            .bind(tenant.bucket.as_ref().map(|bucket| bucket.as_str()))
            .bind(word(&tenant.state)?)
            .bind(&tenant.created_by)
            .bind(tenant.created_at.micros())
            .bind(tenant.due_at.map(Timestamp::micros))
            .execute(&mut *transaction)
            .await?;
        if let Some(owner) = &tenant.owner {
            insert_member(&mut transaction, tenant.id, owner).await?;
        }
        append(&mut transaction, entry).await?;
        Ok(transaction.commit().await?)
    }

    async fn tenant(&self, id: TenantId) -> Result<Option<TenantRow>> {
        self.one(sqlx::query(BY_ID).bind(id.uuid()), tenant_row)
            .await
    }

    async fn tenant_by_handle(&self, handle: &Handle) -> Result<Option<TenantRow>> {
        self.one(sqlx::query(BY_HANDLE).bind(handle.as_str()), tenant_row)
            .await
    }

    async fn tenants(&self, part: Part) -> Result<Vec<Tenant>> {
        self.all(part_of(sqlx::query(PART), part), |row| {
            tenant_row(row).map(|row| row.tenant)
        })
        .await
    }

    async fn change_tenant(
        &self,
        id: TenantId,
        change: &TenantChange,
        entry: Option<&Entry>,
    ) -> Result<bool> {
        let mut transaction = self.begin().await?;
        let changed = sqlx::query(CHANGE)
            .bind(id.uuid())
            .bind(word(&change.from)?)
            .bind(word(&change.to)?)
            .bind(&change.trouble)
            .bind(change.attempts)
            .bind(change.due_at.map(Timestamp::micros));
        let changed = took_place(&mut transaction, changed).await?;
        if let Some(entry) = entry.filter(|_| changed) {
            append(&mut transaction, entry).await?;
        }
        transaction.commit().await?;
        Ok(changed)
    }

    async fn begin_tenant_end(
        &self,
        id: TenantId,
        delete_bucket: bool,
        now: Timestamp,
        entry: &Entry,
    ) -> Result<bool> {
        let mut transaction = self.begin().await?;
        let began = sqlx::query(BEGIN_END)
            .bind(id.uuid())
            .bind(i64::from(delete_bucket))
            .bind(now.micros());
        let began = took_place(&mut transaction, began).await?;
        if began {
            for statement in [END_GRANTS_BY, END_GRANTS_TO] {
                let ended = sqlx::query(statement).bind(id.uuid()).bind(now.micros());
                ended.execute(&mut *transaction).await?;
            }
            append(&mut transaction, entry).await?;
        }
        transaction.commit().await?;
        Ok(began)
    }

    async fn due_tenants(&self, due: Due) -> Result<Vec<TenantRow>> {
        self.all(due_by(DUE, due), tenant_row).await
    }

    async fn put_member(&self, tenant: TenantId, member: &NewMember, entry: &Entry) -> Result<()> {
        let mut transaction = self.begin().await?;
        insert_member(&mut transaction, tenant, member).await?;
        append(&mut transaction, entry).await?;
        Ok(transaction.commit().await?)
    }

    async fn remove_member(&self, tenant: TenantId, actor: &Actor, entry: &Entry) -> Result<bool> {
        let statement = sqlx::query(REMOVE_MEMBER)
            .bind(actor.as_str())
            .bind(tenant.uuid());
        self.change(statement, entry).await
    }

    async fn members(&self, tenant: TenantId, part: Part) -> Result<Vec<(Uuid, Member)>> {
        self.all(
            part_of(sqlx::query(MEMBERS).bind(tenant.uuid()), part),
            |row| Ok((id(row, "id")?, member(row)?)),
        )
        .await
    }
}

async fn insert_member(
    connection: &mut Connection,
    tenant: TenantId,
    member: &NewMember,
) -> Result<()> {
    sqlx::query(PUT_MEMBER)
        .bind(member.id)
        .bind(tenant.uuid())
        .bind(member.actor.as_str())
        .bind(word(&member.role)?)
        .bind(member.created_at.micros())
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) fn tenant_row(row: &DbRow) -> Result<TenantRow> {
    let tenant = Tenant {
        tenant_id: id(row, "id")?,
        handle: value(row, "handle")?,
        display_name: some_value(row, "display_name")?,
        backend: value(row, "backend")?,
        bucket_name: some_value(row, "bucket")?,
        state: value(row, "state")?,
        created_at: time(row, "created_at")?,
        trouble: some_text(row, "trouble")?,
    };
    Ok(TenantRow {
        tenant,
        delete_bucket: number(row, "delete_bucket")? != 0,
        attempts: number(row, "attempts")?,
    })
}

fn member(row: &DbRow) -> Result<Member> {
    Ok(Member {
        actor: value(row, "actor")?,
        role: value(row, "role")?,
        created_at: time(row, "created_at")?,
    })
}
