//! `GET /tenant/mount/info`: the bucket of the caller's tenant.

use api::MountInfo;
use axum::Json;
use axum::extract::State;
use base::Failure;

use super::{Answer, Shared};
use crate::auth::Caller;
use crate::document::refusals;

/// The bucket of the caller's tenant.
///
/// 403 for a tenant that is not known or not active, 404 for one without a bucket of ours.
#[utoipa::path(
    get, path = "/tenant/mount/info", operation_id = "mount_info", tag = "keys",
    responses(
        (status = 200, description = "The bucket", body = MountInfo),
        (status = 404, response = refusals::NotFound),
    ),
)]
pub(crate) async fn show(State(app): Shared, caller: Caller) -> Answer<MountInfo> {
    let tenant = caller.tenant()?;
    let bucket = tenant.bucket_name.clone();
    let bucket_name =
        bucket.ok_or_else(|| Failure::not_found("bucket: the tenant brings its own"))?;
    let newest = app.store.newest_credential(tenant.tenant_id).await?;
    Ok(Json(MountInfo {
        tenant_id: tenant.tenant_id,
        bucket_name,
        has_credentials: newest.is_some(),
        credentials_created_at: newest,
    }))
}
