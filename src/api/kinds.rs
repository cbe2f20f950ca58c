//! The kinds of children, and where the API server keeps them.

/// A kind of child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Identity of the pods.
    ServiceAccount,
    /// What fills a Secret from the environment's store.
    ExternalSecret,
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
    /// Who may connect to the pods.
    NetworkPolicy,
    /// What is run for a release.
    Job,
    /// The pods.
    Deployment,
    /// Scaling by load.
    HorizontalPodAutoscaler,
    /// The way in from outside of the cluster.
    Ingress,
    /// The same, through a Gateway.
    HTTPRoute,
    /// What Prometheus scrapes.
    ServiceMonitor,
    /// What Prometheus alerts on.
    PrometheusRule,
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
    pub const ALL: [Kind; 15] = [
        Kind::ServiceAccount,
        Kind::ExternalSecret,
        Kind::ConfigMap,
        Kind::Secret,
        Kind::ControllerRevision,
        Kind::Service,
        Kind::PodDisruptionBudget,
        Kind::NetworkPolicy,
        Kind::Job,
        Kind::Deployment,
        Kind::HorizontalPodAutoscaler,
        Kind::Ingress,
        Kind::HTTPRoute,
        Kind::ServiceMonitor,
        Kind::PrometheusRule,
    ];

    /// Kinds that come with a CustomResourceDefinition of somebody else's, which a cluster may lack.
    pub const OPTIONAL: [Kind; 4] =
        [Kind::ExternalSecret, Kind::HTTPRoute, Kind::ServiceMonitor, Kind::PrometheusRule];

    /// Name of the kind.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::ServiceAccount => "ServiceAccount",
            Kind::ExternalSecret => "ExternalSecret",
            Kind::ConfigMap => "ConfigMap",
            Kind::Secret => "Secret",
            Kind::ControllerRevision => "ControllerRevision",
            Kind::Service => "Service",
            Kind::PodDisruptionBudget => "PodDisruptionBudget",
            Kind::NetworkPolicy => "NetworkPolicy",
            Kind::Job => "Job",
            Kind::Deployment => "Deployment",
            Kind::HorizontalPodAutoscaler => "HorizontalPodAutoscaler",
            Kind::Ingress => "Ingress",
            Kind::HTTPRoute => "HTTPRoute",
            Kind::ServiceMonitor => "ServiceMonitor",
            Kind::PrometheusRule => "PrometheusRule",
            Kind::ResourceQuota => "ResourceQuota",
            Kind::LimitRange => "LimitRange",
            Kind::RoleBinding => "RoleBinding",
        }
    }

    /// API group, empty for the core group; version; plural.
    pub fn resource(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Kind::ServiceAccount => ("", "v1", "serviceaccounts"),
            Kind::ExternalSecret => ("external-secrets.io", "v1", "externalsecrets"),
            Kind::ConfigMap => ("", "v1", "configmaps"),
            Kind::Secret => ("", "v1", "secrets"),
            Kind::ControllerRevision => ("apps", "v1", "controllerrevisions"),
            Kind::Service => ("", "v1", "services"),
            Kind::PodDisruptionBudget => ("policy", "v1", "poddisruptionbudgets"),
            Kind::NetworkPolicy => ("networking.k8s.io", "v1", "networkpolicies"),
            Kind::Job => ("batch", "v1", "jobs"),
            Kind::Deployment => ("apps", "v1", "deployments"),
            Kind::HorizontalPodAutoscaler => ("autoscaling", "v2", "horizontalpodautoscalers"),
            Kind::Ingress => ("networking.k8s.io", "v1", "ingresses"),
            Kind::HTTPRoute => ("gateway.networking.k8s.io", "v1", "httproutes"),
            Kind::ServiceMonitor => ("monitoring.coreos.com", "v1", "servicemonitors"),
            Kind::PrometheusRule => ("monitoring.coreos.com", "v1", "prometheusrules"),
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

    /// Whether a cluster may lack it.
    pub fn is_optional(self) -> bool {
        Kind::OPTIONAL.contains(&self)
    }

    /// Name of its CustomResourceDefinition, where it has one.
    pub fn definition(self) -> String {
        let (group, _, plural) = self.resource();
        format!("{plural}.{group}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_optional_kind_is_a_kind_and_those_of_kubernetes_are_not_optional() {
        for kind in Kind::ALL {
            let (group, _, _) = kind.resource();
            let of_kubernetes =
                !group.contains('.') || group.ends_with(".k8s.io") && group != "gateway.networking.k8s.io";
            assert_eq!(kind.is_optional(), !of_kubernetes, "{kind:?}");
        }
        assert_eq!(Kind::HTTPRoute.definition(), "httproutes.gateway.networking.k8s.io");
    }
}
