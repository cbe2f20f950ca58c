//! Tests on a real cluster: `make e2e`, or one by `make e2e FILTER=name`.
//!
//! `installed` speaks to the operator that runs in the cluster. `process` starts operators of its own, as processes
//! under the same ServiceAccount, each for its own namespaces, while the installed one is scaled to zero: those tests
//! kill, freeze and starve them. `alone` are those of them beside which no other test can run. `replaced` gives the
//! installed one another image.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, dead_code)]

mod alone;
mod installed;
mod process;
mod replaced;
mod support;
/// What the operator refuses by itself, where the admission policies are not installed.
#[path = "installed/bad_input.rs"]
mod unguarded;
