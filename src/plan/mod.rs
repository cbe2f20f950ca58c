//! What should exist? A flat list of builders. Nothing here can fail: whatever could was refused in `check`.
//!
//! Builders write API defaults out, and write values as the API server would, so that a planned object and a
//! stored one can be compared without asking the API server.

mod account;
mod autoscaler;
mod budget;
mod config;
mod deployment;
mod domain_service;
mod environment;
mod external;
mod history;
mod ingress;
mod isolation;
mod job;
pub mod monitoring;
mod other;
mod preview;
mod pull_secret;
pub mod room;
mod service;
mod service_token;
mod sidecar;
mod template;
mod variables;

pub use preview::preview;
pub use variables::given;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::api::kinds::Kind;
use crate::api::{GROUP, names};
use crate::check::{self, Serving, Shape, Valid};
use crate::facts::{Content, DeploymentFact, EnvironmentFact, Facts, MissingKinds, Rendering};
use crate::rollout::{Decision, Stored, Wanted};

pub use environment::{govern, governor};

/// The resource that children belong to.
#[derive(Clone, Debug, PartialEq)]
pub struct Owner {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its uid.
    pub uid: String,
}

/// Everything that should exist for one service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Objects to apply, in order.
    pub objects: Vec<Planned>,
    /// Objects that stay as they are if they exist. Owned objects that are neither planned nor kept are pruned.
    pub keep: BTreeSet<(Kind, String)>,
    /// Kinds of which every object is kept.
    pub keep_kinds: BTreeSet<Kind>,
    /// Kinds that were planned and left out, for this cluster does not offer them.
    pub left_out: BTreeSet<Kind>,
    /// When it may come out differently though nothing has changed, in Unix seconds.
    pub wake_at: Option<i64>,
}

/// An object as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Who applies it.
    pub manager: &'static str,
    /// What is applied.
    pub object: Value,
}

/// What builders look at.
struct Site<'a> {
    owner: &'a Owner,
    decision: &'a Decision,
    replicas: i32,
}

/// What pods of both colours need around them, though the resource may do without by now.
fn used(owner: &Owner, decision: &Decision) -> Vec<(Kind, String)> {
    let other = decision.other.as_ref().and_then(|other| other.revision.as_ref());
    let external = names::external_secret(&owner.name);
    let mut used = Vec::new();
    for Wanted { shape, .. } in [decision.revision.as_ref(), other].into_iter().flatten() {
        let account = shape.service_account.as_ref().unwrap_or(&owner.name);
        used.push((Kind::ServiceAccount, account.clone()));
        if shape.secrets.values().any(|key| key.name == external) {
            used.push((Kind::ExternalSecret, external.clone()));
        }
    }
    used
}

/// Plan everything for a decision. `replicas` is the wanted number of pods.
pub fn build(owner: &Owner, decision: &Decision, replicas: i32, facts: &Facts) -> Plan {
    let site = Site { owner, decision, replicas };
    let mut plan = Plan::default();
    let mut pulled = Vec::new();
    let revision = decision.revision.as_ref();
    let serving = decision.serving.as_ref().map(|it| external::complete(owner, decision, it, facts));
    let serving = serving.as_deref();
    if let Some(serving) = serving {
        plan.objects.extend(account::build(&site, serving));
        plan.objects.extend(external::build(&site, serving));
    }
    if let Some(revision) = revision {
        let rendered = render(owner, revision, serving, facts);
        plan.objects.push(config::build(&site, &rendered));
        let (tokens, wake_at) = service_token::build(&site, &revision.shape, &rendered.template, facts);
        let (copies, kept) = pull_secret::build(&site, &revision.shape, facts);
        plan.objects.extend(tokens.into_iter().chain(copies));
        plan.wake_at = wake_at;
        pulled = kept;
        plan.objects.push(history::build(&site, revision, &rendered, serving, facts));
        let other = other::build(owner, decision, replicas, facts, serving);
        pulled.extend(other.kept);
        add(&mut plan.objects, other.before);
        prepare(&mut plan, &site, serving, facts);
        if let Some(serving) = serving {
            plan.objects.extend(service::build(&site, serving, revision, &rendered, facts));
            plan.objects.extend(budget::build(&site, serving));
            plan.objects.extend(isolation::build(&site, serving, revision, &rendered, facts));
            plan.objects.extend(isolation::jobs(&site, serving, Some(revision), facts));
        }
        plan.objects.extend(job::build(&site, serving, facts));
        plan.objects.push(deployment::build(&site, revision, &rendered, serving));
        plan.objects.extend(other.pods);
        if let Some(serving) = serving {
            plan.objects.extend(autoscaler::build(&site, serving));
            plan.objects.extend(ingress::build(&site, serving));
            if let Some(monitoring) = &serving.monitoring {
                plan.objects.extend(monitoring::build(&site, monitoring, serving, &revision.shape));
            }
        }
    }
    if revision.is_none() {
        prepare(&mut plan, &site, serving, facts);
        plan.objects.extend(serving.and_then(|serving| isolation::jobs(&site, serving, None, facts)));
        plan.objects.extend(job::build(&site, serving, facts));
    }
    let kept = std::mem::take(&mut plan.keep);
    let before = decision.release.as_ref().and_then(|release| release.previous_revision.as_deref());
    (plan.keep, plan.keep_kinds) = history::kept(owner, revision, before, facts);
    plan.keep.extend(used(owner, decision));
    plan.keep.extend(kept.into_iter().chain(pulled));
    plan.keep.extend(other::kept(owner, decision, facts));
    plan.wake_at = [plan.wake_at, decision.wake_at].into_iter().flatten().min();
    // Pods of another revision may still mount what this one does without.
    if revision.is_none() || facts.signing.is_none() || !has_settled(&site, facts) {
        plan.keep_kinds.insert(Kind::Secret);
        plan.keep.insert((Kind::ConfigMap, names::service_keys(&owner.name)));
    }
    if serving.is_none() || revision.is_none() {
        // Nothing is known of what should stand around the pods: nothing of it is taken away either.
        plan.keep.extend(
            facts.deployments.keys().map(|colour| (Kind::Deployment, names::coloured(&owner.name, *colour))),
        );
        plan.keep.extend(around(owner));
        plan.keep_kinds.extend(AROUND);
    }
    leave_out(&mut plan, &facts.missing_kinds);
    plan
}

/// What is recorded of Jobs that were run, and what the next one needs.
fn prepare(plan: &mut Plan, site: &Site<'_>, serving: Option<&Serving>, facts: &Facts) {
    let jobs = &site.decision.jobs;
    if let Some(waiting) = &jobs.waiting {
        let (objects, kept) = other::before(site, waiting, facts, serving);
        add(&mut plan.objects, objects);
        plan.keep.extend(kept);
    }
    for (ended, serving) in &jobs.ended {
        let rendered = render(site.owner, ended, serving.as_ref(), facts);
        add(&mut plan.objects, vec![history::build(site, ended, &rendered, serving.as_ref(), facts)]);
    }
    plan.keep.extend(jobs.kept.iter().map(|name| (Kind::Job, name.clone())));
}

/// Add what is not there yet under its name.
fn add(objects: &mut Vec<Planned>, more: Vec<Planned>) {
    for planned in more {
        if !objects.iter().any(|other| other.kind == planned.kind && other.name == planned.name) {
            objects.push(planned);
        }
    }
}

/// Optional kinds that the cluster does not offer are not written: all else is.
fn leave_out(plan: &mut Plan, missing: &MissingKinds) {
    let is_missing = |planned: &Planned| missing.contains_key(&planned.kind);
    plan.left_out =
        plan.objects.iter().filter(|planned| is_missing(planned)).map(|planned| planned.kind).collect();
    plan.objects.retain(|planned| !is_missing(planned));
}

/// Kinds of which all that a service has stands around its pods.
const AROUND: [Kind; 6] = [
    Kind::ExternalSecret,
    Kind::NetworkPolicy,
    Kind::Ingress,
    Kind::HTTPRoute,
    Kind::ServiceMonitor,
    Kind::PrometheusRule,
];

/// What stands around the pods, by name.
fn around(owner: &Owner) -> impl Iterator<Item = (Kind, String)> + '_ {
    let named = [Kind::ServiceAccount, Kind::Service, Kind::HorizontalPodAutoscaler]
        .map(|kind| (kind, owner.name.clone()));
    let preview = (Kind::Service, names::preview(&owner.name));
    let budgets =
        names::Colour::ALL.map(|colour| (Kind::PodDisruptionBudget, names::coloured(&owner.name, colour)));
    let dashboard = (Kind::ConfigMap, monitoring::dashboard_name(&owner.name));
    named.into_iter().chain(budgets).chain([dashboard, preview])
}

/// A revision's template and config: as stored, or rendered now, for the first and only time.
fn render(owner: &Owner, revision: &Wanted, serving: Option<&Serving>, facts: &Facts) -> Stored {
    revision.stored.clone().unwrap_or_else(|| {
        let shape: Shape = domain_service::complete(&revision.shape, facts);
        let config = config::content(&shape);
        let hears = service_token::hears_operator(&shape, serving);
        let template = template::render(owner, &shape, &revision.hash, &config, hears, facts);
        Stored::new(shape, template, config, revision.number)
    })
}

/// How this operator would render what is asked for; `None` where the environment lets that replace no pods.
pub fn rendering(owner: &Owner, valid: &Valid, facts: &Facts) -> Option<Rendering> {
    let EnvironmentFact::Governed { spec, .. } = &facts.environment else { return None };
    let waves = spec.rollout.as_ref()?.waves.as_ref()?;
    waves.operator_upgrades.filter(|allowed| *allowed)?;
    let hash = valid.shape.revision();
    let shape = domain_service::complete(&valid.shape, facts);
    let config = config::content(&shape);
    // A strategy that changes whether the sidecar hears the operator is no other rendering.
    let either = [false, true].map(|hears| {
        let template = template::render(owner, &shape, &hash, &config, hears, facts);
        check::digest(&json!({ "template": template, "config": config }))
    });
    Some(Rendering { digest: either[0].clone(), either })
}

/// The image of a sidecar that is rendered now. It is no part of the revision: a new one comes with the next release
/// of each service, or in waves where the environment lets it.
fn sidecar_image(facts: &Facts) -> &str {
    let environment = match &facts.environment {
        EnvironmentFact::Governed { spec, .. } => spec.sidecar.as_ref(),
        _ => None,
    };
    environment.and_then(|environment| environment.image.as_deref()).unwrap_or(&facts.sidecar_image)
}

impl Planned {
    fn new(site: &Site<'_>, kind: Kind, name: String, body: Value) -> Planned {
        let mut object = json!({
            "apiVersion": kind.api_version(),
            "kind": kind.as_str(),
            "metadata": {
                "name": name,
                "namespace": site.owner.namespace,
                "labels": { names::NAME: site.owner.name, names::MANAGED_BY: names::MANAGED_BY_VALUE },
                "ownerReferences": [{
                    "apiVersion": format!("{GROUP}/v1alpha1"),
                    "kind": "VisiobookService",
                    "name": site.owner.name,
                    "uid": site.owner.uid,
                    "controller": true,
                    "blockOwnerDeletion": true,
                }],
            },
        });
        merge(&mut object, body);
        Planned { kind, name, manager: names::MANAGER, object }
    }
}

/// Lay one JSON value over another: maps member by member, all else replaced.
pub fn merge(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                merge(under.entry(key).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over,
    }
}

/// A Secret of ours with one key. The value is put in by the hand that writes it; what stands here only keeps its place.
fn secret(site: &Site<'_>, name: String, type_: &str, key: &str, content: &Content) -> Planned {
    let place = match content {
        Content::ServiceToken(_) => "",
        // `{}`: the API server takes no other text for credentials.
        Content::PullSecret { .. } => "e30=",
    };
    let content = serde_json::to_string(content).unwrap_or_default();
    let body = json!({
        "metadata": { "annotations": { names::CONTENT: content } },
        "type": type_,
        "data": { key: place },
    });
    Planned::new(site, Kind::Secret, name, body)
}

/// Whether all pods of the colour are those that it wants, and there are no others.
fn has_settled(site: &Site<'_>, facts: &Facts) -> bool {
    let alone = site.decision.other.is_none() && facts.deployments.len() < 2;
    alone && facts.deployments.get(&site.decision.colour).is_none_or(DeploymentFact::is_settled)
}

/// Labels that select the pods of a colour: unchangeable once a Deployment exists.
fn selector(site: &Site<'_>) -> Value {
    json!({ names::NAME: site.owner.name, names::VERSION: site.decision.colour.as_str() })
}

/// What of a decision shapes no pod, as its annotation stores it.
fn serving_text(serving: &Serving) -> String {
    serde_json::to_string(serving).unwrap_or_default()
}
