//! Against the operator that is installed in the cluster.

mod argocd;
mod autoscaling;
mod chart;
mod configuration;
mod deletion;
mod doors;
mod drift;
mod examples;
mod fields;
mod governance;
mod paused;
mod rollout;
mod secrets;
mod service_tokens;
mod sidecar;
mod smoke;
mod status;
mod stores;
