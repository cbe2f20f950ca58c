//! Programs that only some tests run. The first that asks for them builds them, and they are kept.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of the programs of a family in `e2e/cluster/tools`.
pub async fn tools(family: &'static str) -> PathBuf {
    let build = move || {
        let mut command = Command::new(root().join("e2e/cluster/cluster"));
        command
            .args(["tools", family])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .expect("cluster")
    };
    let output = tokio::task::spawn_blocking(build).await.expect("built");
    assert!(output.status.success(), "{family} cannot be built: see above");
    PathBuf::from(String::from_utf8(output.stdout).expect("a path").trim())
}

/// Run a program; a failure is the test's. Answers what it printed.
pub fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}:\n{printed}\n{complained}");
    printed
}
