//! Requests that schemathesis makes from the document, with every check of it on: no finding.
//!
//! Their number is VISIOBOOK_REQUESTS, or 1,000; `make soak` sends 10,000. What sends them is VISIOBOOK_SCHEMATHESIS,
//! which `make stores` installs.

use std::path::Path;
use std::process::Command;

use super::issuer::Issuer;
use super::support::{Platform, Running};

/// What a document comes to.
struct Size {
    /// Requests that are made of the document itself, about, whatever is asked for.
    coverage: usize,
    /// Requests that an example more makes, at least.
    per_example: usize,
}

/// Send what the document of a service leads to, with the hooks of that service and what these need.
async fn generate(service: &Running, hooks: &str, size: Size, variables: Vec<(&'static str, String)>) {
    let program = std::env::var("VISIOBOOK_SCHEMATHESIS").expect("VISIOBOOK_SCHEMATHESIS: run `make stores`");
    let requests: usize = std::env::var("VISIOBOOK_REQUESTS").map_or(1_000, |text| text.parse().unwrap());
    service.until_ready().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services/schemathesis");
    let work = tempfile::tempdir().unwrap();
    let examples = (requests.saturating_sub(size.coverage) / size.per_example).max(10).to_string();
    let mut command = Command::new(program);
    command
        .arg("--config-file")
        .arg(folder.join("schemathesis.toml"))
        .args([
            "run",
            &service.url("/api/openapi.json"),
            "--no-color",
            "--seed",
            "1",
            "--max-examples",
            &examples,
        ])
        .current_dir(work.path())
        .env("PYTHONPATH", &folder)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SCHEMATHESIS_HOOKS", hooks)
        .env("VISIOBOOK_URL", service.url(""))
        .env("JWT_SECRET", super::support::SECRET)
        .envs(variables);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    // `1475 generated, 1475 passed`
    let sent = told.lines().find_map(|line| line.trim().split_once(" generated, ")).map(|(number, _)| number);
    let sent: usize = sent.and_then(|number| number.parse().ok()).unwrap_or_default();
    assert!(sent >= requests, "only {sent} requests were made:\n{told}");
    assert!(!service.log().contains("\"level\":\"error\""), "{}", service.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_that_the_document_leads_to_finds_a_fault() {
    // Throttling is tested elsewhere; here it would hide what is behind it.
    let platform = Platform::new().with("LOGIN_ATTEMPTS", "0");
    let service = platform.start().await;
    let grant = format!("{} service users grant", env!("CARGO_BIN_EXE_visiobook"));
    let variables = vec![("VISIOBOOK_GRANT", grant), ("DATABASE_URL", platform.postgres.url())];
    generate(&service, "users_hooks", Size { coverage: 1_000, per_example: 15 }, variables).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_that_the_document_of_the_registry_leads_to_finds_a_fault() {
    let issuer = Issuer::new();
    let platform = Platform::of("database").with("SERVICE_KEYS_FOLDER", issuer.keys().to_str().unwrap());
    let service = platform.start().await;
    let variables = vec![("SERVICE_TOKEN", issuer.token("shop", "books"))];
    generate(&service, "database_hooks", Size { coverage: 650, per_example: 9 }, variables).await;
    // It was not refusals alone.
    let metrics = service.get("/metrics").send().await.expect(200);
    let syncs = metrics.as_str().unwrap().lines().find_map(|line| line.strip_prefix("schema_syncs "));
    assert!(syncs.is_some_and(|syncs| syncs.parse::<u32>().unwrap() > 10), "{syncs:?} schemas were told");
}
