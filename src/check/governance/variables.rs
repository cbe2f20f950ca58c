//! What the rules of environments share: values that an expression may use by name.

use crate::check::release::DEADLINES;

/// A value that rules share: its name, and its expression, which may use what stands before it.
pub(super) type Variable = (&'static str, &'static str);

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
    // Where secrets come from (B04): variables of which kind, and what a check reads or a pod mounts that is not the
    // service's own.
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
        "has(object.spec.rollout) && has(object.spec.rollout.checks) && has(object.spec.rollout.checks.job) && has(object.spec.rollout.checks.job.secrets) ? object.spec.rollout.checks.job.secrets.filter(v, size(variables.secretsOfStore) == 0 || object.spec.rollout.checks.job.secrets[v].name != object.metadata.name + '-secrets') : []",
    ),
    (
        "mountedOfNamespace",
        "has(object.spec.pod) && has(object.spec.pod.volumes) ? object.spec.pod.volumes.filter(v, has(v.secret) && has(v.secret.secretName) && (size(variables.secretsOfStore) == 0 || v.secret.secretName != object.metadata.name + '-secrets')).map(v, v.secret.secretName) : []",
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

/// Values of the rules for the scale subresource, whose object is a Scale.
pub(super) const SCALE_VARIABLES: &[&str] = &["most", "fewest"];

/// Parts of an image reference, as variables.
const PARTS: [&str; 9] =
    ["image", "digest", "tagged", "segments", "last", "tag", "untagged", "registered", "repository"];
/// The expression of such a part, of the image of a service's own check.
const OF_CHECK: &str = "";

/// An expression about the image of a service, as one about that of its own check.
pub(super) fn of_check(expression: &str) -> String {
    PARTS.iter().fold(expression.to_string(), |expression, part| {
        let (first, rest) = part.split_at(1);
        let of_check = format!("variables.check{}{rest}", first.to_uppercase());
        expression.replace(&format!("variables.{part}"), &of_check)
    })
}

/// What an environment says of releases; FIELD is the member, DEFAULT what holds where it says nothing.
const RELEASES: &str = "has(variables.environment.rollout) && has(variables.environment.rollout.FIELD) ? variables.environment.rollout.FIELD : DEFAULT";
/// Limit of a container; RESOURCE is the name of the variable, and DEVELOPMENT and ELSEWHERE are what
/// `check::built_in_resources` says.
const LIMIT: &str = "has(object.spec.resources) && has(object.spec.resources.limits) && 'RESOURCE' in object.spec.resources.limits ? string(object.spec.resources.limits['RESOURCE']) : has(variables.environment.defaults) && has(variables.environment.defaults.resources) && has(variables.environment.defaults.resources.limits) && 'RESOURCE' in variables.environment.defaults.resources.limits ? string(variables.environment.defaults.resources.limits['RESOURCE']) : variables.environment.type == 'development' ? 'DEVELOPMENT' : 'ELSEWHERE'";
/// Ceiling of an environment, empty for none.
const CEILING: &str = "has(variables.environment.limits) && has(variables.environment.limits.RESOURCE) ? string(variables.environment.limits.RESOURCE) : ''";

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
