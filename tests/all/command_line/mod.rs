//! The commands that need no cluster, as people run them: the built binary, its output and its exit code.

mod convert;
mod render;
mod validate;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a run came to.
pub struct Run {
    pub code: i32,
    pub output: String,
    pub told: String,
}

impl Run {
    /// The documents that it printed.
    pub fn documents(&self) -> Vec<serde_json::Value> {
        assert_eq!(self.code, 0, "{}", self.told);
        serde_saphyr::from_multiple(&self.output).expect("YAML")
    }
}

/// Run the binary in the project's folder.
pub fn visiobook(arguments: &[&str], input: &str) -> Run {
    run(Path::new(env!("CARGO_BIN_EXE_visiobook")), arguments, input)
}

fn run(program: &Path, arguments: &[&str], input: &str) -> Run {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("VISIOBOOK_IMAGE")
        .env_remove("KUBECONFIG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary");
    // One that fails early does not read.
    let _ = child.stdin.take().expect("input").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("an end");
    Run {
        code: output.status.code().expect("an exit code"),
        output: String::from_utf8(output.stdout).expect("text"),
        told: String::from_utf8(output.stderr).expect("text"),
    }
}

#[test]
fn as_a_plugin_of_kubectl_it_speaks_of_itself_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let plugin: PathBuf = folder.path().join("kubectl-visiobook");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_visiobook"), &plugin).unwrap();
    let help = run(&plugin, &["render", "--help"], "");
    assert_eq!(help.code, 0);
    assert!(help.output.contains("Usage: kubectl visiobook render"), "{}", help.output);
    assert!(help.output.contains("\n  kubectl visiobook render -f service.yaml\n"), "{}", help.output);
    let help = visiobook(&["render", "--help"], "");
    assert!(help.output.contains("Usage: visiobook render"), "{}", help.output);
    assert!(!help.output.contains("kubectl visiobook"), "{}", help.output);
}

#[test]
fn every_command_teaches_by_example() {
    let mut missing = Vec::new();
    for command in visiobook::cli::command("visiobook").get_subcommands() {
        let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        if !examples.contains(&format!("visiobook {}", command.get_name())) {
            missing.push(command.get_name().to_string());
        }
    }
    assert!(missing.is_empty(), "no example in the help of {missing:?}");
}

#[test]
fn each_shell_gets_completions_of_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = visiobook(&["completion", shell], "");
        assert_eq!(run.code, 0, "{}", run.told);
        for command in visiobook::cli::command("visiobook").get_subcommands() {
            assert!(run.output.contains(command.get_name()), "{shell}: {}", command.get_name());
        }
    }
}

#[test]
fn a_pipe_gets_no_colours() {
    let run = visiobook(
        &["validate", "-f", "-"],
        "apiVersion: platform.visiobook.com/v1alpha1\nkind: VisiobookService\n",
    );
    assert!(run.code == 1 && !run.output.contains('\u{1b}'), "{:?}", run.output);
    let run = visiobook(&["validate", "-f", "examples/absent.yaml"], "");
    assert!(run.code == 2 && !run.told.contains('\u{1b}'), "{:?}", run.told);
}

#[test]
fn who_has_heard_enough_ends_it_without_a_word() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_visiobook"))
        .arg("crd")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("an end");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(141), ""));
}
