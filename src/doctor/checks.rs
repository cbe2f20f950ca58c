//! The checks, in the order in which one depends on the other.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec,
};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::Value;

use super::{Check, State};
use crate::api::kinds::Kind;
use crate::api::{GROUP, crds};

/// Verbs for what the operator writes.
const WRITTEN: [&str; 6] = ["get", "list", "watch", "create", "patch", "delete"];
/// What the operator needs beside its children: verbs, group and resource.
const NEEDS: [(&[&str], &str, &str); 15] = [
    (&["get", "list", "watch"], GROUP, "visiobookservices"),
    (&["patch"], GROUP, "visiobookservices/status"),
    (&["update"], GROUP, "visiobookservices/scale"),
    (&["update"], GROUP, "visiobookservices/finalizers"),
    (&["get", "list", "watch"], GROUP, "visiobookenvironments"),
    (&["patch"], GROUP, "visiobookenvironments/status"),
    (&["get", "list", "watch"], "", "namespaces"),
    (&WRITTEN, "", "resourcequotas"),
    (&WRITTEN, "", "limitranges"),
    (&WRITTEN, "rbac.authorization.k8s.io", "rolebindings"),
    (&["list", "watch"], "apiextensions.k8s.io", "customresourcedefinitions"),
    (&["list", "watch"], "", "pods"),
    (&["patch"], "", "pods/status"),
    (&["list"], "discovery.k8s.io", "endpointslices"),
    (&["create", "patch"], "events.k8s.io", "events"),
];
/// The oldest supported Kubernetes 1.x: admission policies are generally available from it on.
const OLDEST: u32 = 30;
/// Name of the operator's Deployment, ServiceAccount and Lease.
const OPERATOR: &str = "visiobook-operator";
/// Seconds after which a lease that was not renewed is nobody's.
const SILENCE: i64 = 60;
/// Days before the end of a certificate at which it should have been renewed.
const RENEWAL: i64 = 14;
/// What may be missing: a group, what it is, and what there is not without it.
const OPTIONAL: [(&str, &str, &str); 5] = [
    ("metrics.k8s.io", "metrics-server", "autoscaling by load"),
    ("monitoring.coreos.com", "Prometheus operator", "ServiceMonitors and alerts"),
    ("external-secrets.io", "External Secrets", "secrets from a store"),
    ("gateway.networking.k8s.io", "Gateway API", "routes by a Gateway"),
    ("cert-manager.io", "cert-manager", "certificates that renew themselves"),
];
/// What a team needs in a namespace: verb, group and resource.
const RIGHTS: [(&str, &str, &str); 6] = [
    ("get", GROUP, "visiobookservices"),
    ("patch", GROUP, "visiobookservices"),
    ("get", GROUP, "visiobookenvironments"),
    ("list", "apps", "deployments"),
    ("get", "", "namespaces"),
    ("get", "", "secrets"),
];

/// Look at everything. `own` is the operator's namespace, `namespace` the one of the person who asks.
pub async fn examine(client: &Client, own: &str, namespace: &str) -> Vec<Check> {
    let mut checks = vec![version(client).await];
    if checks[0].state == State::Bad {
        return checks;
    }
    checks.push(rights(client, namespace).await);
    checks.extend(definitions(client).await);
    checks.extend(operator(client, own).await);
    checks.push(operator_rights(client, own).await);
    checks.push(policies(client).await);
    checks.extend(optional(client).await);
    checks
}

/// A check that could not be made.
fn unseen(subject: &str, error: &kube::Error) -> Check {
    let why = match error {
        kube::Error::Api(status) => status.message.clone(),
        error => error.to_string(),
    };
    Check::new(subject, State::Warning, format!("cannot be looked at: {why}"))
}

async fn version(client: &Client) -> Check {
    const SUBJECT: &str = "cluster";
    let version = match client.apiserver_version().await {
        Ok(version) => version,
        Err(error) => {
            let message = format!("does not answer: {error}. Look at KUBECONFIG and --context");
            return Check::new(SUBJECT, State::Bad, message);
        }
    };
    let digits: String = version.minor.chars().take_while(char::is_ascii_digit).collect();
    let known = version.major == "1" && digits.parse::<u32>().is_ok_and(|minor| minor >= OLDEST);
    let state = if known { State::Good } else { State::Bad };
    let way_out = if known { String::new() } else { format!(": upgrade to 1.{OLDEST} or later") };
    Check::new(SUBJECT, state, format!("Kubernetes {}{way_out}", version.git_version))
}

async fn rights(client: &Client, namespace: &str) -> Check {
    let subject = format!("your rights in namespace {namespace}");
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let mut missing = Vec::new();
    for (verb, group, resource) in RIGHTS {
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(attributes(verb, group, resource, Some(namespace))),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        match api.create(&PostParams::default(), &review).await {
            Ok(answer) if answer.status.as_ref().is_some_and(|status| status.allowed) => {}
            Ok(_) => missing.push(format!("{verb} {resource}")),
            Err(error) => return unseen(&subject, &error),
        }
    }
    if missing.is_empty() {
        return Check::new(subject, State::Good, "everything that plan, adopt and eject read, and apply");
    }
    let message = format!("you may not {}: some commands tell less, or fail", missing.join(", "));
    Check::new(subject, State::Warning, message)
}

fn attributes(verb: &str, group: &str, resource: &str, namespace: Option<&str>) -> ResourceAttributes {
    let (resource, subresource) = match resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_string())),
        None => (resource, None),
    };
    ResourceAttributes {
        verb: Some(verb.into()),
        group: Some(group.into()),
        resource: Some(resource.into()),
        subresource,
        namespace: namespace.map(str::to_string),
        ..ResourceAttributes::default()
    }
}

/// The CRDs, and whether they are those of this release.
async fn definitions(client: &Client) -> Vec<Check> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut checks = Vec::new();
    for wanted in crds() {
        let name = wanted.name_any();
        let subject = format!("CRD {name}");
        checks.push(match api.get_opt(&name).await {
            Err(error) => unseen(&subject, &error),
            Ok(None) => {
                Check::new(subject, State::Bad, "is missing: `visiobook crd | kubectl apply --server-side -f -`")
            }
            Ok(Some(found)) => {
                let schema = |crd: &CustomResourceDefinition| {
                    let versions = crd.spec.versions.iter();
                    versions.map(|version| serde_json::to_value(&version.schema).unwrap_or_default()).collect::<Vec<Value>>()
                };
                if schema(&found) == schema(&wanted) {
                    Check::new(subject, State::Good, "is that of this release")
                } else {
                    let message = "is not that of this release: use the command line of the operator's release, or apply `visiobook crd`";
                    Check::new(subject, State::Warning, message)
                }
            }
        });
    }
    checks
}

async fn operator(client: &Client, own: &str) -> Vec<Check> {
    let mut checks = Vec::new();
    let subject = "operator";
    checks.push(match Api::<Deployment>::namespaced(client.clone(), own).get_opt(OPERATOR).await {
        Err(error) => unseen(subject, &error),
        Ok(None) => {
            Check::new(subject, State::Warning, format!("there is no Deployment {OPERATOR} in namespace {own}: install it, or name its --operator-namespace"))
        }
        Ok(Some(found)) => {
            let status = found.status.clone().unwrap_or_default();
            let available = status.available_replicas.unwrap_or(0);
            let containers = found.spec.and_then(|spec| spec.template.spec).map(|spec| spec.containers);
            let image = containers.into_iter().flatten().find_map(|container| container.image).unwrap_or_default();
            if available > 0 {
                Check::new(subject, State::Good, format!("{image}, pods available: {available}"))
            } else {
                Check::new(subject, State::Bad, format!("{image}, no pod is available: `kubectl describe deployment -n {own} {OPERATOR}` tells why"))
            }
        }
    });
    let subject = "leader";
    checks.push(match Api::<Lease>::namespaced(client.clone(), own).get_opt(OPERATOR).await {
        Err(error) => unseen(subject, &error),
        Ok(lease) => {
            let spec = lease.and_then(|lease| lease.spec).unwrap_or_default();
            let holder = spec.holder_identity.filter(|holder| !holder.is_empty());
            let age = spec.renew_time.map(|time| jiff::Timestamp::now().as_second() - time.0.as_second());
            match (holder, age) {
                (Some(holder), Some(age)) if age < SILENCE => {
                    Check::new(subject, State::Good, format!("{holder}, heard {age} s ago"))
                }
                (Some(holder), Some(age)) => Check::new(
                    subject,
                    State::Bad,
                    format!("{holder} was heard {age} s ago: nobody looks after the services"),
                ),
                _ => Check::new(
                    subject,
                    State::Bad,
                    "there is none: nobody looks after the services. Look at the operator's logs",
                ),
            }
        }
    });
    checks
}

/// Whether the operator's account has every right that it needs.
async fn operator_rights(client: &Client, own: &str) -> Check {
    const SUBJECT: &str = "rights of the operator";
    let children = Kind::ALL.map(|kind| {
        let (group, _, plural) = kind.resource();
        (&WRITTEN[..], group, plural)
    });
    let api: Api<SubjectAccessReview> = Api::all(client.clone());
    let (mut missing, mut asked) = (Vec::new(), 0);
    for (verbs, group, resource) in NEEDS.into_iter().chain(children) {
        let mut denied = Vec::new();
        for verb in verbs {
            let review = SubjectAccessReview {
                spec: SubjectAccessReviewSpec {
                    user: Some(format!("system:serviceaccount:{own}:{OPERATOR}")),
                    resource_attributes: Some(attributes(verb, group, resource, None)),
                    ..SubjectAccessReviewSpec::default()
                },
                ..SubjectAccessReview::default()
            };
            asked += 1;
            match api.create(&PostParams::default(), &review).await {
                Ok(answer) if answer.status.as_ref().is_some_and(|status| status.allowed) => {}
                Ok(_) => denied.push(*verb),
                Err(error) => return unseen(SUBJECT, &error),
            }
        }
        if !denied.is_empty() {
            missing.push(format!("{} {resource}", denied.join("/")));
        }
    }
    if missing.is_empty() {
        return Check::new(SUBJECT, State::Good, format!("all {asked} that it needs"));
    }
    let message = format!(
        "its account may not {}: apply config/rbac, or look after some namespaces only",
        missing.join(", ")
    );
    Check::new(SUBJECT, State::Warning, message)
}

/// The admission policies about our kinds, each with its binding.
async fn policies(client: &Client) -> Check {
    const SUBJECT: &str = "admission policies";
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    let (policies, bindings) =
        match (policies.list(&ListParams::default()).await, bindings.list(&ListParams::default()).await) {
            (Ok(policies), Ok(bindings)) => (policies, bindings),
            (Err(error), _) | (_, Err(error)) => return unseen(SUBJECT, &error),
        };
    let ours: Vec<String> = policies
        .iter()
        .filter(|policy| serde_json::to_string(&policy.spec).is_ok_and(|spec| spec.contains(GROUP)))
        .map(ResourceExt::name_any)
        .collect();
    let bound = |name: &String| bindings.iter().any(|binding| binding.spec.policy_name == *name);
    let loose: Vec<String> = ours.iter().filter(|name| !bound(name)).cloned().collect();
    match (ours.len(), loose.is_empty()) {
        (0, _) => Check::new(
            SUBJECT,
            State::Warning,
            "there are none: what an environment forbids is refused by the operator alone, after it was stored",
        ),
        (count, true) => Check::new(SUBJECT, State::Good, format!("{count}, each bound")),
        (_, false) => Check::new(
            SUBJECT,
            State::Bad,
            format!("without a binding, so without effect: {}", loose.join(", ")),
        ),
    }
}

/// What may be missing, and the certificates where cert-manager makes them.
async fn optional(client: &Client) -> Vec<Check> {
    let groups = match client.list_api_groups().await {
        Ok(groups) => groups.groups,
        Err(error) => return vec![unseen("optional parts", &error)],
    };
    let served: BTreeMap<&str, &str> = groups
        .iter()
        .map(|group| {
            let version = group.preferred_version.as_ref().or(group.versions.first());
            (group.name.as_str(), version.map_or("", |version| version.version.as_str()))
        })
        .collect();
    let mut checks = Vec::new();
    for (group, name, without) in OPTIONAL {
        checks.push(match served.get(group) {
            Some(version) => Check::new(name, State::Good, format!("{group}/{version}")),
            None => Check::new(name, State::Warning, format!("{group} is not installed: no {without}")),
        });
    }
    if let Some(version) = served.get("cert-manager.io") {
        checks.push(certificates(client, version).await);
    }
    checks
}

async fn certificates(client: &Client, version: &str) -> Check {
    const SUBJECT: &str = "certificates";
    let kind = GroupVersionKind::gvk("cert-manager.io", version, "Certificate");
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::from_gvk(&kind));
    let found = match api.list(&ListParams::default()).await {
        Ok(found) => found,
        Err(error) => return unseen(SUBJECT, &error),
    };
    let now = jiff::Timestamp::now().as_second();
    let wrong: Vec<String> = found
        .iter()
        .filter_map(|certificate| {
            trouble(&certificate.data, now).map(|why| {
                format!("{}/{} {why}", certificate.namespace().unwrap_or_default(), certificate.name_any())
            })
        })
        .collect();
    match wrong.is_empty() {
        true => Check::new(SUBJECT, State::Good, format!("{}, all valid", found.items.len())),
        false => Check::new(SUBJECT, State::Warning, wrong.join("; ")),
    }
}

/// What is wrong with a certificate at this second.
fn trouble(certificate: &Value, now: i64) -> Option<String> {
    let conditions = certificate["status"]["conditions"].as_array();
    let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
    let end = certificate["status"]["notAfter"].as_str().and_then(|end| end.parse::<jiff::Timestamp>().ok());
    let left = end.map(|end| (end.as_second() - now) / 86_400);
    match (ready.map(|ready| ready["status"] == "True"), left) {
        (_, Some(left)) if left < RENEWAL => Some(format!("ends in {left} days")),
        (Some(true), _) => None,
        _ => Some("is not ready".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_certificate_that_is_not_ready_or_ends_soon_is_told() {
        let now = "2026-01-01T00:00:00Z".parse::<jiff::Timestamp>().unwrap().as_second();
        let of = |ready: &str, end: &str| json!({ "status": { "notAfter": end, "conditions": [{ "type": "Ready", "status": ready }] } });
        assert_eq!(trouble(&of("True", "2026-03-01T00:00:00Z"), now), None);
        assert_eq!(trouble(&of("True", "2026-01-04T00:00:00Z"), now), Some("ends in 3 days".into()));
        assert_eq!(trouble(&of("False", "2026-03-01T00:00:00Z"), now), Some("is not ready".into()));
        assert_eq!(trouble(&json!({}), now), Some("is not ready".into()));
    }
}
