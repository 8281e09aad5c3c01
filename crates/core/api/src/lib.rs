//! What goes over the wire between the orchestrator and those who call it: the types of
//! requests, answers and errors, so that both sides agree.
//!
//! Every value that has a rule has a type that keeps it: a request that was parsed holds
//! nothing that its endpoint would have to check again. Unknown fields of a request are
//! ignored, so that an older server understands a newer client; unknown fields of an answer
//! are ignored by the same rule. Nothing here does I/O.

mod access;
mod audit;
mod credential;
mod device;
mod error;
mod event;
mod grant;
mod id;
mod mount;
mod page;
mod place;
pub mod schemas;
mod secret;
mod session;
mod tenant;
mod text;
mod ticket;
mod timestamp;
mod token;
pub mod vault;
mod workspace;

pub use access::Mode;
pub use audit::{AuditQuery, AuditRow};
pub use credential::{
    Credential, CredentialState, Deletion, IssueCredential, IssuedCredential, MountInfo,
};
pub use device::{
    DeviceAuthorization, DeviceAuthorizationRequest, DeviceDecision, DeviceTokenError,
    DeviceTokenRequest, InvalidUserCode, OAuthError, PendingDevice, UserCode,
};
pub use error::{ErrorBody, ErrorCode};
pub use event::{
    Announced, Announcement, Change, Changes, Event, EventId, InvalidObjectKey, ObjectKey,
    RevokedKey, Source,
};
pub use grant::{CreateGrant, Grant};
pub use id::{
    CredentialId, GrantId, InvalidId, MountId, ServiceTokenId, SessionId, TenantId, TicketId,
    WorkspaceId,
};
pub use mount::{LiveMount, ReportMount};
pub use page::{InvalidPageLimit, Page, PageLimit, PageQuery, PageToken};
pub use place::{BucketName, Endpoint, InvalidPlace, Place, Prefix, Region};
pub use secret::Secret;
pub use session::{Bootstrap, Identity, Scope, SessionToken, Whoami};
pub use tenant::{
    AddMember, Backend, CreateTenant, DeleteTenant, FateOfBucket, Member, Person, Role, Tenant,
    TenantState,
};
pub use text::{Description, InvalidText};
pub use ticket::{CreateTicket, IssuedTicket, Ticket};
pub use timestamp::{InvalidLifetime, Lifetime, Timestamp};
pub use token::{CreateServiceToken, IssuedServiceToken, Purpose, ServiceToken};
pub use workspace::{CreateWorkspace, Workspace, WorkspaceConflict, WorkspaceState};
