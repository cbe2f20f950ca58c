//! What the sidecar finds of a store in each state that one can be in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use visiobook::sidecar::dependencies::{Dependencies, State};

use super::servers::Server;

/// Checks of one store, under way.
struct Checked {
    dependencies: Arc<Dependencies>,
    run: tokio::task::JoinHandle<()>,
}

impl Drop for Checked {
    fn drop(&mut self) {
        self.run.abort();
    }
}

fn check(kind: &str, url: &str, migrations: Option<&str>, authority: Option<&Server>) -> Checked {
    let settings = json!({
        "service": "books",
        "dependencies": [
            { "name": "store", "kind": kind, "variable": "STORE_URL", "timeoutSeconds": 1, "intervalSeconds": 0.2 },
        ],
        "migrations": migrations,
    });
    let authority = authority.map(|server| server.authority().display().to_string());
    let lookup = |name: &str| match name {
        "STORE_URL" => Some(url.to_owned()),
        "SSL_CERT_FILE" => authority.clone(),
        _ => None,
    };
    let dependencies = Arc::new(Dependencies::new(&serde_json::from_value(settings).unwrap(), &lookup));
    let run = tokio::spawn({
        let dependencies = dependencies.clone();
        async move { dependencies.run().await }
    });
    Checked { dependencies, run }
}

impl Checked {
    fn state(&self) -> Arc<State> {
        self.dependencies.iter().next().unwrap().state()
    }

    async fn until(&self, what: &str, wanted: impl Fn(&State) -> bool) -> Arc<State> {
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            let state = self.state();
            if wanted(&state) {
                return state;
            }
            assert!(Instant::now() < deadline, "not {what}: {state:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn until_healthy(&self) {
        self.until("healthy", |state| state.healthy).await;
    }

    async fn until_fails(&self, because: &str) {
        let state = self
            .until(because, |state| state.error.as_ref().is_some_and(|error| error.contains(because)))
            .await;
        assert!(!state.error.as_ref().unwrap().contains("hush"), "{state:?}");
    }

    /// It stays as it is for some checks.
    async fn stays_healthy(&self) {
        for _ in 0..50 {
            assert!(self.state().healthy, "{:?}", self.state());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Through every outage and back.
async fn survive_outages(mut server: Server, kind: &str, url: &str) {
    let checked = check(kind, url, None, None);
    checked.until_healthy().await;
    checked.stays_healthy().await;

    server.stop();
    checked.until_fails("refused").await;
    server.start();
    checked.until_healthy().await;

    // Within a check a dead connection is replaced: a restart between two checks is no outage.
    server.freeze();
    checked.until_fails("no answer within 1 s").await;
    server.thaw();
    checked.until_healthy().await;
    checked.stays_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_spoken_to_through_outages() {
    let server = Server::postgres(false);
    let url = server.url();
    survive_outages(server, "Postgres", &url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_spoken_to_through_outages() {
    let server = Server::redis(false);
    let url = server.url();
    survive_outages(server, "Redis", &url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_spoken_to_over_tls_as_its_url_says() {
    let server = Server::postgres(true);
    let url = format!("postgres://books:hush@localhost:{}/postgres", server.port);
    for (mode, authority) in [("require", None), ("verify-full", Some(&server))] {
        check("Postgres", &format!("{url}?sslmode={mode}"), None, authority).until_healthy().await;
    }
    check("Postgres", &format!("{url}?sslmode=verify-full"), None, None).until_fails("certificate").await;
    let plain = Server::postgres(false);
    check("Postgres", &format!("{}?sslmode=require", plain.url()), None, None).until_fails("TLS").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_spoken_to_over_tls() {
    let server = Server::redis(true);
    let url = format!("rediss://:hush@localhost:{}", server.port);
    check("Redis", &url, None, Some(&server)).until_healthy().await;
    check("Redis", &url, None, None).until_fails("certificate").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_without_the_password() {
    let (postgres, redis) = (Server::postgres(false), Server::redis(false));
    let url = postgres.url().replace("hush", "hush-hush");
    check("Postgres", &url, None, None).until_fails("password authentication failed").await;
    let url = redis.url().replace("hush", "hush-hush");
    check("Redis", &url, None, None).until_fails("Password authentication failed").await;
    let url = redis.url().replace(":hush@", "");
    check("Redis", &url, None, None).until_fails("NOAUTH").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_kept_connected_and_not_connected_to_again() {
    let server = Server::postgres(false);
    let checked = check("Postgres", &server.url(), None, None);
    checked.until_healthy().await;
    checked.stays_healthy().await;
    // Its own connection, and nobody else's.
    server.sql(
        "DO $$ BEGIN IF (SELECT count(*) FROM pg_stat_activity WHERE application_name = 'visiobook-sidecar') <> 1 \
         THEN RAISE 'not one'; END IF; END $$",
    );
    // A connection that the server ended is replaced within the check.
    server.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'visiobook-sidecar'",
    );
    checked.stays_healthy().await;
}

async fn until_migrated(checked: &Checked) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while let Err(error) = checked.dependencies.migrated() {
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn until_not_migrated(checked: &Checked, because: &str) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while checked.dependencies.migrated() != Err(format!("migrations: {because}")) {
        assert!(Instant::now() < deadline, "{:?}", checked.dependencies.migrated());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_of_prisma_are_awaited_once() {
    let mut server = Server::postgres(false);
    let url = format!("{}?schema=books&connection_limit=5", server.url());
    let checked = check("Postgres", &url, Some("Prisma"), None);
    until_not_migrated(&checked, "there is no table _prisma_migrations yet").await;
    server.sql("CREATE SCHEMA books");
    server.sql("CREATE TABLE books._prisma_migrations (finished_at timestamptz, rolled_back_at timestamptz)");
    until_migrated(&checked).await;
    drop(checked);

    server.sql("INSERT INTO books._prisma_migrations VALUES (NULL, now()), (now(), NULL), (NULL, NULL)");
    let checked = check("Postgres", &url, Some("Prisma"), None);
    until_not_migrated(&checked, "1 unfinished in _prisma_migrations").await;
    server.sql("UPDATE books._prisma_migrations SET finished_at = now()");
    until_migrated(&checked).await;

    // The next release migrates while this one serves.
    server.sql("INSERT INTO books._prisma_migrations VALUES (NULL, NULL)");
    for _ in 0..50 {
        assert_eq!(checked.dependencies.migrated(), Ok(()));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.stop();
    until_not_migrated(&checked, "store does not answer").await;
    server.start();
    until_migrated(&checked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_of_alembic_and_of_a_stack_without_a_table_are_awaited() {
    let server = Server::postgres(false);
    let alembic = check("Postgres", &server.url(), Some("Alembic"), None);
    let any_table = check("Postgres", &server.url(), Some("AnyTable"), None);
    until_not_migrated(&alembic, "there is no table alembic_version yet").await;
    until_not_migrated(&any_table, "no table in the schema public yet").await;
    server.sql("CREATE TABLE alembic_version (version_num text)");
    until_migrated(&any_table).await;
    until_not_migrated(&alembic, "no row in alembic_version yet").await;
    server.sql("INSERT INTO alembic_version VALUES ('1')");
    until_migrated(&alembic).await;
}
