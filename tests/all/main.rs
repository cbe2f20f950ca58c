//! Every test that needs no cluster, in one binary: each further one would be linked again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod attestations;
mod backends;
mod cases;
mod chart;
mod command_line;
mod conformance;
mod defaults;
mod domain_services;
mod environment;
mod exposure;
mod footprint;
mod generated;
mod golden;
mod jobs;
mod monitoring;
mod notifications;
mod pages;
mod platform;
mod promotion;
mod properties;
mod reference;
mod refusals;
mod releases;
mod requirements;
mod revision;
mod rooms;
mod secret_sources;
mod service_tokens;
mod sidecar;
mod specs;
mod status;
mod traces;
mod variables;
