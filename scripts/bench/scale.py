"""100,000 tenants and 1,000,000 storage keys, as rows of the orchestrator's tables."""

import pathlib
import time

TENANTS = 100_000
KEYS_EACH = 10
TABLES = ("tenants", "members", "sessions", "workspaces", "service_tokens", "credentials")

# The same rows that the test of the plans makes.
ROWS = pathlib.Path(__file__).parents[2] / "crates/server/orchestrator/tests/scale.sql"


def fill(service):
    """Answers how long it took."""
    begun = time.monotonic()
    statements = ROWS.read_text().replace(":tenants", str(TENANTS)).replace(":keys", str(KEYS_EACH))
    service.sql(statements)
    service.sql("VACUUM ANALYZE")
    return time.monotonic() - begun


def tokens(count):
    """Service tokens of as many tenants, spread over all of them."""
    step = TENANTS // count
    return [f"art_bench-{number}" for number in range(1, TENANTS + 1, step)][:count]


def reads_of_whole_tables(service):
    """How often PostgreSQL read one of the large tables from end to end, so far."""
    # A server process says what it did when it has been idle for ten seconds.
    time.sleep(12)
    names = ", ".join(f"'{table}'" for table in TABLES)
    rows = service.sql(f"SELECT relname, seq_scan FROM pg_stat_user_tables WHERE relname IN ({names})")
    return {name: int(count) for name, count in (row.split("|") for row in rows.splitlines())}
