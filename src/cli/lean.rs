//! Programs that hold one command alone and take less memory: the pages of a file around those that run are resident too.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Become the program that holds this command alone, where it lies beside this one: `visiobook-sidecar` for `sidecar`.
pub(super) fn become_lean(command: &str) {
    let Ok(mut program) = std::env::current_exe() else { return };
    // After this one's own name, so that one of another release is not taken for it.
    let Some(name) = program.file_name().and_then(|name| name.to_str()) else { return };
    program.set_file_name(format!("{name}-{command}"));
    if program.is_file() {
        let arguments: Vec<OsString> = std::env::args_os().skip(2).collect();
        let error = Command::new(&program).args(arguments).exec();
        tracing::warn!(program = %program.display(), %error, "cannot be run: going on without it");
    }
}
