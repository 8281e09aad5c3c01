//! The endpoints, one method each; what they do is documented at the server's side
//! (`docs/reference/openapi.json`).

use api::{
    AddMember, Announced, Announcement, CreateGrant, CreateServiceToken, CreateTenant,
    CreateTicket, CreateWorkspace, Credential, CredentialId, FateOfBucket, Grant, GrantId,
    IssueCredential, IssuedCredential, IssuedServiceToken, IssuedTicket, LiveMount, Member,
    MountId, ReportMount, ServiceToken, ServiceTokenId, Tenant, TenantId, Ticket, TicketId, Whoami,
    Workspace, WorkspaceId,
};
use model::{Actor, Handle, WorkspaceName};
use reqwest::Method;

use crate::client::Orchestrator;
use crate::error::Result;

/// People and their logins.
impl Orchestrator {
    /// Whom the token stands for.
    pub async fn whoami(&self) -> Result<Whoami> {
        self.get("/whoami").await
    }

    /// Ends the session of the token.
    pub async fn logout(&self) -> Result<()> {
        self.bare(Method::POST, "/logout").await
    }
}

/// Storage keys.
impl Orchestrator {
    /// A new key. Its secret is in this answer and nowhere else.
    pub async fn issue(&self, wanted: &IssueCredential) -> Result<IssuedCredential> {
        self.post("/tenant/mount/credentials", wanted).await
    }

    /// The tenant's keys, without their secrets.
    pub async fn keys(&self) -> Result<Vec<Credential>> {
        self.list("/tenant/mount/credentials").await
    }

    /// Takes a key back.
    pub async fn revoke_key(&self, id: CredentialId) -> Result<Credential> {
        self.delete(&format!("/tenant/mount/credentials/{id}"))
            .await
    }

    /// Says that a key is in use: 409 where it does not count any more.
    pub async fn key_in_use(&self, id: CredentialId) -> Result<()> {
        let path = format!("/tenant/mount/credentials/{id}/used");
        self.bare(Method::POST, &path).await
    }
}

/// Workspaces.
impl Orchestrator {
    /// Reserves a name.
    ///
    /// # Errors
    /// [`Exists`](crate::ControlError::Exists) with what has it.
    pub async fn reserve(&self, wanted: &CreateWorkspace) -> Result<Workspace> {
        self.post("/workspaces", wanted).await
    }

    /// The tenant's workspaces, also those that are gone.
    pub async fn workspaces(&self) -> Result<Vec<Workspace>> {
        self.list("/workspaces").await
    }

    /// One of them, or one that was granted.
    pub async fn workspace(&self, handle: &Handle, name: &WorkspaceName) -> Result<Workspace> {
        self.get(&format!("/workspaces/{handle}/{name}")).await
    }

    /// Says that its marker is in the bucket.
    pub async fn confirm_format(&self, handle: &Handle, name: &WorkspaceName) -> Result<Workspace> {
        let path = format!("/workspaces/{handle}/{name}/format-completed");
        self.post(&path, &serde_json::json!({})).await
    }

    /// Ends it: its keys die, its objects stay.
    pub async fn end_workspace(&self, handle: &Handle, name: &WorkspaceName) -> Result<Workspace> {
        self.delete(&format!("/workspaces/{handle}/{name}")).await
    }
}

/// What mounts say.
impl Orchestrator {
    /// Tells what has changed in the bucket.
    pub async fn announce(&self, said: &Announcement) -> Result<Announced> {
        self.post("/sync", said).await
    }

    /// Tells how a mount is.
    pub async fn report(
        &self,
        workspace: WorkspaceId,
        mount: MountId,
        report: &ReportMount,
    ) -> Result<()> {
        let path = format!("/workspaces/{workspace}/mounts/{mount}");
        self.tell(Method::PUT, &path, report).await
    }

    /// Tells that a mount has ended.
    pub async fn report_end(&self, workspace: WorkspaceId, mount: MountId) -> Result<()> {
        let path = format!("/workspaces/{workspace}/mounts/{mount}");
        self.bare(Method::DELETE, &path).await
    }

    /// The mounts of a workspace that are alive.
    pub async fn mounts(&self, workspace: WorkspaceId) -> Result<Vec<LiveMount>> {
        self.list(&format!("/workspaces/{workspace}/mounts")).await
    }
}

/// What operators and owners do.
impl Orchestrator {
    /// Makes a tenant.
    pub async fn create_tenant(&self, wanted: &CreateTenant) -> Result<Tenant> {
        self.post("/tenants", wanted).await
    }

    /// All tenants.
    pub async fn tenants(&self) -> Result<Vec<Tenant>> {
        self.list("/tenants").await
    }

    /// One tenant.
    pub async fn tenant(&self, id: TenantId) -> Result<Tenant> {
        self.get(&format!("/tenants/{id}")).await
    }

    /// Ends a tenant.
    pub async fn end_tenant(&self, id: TenantId, bucket: FateOfBucket) -> Result<Tenant> {
        let fate = match bucket {
            FateOfBucket::Keep => "keep",
            FateOfBucket::Delete => "delete",
        };
        self.delete(&format!("/tenants/{id}?bucket={fate}")).await
    }

    /// Makes somebody a member.
    pub async fn add_member(&self, tenant: TenantId, member: &AddMember) -> Result<Member> {
        self.post(&format!("/tenants/{tenant}/members"), member)
            .await
    }

    /// The members of a tenant.
    pub async fn members(&self, tenant: TenantId) -> Result<Vec<Member>> {
        self.list(&format!("/tenants/{tenant}/members")).await
    }

    /// Ends a membership.
    pub async fn remove_member(&self, tenant: TenantId, actor: &Actor) -> Result<()> {
        let path = format!("/tenants/{tenant}/members/{actor}");
        self.bare(Method::DELETE, &path).await
    }

    /// Lets another tenant mount a workspace.
    pub async fn grant(&self, wanted: &CreateGrant) -> Result<Grant> {
        self.post("/grants", wanted).await
    }

    /// What the tenant has granted.
    pub async fn grants(&self) -> Result<Vec<Grant>> {
        self.list("/grants").await
    }

    /// What the tenant was granted.
    pub async fn grants_received(&self) -> Result<Vec<Grant>> {
        self.list("/grants/received").await
    }

    /// Takes a grant back.
    pub async fn revoke_grant(&self, id: GrantId) -> Result<()> {
        self.bare(Method::DELETE, &format!("/grants/{id}")).await
    }

    /// Makes a ticket; its text is in this answer only.
    pub async fn create_ticket(&self, wanted: &CreateTicket) -> Result<IssuedTicket> {
        self.post("/tickets", wanted).await
    }

    /// The tenant's tickets.
    pub async fn tickets(&self) -> Result<Vec<Ticket>> {
        self.list("/tickets").await
    }

    /// Takes a ticket back, and the keys that were issued by it.
    pub async fn revoke_ticket(&self, id: TicketId) -> Result<()> {
        self.bare(Method::DELETE, &format!("/tickets/{id}")).await
    }

    /// Makes a service token; it is in this answer only.
    pub async fn create_token(&self, wanted: &CreateServiceToken) -> Result<IssuedServiceToken> {
        self.post("/tokens", wanted).await
    }

    /// The tenant's service tokens.
    pub async fn tokens(&self) -> Result<Vec<ServiceToken>> {
        self.list("/tokens").await
    }

    /// Revokes a service token, and the keys that were issued by it.
    pub async fn revoke_token(&self, id: ServiceTokenId) -> Result<()> {
        self.bare(Method::DELETE, &format!("/tokens/{id}")).await
    }
}
