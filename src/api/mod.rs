//! The two kinds, as people write them. Doc comments here are what `kubectl explain` prints.

mod environment;
pub mod kinds;
pub mod names;
pub mod quantity;
mod schema;
mod service;
mod status;
mod workload;

pub use environment::{
    AutoscalingDefault, EnvironmentDefaults, EnvironmentLimits, EnvironmentType, GpuLimit, ImageRules,
    LogLevel, VisiobookEnvironment, VisiobookEnvironmentSpec,
};
pub use schema::crds;
pub use service::{
    Autoscaling, ConfigFiles, DisruptionBudget, DomainService, Gpu, KeyRef, Profile, PullPolicy, Rollout,
    ServicePort, ServiceType, Stack, Strategy, VisiobookService, VisiobookServiceSpec, WorkloadAccount,
};
pub use status::{Child, VisiobookServiceStatus};
pub use workload::{Pod, ProbeSpec, Probes, Volume};

/// API group of both kinds.
pub const GROUP: &str = "platform.visiobook.com";
