//! Reading: everything a pass needs to know, once. Caches answer; only a Secret that is new or has changed is asked
//! of the API server.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use super::{Cache, Error, Live, Secrets, content};
use crate::api::kinds::Kind;
use crate::api::names::{self, Colour};
use crate::api::{Attestation, PastJob, RolloutStatus, VisiobookService};
use crate::check;
use crate::facts::{
    Content, DeploymentFact, EnvironmentFact, Facts, GatedPod, Installation, JobEnd, JobFact, Marks,
    MissingKinds, Orders, RevisionFact, SPARE_SECONDS, SecretKey, Signing,
};
use crate::plan::{Owner, Plan};

/// What the conductor knows of a service's surroundings.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Who governs its namespace.
    pub environment: EnvironmentFact,
    /// Who set `spec.replicas` other than by the scale subresource.
    pub replicas_applied_by: Option<String>,
    /// The operator itself.
    pub operator: Installation,
    /// Optional kinds that this cluster does not offer.
    pub missing_kinds: MissingKinds,
    /// What signs tokens of services.
    pub signing: Option<Signing>,
    /// Its pods that carry the readiness gate.
    pub gated_pods: Vec<GatedPod>,
    /// Since when this operator leads, in Unix seconds.
    pub leading_since: i64,
    /// The time, in Unix seconds.
    pub now: i64,
}

/// See everything that one pass looks at.
pub async fn observe(
    cache: &Cache,
    secrets: &Secrets,
    owner: &Owner,
    service: &VisiobookService,
    surroundings: Surroundings,
) -> Result<Facts, Error> {
    let home = surroundings.operator.namespace.clone();
    let facts = see(cache, owner, service, surroundings);
    let found = secrets.look(&home, &originals(&facts)).await?;
    let references = references(service, &facts);
    Ok(Facts {
        secrets: secrets.look(&owner.namespace, &references).await?,
        sealed_secrets: secrets.sealed(&owner.namespace, &references),
        pull_secrets: found.into_iter().map(|((name, _), fact)| (name, fact)).collect(),
        ..facts
    })
}

/// What the cache tells: everything but the secrets.
pub(super) fn see(
    cache: &Cache,
    owner: &Owner,
    service: &VisiobookService,
    surroundings: Surroundings,
) -> Facts {
    let owned = cache.owned_by(owner);
    let deployments = deployments(cache, owner);
    let stored: Vec<Stored> = owned.iter().filter_map(|live| Stored::read(live, owner)).collect();
    let revisions: Vec<RevisionFact> = stored.iter().map(Stored::revision).collect();
    let traffic = cache
        .get(Kind::Service, &owner.namespace, &owner.name)
        .filter(|live| live.belongs_to(owner))
        .map(|live| live.json());
    let selected = traffic.as_ref().and_then(selects);
    let release = traffic.as_ref().and_then(release);
    let status_release = service.status.as_ref().and_then(|status| status.rollout.clone());
    let is_under_way =
        release.as_ref().or(status_release.as_ref()).is_some_and(|it| it.state.is_before_switch());
    let service_target = traffic.as_ref().and_then(target);
    let autoscaler_problem = cache
        .get(Kind::HorizontalPodAutoscaler, &owner.namespace, &owner.name)
        .filter(|live| live.belongs_to(owner))
        .and_then(|live| autoscaler_problem(&live.json()));
    let contents: BTreeMap<String, Content> = owned
        .iter()
        .filter(|live| live.kind == Kind::Secret)
        .filter_map(|live| Some((live.name.clone(), content(&live.json())?)))
        .collect();
    Facts {
        environment: surroundings.environment,
        secrets: BTreeMap::new(),
        sealed_secrets: BTreeSet::new(),
        deployments,
        recorded: service.status.as_ref().and_then(|status| status.active_colour),
        selected,
        release,
        status_release,
        orders: orders(service),
        wanted: service.spec.replicas,
        endpoints: None,
        jobs: owned.iter().filter(|live| live.kind == Kind::Job).filter_map(|live| job(live)).collect(),
        migrations: stored.iter().filter_map(Stored::migration).collect(),
        looked: BTreeMap::new(),
        revisions,
        replicas_applied_by: surroundings.replicas_applied_by,
        autoscaler_problem,
        service_target,
        sidecar_image: surroundings.operator.image,
        operator_namespace: surroundings.operator.namespace,
        cluster_domain: surroundings.operator.cluster_domain,
        missing_kinds: surroundings.missing_kinds,
        pull_secrets: BTreeMap::new(),
        contents,
        signing: surroundings.signing,
        gated_pods: surroundings.gated_pods,
        dependencies: BTreeMap::new(),
        cycle: Vec::new(),
        own: is_under_way.then(|| check::own(&owner.name, &service.spec)),
        leading_since: surroundings.leading_since,
        marks: stored.iter().map(Stored::marks).collect(),
        admission: None,
        rendering: None,
        passed: stored.iter().filter_map(Stored::passed).collect(),
        now: surroundings.now,
    }
}

/// Secrets that the resource asks for, and those that the revisions which run read: of a Deployment that goes over to
/// the next one, pods of the one before may still be made anew, and come to the gate.
pub(super) fn references(service: &VisiobookService, facts: &Facts) -> BTreeSet<SecretKey> {
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let asked = check::asked(name, &service.spec).into_iter().map(|key| (key.name, key.key));
    let runs = |hash: &String| {
        facts.deployments.values().any(|deployment| deployment.revision == *hash)
            || facts.gated_pods.iter().any(|pod| pod.revision == *hash && !pod.is_let_in())
    };
    let running = facts
        .revisions
        .iter()
        .filter(|revision| runs(&revision.hash))
        .filter_map(|revision| revision.data.pointer("/shape/secrets")?.as_object())
        .flat_map(|secrets| secrets.values())
        .filter_map(|key| Some((key["name"].as_str()?.to_string(), key["key"].as_str()?.to_string())));
    asked.chain(running).collect()
}

/// Originals of the pull secrets that the environment has copied, or had copied for what runs.
pub(super) fn originals(facts: &Facts) -> BTreeSet<SecretKey> {
    let named = match &facts.environment {
        EnvironmentFact::Governed { spec, .. } => spec.defaults.as_ref(),
        _ => None,
    };
    let named = named.into_iter().flat_map(|defaults| defaults.copied_pull_secrets.iter().cloned());
    let runs = |hash: &String| facts.deployments.values().any(|deployment| deployment.revision == *hash);
    let running = facts
        .revisions
        .iter()
        .filter(|revision| runs(&revision.hash))
        .filter_map(|revision| revision.data.pointer("/shape/copiedPullSecrets")?.as_array())
        .flatten()
        .filter_map(|name| name.as_str().map(str::to_string));
    named.chain(running).map(|name| (name, check::PULL_SECRET_KEY.to_string())).collect()
}

/// Colour that the Service selects, as it was seen or written last.
pub fn selected(cache: &Cache, owner: &Owner) -> Option<Colour> {
    let service = cache.get(Kind::Service, &owner.namespace, &owner.name)?;
    service.belongs_to(owner).then(|| selects(&service.json())).flatten()
}

fn selects(service: &Value) -> Option<Colour> {
    Colour::parse(text(service, "/spec/selector/version")?)
}

/// The Deployments of a service.
pub fn deployments(cache: &Cache, owner: &Owner) -> BTreeMap<Colour, DeploymentFact> {
    Colour::ALL
        .into_iter()
        .filter_map(|colour| {
            let live =
                cache.get(Kind::Deployment, &owner.namespace, &names::coloured(&owner.name, colour))?;
            live.belongs_to(owner).then(|| (colour, deployment(&live.json())))
        })
        .collect()
}

/// Whether the objects of a kind are as they are planned, each part of them.
pub fn is_written(cache: &Cache, owner: &Owner, plan: &Plan, kind: Kind) -> bool {
    plan.objects.iter().filter(|planned| planned.kind == kind).all(|planned| {
        cache.get(kind, &owner.namespace, &planned.name).is_some_and(|live| {
            let settled = cache.settled(&live, planned.manager);
            settled.is_some_and(|(version, digest)| {
                version == live.resource_version && *digest == *check::digest(&planned.object)
            })
        })
    })
}

/// Whether the pods of a plan are all there and ready.
pub(super) fn is_settled(cache: &Cache, owner: &Owner, plan: &Plan) -> bool {
    let planned = plan.objects.iter().find(|planned| planned.kind == Kind::Deployment);
    planned.is_some_and(|planned| {
        let live = cache.get(Kind::Deployment, &owner.namespace, &planned.name).map(|live| live.json());
        let revision = text(&planned.object, "/metadata/labels/platform.visiobook.com~1revision");
        live.map(|live| deployment(&live))
            .is_some_and(|live| live.is_settled() && Some(live.revision.as_str()) == revision)
    })
}

fn deployment(value: &Value) -> DeploymentFact {
    let count = |path: &str| value.pointer(path).and_then(Value::as_i64).unwrap_or(0) as i32;
    let annotation = |path: &str, name: &str| Some(value.pointer(path)?.get(name)?.as_str()?.to_string());
    let either = |name: &'static str| {
        let places = ["/metadata/annotations", "/spec/template/metadata/annotations"];
        places.into_iter().filter_map(move |path| annotation(path, name))
    };
    let conditions = value.pointer("/status/conditions").and_then(Value::as_array);
    let condition = |type_: &str, status: &str| {
        conditions
            .into_iter()
            .flatten()
            .find(|condition| condition["type"] == type_ && condition["status"] == status)
    };
    let stuck = condition("Progressing", "False");
    let problem = condition("ReplicaFailure", "True").or(stuck);
    DeploymentFact {
        revision: annotation("/metadata/labels", names::REVISION).unwrap_or_default(),
        replicas: count("/spec/replicas"),
        status_replicas: count("/status/replicas"),
        updated: count("/status/updatedReplicas"),
        ready: count("/status/readyReplicas"),
        available: count("/status/availableReplicas"),
        observed: count("/status/observedGeneration") >= count("/metadata/generation"),
        problem: problem.and_then(|condition| condition["message"].as_str()).map(str::to_string),
        deadline_exceeded: stuck.is_some_and(|condition| condition["reason"] == "ProgressDeadlineExceeded"),
        secrets_digest: annotation("/metadata/annotations", names::SECRETS_DIGEST),
        secrets_rotation: either(names::SECRETS_ROTATION).find(|mark| check::is_digest(mark)),
        secrets_rotated: either(names::SECRETS_ROTATED)
            .find_map(|at| Some(at.parse::<Timestamp>().ok()?.as_second())),
        attempt: annotation("/metadata/annotations", names::ATTEMPT),
    }
}

/// What the Service records of its releases, if it is as the operator wrote it: whoever changes a field takes it away
/// from its manager.
fn release(service: &Value) -> Option<RolloutStatus> {
    let record = service.pointer("/metadata/annotations")?.get(names::RELEASE)?.as_str()?;
    let entries = service.pointer("/metadata/managedFields")?.as_array()?;
    let ours = entries.iter().any(|entry| {
        let annotations = entry.pointer("/fieldsV1/f:metadata/f:annotations");
        entry["manager"] == names::SWITCH_MANAGER
            && entry["operation"] == "Apply"
            && annotations.is_some_and(|owned| owned.get(format!("f:{}", names::RELEASE)).is_some())
    });
    if ours { serde_json::from_str(record).ok() } else { None }
}

/// What people have ordered by annotations.
fn orders(service: &VisiobookService) -> Orders {
    let said = |name: &str| {
        let value = service.metadata.annotations.as_ref()?.get(name)?;
        (!value.is_empty()).then(|| value.clone())
    };
    Orders {
        approve: said(names::APPROVE),
        approved_by: said(names::APPROVED_BY),
        break_glass: said(names::BREAK_GLASS),
        break_glass_by: said(names::BREAK_GLASS_BY),
        break_glass_reason: said(names::BREAK_GLASS_REASON),
        attested: service
            .metadata
            .annotations
            .iter()
            .flatten()
            .filter_map(|(name, value)| attestation(name, value))
            .collect(),
        abort: said(names::ABORT),
        retry: said(names::RETRY),
        undo: said(names::UNDO),
    }
}

/// What an annotation attests, and of which attempt.
fn attestation(name: &str, value: &str) -> Option<(String, Attestation)> {
    let item = name.strip_prefix(names::ATTEST)?.to_string();
    let mut words = value.splitn(3, ' ');
    let (attempt, by, evidence) = (words.next()?, words.next()?, words.next()?.trim());
    let evidence: String = evidence.chars().take(256).collect();
    (!evidence.is_empty()).then(|| (attempt.to_string(), Attestation { item, by: by.to_string(), evidence }))
}

/// A ControllerRevision of the service, read once.
struct Stored {
    /// From the name, which nobody can edit.
    hash: String,
    object: Value,
}

impl Stored {
    fn read(live: &Live, owner: &Owner) -> Option<Stored> {
        if live.kind != Kind::ControllerRevision {
            return None;
        }
        let hash = live.name.strip_prefix(&owner.name)?.strip_prefix('-')?.to_string();
        Some(Stored { hash, object: live.json() })
    }

    fn said(&self, annotation: &str) -> Option<&str> {
        self.object.pointer("/metadata/annotations")?.get(annotation)?.as_str()
    }

    fn revision(&self) -> RevisionFact {
        RevisionFact {
            hash: self.hash.clone(),
            number: ["/data/number", "/revision"]
                .into_iter()
                .find_map(|path| self.object.pointer(path)?.as_i64())
                .unwrap_or_default(),
            data: self.object.get("data").cloned().unwrap_or_default(),
            serving: self.said(names::SERVING).map(str::to_string),
        }
    }

    /// Its hash, if a pod of it has passed the gate.
    fn passed(&self) -> Option<String> {
        self.said(names::GATE_PASSED).map(|_| self.hash.clone())
    }

    /// Where it comes from.
    fn marks(&self) -> (String, Marks) {
        let wave = self.said(names::WAVE).and_then(|wave| serde_json::from_str(wave).ok());
        (self.hash.clone(), Marks { own: self.said(names::OWN).map(str::to_string), wave })
    }

    /// What became of its migration, if it has one and that has ended.
    fn migration(&self) -> Option<(String, PastJob)> {
        Some((self.hash.clone(), serde_json::from_str(self.said(names::MIGRATION)?).ok()?))
    }
}

fn job(live: &Live) -> Option<JobFact> {
    let (phase, attempt, revision) = names::parse_job(&live.name)?;
    let object = live.json();
    let count = |path: &str| object.pointer(path).and_then(Value::as_i64).unwrap_or(0);
    let made = text(&object, "/metadata/creationTimestamp").and_then(|at| at.parse::<jiff::Timestamp>().ok());
    let made = made.map_or(0, |at| at.as_second());
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let end = conditions.into_iter().flatten().filter(|condition| condition["status"] == "True").find_map(
        |condition| {
            let succeeded = match condition["type"].as_str()? {
                "Complete" => true,
                "Failed" => false,
                _ => return None,
            };
            Some(JobEnd { succeeded, message: condition["message"].as_str().unwrap_or_default().to_string() })
        },
    );
    Some(JobFact {
        name: live.name.clone(),
        phase,
        attempt,
        revision,
        made,
        deadline: made + (count("/spec/activeDeadlineSeconds") - SPARE_SECONDS).max(1),
        ready: count("/status/ready") > 0,
        end,
    })
}

fn autoscaler_problem(value: &Value) -> Option<String> {
    let conditions = value.pointer("/status/conditions")?.as_array()?;
    let broken = conditions.iter().find(|condition| {
        condition["status"] == "False"
            && (condition["type"] == "ScalingActive" || condition["type"] == "AbleToScale")
    })?;
    // Scaled to zero by hand is a wish, and new pods have no metrics yet.
    let expected = ["ScalingDisabled", "FailedGetResourceMetric"];
    let reason = broken["reason"].as_str().unwrap_or_default();
    (!expected.contains(&reason)).then(|| broken["message"].as_str().unwrap_or_default().to_string())
}

/// Where the `http` port of a Service sends requests.
fn target(service: &Value) -> Option<u16> {
    let ports = service.pointer("/spec/ports")?.as_array()?;
    let http = ports.iter().find(|port| port["name"] == "http")?;
    u16::try_from(http["targetPort"].as_u64()?).ok()
}

fn text<'a>(value: &'a Value, path: &str) -> Option<&'a str> {
    value.pointer(path)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Word;

    #[test]
    fn a_pod_at_the_gate_has_the_secrets_of_its_own_revision_looked_up() {
        let revision = |hash: &str| RevisionFact {
            hash: hash.into(),
            number: 1,
            data: serde_json::json!({ "shape": { "secrets": { "TOKEN": { "name": hash, "key": "k" } } } }),
            serving: None,
        };
        let pod = |revision: &str, said: Option<bool>| GatedPod {
            revision: revision.into(),
            said: said.map(|open| Word { open, ..Word::default() }),
            ..GatedPod::default()
        };
        let deployment = DeploymentFact { revision: "next".into(), ..DeploymentFact::default() };
        let facts = Facts {
            deployments: [(Colour::Blue, deployment)].into(),
            revisions: ["next", "before", "waits", "open", "gone"].map(revision).to_vec(),
            gated_pods: vec![pod("before", None), pod("waits", Some(false)), pod("open", Some(true))],
            ..Facts::default()
        };
        let service = VisiobookService::new("app", crate::api::VisiobookServiceSpec::default());
        let found: Vec<String> = references(&service, &facts).into_iter().map(|(name, _)| name).collect();
        assert_eq!(found, ["before", "next", "waits"]);
    }
}
