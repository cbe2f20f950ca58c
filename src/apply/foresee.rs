//! What would an apply of this resource change? Reads the cluster, decides with the operator's own code, and writes
//! nothing.

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use serde::Serialize;
use serde_json::Value;

use super::secrets::is_sealed;
use super::{
    Cache, Change, ChangeKind, Difference, Live, Surroundings, compare, contents, observe, resource,
};
use crate::api::kinds::Kind;
use crate::api::{VisiobookEnvironment, VisiobookService, names};
use crate::check::{self, Refusal};
use crate::contract;
use crate::facts::{
    Admission, EnvironmentFact, Facts, Installation, Missing, MissingKinds, SecretFact, SecretKey,
};
use crate::plan::{self, Owner, Plan, Planned};
use crate::rollout::{self, Decision, Rotation};

/// What an apply would do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Foresight {
    /// Namespace of the service.
    pub namespace: String,
    /// Name of the service.
    pub name: String,
    /// What people call its environment.
    pub environment: String,
    /// Why the resource would be refused; what runs would go on.
    pub refusals: Vec<Refusal>,
    /// Fields of the resource that would change.
    pub fields: Vec<String>,
    /// Children that would change.
    pub children: Vec<Foreseen>,
    /// Whether pods would be replaced.
    pub restart: Restart,
    /// Whether they would be because of the environment or the operator: then it takes its turn with other services.
    pub in_wave: bool,
}

/// A child that would change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Foreseen {
    /// Its kind.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// What would become of it.
    pub fate: Fate,
    /// The fields, with both values.
    pub fields: Vec<String>,
}

/// What would become of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Fate {
    /// It would be made.
    Create,
    /// It would be changed.
    Change,
    /// Somebody else's, which allows to be taken over, would be.
    Adopt,
    /// It would be deleted.
    Delete,
    /// Somebody else's stands there: the apply would fail.
    Taken,
}

impl Fate {
    /// The word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Fate::Create => "create",
            Fate::Change => "change",
            Fate::Adopt => "adopt",
            Fate::Delete => "delete",
            Fate::Taken => "fail",
        }
    }
}

/// Whether pods would be replaced, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Restart {
    /// Whether.
    pub restarts: bool,
    /// How many.
    pub pods: i32,
    /// Why, for people.
    pub because: String,
}

impl Foresight {
    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.children.is_empty() && self.refusals.is_empty()
    }
}

/// Foresee an apply of `wanted`, which has a name and a namespace. `environment` stands in for the one that the
/// namespace's label names.
pub async fn foresee(
    client: &Client,
    wanted: &VisiobookService,
    environment: Option<&EnvironmentFact>,
    operator: &Installation,
) -> Result<Foresight, kube::Error> {
    let (name, namespace) = (wanted.name_any(), wanted.namespace().unwrap_or_default());
    let live = Api::<VisiobookService>::namespaced(client.clone(), &namespace).get_opt(&name).await?;
    let owner = Owner { name, uid: live.as_ref().and_then(ResourceExt::uid).unwrap_or_default(), namespace };
    let (cache, missing_kinds) = children(client, &owner).await?;
    let surroundings = Surroundings {
        environment: match environment {
            Some(environment) => environment.clone(),
            None => governed(client, &owner.namespace).await?,
        },
        replicas_applied_by: None,
        operator: operator.clone(),
        missing_kinds,
        ..Surroundings::default()
    };
    let mut service = wanted.clone();
    service.status = live.as_ref().and_then(|live| live.status.clone());
    // Nobody's apply takes a size away that the scale subresource has set.
    service.spec.replicas = service.spec.replicas.or(live.as_ref().and_then(|live| live.spec.replicas));

    let mut facts = observe::see(&cache, &owner, &service, surroundings);
    let references = observe::references(&service, &facts);
    for key in references {
        let (fact, sealed) = secret(client, &owner.namespace, &key).await?;
        if sealed {
            facts.sealed_secrets.insert(key.0.clone());
        }
        facts.secrets.insert(key, fact);
    }
    for key in observe::originals(&facts) {
        let (fact, _) = secret(client, &operator.namespace, &key).await?;
        facts.pull_secrets.insert(key.0, fact);
    }
    let verdict = check::validate(&service, &facts.environment);
    facts.rendering = verdict.as_ref().ok().and_then(|valid| plan::rendering(&owner, valid, &facts));
    let waits = rollout::step(&verdict, &facts).asks(&facts);
    // What it does once it is let in.
    facts.admission = Some(Admission::Admitted { generation: 0 });
    let mut decision = rollout::step(&verdict, &facts);
    if let Some(running) = facts.deployments.get(&decision.colour) {
        // Values of secrets are the operator's to compare.
        decision.rotation = Rotation::kept(running);
    }
    let last = service.status.as_ref().and_then(|status| status.last_replicas);
    let replicas = rollout::size(service.spec.replicas, last, &decision, &facts);
    let mut plan = plan::build(&owner, &decision, replicas, &facts);
    // Values of Secrets are the operator's to make. Who asks may not even list them.
    plan.objects.retain(|planned| planned.kind != Kind::Secret);
    plan.keep_kinds.insert(Kind::Secret);
    let children = compare_all(client, &cache, &owner, &plan).await?;
    let fields = match &live {
        Some(live) => {
            let before = serde_json::to_value(&live.spec).unwrap_or_default();
            let after = serde_json::to_value(&service.spec).unwrap_or_default();
            parted(&before, &after, "spec")
        }
        None => vec!["the resource itself, which is new".into()],
    };
    Ok(Foresight {
        environment: check::rules_of(&facts.environment).map(|rules| rules.name).unwrap_or_default(),
        in_wave: waits,
        restart: restart(&decision, &facts, &children, replicas),
        refusals: decision.held.clone(),
        name: owner.name,
        namespace: owner.namespace,
        fields,
        children,
    })
}

/// What an apply of the plan would write and delete, beside what the cache shows.
pub async fn compare_all(
    client: &Client,
    cache: &Cache,
    owner: &Owner,
    plan: &Plan,
) -> Result<Vec<Foreseen>, kube::Error> {
    // What stands in the way of a child bears no label of ours.
    for planned in &plan.objects {
        if cache.get(planned.kind, &owner.namespace, &planned.name).is_none() {
            let api = Api::namespaced_with(client.clone(), &owner.namespace, &resource(planned.kind));
            if let Some(object) = api.get_opt(&planned.name).await? {
                cache.see(Live::keep(planned.kind, object));
            }
        }
    }
    Ok(changes(cache, owner, plan))
}

/// Who governs a namespace.
pub async fn governed(client: &Client, namespace: &str) -> Result<EnvironmentFact, kube::Error> {
    let found = Api::<Namespace>::all(client.clone()).get_opt(namespace).await?;
    let label = found.and_then(|namespace| namespace.labels().get(names::ENVIRONMENT).cloned());
    let Some(name) = label else { return Ok(EnvironmentFact::Unlabelled) };
    let environment = Api::<VisiobookEnvironment>::all(client.clone()).get_opt(&name).await?;
    Ok(match environment {
        Some(environment) => EnvironmentFact::Governed { name, spec: Box::new(environment.spec) },
        None => EnvironmentFact::Missing { name },
    })
}

/// Everything that bears the labels of a service's children, and the kinds that the cluster does not offer.
async fn children(client: &Client, owner: &Owner) -> Result<(Cache, MissingKinds), kube::Error> {
    let (cache, mut missing) = (Cache::default(), MissingKinds::new());
    let ours = format!("{}={},{}={}", names::NAME, owner.name, names::MANAGED_BY, names::MANAGED_BY_VALUE);
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Secret) {
        let api = Api::namespaced_with(client.clone(), &owner.namespace, &resource(kind));
        match api.list(&ListParams::default().labels(&ours)).await {
            Ok(found) => {
                for object in found {
                    cache.see(Live::keep(kind, object));
                }
            }
            Err(kube::Error::Api(status)) if status.code == 404 && kind.is_optional() => {
                missing.insert(kind, Missing::NotInstalled);
            }
            Err(error) => return Err(error),
        }
    }
    Ok((cache, missing))
}

/// A key of a Secret, and whether that is sealed. Who may not read Secrets is not told that one is missing.
async fn secret(
    client: &Client,
    namespace: &str,
    (name, key): &SecretKey,
) -> Result<(SecretFact, bool), kube::Error> {
    let present = |length| SecretFact::Present { digest: String::new(), length };
    match Api::<Secret>::namespaced(client.clone(), namespace).get_opt(name).await {
        Ok(None) => Ok((SecretFact::SecretMissing, false)),
        Ok(Some(secret)) => {
            let sealed = is_sealed(&secret.metadata);
            let fact = match secret.data.unwrap_or_default().get(key) {
                Some(value) => present(String::from_utf8_lossy(&value.0).chars().count()),
                None => SecretFact::KeyMissing,
            };
            Ok((fact, sealed))
        }
        Err(kube::Error::Api(status)) if status.is_forbidden() => {
            Ok((present(contract::ENCRYPTION_KEY_LENGTH), true))
        }
        Err(error) => Err(error),
    }
}

/// What an apply of the plan would write and delete.
fn changes(cache: &Cache, owner: &Owner, plan: &Plan) -> Vec<Foreseen> {
    let mut foreseen = Vec::new();
    for group in plan.objects.chunk_by(|a, b| a.kind == b.kind && a.name == b.name) {
        foreseen.extend(change(cache, owner, group));
    }
    for live in cache.owned_by(owner) {
        let planned =
            plan.objects.iter().any(|planned| planned.kind == live.kind && planned.name == live.name);
        let kept =
            plan.keep_kinds.contains(&live.kind) || plan.keep.contains(&(live.kind, live.name.clone()));
        if !planned && !kept && !live.terminating {
            let (kind, name) = (live.kind.as_str(), live.name.clone());
            foreseen.push(Foreseen { kind, name, fate: Fate::Delete, fields: Vec::new() });
        }
    }
    foreseen
}

/// What would become of one child, whose parts are applied each under its own manager.
fn change(cache: &Cache, owner: &Owner, group: &[Planned]) -> Option<Foreseen> {
    let first = group.first()?;
    let tell =
        |fate, fields| Some(Foreseen { kind: first.kind.as_str(), name: first.name.clone(), fate, fields });
    let Some(live) = cache.get(first.kind, &owner.namespace, &first.name) else {
        return tell(Fate::Create, Vec::new());
    };
    let ours = live.belongs_to(owner) && !owner.uid.is_empty();
    if ours && first.kind == Kind::Job {
        // It is made once, and left as it is.
        return None;
    }
    if !ours && !live.may_be_adopted() {
        return tell(Fate::Taken, vec![format!("it belongs to {}", live.owner_name())]);
    }
    let mut changes: Vec<Change> = Vec::new();
    for planned in group {
        let object = contents::comparable(&live, planned);
        let Difference::Differs(more) = compare(&planned.object, &object, planned.manager) else { continue };
        // Its first manager owns all that it was made with, which does no harm.
        let idle =
            planned.manager != names::MANAGER && more.iter().all(|change| change.kind == ChangeKind::Orphan);
        changes.extend(more.into_iter().filter(|_| !idle));
    }
    if changes.is_empty() {
        return None;
    }
    let fate = if ours { Fate::Change } else { Fate::Adopt };
    tell(fate, changes.iter().map(ToString::to_string).collect())
}

/// Would pods be replaced? `children` is what an apply would change.
pub fn restart(decision: &Decision, facts: &Facts, children: &[Foreseen], replicas: i32) -> Restart {
    // What waits for its migration comes all the same.
    let wanted = decision.jobs.waiting.as_ref().or(decision.revision.as_ref());
    let Some(running) = facts.deployments.get(&decision.colour) else {
        let because = match wanted {
            Some(_) => format!("nothing runs yet; pods that start: {replicas}"),
            None => "nothing runs, and nothing starts while the resource is refused".to_string(),
        };
        return Restart { restarts: false, pods: 0, because };
    };
    let no = |because: String| Restart { restarts: false, pods: 0, because };
    let Some(wanted) = wanted else { return no(decision.message.clone()) };
    let yes = |because| Restart { restarts: running.replicas > 0, pods: running.replicas, because };
    let other = decision.other.as_ref().and_then(|other| other.revision.as_ref());
    if let Some(new) = other.filter(|new| {
        facts.deployments.get(&decision.colour.other()).is_none_or(|there| there.revision != new.hash)
    }) {
        let before = serde_json::to_value(&wanted.shape).unwrap_or_default();
        let after = serde_json::to_value(&new.shape).unwrap_or_default();
        let fields = parted(&before, &after, "").join(", ");
        return no(format!(
            "revision {} starts beside {}; pods that start: {replicas}: {fields}",
            new.hash, wanted.hash
        ));
    }
    if wanted.hash != running.revision {
        let before = facts.revisions.iter().find(|revision| revision.hash == running.revision);
        let before = before.and_then(|revision| revision.data.get("shape")).cloned().unwrap_or_default();
        let after = serde_json::to_value(&wanted.shape).unwrap_or_default();
        let fields = parted(&before, &after, "");
        return yes(format!("revision {} replaces {}: {}", wanted.hash, running.revision, fields.join(", ")));
    }
    let template: Vec<&str> = children
        .iter()
        .filter(|child| child.kind == Kind::Deployment.as_str())
        .flat_map(|child| &child.fields)
        .filter(|field| field.starts_with("spec.template"))
        .map(String::as_str)
        .collect();
    if !template.is_empty() {
        return yes(format!("somebody changed their template, which is put back: {}", template.join(", ")));
    }
    if !decision.held.is_empty() {
        return no(decision.message.clone());
    }
    no(format!("nothing that shapes a pod changes; revision {} stays", wanted.hash))
}

/// Every field in which two values differ, with both.
pub fn parted(before: &Value, after: &Value, path: &str) -> Vec<String> {
    if before == after {
        return Vec::new();
    }
    let empty = serde_json::Map::new();
    let (old, new) = match (before, after) {
        (Value::Object(old), Value::Object(new)) => (old, new),
        (Value::Null, Value::Object(new)) if !new.is_empty() => (&empty, new),
        (Value::Object(old), Value::Null) if !old.is_empty() => (old, &empty),
        _ => {
            let show = |value: &Value| match value {
                Value::Null => "(none)".to_string(),
                value => value.to_string(),
            };
            return vec![format!("{path}: {} -> {}", show(before), show(after))];
        }
    };
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let at = |name: &str| if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
    let part =
        |side: &serde_json::Map<String, Value>, name: &String| side.get(name).cloned().unwrap_or_default();
    names.into_iter().flat_map(|name| parted(&part(old, name), &part(new, name), &at(name))).collect()
}
