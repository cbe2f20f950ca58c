//! The sidecar as a process, between raw sockets and an application that knows nothing of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod contract;
mod drain;
mod footprint;
mod fuzz;
mod hostile;
mod leave;
mod limits;
mod proxying;
mod streams;
mod support;
mod trust;
