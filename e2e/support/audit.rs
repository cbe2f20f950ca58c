//! The API server's own record of who asked for what.

use std::path::{Path, PathBuf};

/// Where it is written; none, said aloud, where a cluster keeps none that can be read. The local one keeps it.
pub fn log() -> Option<PathBuf> {
    let file = std::env::var_os("VISIOBOOK_STATE").map(|state| Path::new(&state).join("audit.log"));
    let file = file.filter(|file| file.is_file());
    if file.is_none() {
        let local = std::env::var("CLUSTER").is_ok_and(|cluster| cluster == "local");
        assert!(!local, "the local cluster keeps an audit log, and there is none in VISIOBOOK_STATE");
        eprintln!(
            "NOT PROVEN: this cluster keeps no audit log that can be read, so nothing is held against it"
        );
    }
    file
}
