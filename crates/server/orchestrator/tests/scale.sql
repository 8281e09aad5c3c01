-- The rows of a large service: tenants with a member, a session, a workspace, a service token
-- and :keys storage keys each. Of ten keys three count, one is being revoked, and the others
-- were. Ids follow from numbers; the token of tenant 7 is art_bench-7.
-- The triggers that would look each row's tenant up again are off: the rows fit by construction.
SET session_replication_role = replica;
INSERT INTO tenants (id, handle, backend, bucket, state, delete_bucket, created_by, created_at, attempts)
  SELECT md5('tenant' || n)::uuid, 'bench-' || n, 'managed', 'artifacts-bench-' || n, 'active', 0, 'bench', n, 0
  FROM generate_series(1, :tenants) n;
INSERT INTO members (id, tenant_id, actor, role, created_at)
  SELECT md5('member' || n)::uuid, md5('tenant' || n)::uuid, 'bench-' || n, 'owner', n
  FROM generate_series(1, :tenants) n;
INSERT INTO sessions (id, actor, tenant_id, scope, machine, created_at, expires_at)
  SELECT md5('session' || n)::uuid, 'bench-' || n, md5('tenant' || n)::uuid, 'tenant', 'bench', n, 4102444800000000
  FROM generate_series(1, :tenants) n;
INSERT INTO workspaces (id, tenant_id, name, backend, bucket, endpoint, region, prefix, state, created_by, created_at, last_event)
  SELECT md5('workspace' || n)::uuid, md5('tenant' || n)::uuid, 'cases', 'managed', 'artifacts-bench-' || n,
         'http://127.0.0.1:1', 'us-east-1', 'cases/', 'active', 'bench', n, 0
  FROM generate_series(1, :tenants) n;
INSERT INTO service_tokens (id, tenant_id, hash, description, mode, purpose, created_by, created_at)
  SELECT md5('token' || n)::uuid, md5('tenant' || n)::uuid, sha256(convert_to('art_bench-' || n, 'UTF8')), 'bench', 'rw', 'mount', 'bench', n
  FROM generate_series(1, :tenants) n;
INSERT INTO credentials (id, tenant_id, bucket_tenant_id, bucket, prefix, mode, access_key, handle, state,
    created_by, created_at, revoked_at, attempts)
  SELECT md5('key' || n || '/' || k)::uuid, md5('tenant' || n)::uuid, md5('tenant' || n)::uuid, 'artifacts-bench-' || n,
         '', 'rw', 'BENCH' || n || 'K' || k, '{}',
         CASE WHEN k <= 3 THEN 'active' WHEN k = 4 THEN 'revoking' ELSE 'revoked' END,
         'bench', n * 100 + k, CASE WHEN k > 3 THEN n * 100 + k END, 0
  FROM generate_series(1, :tenants) n, generate_series(1, :keys) k;
RESET session_replication_role;
