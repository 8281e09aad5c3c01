-- Times are microseconds since 1970. Words (states, modes, roles) are those of the wire.
-- `due_at` says when the background work looks at a row again; NULL is never.
-- No column holds a secret: tokens are kept as SHA-256, storage keys by their public id.

CREATE TABLE tenants (
    id UUID PRIMARY KEY,
    handle TEXT NOT NULL,
    display_name TEXT,
    backend TEXT NOT NULL,
    bucket TEXT,
    state TEXT NOT NULL,
    delete_bucket BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    trouble TEXT,
    due_at BIGINT
);
CREATE UNIQUE INDEX tenants_handle ON tenants (handle) WHERE state NOT IN ('deleted', 'failed');
CREATE INDEX tenants_due ON tenants (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE members (
    id UUID PRIMARY KEY,
    tenant_id UUID NOT NULL REFERENCES tenants (id),
    actor TEXT NOT NULL,
    role TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX members_actor ON members (actor, tenant_id);
CREATE INDEX members_tenant ON members (tenant_id, id);

CREATE TABLE operators (
    actor TEXT PRIMARY KEY,
    created_at BIGINT NOT NULL
);

CREATE TABLE bootstrap_tokens (
    hash BYTEA PRIMARY KEY,
    expires_at BIGINT NOT NULL
);

CREATE TABLE sessions (
    id UUID PRIMARY KEY,
    actor TEXT NOT NULL,
    tenant_id UUID REFERENCES tenants (id),
    scope TEXT NOT NULL,
    machine TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX sessions_expiry ON sessions (expires_at);

CREATE TABLE device_requests (
    device_hash BYTEA PRIMARY KEY,
    user_code TEXT NOT NULL,
    client_id TEXT NOT NULL,
    machine TEXT NOT NULL,
    scope TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    poll_interval BIGINT NOT NULL,
    polled_at BIGINT,
    state TEXT NOT NULL,
    actor TEXT,
    tenant_id UUID
);
CREATE UNIQUE INDEX device_requests_user_code ON device_requests (user_code);
CREATE INDEX device_requests_expiry ON device_requests (expires_at);

CREATE TABLE workspaces (
    id UUID PRIMARY KEY,
    tenant_id UUID NOT NULL REFERENCES tenants (id),
    name TEXT NOT NULL,
    backend TEXT NOT NULL,
    bucket TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    region TEXT NOT NULL,
    prefix TEXT NOT NULL,
    state TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    formatted_at BIGINT,
    last_event BIGINT NOT NULL,
    due_at BIGINT
);
CREATE UNIQUE INDEX workspaces_name ON workspaces (tenant_id, name) WHERE state <> 'deleted';
CREATE INDEX workspaces_tenant ON workspaces (tenant_id, id);
CREATE INDEX workspaces_bucket ON workspaces (bucket, prefix);
CREATE INDEX workspaces_due ON workspaces (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE grants (
    id UUID PRIMARY KEY,
    workspace_id UUID NOT NULL REFERENCES workspaces (id),
    tenant_id UUID NOT NULL REFERENCES tenants (id),
    grantee_id UUID NOT NULL REFERENCES tenants (id),
    mode TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
);
CREATE UNIQUE INDEX grants_pair ON grants (workspace_id, grantee_id) WHERE revoked_at IS NULL;
CREATE INDEX grants_tenant ON grants (tenant_id, id) WHERE revoked_at IS NULL;
CREATE INDEX grants_grantee ON grants (grantee_id, id) WHERE revoked_at IS NULL;

CREATE TABLE tickets (
    id UUID PRIMARY KEY,
    tenant_id UUID NOT NULL REFERENCES tenants (id),
    workspace_id UUID NOT NULL REFERENCES workspaces (id),
    mode TEXT NOT NULL,
    description TEXT,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX tickets_tenant ON tickets (tenant_id, id);

CREATE TABLE service_tokens (
    id UUID PRIMARY KEY,
    tenant_id UUID NOT NULL REFERENCES tenants (id),
    hash BYTEA NOT NULL,
    description TEXT NOT NULL,
    mode TEXT NOT NULL,
    purpose TEXT NOT NULL,
    workspace_id UUID REFERENCES workspaces (id),
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
);
CREATE UNIQUE INDEX service_tokens_hash ON service_tokens (hash);
CREATE INDEX service_tokens_tenant ON service_tokens (tenant_id, id);

-- `via` is the service token or ticket that a key was issued through: it ends with that.
CREATE TABLE credentials (
    id UUID PRIMARY KEY,
    tenant_id UUID NOT NULL REFERENCES tenants (id),
    bucket_tenant_id UUID NOT NULL REFERENCES tenants (id),
    workspace_id UUID REFERENCES workspaces (id),
    grant_id UUID REFERENCES grants (id),
    via UUID,
    bucket TEXT NOT NULL,
    prefix TEXT NOT NULL,
    mode TEXT NOT NULL,
    description TEXT,
    access_key TEXT,
    handle TEXT NOT NULL,
    state TEXT NOT NULL,
    deletion_status TEXT,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    last_used_at BIGINT,
    revoked_at BIGINT,
    attempts BIGINT NOT NULL,
    trouble TEXT,
    due_at BIGINT
);
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
    workspace_id UUID NOT NULL REFERENCES workspaces (id),
    seq BIGINT NOT NULL,
    at BIGINT NOT NULL,
    event TEXT NOT NULL,
    PRIMARY KEY (workspace_id, seq)
);
CREATE INDEX events_at ON events (at);

-- Append-only and hash-chained: see the module `audit`.
CREATE TABLE audit (
    seq BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    action TEXT NOT NULL,
    actor TEXT,
    tenant_id UUID,
    subject TEXT,
    reason TEXT,
    request_id TEXT,
    hash BYTEA NOT NULL
);
CREATE INDEX audit_tenant ON audit (tenant_id, seq);
CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the audit is append-only'; END $$;
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE OR DELETE ON audit
FOR EACH ROW EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_is_not_emptied BEFORE TRUNCATE ON audit
FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
