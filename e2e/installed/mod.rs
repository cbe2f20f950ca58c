//! Against the operator that is installed in the cluster.

mod autoscaling;
mod bad_input;
mod configuration;
mod deletion;
mod drift;
mod examples;
mod fields;
mod paused;
mod secrets;
mod service_tokens;
mod sidecar;
mod smoke;
mod status;
