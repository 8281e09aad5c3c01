//! Bringing a database up to date. A migration that was released is never changed: its hash
//! is in the database, and one that differs is refused.

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

const SQLITE: &[(i64, &str, &str)] = &[
    (
        1,
        "the first tables",
        include_str!("migrations/sqlite_0001.sql"),
    ),
    (2, "mounts", include_str!("migrations/sqlite_0002.sql")),
];

const POSTGRES: &[(i64, &str, &str)] = &[
    (
        1,
        "the first tables",
        include_str!("migrations/postgres_0001.sql"),
    ),
    (2, "mounts", include_str!("migrations/postgres_0002.sql")),
];

pub(super) fn sqlite() -> Migrator {
    migrator(SQLITE)
}

pub(super) fn postgres() -> Migrator {
    migrator(POSTGRES)
}

fn migrator(steps: &[(i64, &'static str, &'static str)]) -> Migrator {
    let migrations = steps.iter().map(|(version, name, sql)| {
        let forward_only = MigrationType::Simple;
        Migration::new(
            *version,
            (*name).into(),
            forward_only,
            sql.into_sql_str(),
            false,
        )
    });
    Migrator::with_migrations(migrations.collect())
}
