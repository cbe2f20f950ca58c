//! The pages on services, whose commands run as they stand.

use std::path::Path;
use std::process::Command;

use super::issuer;
use super::registry::registry;
use super::support::{Platform, Running, SECRET};

/// The blocks of a page that are marked `sh`.
fn commands(page: &str) -> String {
    let mut commands = String::new();
    let mut is_command = false;
    for line in page.lines() {
        match (is_command, line) {
            (false, "```sh") => is_command = true,
            (true, "```") => is_command = false,
            (true, line) => commands.extend([line, "\n"]),
            (false, _) => {}
        }
    }
    commands
}

/// Run the commands of a page against its service: what they say.
async fn run(
    name: &str,
    platform: &Platform,
    service: &Running,
    variables: Vec<(&'static str, String)>,
) -> String {
    let page = std::fs::read_to_string(format!("docs/services/{name}.md")).unwrap();
    let commands = commands(&page);
    assert!(commands.matches("curl").count() > 5, "{commands}");
    let folder = Path::new(env!("CARGO_BIN_EXE_visiobook")).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", &commands]).env("PATH", path).env("URL", service.url(""));
    shell.env("DATABASE_URL", platform.postgres.url()).env("JWT_SECRET", SECRET).envs(variables);
    let output = tokio::task::spawn_blocking(move || shell.output().unwrap()).await.unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_page_on_users_run_as_they_stand() {
    let platform = Platform::new();
    let service = platform.start().await;
    let told = run("users", &platform, &service, Vec::new()).await;
    assert!(told.contains("Wrote the first program.") && told.trim_end().ends_with("true"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_page_on_the_registry_run_as_they_stand() {
    let (platform, issuer, service) = registry().await;
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), issuer.token("shop", "books")).unwrap();
    let variables = vec![
        ("SERVICE_TOKEN_FILE", token.path().to_str().unwrap().to_owned()),
        ("ADMIN_TOKEN", issuer::person("admin")),
    ];
    let told = run("database", &platform, &service, variables).await;
    assert!(told.contains("call it idx_books_<column>") && told.trim_end().ends_with("true"), "{told}");
}
