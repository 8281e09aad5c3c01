//! What is due, operation by operation.

/// What is not there for whoever asks.
pub(crate) const HIDDEN: (u16, &str) = (404, "not_found");

/// What such a token may not do at all, or not there.
pub(crate) const FORBIDDEN: (u16, &str) = (403, "forbidden");

/// Whom an operation is for, and that they get what they ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rightful {
    Owner,
    Operator,
    Store,
    /// It is over: the tenant itself is refused like a stranger.
    Nobody,
}

pub(crate) use Rightful::{Nobody, Operator, Owner, Store};

/// What is due to another tenant's owner, service token and ticket; another tenant's store is
/// forbidden everything here. In an order in which the rightful ones can ask for all of it.
pub(crate) type Due = (&'static str, [(u16, &'static str); 3], Rightful);

pub(crate) const NAMING: &[Due] = &[
    ("list_audit", [FORBIDDEN; 3], Owner),
    ("show_tenant", [FORBIDDEN; 3], Operator),
    ("list_members", [FORBIDDEN; 3], Owner),
    ("add_member", [FORBIDDEN; 3], Owner),
    ("show_workspace", [HIDDEN; 3], Owner),
    ("workspace_formatted", [HIDDEN, FORBIDDEN, FORBIDDEN], Owner),
    // A ticket is for its own workspace, whether there is another or not.
    ("issue_credential", [HIDDEN, HIDDEN, FORBIDDEN], Owner),
    ("credential_used", [HIDDEN; 3], Owner),
    ("announce", [HIDDEN; 3], Owner),
    ("receive_webhook", [FORBIDDEN; 3], Store),
    ("follow_events", [HIDDEN; 3], Owner),
    ("report_mount", [HIDDEN; 3], Owner),
    ("list_mounts", [HIDDEN; 3], Owner),
    ("create_grant", [HIDDEN, FORBIDDEN, FORBIDDEN], Owner),
    ("create_ticket", [HIDDEN, FORBIDDEN, FORBIDDEN], Owner),
    ("create_token", [HIDDEN, FORBIDDEN, FORBIDDEN], Owner),
    // The machine waits for anybody; what it is asked into is the tenant.
    ("approve_device", [FORBIDDEN; 3], Owner),
    // Somebody of the tenant has approved these machines.
    ("show_device", [HIDDEN, FORBIDDEN, FORBIDDEN], Nobody),
    ("deny_device", [HIDDEN, FORBIDDEN, FORBIDDEN], Nobody),
    ("end_mount", [HIDDEN; 3], Owner),
    ("revoke_credential", [HIDDEN; 3], Owner),
    ("revoke_grant", [HIDDEN, FORBIDDEN, FORBIDDEN], Owner),
    ("revoke_ticket", [HIDDEN, FORBIDDEN, FORBIDDEN], Owner),
    ("revoke_token", [HIDDEN, FORBIDDEN, FORBIDDEN], Owner),
    ("delete_workspace", [HIDDEN, FORBIDDEN, FORBIDDEN], Owner),
    ("remove_member", [FORBIDDEN; 3], Owner),
    ("delete_tenant", [FORBIDDEN; 3], Operator),
];

/// Operations that name nothing of a tenant: what they are about comes from the token alone.
pub(crate) const NAMELESS: &[&str] = &[
    "bootstrap",
    "create_tenant",
    "create_workspace",
    "device_authorization",
    "device_token",
    "healthz",
    "jwks",
    "list_credentials",
    "list_grants",
    "list_mounts_of_tenant",
    "list_received_grants",
    "list_tenants",
    "list_tickets",
    "list_tokens",
    "list_workspaces",
    "logout",
    "metrics",
    "mount_info",
    "openapi",
    "readyz",
    "whoami",
];
