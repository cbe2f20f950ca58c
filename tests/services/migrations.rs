//! The schema: brought up by ten at once, read by old and new, and every statement fits it.

use sqlx::{AssertSqlSafe, Connection, Executor, SqlSafeStr};
use visiobook::services::migrations::{self, Step};
use visiobook::services::{SERVICES, outbox, registry, schema, users};

use super::support::Platform;

async fn connect(platform: &Platform) -> sqlx::PgConnection {
    platform.postgres.wait();
    sqlx::PgConnection::connect(&platform.postgres.url()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_fits_the_schema() {
    for (service, statements, least) in
        [("users", users::statements::all(), 40), ("database", registry::statements::all(), 15)]
    {
        let platform = Platform::of(service);
        let mut connection = connect(&platform).await;
        assert!(statements.len() > least, "{service}: {}", statements.len());
        let shared = outbox::STATEMENTS.into_iter().chain(schema::STATEMENTS).map(str::to_owned);
        for statement in statements.into_iter().chain(shared) {
            let prepared = connection.prepare(AssertSqlSafe(statement.clone()).into_sql_str()).await;
            assert!(prepared.is_ok(), "{statement}\n{}", prepared.err().unwrap());
        }
        assert!(connection.prepare("SELECT gone FROM outbox_events".into_sql_str()).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_is_as_the_guidelines_want_it() {
    let platforms = SERVICES.map(|service| Platform::of(service.name));
    for (rule, offences) in [
        (
            "DL02: snake_case",
            "SELECT table_name || '.' || column_name FROM information_schema.columns WHERE table_schema = 'public' AND (table_name || column_name) !~ '^[a-z_0-9]+$'",
        ),
        (
            "DL02: idx_<table>_<column>",
            "SELECT indexname FROM pg_indexes WHERE schemaname = 'public' AND indexname NOT LIKE '%_pkey' AND indexname NOT LIKE 'idx\\_' || tablename || '\\_%'",
        ),
        (
            "DL02: fk_<table>_<column>",
            "SELECT conname FROM pg_constraint WHERE contype = 'f' AND conname NOT LIKE 'fk\\_' || conrelid::regclass || '\\_%'",
        ),
        (
            "DL03: id, created_at, updated_at, version",
            "SELECT t.tablename || '.' || f.name FROM pg_tables t CROSS JOIN (VALUES ('id', 'uuid'), \
            ('created_at', 'timestamp with time zone'), ('updated_at', 'timestamp with time zone'), ('version', 'integer')) f (name, kind) \
            LEFT JOIN information_schema.columns c ON c.table_name = t.tablename AND c.column_name = f.name AND c.data_type = f.kind \
            WHERE t.schemaname = 'public' AND t.tablename NOT LIKE '\\_%' AND c.column_name IS NULL",
        ),
    ] {
        for platform in &platforms {
            assert_eq!(platform.postgres.answer(offences), "", "{rule}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_at_once_apply_each_step_once() {
    let platform = Platform::bare(None);
    platform.postgres.wait();
    let begun: Vec<_> = (0..10).map(|_| platform.command(&["migrate"]).spawn().unwrap()).collect();
    for mut child in begun {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(
        platform.postgres.answer("SELECT count(*) FROM _users_migrations"),
        SERVICES[0].migrations.len().to_string()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_built_beside_requests_however_many_begin() {
    let platform = Platform::new();
    let service = platform.start().await;
    let options: sqlx::postgres::PgConnectOptions = platform.postgres.url().parse().unwrap();
    let index = "-- no-transaction\nCREATE INDEX CONCURRENTLY idx_users_role ON users (role)";
    let steps = [SERVICES[0].migrations, &[step(9, index)]].concat();
    let table = SERVICES[0].migration_table;
    let begun = (0..10).map(|_| migrations::migrate(&options, table, &steps));
    let (applied, _) = tokio::join!(futures::future::join_all(begun), service.somebody());
    for outcome in applied {
        outcome.unwrap();
    }
    let valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'idx_users_role'::regclass";
    assert_eq!(platform.postgres.answer(valid), "t");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_waits_for_its_schema_and_starts_on_a_newer_one() {
    let platform = Platform::bare(None);
    platform.postgres.wait();
    let service = platform.start().await;
    let answer = service.get("/ready").send().await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.body["checks"]["database_migrations"], false, "{}", answer.body);
    platform.migrate();
    service.until_ready().await;

    // A newer release has been here and was undone.
    let table = SERVICES[0].migration_table;
    let newer = [SERVICES[0].migrations, &[step(9, "ALTER TABLE users ADD COLUMN shoe_size int")]].concat();
    let options = platform.postgres.url().parse().unwrap();
    migrations::migrate(&options, table, &newer).await.unwrap();
    service.somebody().await;
    platform.migrate();
    let old = platform.start().await;
    old.until_ready().await;
    old.somebody().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_fails_leaves_what_serves() {
    let platform = Platform::new();
    let service = platform.start().await;
    let table = SERVICES[0].migration_table;
    let options = platform.postgres.url().parse().unwrap();
    let broken =
        [SERVICES[0].migrations, &[step(9, "ALTER TABLE users ADD COLUMN size int; SELECT 1 / 0")]].concat();
    let error = migrations::migrate(&options, table, &broken).await.unwrap_err();
    assert!(error.to_string().contains("division by zero"), "{error}");
    service.somebody().await;
    let columns =
        "SELECT count(*) FROM information_schema.columns WHERE table_name = 'users' AND column_name = 'size'";
    assert_eq!(platform.postgres.answer(columns), "0");
    // Repaired, it is applied.
    let mended = [SERVICES[0].migrations, &[step(9, "ALTER TABLE users ADD COLUMN size int")]].concat();
    migrations::migrate(&options, table, &mended).await.unwrap();
    service.somebody().await;
    // A step that was applied and then changed is told.
    let changed = [step(1, "SELECT 1")];
    assert!(migrations::migrate(&options, table, &changed).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_asks_whether_whoever_holds_the_lock_is_still_there() {
    let platform = Platform::bare(None);
    platform.postgres.wait();
    let options = platform.postgres.url().parse().unwrap();
    let noted = "CREATE TABLE asked AS SELECT current_setting('tcp_keepalives_idle') AS idle, \
        current_setting('tcp_keepalives_interval') AS pause, current_setting('tcp_keepalives_count') AS tries";
    migrations::migrate(&options, "_tests_migrations", &[step(1, noted)]).await.unwrap();
    assert_eq!(platform.postgres.answer("SELECT idle, pause, tries FROM asked"), "30|10|3");
}

fn step(version: i64, sql: &'static str) -> Step {
    Step { version, about: "a test's", sql }
}
