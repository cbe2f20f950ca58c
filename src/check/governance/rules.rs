//! The rules of environments, as expressions: here and nowhere else.
//!
//! `object` is the VisiobookService, by its `metadata.name` and `spec`. `variables.environment` is the spec of the
//! environment, and `variables.name` what people call it. An expression that is false breaks the rule.

use crate::check::release::DEADLINES;

/// A value that rules share: its name, and its expression, which may use what stands before it.
pub(super) type Variable = (&'static str, &'static str);

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

/// Larger than any number of pods or GPUs that the schema lets through: no limit.
const UNLIMITED: &str = "1000000";

/// Values of the rules for services.
pub(super) const VARIABLES: &[Variable] = &[
    // An image reference taken apart, as `check::image` does.
    ("image", "has(object.spec.image) ? object.spec.image : ''"),
    ("digest", "variables.image.contains('@')"),
    ("tagged", "variables.image.split('@')[0]"),
    ("segments", "variables.tagged.split('/')"),
    ("last", "variables.segments[size(variables.segments) - 1]"),
    ("tag", "variables.last.contains(':') ? variables.last.split(':')[1] : ''"),
    (
        "untagged",
        "variables.tag == '' ? variables.tagged : variables.tagged.substring(0, size(variables.tagged) - size(variables.tag) - 1)",
    ),
    (
        "registered",
        "size(variables.segments) > 1 && (variables.segments[0].contains('.') || variables.segments[0].contains(':') || variables.segments[0] == 'localhost')",
    ),
    (
        "repository",
        "(variables.registered ? '' : size(variables.segments) > 1 ? 'docker.io/' : 'docker.io/library/') + variables.untagged",
    ),
    // The same of the image of a service's own check.
    (
        "checkImage",
        "has(object.spec.rollout) && has(object.spec.rollout.checks) && has(object.spec.rollout.checks.job) && has(object.spec.rollout.checks.job.image) ? object.spec.rollout.checks.job.image : ''",
    ),
    ("checkDigest", OF_CHECK),
    ("checkTagged", OF_CHECK),
    ("checkSegments", OF_CHECK),
    ("checkLast", OF_CHECK),
    ("checkTag", OF_CHECK),
    ("checkUntagged", OF_CHECK),
    ("checkRegistered", OF_CHECK),
    ("checkRepository", OF_CHECK),
    (
        "registries",
        "has(variables.environment.images) && has(variables.environment.images.registries) ? variables.environment.images.registries : []",
    ),
    (
        "forbidLatest",
        "has(variables.environment.images) && has(variables.environment.images.forbidLatest) ? variables.environment.images.forbidLatest : variables.environment.type != 'development'",
    ),
    (
        "requireDigest",
        "has(variables.environment.images) && has(variables.environment.images.requireDigest) && variables.environment.images.requireDigest",
    ),
    // GPUs (B07, X07).
    (
        "gpuAllowed",
        "has(variables.environment.limits) && has(variables.environment.limits.gpu) ? variables.environment.limits.gpu.allowed : variables.environment.type != 'development'",
    ),
    (
        "gpuMost",
        "has(variables.environment.limits) && has(variables.environment.limits.gpu) ? (has(variables.environment.limits.gpu.perPod) ? variables.environment.limits.gpu.perPod : UNLIMITED) : variables.environment.type == 'staging' ? 1 : UNLIMITED",
    ),
    // What a container may use: what the service says, else its environment, else the type of the environment.
    ("cpu", LIMIT),
    ("memory", LIMIT),
    ("cpuCeiling", CEILING),
    ("memoryCeiling", CEILING),
    // Releases (C10, C14, C17, C18).
    ("strategy", RELEASES),
    ("approval", RELEASES),
    ("deadlineSeconds", RELEASES),
    ("soakSeconds", RELEASES),
    ("warmSeconds", RELEASES),
    (
        "releases",
        "has(object.spec.rollout) && has(object.spec.rollout.strategy) ? object.spec.rollout.strategy : variables.strategy",
    ),
    // Where secrets come from (B04): variables of which kind, and those of a check that are not the service's own.
    (
        "secretKind",
        "has(variables.environment.secrets) && has(variables.environment.secrets.kind) ? variables.environment.secrets.kind : ''",
    ),
    (
        "secretsOfNamespace",
        "has(object.spec.secrets) ? object.spec.secrets.filter(v, !has(object.spec.secrets[v].remote)) : []",
    ),
    (
        "secretsOfStore",
        "has(object.spec.secrets) ? object.spec.secrets.filter(v, has(object.spec.secrets[v].remote)) : []",
    ),
    (
        "checkSecretsOfNamespace",
        "has(object.spec.rollout) && has(object.spec.rollout.checks) && has(object.spec.rollout.checks.job) && has(object.spec.rollout.checks.job.secrets) ? object.spec.rollout.checks.job.secrets.filter(v, object.spec.rollout.checks.job.secrets[v].name != object.metadata.name + '-secrets') : []",
    ),
    // How many pods.
    (
        "most",
        "has(variables.environment.limits) && has(variables.environment.limits.replicas) ? variables.environment.limits.replicas : UNLIMITED",
    ),
    (
        "fewest",
        "has(variables.environment.limits) && has(variables.environment.limits.minReplicas) ? variables.environment.limits.minReplicas : 0",
    ),
    (
        "autoscaled",
        "has(object.spec.autoscaling) && has(object.spec.autoscaling.enabled) ? object.spec.autoscaling.enabled : has(variables.environment.defaults) && has(variables.environment.defaults.autoscaling) ? variables.environment.defaults.autoscaling.enabled : variables.environment.type != 'development'",
    ),
    (
        "scaleMost",
        "has(object.spec.autoscaling) && has(object.spec.autoscaling.maxReplicas) ? object.spec.autoscaling.maxReplicas : 10",
    ),
    (
        "scaleFewest",
        "has(object.spec.autoscaling) && has(object.spec.autoscaling.minReplicas) ? object.spec.autoscaling.minReplicas : variables.fewest > 2 ? variables.fewest : 2",
    ),
];

/// Parts of an image reference, as variables.
const PARTS: [&str; 9] =
    ["image", "digest", "tagged", "segments", "last", "tag", "untagged", "registered", "repository"];
/// The expression of such a part, of the image of a service's own check.
const OF_CHECK: &str = "";
/// Where that image is named.
const CHECK_IMAGE: &str = "spec.rollout.checks.job.image";
const FIXED_TAG: &str = "variables.image == '' || !variables.forbidLatest || variables.digest || !(variables.tag in ['', 'latest'])";
const LATEST: &str = "'the tag latest may not run in ' + variables.name + ', it means something else every day: name a version or a digest'";
const BY_DIGEST: &str = "variables.image == '' || !variables.requireDigest || variables.digest";
const NO_DIGEST: &str =
    "variables.name + ' runs images by digest only: write ' + variables.repository + '@sha256:...'";
const REGISTERED: &str = "variables.image == '' || size(variables.registries) == 0 || variables.registries.exists(r, variables.repository.startsWith(r.endsWith('/') ? r : r + '/'))";
const FOREIGN: &str = "variables.repository + ' may not run in ' + variables.name + ': take the image from ' + variables.registries.join(', ')";

/// An expression about the image of a service, as one about that of its own check.
fn of_check(expression: &str) -> String {
    PARTS.iter().fold(expression.to_string(), |expression, part| {
        let (first, rest) = part.split_at(1);
        let of_check = format!("variables.check{}{rest}", first.to_uppercase());
        expression.replace(&format!("variables.{part}"), &of_check)
    })
}

/// What an environment says of releases; FIELD is the member, DEFAULT what holds where it says nothing.
const RELEASES: &str = "has(variables.environment.rollout) && has(variables.environment.rollout.FIELD) ? variables.environment.rollout.FIELD : DEFAULT";
/// A service may be stricter than its environment. MEMBER is the field.
const AT_LEAST_SECONDS: &str = "!has(object.spec.rollout) || !has(object.spec.rollout.MEMBER) || object.spec.rollout.MEMBER >= variables.MEMBER";
/// Limit of a container; RESOURCE is the name of the variable, and DEVELOPMENT and ELSEWHERE are what
/// `check::built_in_resources` says.
const LIMIT: &str = "has(object.spec.resources) && has(object.spec.resources.limits) && 'RESOURCE' in object.spec.resources.limits ? string(object.spec.resources.limits['RESOURCE']) : has(variables.environment.defaults) && has(variables.environment.defaults.resources) && has(variables.environment.defaults.resources.limits) && 'RESOURCE' in variables.environment.defaults.resources.limits ? string(variables.environment.defaults.resources.limits['RESOURCE']) : variables.environment.type == 'development' ? 'DEVELOPMENT' : 'ELSEWHERE'";
/// Ceiling of an environment, empty for none.
const CEILING: &str = "has(variables.environment.limits) && has(variables.environment.limits.RESOURCE) ? string(variables.environment.limits.RESOURCE) : ''";
/// What cannot be read is refused by the rule `quantity`, which names it.
const BELOW_CEILING: &str = "variables.RESOURCECeiling == '' || !isQuantity(variables.RESOURCE) || !isQuantity(variables.RESOURCECeiling) || quantity(variables.RESOURCE).compareTo(quantity(variables.RESOURCECeiling)) <= 0";
const ABOVE_CEILING: &str = "variables.RESOURCE + ' is above the ceiling of ' + variables.RESOURCECeiling + ' in ' + variables.name + ': ask for less'";
const NO_GPU: &str = "!has(object.spec.resources) || !has(object.spec.resources.PART) || object.spec.resources.PART.all(k, !k.contains('gpu'))";
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
    Rule {
        name: "gpu-field",
        field: "spec.resources.limits",
        holds: NO_GPU,
        message: "'ask for GPUs by spec.gpu.count, which sets request and limit alike'",
    },
    Rule {
        name: "gpu-field",
        field: "spec.resources.requests",
        holds: NO_GPU,
        message: "'ask for GPUs by spec.gpu.count, which sets request and limit alike'",
    },
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

/// Values of the rules for the scale subresource, whose object is a Scale.
pub(super) const SCALE_VARIABLES: &[&str] = &["most", "fewest"];

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

/// The expression of a variable, with its placeholders filled in.
pub(super) fn variable((name, expression): &Variable) -> String {
    if *expression == OF_CHECK {
        let part = PARTS.iter().find(|part| name.to_lowercase() == format!("check{part}"));
        let of_service = part.and_then(|part| VARIABLES.iter().find(|(name, _)| name == part));
        return of_service.map(|(_, expression)| of_check(expression)).unwrap_or_default();
    }
    let resource = name.trim_end_matches("Ceiling");
    let (_, development) = crate::check::built_in_resources(crate::api::EnvironmentType::Development);
    let (_, elsewhere) = crate::check::built_in_resources(crate::api::EnvironmentType::Production);
    let limit = |limits: &std::collections::BTreeMap<String, String>| {
        limits.get(resource).cloned().unwrap_or_default()
    };
    let default = match *name {
        "strategy" => "'RollingUpdate'".to_string(),
        "approval" => "false".to_string(),
        "deadlineSeconds" => "variables.environment.type == 'production' ? PRODUCTION : LESS"
            .replace("PRODUCTION", &DEADLINES[0].to_string())
            .replace("LESS", &DEADLINES[1].to_string()),
        "soakSeconds" => "0".to_string(),
        "warmSeconds" => "0".to_string(),
        _ => String::new(),
    };
    expression
        .replace("FIELD", name)
        .replace("DEFAULT", &default)
        .replace("RESOURCE", resource)
        .replace("DEVELOPMENT", &limit(&development))
        .replace("ELSEWHERE", &limit(&elsewhere))
        .replace("UNLIMITED", UNLIMITED)
}

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
        let last = self.field.rsplit('.').next().unwrap_or_default();
        expression.replace("RESOURCE", last).replace("PART", last).replace("MEMBER", last)
    }
}
