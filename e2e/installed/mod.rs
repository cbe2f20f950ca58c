//! Against the operator that is installed in the cluster.

mod autoscaling;
mod bad_input;
mod configuration;
mod deletion;
mod doors;
mod drift;
mod examples;
mod fields;
mod paused;
mod secrets;
mod sidecar;
mod smoke;
mod status;
