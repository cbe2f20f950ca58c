//! Against the operator that is installed in the cluster.

mod autoscaling;
mod configuration;
mod deletion;
mod drift;
mod examples;
mod fields;
mod governance;
mod paused;
mod secrets;
mod sidecar;
mod smoke;
mod status;
