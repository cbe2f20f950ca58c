//! What one user asked of the API server, from its own record.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The audit log, from one moment on.
pub struct Audit {
    file: PathBuf,
    from: u64,
}

/// Requests, without the lease and without watches that begin anew.
#[derive(Clone, Copy, Default)]
pub struct Calls {
    pub all: usize,
    /// Of these, what changes anything; events too.
    pub writes: usize,
    pub events: usize,
}

impl Audit {
    /// From now on; none where this cluster keeps none that can be read.
    pub fn begin() -> Option<Audit> {
        let file = PathBuf::from(std::env::var_os("VISIOBOOK_STATE")?).join("audit.log");
        let from = std::fs::metadata(&file).ok()?.len();
        Some(Audit { file, from })
    }

    pub fn calls_of(&self, user: &str) -> Calls {
        let mut log = Vec::new();
        let mut read = |file: &Path, from: u64| {
            let mut file = File::open(file).expect("audit log");
            file.seek(SeekFrom::Start(from)).expect("audit log");
            file.read_to_end(&mut log).expect("audit log");
        };
        // One that was full has another name now, which ends in the time.
        let full = std::fs::metadata(&self.file).is_ok_and(|now| now.len() < self.from);
        if full {
            let all = self.file.parent().and_then(|folder| folder.read_dir().ok()).into_iter().flatten();
            let names = all.filter_map(|file| Some(file.ok()?.path()));
            let old = |path: &PathBuf| {
                path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("audit-"))
            };
            read(&names.filter(old).max().expect("the full log"), self.from);
        }
        read(&self.file, if full { 0 } else { self.from });
        let mut calls = Calls::default();
        for line in String::from_utf8_lossy(&log).lines().filter(|line| line.contains(user)) {
            let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
            let (verb, resource) = (&event["verb"], &event["objectRef"]["resource"]);
            if event["user"]["username"] != user || verb == "watch" || resource == "leases" {
                continue;
            }
            calls.all += 1;
            calls.writes += usize::from(verb != "get" && verb != "list");
            calls.events += usize::from(resource == "events");
        }
        calls
    }
}
