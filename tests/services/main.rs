//! The domain services as processes of their own, against real servers of PostgreSQL and Redis, with real outages.
//!
//! They need Debian's `postgresql` and `redis-server`, and fail where these are missing: `make stores`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod accounts;
mod beside_a_sidecar;
mod contract;
mod degraded;
mod faults;
mod generated;
mod issuer;
mod lists;
mod migrations;
mod pages;
mod proxy;
mod registration;
mod registry;
mod secrecy;
// Each suite uses a part of it.
#[allow(dead_code)]
#[path = "../../e2e/support/servers.rs"]
mod servers;
mod sessions;
mod support;
