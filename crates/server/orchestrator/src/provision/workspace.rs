//! The end of a workspace: deleting → deleted, once every key to it is gone.

use api::Workspace;

use crate::app::App;
use crate::store::{Entry, KeysOf, Result as StoreResult};

impl App {
    /// Ends a `deleting` workspace if no key opens it any more; otherwise it is due again.
    pub(crate) async fn tend_workspace(&self, workspace: &Workspace) -> StoreResult<bool> {
        let id = workspace.workspace_id;
        let entry = Entry {
            at: self.now(),
            action: "WorkspaceDeleted",
            actor: None,
            tenant: Some(workspace.tenant_id),
            subject: Some(id.to_string()),
            reason: None,
            request_id: None,
        };
        let keys = KeysOf::Workspace(id);
        self.revoke_because(keys, &entry, "its workspace is being deleted")
            .await?;
        if self.store.living_keys_of_workspace(id).await? > 0 {
            return Ok(false);
        }
        self.store.finish_workspace_end(id, &entry).await
    }
}
