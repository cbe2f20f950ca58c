//! kubectl, as people use it.

use std::io::Write;
use std::process::{Command, Stdio};

/// Run kubectl and answer what it printed; a failure is the test's.
pub fn kubectl(arguments: &[&str], input: Option<&str>) -> String {
    let (succeeded, printed) = try_kubectl(arguments, input);
    assert!(succeeded, "kubectl {}: {printed}", arguments.join(" "));
    printed
}

/// Run kubectl and answer whether it succeeded, and everything it printed.
pub fn try_kubectl(arguments: &[&str], input: Option<&str>) -> (bool, String) {
    let mut command = Command::new("kubectl");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("kubectl on the PATH: `make e2e` puts it there");
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.unwrap_or_default().as_bytes()).expect("input");
    }
    let output = child.wait_with_output().expect("kubectl");
    let printed = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&printed).into_owned())
}
