//! The kinds of children, and where the API server keeps them.

/// A kind of child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Identity of the pods.
    ServiceAccount,
    /// Variables and files, immutable; and keys that follow those of the operator.
    ConfigMap,
    /// A service's token, or a copy of registry credentials. Only its metadata is ever kept.
    Secret,
    /// A revision as it was rendered.
    ControllerRevision,
    /// How other pods reach the service.
    Service,
    /// How many pods may go at once.
    PodDisruptionBudget,
    /// The pods.
    Deployment,
    /// Scaling by load.
    HorizontalPodAutoscaler,
}

impl Kind {
    /// Every kind, in the order in which children are written.
    pub const ALL: [Kind; 8] = [
        Kind::ServiceAccount,
        Kind::ConfigMap,
        Kind::Secret,
        Kind::ControllerRevision,
        Kind::Service,
        Kind::PodDisruptionBudget,
        Kind::Deployment,
        Kind::HorizontalPodAutoscaler,
    ];

    /// Name of the kind.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::ServiceAccount => "ServiceAccount",
            Kind::ConfigMap => "ConfigMap",
            Kind::Secret => "Secret",
            Kind::ControllerRevision => "ControllerRevision",
            Kind::Service => "Service",
            Kind::PodDisruptionBudget => "PodDisruptionBudget",
            Kind::Deployment => "Deployment",
            Kind::HorizontalPodAutoscaler => "HorizontalPodAutoscaler",
        }
    }

    /// API group, empty for the core group; version; plural.
    pub fn resource(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Kind::ServiceAccount => ("", "v1", "serviceaccounts"),
            Kind::ConfigMap => ("", "v1", "configmaps"),
            Kind::Secret => ("", "v1", "secrets"),
            Kind::ControllerRevision => ("apps", "v1", "controllerrevisions"),
            Kind::Service => ("", "v1", "services"),
            Kind::PodDisruptionBudget => ("policy", "v1", "poddisruptionbudgets"),
            Kind::Deployment => ("apps", "v1", "deployments"),
            Kind::HorizontalPodAutoscaler => ("autoscaling", "v2", "horizontalpodautoscalers"),
        }
    }

    /// `group/version`, or the version alone in the core group.
    pub fn api_version(self) -> String {
        match self.resource() {
            ("", version, _) => version.to_string(),
            (group, version, _) => format!("{group}/{version}"),
        }
    }
}
