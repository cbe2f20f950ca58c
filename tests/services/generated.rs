//! Requests that schemathesis makes from the document, with every check of it on: no finding.
//!
//! Their number is VISIOBOOK_REQUESTS, or 1,000; `make soak` sends 10,000. What sends them is VISIOBOOK_SCHEMATHESIS,
//! which `make stores` installs.

use std::path::Path;
use std::process::Command;

use super::support::Platform;

/// Requests that are made of the document itself, about, whatever is asked for.
const COVERAGE: usize = 1_000;
/// Requests that an example more makes, at least.
const PER_EXAMPLE: usize = 15;

#[tokio::test(flavor = "multi_thread")]
async fn no_request_that_the_document_leads_to_finds_a_fault() {
    let program = std::env::var("VISIOBOOK_SCHEMATHESIS").expect("VISIOBOOK_SCHEMATHESIS: run `make stores`");
    let requests: usize = std::env::var("VISIOBOOK_REQUESTS").map_or(1_000, |text| text.parse().unwrap());
    // Throttling is tested elsewhere; here it would hide what is behind it.
    let platform = Platform::new().with("LOGIN_ATTEMPTS", "0");
    let service = platform.start().await;
    service.until_ready().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services/schemathesis");
    let work = tempfile::tempdir().unwrap();
    let grant = format!("{} service users grant", env!("CARGO_BIN_EXE_visiobook"));
    let examples = (requests.saturating_sub(COVERAGE) / PER_EXAMPLE).max(10).to_string();
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
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("VISIOBOOK_URL", service.url(""))
        .env("VISIOBOOK_GRANT", grant)
        .env("DATABASE_URL", platform.postgres.url())
        .env("JWT_SECRET", super::support::SECRET);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    // `1475 generated, 1475 passed`
    let sent = told.lines().find_map(|line| line.trim().split_once(" generated, ")).map(|(number, _)| number);
    let sent: usize = sent.and_then(|number| number.parse().ok()).unwrap_or_default();
    assert!(sent >= requests, "only {sent} requests were made:\n{told}");
    assert!(!service.log().contains("\"level\":\"error\""), "{}", service.log());
}
