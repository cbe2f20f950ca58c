//! The rules of environments, as expressions: here and nowhere else.
//!
//! `object` is the VisiobookService, by its `metadata.name` and `spec`. `variables.environment` is the spec of the
//! environment, and `variables.name` what people call it. An expression that is false breaks the rule.

use super::variables::of_check;

/// One rule.
pub(super) struct Rule {
    /// Its name, stable over releases.
    pub(super) name: &'static str,
    /// The field that breaks it.
    pub(super) field: &'static str,
    /// What holds where it is kept.
    pub(super) holds: &'static str,
    /// What is wrong and the way out, where it does not.
    pub(super) message: &'static str,
}

/// Where that image is named.
const CHECK_IMAGE: &str = "spec.rollout.checks.job.image";
const FIXED_TAG: &str = "variables.image == '' || !variables.forbidLatest || variables.digest || !(variables.tag in ['', 'latest'])";
const LATEST: &str = "'the tag latest may not run in ' + variables.name + ', it means something else every day: name a version or a digest'";
const BY_DIGEST: &str = "variables.image == '' || !variables.requireDigest || variables.digest";
const NO_DIGEST: &str =
    "variables.name + ' runs images by digest only: write ' + variables.repository + '@sha256:...'";
const REGISTERED: &str = "variables.image == '' || size(variables.registries) == 0 || variables.registries.exists(r, variables.repository.startsWith(r.endsWith('/') ? r : r + '/'))";
const FOREIGN: &str = "variables.repository + ' may not run in ' + variables.name + ': take the image from ' + variables.registries.join(', ')";

/// A service may be stricter than its environment. MEMBER is the field.
const AT_LEAST_SECONDS: &str = "!has(object.spec.rollout) || !has(object.spec.rollout.MEMBER) || object.spec.rollout.MEMBER >= variables.MEMBER";
/// What cannot be read is refused by the rule `quantity`, which names it.
const BELOW_CEILING: &str = "variables.RESOURCECeiling == '' || !isQuantity(variables.RESOURCE) || !isQuantity(variables.RESOURCECeiling) || quantity(variables.RESOURCE).compareTo(quantity(variables.RESOURCECeiling)) <= 0";
const ABOVE_CEILING: &str = "variables.RESOURCE + ' is above the ceiling of ' + variables.RESOURCECeiling + ' in ' + variables.name + ': ask for less'";
/// The same of the sidecar, of what the service says: the rest is its environment's. Without a limit of CPU, what it asks
/// for counts. PART is limits or requests.
const SIDECAR_BELOW_CEILING: &str = "variables.RESOURCECeiling == '' || !has(object.spec.sidecar) || !has(object.spec.sidecar.resources) || !has(object.spec.sidecar.resources.PART) || !('RESOURCE' in object.spec.sidecar.resources.PART) || !isQuantity(string(object.spec.sidecar.resources.PART['RESOURCE'])) || !isQuantity(variables.RESOURCECeiling) || quantity(string(object.spec.sidecar.resources.PART['RESOURCE'])).compareTo(quantity(variables.RESOURCECeiling)) <= 0";
const SIDECAR_ABOVE_CEILING: &str = "string(object.spec.sidecar.resources.PART['RESOURCE']) + ' is above the ceiling of ' + variables.RESOURCECeiling + ' in ' + variables.name + ': ask for less'";
/// Vendors call the parts of a GPU what they like (`nvidia.com/mig-1g.5gb`), so what may be asked for is listed.
const NO_DEVICE: &str = "!has(object.spec.resources) || !has(object.spec.resources.MEMBER) || object.spec.resources.MEMBER.all(k, k in ['cpu', 'memory', 'ephemeral-storage'] || k.startsWith('hugepages-'))";
const DEVICE: &str = "object.spec.resources.MEMBER.filter(k, !(k in ['cpu', 'memory', 'ephemeral-storage'] || k.startsWith('hugepages-'))).join(', ') + ': here stand cpu, memory, ephemeral-storage and hugepages only: ask for GPUs and other devices by spec.gpu.count and spec.gpu.resourceName, which set request and limit alike'";
const AT_MOST: &str = "'a service may have ' + string(variables.most) + ' pods at most in ' + variables.name";
const AT_LEAST: &str = "'a service has ' + string(variables.fewest) + ' pods at least in ' + variables.name";

/// Rules for services, in the order in which they are told.
pub(super) const RULES: &[Rule] = &[
    Rule { name: "image-tag", field: "spec.image", holds: FIXED_TAG, message: LATEST },
    Rule { name: "image-digest", field: "spec.image", holds: BY_DIGEST, message: NO_DIGEST },
    Rule { name: "image-registry", field: "spec.image", holds: REGISTERED, message: FOREIGN },
    Rule {
        name: "resource-ceiling",
        field: "spec.resources.limits.cpu",
        holds: BELOW_CEILING,
        message: ABOVE_CEILING,
    },
    Rule {
        name: "resource-ceiling",
        field: "spec.resources.limits.memory",
        holds: BELOW_CEILING,
        message: ABOVE_CEILING,
    },
    Rule {
        name: "resource-ceiling",
        field: "spec.sidecar.resources.limits.cpu",
        holds: SIDECAR_BELOW_CEILING,
        message: SIDECAR_ABOVE_CEILING,
    },
    Rule {
        name: "resource-ceiling",
        field: "spec.sidecar.resources.limits.memory",
        holds: SIDECAR_BELOW_CEILING,
        message: SIDECAR_ABOVE_CEILING,
    },
    Rule {
        name: "resource-ceiling",
        field: "spec.sidecar.resources.requests.cpu",
        holds: SIDECAR_BELOW_CEILING,
        message: SIDECAR_ABOVE_CEILING,
    },
    Rule {
        name: "gpu-allowed",
        field: "spec.gpu",
        holds: "!has(object.spec.gpu) || variables.gpuAllowed",
        message: "'GPUs are not allowed in ' + variables.name + ': take spec.gpu out'",
    },
    Rule {
        name: "gpu-count",
        field: "spec.gpu.count",
        holds: "!has(object.spec.gpu) || !variables.gpuAllowed || object.spec.gpu.count <= variables.gpuMost",
        message: "'a pod may have ' + string(variables.gpuMost) + ' GPU at most in ' + variables.name",
    },
    Rule { name: "gpu-field", field: "spec.resources.limits", holds: NO_DEVICE, message: DEVICE },
    Rule { name: "gpu-field", field: "spec.resources.requests", holds: NO_DEVICE, message: DEVICE },
    Rule {
        name: "secret-kind",
        field: "spec.secrets",
        holds: "variables.secretKind != 'External' || size(variables.secretsOfNamespace) == 0",
        message: "variables.secretsOfNamespace.join(', ') + ': from Secrets of the namespace, and ' + variables.name + ' allows keys of its store only: write remote.key in place of name and key'",
    },
    Rule {
        name: "secret-kind",
        field: "spec.secrets",
        holds: "!(variables.secretKind in ['Plain', 'Sealed']) || size(variables.secretsOfStore) == 0",
        message: "variables.secretsOfStore.join(', ') + ': kept in a store, and ' + variables.name + ' allows ' + variables.secretKind + ' secrets only: name a Secret of the namespace and a key'",
    },
    Rule {
        name: "secret-kind",
        field: "spec.sidecar.auth.secret",
        holds: "variables.secretKind != 'External' || !has(object.spec.sidecar) || !has(object.spec.sidecar.auth) || !has(object.spec.sidecar.auth.secret)",
        message: "'is a Secret of the namespace, and ' + variables.name + ' allows keys of its store only: take it out and put JWT_SECRET into spec.secrets'",
    },
    Rule {
        name: "secret-kind",
        field: "spec.rollout.checks.job.secrets",
        holds: "variables.secretKind != 'External' || size(variables.checkSecretsOfNamespace) == 0",
        message: "'a check reads Secrets of the namespace, and ' + variables.name + ' allows keys of its store only: put them into spec.secrets as remote.key, and name the Secret ' + object.metadata.name + '-secrets here'",
    },
    Rule {
        name: "secret-kind",
        field: "spec.pod.volumes",
        holds: "variables.secretKind != 'External' || size(variables.mountedOfNamespace) == 0",
        message: "variables.mountedOfNamespace.join(', ') + ': Secrets of the namespace, and ' + variables.name + ' allows keys of its store only: put them into spec.secrets as remote.key, and mount the Secret ' + object.metadata.name + '-secrets'",
    },
    Rule {
        name: "secret-kind",
        field: "spec.sidecar.trustedCertificates.secret",
        holds: "variables.secretKind != 'External' || !has(object.spec.sidecar) || !has(object.spec.sidecar.trustedCertificates) || !has(object.spec.sidecar.trustedCertificates.secret) || size(variables.secretsOfStore) > 0 && object.spec.sidecar.trustedCertificates.secret.name == object.metadata.name + '-secrets'",
        message: "'is a Secret of the namespace, and ' + variables.name + ' allows keys of its store only: certificates are no secret, name a key of a ConfigMap in spec.sidecar.trustedCertificates.configMap'",
    },
    Rule {
        name: "rollout-strategy",
        field: "spec.rollout.strategy",
        holds: "!has(object.spec.rollout) || !has(object.spec.rollout.strategy) || variables.strategy != 'BlueGreen' || object.spec.rollout.strategy == 'BlueGreen'",
        message: "'services are released blue-green in ' + variables.name + ': take spec.rollout.strategy out'",
    },
    Rule {
        name: "rollout-approval",
        field: "spec.rollout.approval",
        holds: "!has(object.spec.rollout) || !has(object.spec.rollout.approval) || !variables.approval || object.spec.rollout.approval",
        message: "'releases are approved in ' + variables.name + ': take spec.rollout.approval out'",
    },
    Rule {
        name: "rollout-time",
        field: "spec.rollout.deadlineSeconds",
        holds: "!has(object.spec.rollout) || !has(object.spec.rollout.deadlineSeconds) || object.spec.rollout.deadlineSeconds <= variables.deadlineSeconds",
        message: "'a release may take ' + string(variables.deadlineSeconds) + ' seconds at most in ' + variables.name",
    },
    Rule {
        name: "rollout-time",
        field: "spec.rollout.soakSeconds",
        holds: AT_LEAST_SECONDS,
        message: "'a release is watched for ' + string(variables.soakSeconds) + ' seconds at least in ' + variables.name",
    },
    Rule {
        name: "rollout-time",
        field: "spec.rollout.warmSeconds",
        holds: AT_LEAST_SECONDS,
        message: "'the old pods stay for ' + string(variables.warmSeconds) + ' seconds at least in ' + variables.name",
    },
    Rule { name: "image-tag", field: CHECK_IMAGE, holds: FIXED_TAG, message: LATEST },
    Rule { name: "image-digest", field: CHECK_IMAGE, holds: BY_DIGEST, message: NO_DIGEST },
    Rule { name: "image-registry", field: CHECK_IMAGE, holds: REGISTERED, message: FOREIGN },
    Rule {
        name: "rollout-checks",
        field: "spec.rollout.checks.conformance",
        holds: "!has(object.spec.rollout) || !has(object.spec.rollout.checks) || !has(object.spec.rollout.checks.conformance) || object.spec.rollout.checks.conformance || !has(variables.environment.rollout) || !has(variables.environment.rollout.checks) || !has(variables.environment.rollout.checks.conformance) || !variables.environment.rollout.checks.conformance",
        message: "'services are held against the runtime contract in ' + variables.name + ': take spec.rollout.checks.conformance out'",
    },
    Rule {
        name: "rollout-checks",
        field: "spec.rollout.checks.objectives",
        holds: "!has(object.spec.rollout) || !has(object.spec.rollout.checks) || !has(object.spec.rollout.checks.objectives) || object.spec.rollout.checks.objectives || !has(variables.environment.rollout) || !has(variables.environment.rollout.checks) || !has(variables.environment.rollout.checks.objectives) || !variables.environment.rollout.checks.objectives",
        message: "'services are held against their objectives in ' + variables.name + ': take spec.rollout.checks.objectives out'",
    },
    Rule {
        name: "rollout-checks",
        field: "spec.rollout.checks.job",
        holds: "variables.releases != 'BlueGreen' || !has(variables.environment.rollout) || !has(variables.environment.rollout.checks) || !has(variables.environment.rollout.checks.job) || !variables.environment.rollout.checks.job || (has(object.spec.rollout) && has(object.spec.rollout.checks) && has(object.spec.rollout.checks.job))",
        message: "'a release is checked by a Job of the service in ' + variables.name + ': say what checks it in spec.rollout.checks.job'",
    },
    Rule {
        name: "replicas-ceiling",
        field: "spec.replicas",
        holds: "!has(object.spec.replicas) || object.spec.replicas <= variables.most",
        message: AT_MOST,
    },
    Rule {
        name: "replicas-ceiling",
        field: "spec.autoscaling.maxReplicas",
        holds: "!variables.autoscaled || variables.scaleMost <= variables.most",
        message: AT_MOST,
    },
    Rule {
        name: "replicas-minimum",
        field: "spec.replicas",
        holds: "!has(object.spec.replicas) || object.spec.replicas >= variables.fewest",
        message: AT_LEAST,
    },
    Rule {
        name: "replicas-minimum",
        field: "spec.autoscaling.minReplicas",
        holds: "!variables.autoscaled || variables.scaleFewest >= variables.fewest",
        message: AT_LEAST,
    },
];

/// Rules for the scale subresource. Zero is left out of a Scale.
pub(super) const SCALE_RULES: &[Rule] = &[
    Rule {
        name: "replicas-ceiling",
        field: "spec.replicas",
        holds: "!has(object.spec.replicas) || object.spec.replicas <= variables.most",
        message: AT_MOST,
    },
    Rule {
        name: "replicas-minimum",
        field: "spec.replicas",
        holds: "(has(object.spec.replicas) ? object.spec.replicas : 0) >= variables.fewest",
        message: AT_LEAST,
    },
];

impl Rule {
    /// What must hold.
    pub(super) fn holds(&self) -> String {
        self.filled(self.holds)
    }

    /// What is said where it does not.
    pub(super) fn message(&self) -> String {
        self.filled(self.message)
    }

    /// What the API server says: the same words, in the form of a `Refusal`.
    pub(super) fn told(&self) -> String {
        format!("'{}: ' + ({}) + ' [{}]'", self.field, self.message(), self.name)
    }

    fn filled(&self, expression: &str) -> String {
        if self.field == CHECK_IMAGE {
            return of_check(expression);
        }
        let mut segments = self.field.rsplit('.');
        let last = segments.next().unwrap_or_default();
        let part = segments.next().unwrap_or_default();
        expression.replace("RESOURCE", last).replace("MEMBER", last).replace("PART", part)
    }
}
