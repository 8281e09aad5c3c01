-- Times are microseconds since 1970. Words (states, modes, roles) are those of the wire.
-- `due_at` says when the background work looks at a row again; NULL is never.
-- No column holds a secret: tokens are kept as SHA-256, storage keys by their public id.

CREATE TABLE tenants (
    id BLOB PRIMARY KEY,
    handle TEXT NOT NULL,
    display_name TEXT,
    backend TEXT NOT NULL,
    bucket TEXT,
    state TEXT NOT NULL,
    delete_bucket INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    trouble TEXT,
    due_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX tenants_handle ON tenants (handle) WHERE state NOT IN ('deleted', 'failed');
CREATE INDEX tenants_due ON tenants (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE members (
    id BLOB PRIMARY KEY,
    tenant_id BLOB NOT NULL REFERENCES tenants (id),
    actor TEXT NOT NULL,
    role TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX members_actor ON members (actor, tenant_id);
CREATE INDEX members_tenant ON members (tenant_id, id);

CREATE TABLE operators (
    actor TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE bootstrap_tokens (
    hash BLOB PRIMARY KEY,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
    id BLOB PRIMARY KEY,
    actor TEXT NOT NULL,
    tenant_id BLOB REFERENCES tenants (id),
    scope TEXT NOT NULL,
    machine TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_expiry ON sessions (expires_at);

CREATE TABLE device_requests (
    device_hash BLOB PRIMARY KEY,
    user_code TEXT NOT NULL,
    client_id TEXT NOT NULL,
    machine TEXT NOT NULL,
    scope TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    poll_interval INTEGER NOT NULL,
    polled_at INTEGER,
    state TEXT NOT NULL,
    actor TEXT,
    tenant_id BLOB
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX device_requests_user_code ON device_requests (user_code);
CREATE INDEX device_requests_expiry ON device_requests (expires_at);

CREATE TABLE workspaces (
    id BLOB PRIMARY KEY,
    tenant_id BLOB NOT NULL REFERENCES tenants (id),
    name TEXT NOT NULL,
    backend TEXT NOT NULL,
    bucket TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    region TEXT NOT NULL,
    prefix TEXT NOT NULL,
    state TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    formatted_at INTEGER,
    last_event INTEGER NOT NULL,
    due_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX workspaces_name ON workspaces (tenant_id, name) WHERE state <> 'deleted';
CREATE INDEX workspaces_tenant ON workspaces (tenant_id, id);
CREATE INDEX workspaces_bucket ON workspaces (bucket, prefix);
CREATE INDEX workspaces_due ON workspaces (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE grants (
    id BLOB PRIMARY KEY,
    workspace_id BLOB NOT NULL REFERENCES workspaces (id),
    tenant_id BLOB NOT NULL REFERENCES tenants (id),
    grantee_id BLOB NOT NULL REFERENCES tenants (id),
    mode TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX grants_pair ON grants (workspace_id, grantee_id) WHERE revoked_at IS NULL;
CREATE INDEX grants_tenant ON grants (tenant_id, id) WHERE revoked_at IS NULL;
CREATE INDEX grants_grantee ON grants (grantee_id, id) WHERE revoked_at IS NULL;

CREATE TABLE tickets (
    id BLOB PRIMARY KEY,
    tenant_id BLOB NOT NULL REFERENCES tenants (id),
    workspace_id BLOB NOT NULL REFERENCES workspaces (id),
    mode TEXT NOT NULL,
    description TEXT,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX tickets_tenant ON tickets (tenant_id, id);

CREATE TABLE service_tokens (
    id BLOB PRIMARY KEY,
    tenant_id BLOB NOT NULL REFERENCES tenants (id),
    hash BLOB NOT NULL,
    description TEXT NOT NULL,
    mode TEXT NOT NULL,
    purpose TEXT NOT NULL,
    workspace_id BLOB REFERENCES workspaces (id),
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX service_tokens_hash ON service_tokens (hash);
CREATE INDEX service_tokens_tenant ON service_tokens (tenant_id, id);

-- `via` is the service token or ticket that a key was issued through: it ends with that.
CREATE TABLE credentials (
    id BLOB PRIMARY KEY,
    tenant_id BLOB NOT NULL REFERENCES tenants (id),
    bucket_tenant_id BLOB NOT NULL REFERENCES tenants (id),
    workspace_id BLOB REFERENCES workspaces (id),
    grant_id BLOB REFERENCES grants (id),
    via BLOB,
    bucket TEXT NOT NULL,
    prefix TEXT NOT NULL,
    mode TEXT NOT NULL,
    description TEXT,
    access_key TEXT,
    handle TEXT NOT NULL,
    state TEXT NOT NULL,
    deletion_status TEXT,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    last_used_at INTEGER,
    revoked_at INTEGER,
    attempts INTEGER NOT NULL,
    trouble TEXT,
    due_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX credentials_tenant ON credentials (tenant_id, id);
CREATE INDEX credentials_active ON credentials (tenant_id, id) WHERE state = 'active';
CREATE INDEX credentials_bucket ON credentials (bucket_tenant_id) WHERE state <> 'revoked';
CREATE INDEX credentials_holder ON credentials (tenant_id) WHERE state <> 'revoked';
CREATE INDEX credentials_workspace ON credentials (workspace_id) WHERE state <> 'revoked';
CREATE INDEX credentials_grant ON credentials (grant_id) WHERE state <> 'revoked';
CREATE INDEX credentials_via ON credentials (via) WHERE state <> 'revoked';
CREATE INDEX credentials_due ON credentials (due_at) WHERE due_at IS NOT NULL;

-- `seq` counts within a workspace, without gaps: see the module `events`.
CREATE TABLE events (
    workspace_id BLOB NOT NULL REFERENCES workspaces (id),
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    event TEXT NOT NULL,
    PRIMARY KEY (workspace_id, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX events_at ON events (at);

-- Append-only and hash-chained: see the module `audit`.
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    action TEXT NOT NULL,
    actor TEXT,
    tenant_id BLOB,
    subject TEXT,
    reason TEXT,
    request_id TEXT,
    hash BLOB NOT NULL
) STRICT;
CREATE INDEX audit_tenant ON audit (tenant_id, seq);
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
