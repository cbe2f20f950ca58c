//! The kinds of children, and where the API server keeps them.

/// A kind of child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Identity of the pods.
    ServiceAccount,
    /// Variables and files, immutable.
    ConfigMap,
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
    /// What all pods of a namespace may take together: an environment's.
    ResourceQuota,
    /// What each container of a namespace may take: an environment's.
    LimitRange,
    /// Who may do what in a namespace: an environment's.
    RoleBinding,
}

impl Kind {
    /// What an environment puts into its namespaces; no service has such children.
    pub const GOVERNANCE: [Kind; 3] = [Kind::ResourceQuota, Kind::LimitRange, Kind::RoleBinding];

    /// Every kind, in the order in which children are written.
    pub const ALL: [Kind; 7] = [
        Kind::ServiceAccount,
        Kind::ConfigMap,
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
            Kind::ControllerRevision => "ControllerRevision",
            Kind::Service => "Service",
            Kind::PodDisruptionBudget => "PodDisruptionBudget",
            Kind::Deployment => "Deployment",
            Kind::HorizontalPodAutoscaler => "HorizontalPodAutoscaler",
            Kind::ResourceQuota => "ResourceQuota",
            Kind::LimitRange => "LimitRange",
            Kind::RoleBinding => "RoleBinding",
        }
    }

    /// API group, empty for the core group; version; plural.
    pub fn resource(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Kind::ServiceAccount => ("", "v1", "serviceaccounts"),
            Kind::ConfigMap => ("", "v1", "configmaps"),
            Kind::ControllerRevision => ("apps", "v1", "controllerrevisions"),
            Kind::Service => ("", "v1", "services"),
            Kind::PodDisruptionBudget => ("policy", "v1", "poddisruptionbudgets"),
            Kind::Deployment => ("apps", "v1", "deployments"),
            Kind::HorizontalPodAutoscaler => ("autoscaling", "v2", "horizontalpodautoscalers"),
            Kind::ResourceQuota => ("", "v1", "resourcequotas"),
            Kind::LimitRange => ("", "v1", "limitranges"),
            Kind::RoleBinding => ("rbac.authorization.k8s.io", "v1", "rolebindings"),
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
