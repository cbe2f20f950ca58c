//! The two kinds, as people write them. Doc comments here are what `kubectl explain` prints.

mod environment;
mod exposure;
mod freeze;
mod gate;
mod governance;
mod isolation;
mod jobs;
pub mod kinds;
mod monitoring;
pub mod names;
mod notifications;
pub mod quantity;
mod release;
mod rollout;
mod schema;
mod secret_sources;
mod service;
mod sidecar;
mod stack;
mod status;
mod trust;
mod waves;
mod workload;

pub use environment::{
    AutoscalingDefault, EnvironmentDefaults, EnvironmentLimits, EnvironmentType, GpuLimit, ImageRules,
    LogLevel, VisiobookEnvironment, VisiobookEnvironmentSpec,
};
pub use exposure::{EnvironmentIngress, Gateway, Ingress, IngressTls, ServicePort, ServiceType};
pub use freeze::{BreakGlass, Freeze, Weekly};
pub use gate::{Gate, GateMode};
pub use governance::{
    Access, AccountRef, PodSecurity, PodSecurityLevel, PodSecurityMode, Quota, Ranges,
    VisiobookEnvironmentStatus,
};
pub use isolation::{AllowFrom, Egress, EnvironmentNetworkPolicy, NetworkPolicy};
pub use jobs::{CheckJob, Checks, EnvironmentChecks, MetricLimit, Migration, PastJob, Phase};
pub use monitoring::{Alert, Monitoring, Objectives};
pub use notifications::{Email, Encryption, Notification, NotificationEvent, Webhook};
pub use release::{Asked, Attestation, Outcome, PastRelease, ReleaseState, RolloutStatus};
pub use rollout::{EnvironmentRollout, Promotion, Rollout, Strategy};
pub use schema::crds;
pub use secret_sources::{EnvironmentSecrets, RemoteKey, SecretKind, SecretSource, SecretStore, StoreKind};
pub use service::{
    Autoscaling, ConfigFiles, DisruptionBudget, Gpu, KeyRef, PullPolicy, VisiobookService,
    VisiobookServiceSpec, WorkloadAccount,
};
pub use sidecar::{
    Auth, Breaker, Cors, Csrf, Dependency, EnvironmentRateLimit, EnvironmentSidecar, Errors, Migrations,
    Protocol, RateLimit, Sidecar, SidecarLogs, SidecarMode,
};
pub use stack::{DomainService, Profile, Stack};
pub use status::{Child, VisiobookServiceStatus};
pub use trust::{ServiceTokens, TrustedCertificates};
pub use waves::{WaveStatus, Waves};
pub use workload::{Pod, ProbeSpec, Probes, Volume};

/// API group of both kinds.
pub const GROUP: &str = "platform.visiobook.com";
