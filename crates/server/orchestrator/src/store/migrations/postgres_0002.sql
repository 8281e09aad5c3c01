-- What mounts say of themselves. `tenant_id` is whose token the mount uses, `owner_id` whose
-- workspace it shows. Rows that are silent are deleted.
CREATE TABLE mounts (
    id UUID PRIMARY KEY,
    workspace_id UUID NOT NULL REFERENCES workspaces (id),
    owner_id UUID NOT NULL REFERENCES tenants (id),
    tenant_id UUID NOT NULL REFERENCES tenants (id),
    actor TEXT NOT NULL,
    machine TEXT NOT NULL,
    mode TEXT NOT NULL,
    last_event BIGINT,
    pending BIGINT NOT NULL,
    pending_bytes BIGINT NOT NULL,
    oldest_pending_seconds BIGINT,
    started_at BIGINT NOT NULL,
    reported_at BIGINT NOT NULL
);
CREATE INDEX mounts_workspace ON mounts (workspace_id, id);
CREATE INDEX mounts_visitor ON mounts (tenant_id, workspace_id, id);
CREATE INDEX mounts_owner ON mounts (owner_id, id);
CREATE INDEX mounts_reported ON mounts (reported_at);
