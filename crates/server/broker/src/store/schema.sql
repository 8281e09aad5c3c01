-- The broker's state. Times are seconds since 1970; secrets are kept as SHA-256.

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE bootstrap (
    hash BLOB PRIMARY KEY,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE TABLE sessions (
    jti TEXT PRIMARY KEY,
    actor TEXT NOT NULL,
    operator TEXT NOT NULL,
    device TEXT,
    way TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;
CREATE INDEX sessions_end ON sessions (expires_at);

-- Proofs that were seen: none counts twice, across restarts too.
CREATE TABLE proofs (
    hash BLOB PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT;
CREATE INDEX proofs_end ON proofs (until);

-- What live capabilities rest on. `service` is empty where there is none.
CREATE TABLE watched (
    operator TEXT NOT NULL,
    actor TEXT NOT NULL,
    device TEXT NOT NULL,
    op TEXT NOT NULL,
    service TEXT NOT NULL,
    until INTEGER NOT NULL,
    PRIMARY KEY (operator, actor, device, op, service)
) STRICT, WITHOUT ROWID;
CREATE INDEX watched_end ON watched (until);

-- `operator` is empty for what concerns all. Numbers are never used again.
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    operator TEXT NOT NULL,
    at INTEGER NOT NULL,
    data TEXT NOT NULL
) STRICT;
CREATE INDEX events_of ON events (operator, id);
CREATE INDEX events_at ON events (at);

-- The last event of each operator that was forgotten.
CREATE TABLE forgotten (
    operator TEXT PRIMARY KEY,
    id INTEGER NOT NULL
) STRICT;

CREATE TABLE pairings (
    secret_hash BLOB PRIMARY KEY,
    user_code TEXT NOT NULL UNIQUE,
    label TEXT NOT NULL,
    device TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    operator TEXT,
    expires_at INTEGER NOT NULL,
    polled_at INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX pairings_end ON pairings (expires_at);

-- Machines that ask for a person's session (RFC 8628).
CREATE TABLE logins (
    device_hash BLOB PRIMARY KEY,
    user_code TEXT NOT NULL UNIQUE,
    client_id TEXT NOT NULL,
    machine TEXT NOT NULL,
    state TEXT NOT NULL,
    actor TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    interval INTEGER NOT NULL,
    polled_at INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX logins_end ON logins (expires_at);

-- Nonces of wallet logins, each for one.
CREATE TABLE nonces (
    nonce TEXT PRIMARY KEY,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX nonces_end ON nonces (expires_at);
