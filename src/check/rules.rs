//! The rules, one function each, in the order in which their refusals are told.

use std::collections::{BTreeMap, BTreeSet};

use super::resolve::{EnvironmentRules, built_in_resources, said_resources, scaling};
use super::{Refusal, image};
use crate::api::quantity::Quantity;
use crate::api::{EnvironmentType, ProbeSpec, VisiobookServiceSpec, names};
use crate::contract;

/// One rule: it looks at a resource under an environment and tells every way in which it is broken.
type Rule = fn(&Subject<'_>, &mut Broken);

struct Subject<'a> {
    name: &'a str,
    spec: &'a VisiobookServiceSpec,
    environment: &'a EnvironmentRules,
}

#[derive(Default)]
struct Broken(Vec<Refusal>);

impl Broken {
    fn tell(&mut self, rule: &'static str, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(Refusal { rule, field: field.into(), message: message.into() });
    }
}

const RULES: [Rule; 16] = [
    name,
    image_or_domain_service,
    image_reference,
    image_origin,
    ports,
    variable_names,
    variables_once,
    variables_reserved,
    config_size,
    literal_values,
    quantities,
    ceilings,
    gpu,
    replicas,
    probes,
    pod,
];

/// Every refusal, in order.
pub(super) fn broken(name: &str, spec: &VisiobookServiceSpec, environment: &EnvironmentRules) -> Vec<Refusal> {
    let subject = Subject { name, spec, environment };
    let mut broken = Broken::default();
    for rule in RULES {
        rule(&subject, &mut broken);
    }
    broken.0
}

fn name(it: &Subject<'_>, broken: &mut Broken) {
    if it.name.len() > names::MAX_NAME {
        let message = format!("use at most {} characters, so that the names of its children fit into 63", names::MAX_NAME);
        broken.tell("name-length", "metadata.name", message);
    }
    if let Some(ending) = names::RESERVED_ENDINGS.iter().find(|ending| it.name.ends_with(**ending)) {
        broken.tell("name-ending", "metadata.name", format!("must not end in {ending}: the service's own children do"));
    }
}

fn image_or_domain_service(it: &Subject<'_>, broken: &mut Broken) {
    match (&it.spec.image, it.spec.domain_service) {
        (Some(_), None) => {}
        (None, Some(_)) => broken.tell(
            "domain-service-available",
            "spec.domainService",
            "domain services do not come with this release yet: set spec.image",
        ),
        _ => broken.tell("image-or-domain-service", "spec", "set exactly one of spec.image and spec.domainService"),
    }
}

fn image_reference(it: &Subject<'_>, broken: &mut Broken) {
    if let Some(reference) = &it.spec.image
        && image::parse(reference).is_none()
    {
        let message = format!("\"{reference}\" is not an image: write registry/path:tag or registry/path@sha256:digest");
        broken.tell("image-reference", "spec.image", message);
    }
}

fn image_origin(it: &Subject<'_>, broken: &mut Broken) {
    let Some(image) = it.spec.image.as_deref().and_then(image::parse) else { return };
    let environment = &it.environment.name;
    if it.environment.forbid_latest && image.digest.is_none() && matches!(image.tag, None | Some("latest")) {
        let message = format!("the tag latest may not run in {environment}, it means something else every day: name a version or a digest");
        broken.tell("image-tag", "spec.image", message);
    }
    if it.environment.require_digest && image.digest.is_none() {
        let message = format!("{environment} runs images by digest only: write {}@sha256:...", image.repository);
        broken.tell("image-digest", "spec.image", message);
    }
    let registries = it.environment.said.images.as_ref().map(|images| images.registries.as_slice()).unwrap_or_default();
    if !registries.is_empty() && !registries.iter().any(|registry| image::comes_from(&image, registry)) {
        let message =
            format!("{} may not run in {environment}: take the image from {}", image.repository, registries.join(", "));
        broken.tell("image-registry", "spec.image", message);
    }
}

fn ports(it: &Subject<'_>, broken: &mut Broken) {
    let service = it.spec.service.as_ref().and_then(|service| service.port);
    for (field, port) in [("spec.port", it.spec.port), ("spec.service.port", service)] {
        if port == Some(contract::METRICS_PORT) {
            let message = format!("{} is taken by {} of the runtime contract: choose another port", contract::METRICS_PORT, contract::METRICS_PATH);
            broken.tell("port-once", field, message);
        }
        if port == Some(0) {
            broken.tell("port-range", field, "choose a port from 1 to 65535");
        }
    }
}

fn sources(spec: &VisiobookServiceSpec) -> [(&'static str, BTreeSet<&str>); 4] {
    fn keys<V>(map: &BTreeMap<String, V>) -> BTreeSet<&str> {
        map.keys().map(String::as_str).collect()
    }
    [
        ("spec.env", keys(&spec.env)),
        ("spec.config", keys(&spec.config)),
        ("spec.secrets", keys(&spec.secrets)),
        ("spec.configMapKeyRefs", keys(&spec.config_map_key_refs)),
    ]
}

fn variable_names(it: &Subject<'_>, broken: &mut Broken) {
    for (field, variables) in sources(it.spec) {
        for variable in variables {
            let mut bytes = variable.bytes();
            let starts = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
            if !starts || !bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                broken.tell("variable-name", format!("{field}.{variable}"), "a variable is letters, digits and underscores, and starts with no digit");
            }
        }
    }
    for file in it.spec.config_files.iter().flat_map(|files| files.files.keys()) {
        let field = format!("spec.configFiles.files.{file}");
        if file.is_empty() || file.len() > 253 || matches!(file.as_str(), "." | "..") || !file.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
            broken.tell("file-name", &field, "a file name is letters, digits, dots, dashes and underscores");
        }
        if it.spec.config.contains_key(file) {
            broken.tell("variable-once", field, "spec.config has a variable of this name and both live in one ConfigMap: rename the file");
        }
    }
}

fn variables_once(it: &Subject<'_>, broken: &mut Broken) {
    let sources = sources(it.spec);
    for (index, (field, variables)) in sources.iter().enumerate() {
        for (other, others) in &sources[index + 1..] {
            for variable in variables.intersection(others) {
                let message = format!("{other} defines {variable} too: keep one of them");
                broken.tell("variable-once", format!("{field}.{variable}"), message);
            }
        }
    }
}

fn variables_reserved(it: &Subject<'_>, broken: &mut Broken) {
    for (field, variables) in sources(it.spec) {
        if variables.contains("PORT") {
            broken.tell("variable-reserved", format!("{field}.PORT"), "the operator passes spec.port as PORT: set spec.port");
        }
        if variables.contains("ENVIRONMENT") {
            broken.tell("variable-reserved", format!("{field}.ENVIRONMENT"), "the namespace decides the environment: take it out");
        }
    }
}

fn config_size(it: &Subject<'_>, broken: &mut Broken) {
    // A ConfigMap holds 1 MiB; the stored revision holds the same content beside the pod template.
    const MOST: usize = 512 * 1024;
    let files = it.spec.config_files.iter().flat_map(|files| &files.files);
    let size: usize = it.spec.config.iter().chain(files).map(|(key, value)| key.len() + value.len()).sum();
    if size > MOST {
        let message = format!("config and configFiles hold {size} bytes together, of {MOST} allowed: mount what is large from a volume");
        broken.tell("config-size", "spec.configFiles", message);
    }
}

/// H01, for the values that stand in the resource itself. `check::secrets` holds values in Secrets against it.
fn literal_values(it: &Subject<'_>, broken: &mut Broken) {
    for (field, values) in [("spec.env", &it.spec.env), ("spec.config", &it.spec.config)] {
        for (variable, value) in values {
            let field = format!("{field}.{variable}");
            let production = it.environment.type_ == EnvironmentType::Production;
            if production && variable == "DB_SSL_MODE" && value == "disable" {
                broken.tell("database-tls", &field, "a production database is spoken to with TLS: use require or stricter");
            }
            if production && let Some(wrong) = wrong_length(variable, value.chars().count()) {
                broken.tell("secret-length", &field, wrong);
            }
            if contract::TIMEOUT_VARIABLES.contains(&variable.as_str()) && seconds(value).is_none_or(|s| s < 1.0) {
                let message = format!("\"{value}\" is not a time-out of at least one second: write one such as 30s");
                broken.tell("timeout", &field, message);
            }
        }
    }
}

/// What is wrong with a secret of this length in production (H01), if anything.
pub(super) fn wrong_length(variable: &str, length: usize) -> Option<String> {
    match variable {
        "JWT_SECRET" if length < contract::JWT_SECRET_MIN => Some(format!(
            "has {length} characters and needs at least {} in production: make a longer one",
            contract::JWT_SECRET_MIN
        )),
        "ENCRYPTION_KEY" if length != contract::ENCRYPTION_KEY_LENGTH => Some(format!(
            "has {length} characters and needs exactly {} in production",
            contract::ENCRYPTION_KEY_LENGTH
        )),
        _ => None,
    }
}

/// A duration as Go writes it (`1m30s`, `500ms`), in seconds.
fn seconds(text: &str) -> Option<f64> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let unit_end = rest[number..].find(|c: char| c.is_ascii_digit() || c == '.').map_or(rest.len(), |end| number + end);
        let unit = match &rest[number..unit_end] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += rest[..number].parse::<f64>().ok()? * unit;
        rest = &rest[unit_end..];
    }
    (!text.is_empty()).then_some(total)
}

fn quantities(it: &Subject<'_>, broken: &mut Broken) {
    let Some(resources) = &it.spec.resources else { return };
    for (part, quantities) in [("requests", &resources.requests), ("limits", &resources.limits)] {
        for (resource, quantity) in quantities.iter().flatten() {
            let field = format!("spec.resources.{part}.{resource}");
            match Quantity::parse(&quantity.0) {
                Err(wrong) => broken.tell("quantity", field, wrong),
                Ok(amount) if amount.to_string().starts_with('-') => broken.tell("quantity", field, "must not be below zero"),
                Ok(_) if resource.contains("gpu") => {
                    broken.tell("gpu-field", field, "ask for GPUs by spec.gpu.count, which sets request and limit alike");
                }
                Ok(_) => {}
            }
        }
    }
    if resources.claims.as_ref().is_some_and(|claims| !claims.is_empty()) {
        broken.tell("resource-claims", "spec.resources.claims", "resource claims are not supported: take them out");
    }
}

fn ceilings(it: &Subject<'_>, broken: &mut Broken) {
    let (said_requests, said_limits) = said_resources(it.spec, it.environment);
    let (mut requests, mut limits) = built_in_resources(it.environment.type_);
    requests.extend(said_requests);
    limits.extend(said_limits);
    let read = |quantities: &BTreeMap<String, String>, key: &str| quantities.get(key).and_then(|text| Quantity::parse(text).ok());
    let ceilings = it.environment.said.limits.as_ref();
    for (resource, ceiling) in [
        ("cpu", ceilings.and_then(|limits| limits.cpu.as_ref())),
        ("memory", ceilings.and_then(|limits| limits.memory.as_ref())),
    ] {
        let Some(limit) = read(&limits, resource) else { continue };
        if let Some(ceiling) = ceiling.and_then(|ceiling| Quantity::parse(&ceiling.0).ok())
            && limit > ceiling
        {
            let message = format!("{limit} is above the ceiling of {} in {}: ask for less", ceiling, it.environment.name);
            broken.tell("resource-ceiling", format!("spec.resources.limits.{resource}"), message);
        }
        if let Some(request) = read(&requests, resource)
            && request > limit
        {
            let message = format!("the request of {request} is above the limit of {limit}: raise spec.resources.limits.{resource} too");
            broken.tell("request-above-limit", format!("spec.resources.requests.{resource}"), message);
        }
    }
}

fn gpu(it: &Subject<'_>, broken: &mut Broken) {
    let Some(gpu) = &it.spec.gpu else { return };
    let environment = &it.environment.name;
    if !it.environment.gpu_allowed {
        broken.tell("gpu-allowed", "spec.gpu", format!("GPUs are not allowed in {environment}: take spec.gpu out"));
    } else if let Some(most) = it.environment.gpu_per_pod
        && gpu.count > most
    {
        broken.tell("gpu-count", "spec.gpu.count", format!("a pod may have {most} GPU at most in {environment}"));
    }
}

fn replicas(it: &Subject<'_>, broken: &mut Broken) {
    let scaling = scaling(&it.spec.autoscaling.clone().unwrap_or_default(), it.environment);
    if let Some(scaling) = &scaling
        && scaling.min > scaling.max
    {
        let message = format!("{} is above maxReplicas {}: lower one or raise the other", scaling.min, scaling.max);
        broken.tell("autoscaling-bounds", "spec.autoscaling.minReplicas", message);
    }
    let Some(most) = it.environment.said.limits.as_ref().and_then(|limits| limits.replicas) else { return };
    let wanted = [
        ("spec.replicas", it.spec.replicas),
        ("spec.autoscaling.maxReplicas", scaling.as_ref().map(|scaling| scaling.max)),
    ];
    for (field, replicas) in wanted {
        if replicas.is_some_and(|replicas| replicas > most) {
            broken.tell("replicas-ceiling", field, format!("a service may have {most} pods at most in {}", it.environment.name));
        }
    }
}

fn probes(it: &Subject<'_>, broken: &mut Broken) {
    let Some(probes) = &it.spec.probes else { return };
    for (name, probe) in [("liveness", &probes.liveness), ("startup", &probes.startup)] {
        if probe.as_ref().and_then(|probe| probe.success_threshold).is_some_and(|threshold| threshold != 1) {
            broken.tell("probe-threshold", format!("spec.probes.{name}.successThreshold"), "must be 1 for this probe");
        }
    }
    let asks = |probe: &ProbeSpec| {
        probe.http_get.is_some() || probe.tcp_socket.is_some() || probe.exec.is_some() || probe.grpc.is_some()
    };
    if probes.startup.as_ref().is_some_and(|probe| probe.enabled != Some(false) && !asks(probe)) {
        broken.tell("probe-action", "spec.probes.startup", "say what to ask: httpGet, tcpSocket, exec or grpc");
    }
}

fn pod(it: &Subject<'_>, broken: &mut Broken) {
    let Some(pod) = &it.spec.pod else { return };
    for label in pod.labels.keys() {
        if [names::APP, names::NAME, names::VERSION, names::MANAGED_BY, names::REVISION].contains(&label.as_str()) {
            broken.tell("label-reserved", format!("spec.pod.labels.{label}"), "the operator sets this label: choose another");
        }
    }
    let mut mounted = BTreeSet::from(["/tmp", "/var/cache"]);
    if let Some(files) = &it.spec.config_files {
        mounted.insert(files.mount_path.as_deref().unwrap_or(contract::CONFIG_PATH));
    }
    let volumes: BTreeSet<&str> = pod.volumes.iter().map(|volume| volume.name.as_str()).collect();
    for mount in &pod.volume_mounts {
        let field = format!("spec.pod.volumeMounts[mountPath={}]", mount.mount_path);
        if !mounted.insert(&mount.mount_path) {
            broken.tell("mount-once", &field, "something is mounted there already: choose another path");
        }
        if !volumes.contains(mount.name.as_str()) {
            broken.tell("volume-exists", field, format!("spec.pod.volumes has no volume \"{}\": add it", mount.name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        assert_eq!(seconds("1m30s"), Some(90.0));
        assert_eq!(seconds("500ms"), Some(0.5));
        assert_eq!(seconds("1.5h"), Some(5400.0));
        for wrong in ["", "30", "s", "-1s", "1d"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
