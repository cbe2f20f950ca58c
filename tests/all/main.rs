//! Every test that needs no cluster, in one binary: each further one would be linked again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod backends;
mod cases;
mod conformance;
mod defaults;
mod exposure;
mod generated;
mod golden;
mod properties;
mod reference;
mod refusals;
mod requirements;
mod revision;
mod rooms;
mod secret_sources;
mod sidecar;
mod specs;
mod traces;
mod variables;
