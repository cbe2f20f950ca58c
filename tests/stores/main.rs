//! The checks of dependencies against real servers of PostgreSQL and Redis, with real outages.
//!
//! They need Debian's `postgresql` and `redis-server`, and fail where these are missing: `cargo test --test stores`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, dead_code)]

mod checks;
mod mail;
// Each suite uses a part of it.
#[allow(dead_code)]
#[path = "../../e2e/support/servers.rs"]
mod servers;
