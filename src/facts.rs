//! Everything one pass saw, as plain data. Nothing after `observe` reads the cluster again.

mod container;
mod content;
mod gate;
mod job;
mod wave;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::api::kinds::Kind;
use crate::api::names::Colour;
use crate::api::{Attestation, BreakGlass, PastJob, RolloutStatus, VisiobookEnvironmentSpec};

pub use container::ContainerFact;
pub use content::{Content, Signing, SigningKey, TokenContent};
pub use gate::{GatedPod, ServiceName, Standing, Word};
pub use job::{JobEnd, JobFact, SPARE_SECONDS, Spot, ending, trouble};
pub use wave::{Admission, Marks, Rendering, WaveMark};

/// What one pass saw of a service's surroundings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Who governs the namespace.
    pub environment: EnvironmentFact,
    /// Every key of a Secret that the resource or its active revision uses.
    pub secrets: BTreeMap<SecretKey, SecretFact>,
    /// Secrets that a SealedSecret of the same name made.
    pub sealed_secrets: BTreeSet<String>,
    /// Deployments that exist, by colour.
    pub deployments: BTreeMap<Colour, DeploymentFact>,
    /// Colour that serves, as the status records it; `None` before the first, or when the status is lost.
    pub recorded: Option<Colour>,
    /// Colour that the Service selects; `None` while there is no Service.
    pub selected: Option<Colour>,
    /// Where the releases stand, as the Service says; `None` where it says nothing, or somebody else has written it.
    pub release: Option<RolloutStatus>,
    /// The same, as the status says, which anybody may have written.
    pub status_release: Option<RolloutStatus>,
    /// What people have ordered of a release.
    pub orders: Orders,
    /// Pods that the resource asks for; `None` if it says nothing.
    pub wanted: Option<i32>,
    /// Pods that are ready behind the Services, where they were looked at.
    pub endpoints: Option<Vec<EndpointFact>>,
    /// Jobs of releases that exist.
    pub jobs: Vec<JobFact>,
    /// What became of the migrations of stored revisions, as these say.
    pub migrations: BTreeMap<String, PastJob>,
    /// Containers of pods that were looked at.
    pub looked: BTreeMap<Spot, Vec<ContainerFact>>,
    /// Stored revisions, newest last.
    pub revisions: Vec<RevisionFact>,
    /// Who set `spec.replicas` by applying or editing the resource itself; `None` if only the scale subresource did.
    pub replicas_applied_by: Option<String>,
    /// What hinders the autoscaler, in its own words.
    pub autoscaler_problem: Option<String>,
    /// Port of the pods that the Service sends requests to; `None` while there is no Service.
    pub service_target: Option<u16>,
    /// The operator's own image, which sidecars run where the environment names no other.
    pub sidecar_image: String,
    /// Namespace of the operator, which asks sidecars what they see.
    pub operator_namespace: String,
    /// Optional kinds that this cluster does not offer, and why. They are neither watched nor written.
    pub missing_kinds: MissingKinds,
    /// Domain of the cluster's own names, such as cluster.local.
    pub cluster_domain: String,
    /// Originals of the pull secrets that the environment has copied, by name.
    pub pull_secrets: BTreeMap<String, SecretFact>,
    /// What Secrets of ours hold, by name.
    pub contents: BTreeMap<String, Content>,
    /// What signs tokens of services; `None` where nobody does: then tokens stay as they are.
    pub signing: Option<Signing>,
    /// Pods that carry the readiness gate, and are to stay.
    pub gated_pods: Vec<GatedPod>,
    /// How the services are that it depends on, where anything waits for them.
    pub dependencies: BTreeMap<ServiceName, Standing>,
    /// Services that wait for each other, from this one back to itself; empty where none do.
    pub cycle: Vec<ServiceName>,
    /// Digest of what the service itself asks for, while a release is under way that has not moved traffic.
    pub own: Option<String>,
    /// Since when this operator leads, in Unix seconds: nobody noted what came back before.
    pub leading_since: i64,
    /// Where stored revisions come from, by hash.
    pub marks: BTreeMap<String, Marks>,
    /// Whether what the environment changes may begin now; `None` where nobody has asked.
    pub admission: Option<Admission>,
    /// How this operator would render what is asked for; `None` where the environment lets that restart nothing.
    pub rendering: Option<Rendering>,
    /// Revisions of which a pod has passed the gate.
    pub passed: BTreeSet<String>,
    /// When the pass looked, in Unix seconds.
    pub now: i64,
}

/// Optional kinds that a cluster does not offer, and why.
pub type MissingKinds = BTreeMap<Kind, Missing>;

/// Why a kind is not offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It has no CustomResourceDefinition.
    NotInstalled,
    /// It has one, and cannot be listed all the same, for this reason.
    NotServed(String),
}

/// The operator, as far as what it plans names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Installation {
    /// Its image, which sidecars run where the environment names no other.
    pub image: String,
    /// Its namespace.
    pub namespace: String,
    /// Domain of the cluster's own names, such as cluster.local.
    pub cluster_domain: String,
}

/// Who governs a namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum EnvironmentFact {
    /// No label: the built-in development rules.
    #[default]
    Unlabelled,
    /// The label names this environment.
    Governed {
        /// Its name.
        name: String,
        /// Its rules.
        spec: Box<VisiobookEnvironmentSpec>,
    },
    /// The label names an environment that does not exist.
    Missing {
        /// What the label says.
        name: String,
    },
}

/// Name of a Secret and a key in it.
pub type SecretKey = (String, String);

/// A key of a Secret, as far as it may be known.
#[derive(Clone, Debug, PartialEq)]
pub enum SecretFact {
    /// The Secret does not exist.
    SecretMissing,
    /// The Secret has no such key.
    KeyMissing,
    /// It is there.
    Present {
        /// Keyed digest of the value: tells a rotation, reveals nothing.
        digest: String,
        /// Characters of the value.
        length: usize,
    },
}

/// A Deployment of ours.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeploymentFact {
    /// Revision its template was rendered from.
    pub revision: String,
    /// Pods it wants.
    pub replicas: i32,
    /// Pods that exist.
    pub status_replicas: i32,
    /// Pods of the current template.
    pub updated: i32,
    /// Pods that are ready.
    pub ready: i32,
    /// Pods that have been ready long enough.
    pub available: i32,
    /// Whether its status speaks of its current spec.
    pub observed: bool,
    /// What hinders it, in Kubernetes' words.
    pub problem: Option<String>,
    /// Whether Kubernetes has given up on progress.
    pub deadline_exceeded: bool,
    /// Digest of the secrets its pods were started with.
    pub secrets_digest: Option<String>,
    /// What its pods carry since the last rotation.
    pub secrets_rotation: Option<String>,
    /// When that was, in Unix seconds.
    pub secrets_rotated: Option<i64>,
    /// Release that it was last made or changed for.
    pub attempt: Option<String>,
}

/// What people have ordered of a release, each by the name of an attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    /// It may go on.
    pub approve: Option<String>,
    /// Who says so.
    pub approved_by: Option<String>,
    /// It may go on in a freeze.
    pub break_glass: Option<String>,
    /// Who says so.
    pub break_glass_by: Option<String>,
    /// Why.
    pub break_glass_reason: Option<String>,
    /// What people attest, each with the attempt that is meant.
    pub attested: Vec<(String, Attestation)>,
    /// It is to stop.
    pub abort: Option<String>,
    /// It failed, and is to be tried again.
    pub retry: Option<String>,
    /// It serves, and is to be taken back.
    pub undo: Option<String>,
}

impl Orders {
    /// The attempts that are named, whatever is ordered of them.
    pub fn attempts(&self) -> impl Iterator<Item = &str> {
        let one = [&self.approve, &self.break_glass, &self.abort, &self.retry, &self.undo];
        let attested = self.attested.iter().map(|(attempt, _)| attempt.as_str());
        one.into_iter().flatten().map(String::as_str).chain(attested)
    }

    /// What is attested of an attempt, in the order of items.
    pub fn attests(&self, attempt: &str) -> impl Iterator<Item = &Attestation> {
        self.attested.iter().filter(move |(named, _)| named == attempt).map(|(_, attestation)| attestation)
    }

    /// Who lets an attempt go on in a freeze, and why; nobody without a name and a reason.
    pub fn breaks_glass(&self, attempt: &str) -> Option<BreakGlass> {
        let named = self.break_glass.as_deref() == Some(attempt);
        let (by, reason) = (self.break_glass_by.as_ref()?, self.break_glass_reason.as_ref()?);
        named.then(|| BreakGlass { by: by.clone(), reason: reason.chars().take(300).collect() })
    }
}

/// A pod that is ready behind a Service, and is not on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointFact {
    /// Uid of the pod: it may be listed more than once.
    pub uid: String,
    /// Its colour, by its own label.
    pub colour: Colour,
    /// Its revision, by its own label: a colour that is used again still has older pods.
    pub revision: String,
    /// Whether the preview Service leads to it.
    pub preview: bool,
}

impl DeploymentFact {
    /// Whether its pods are those it wants, all of the current template and available.
    pub fn is_settled(&self) -> bool {
        self.observed
            && self.updated >= self.replicas
            && self.status_replicas == self.replicas
            && self.available >= self.replicas
    }
}

/// A ControllerRevision of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct RevisionFact {
    /// Ten characters of the hash.
    pub hash: String,
    /// Counts up with each new revision.
    pub number: i64,
    /// What was stored: shape, template, config.
    pub data: Value,
    /// The annotation that holds what shapes no pod.
    pub serving: Option<String>,
}

/// A ResourceQuota of the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaFact {
    /// Its name.
    pub name: String,
    /// What it allows of each resource, and what is taken.
    pub resources: BTreeMap<String, (String, String)>,
}

/// What a pass wrote.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Applied {
    /// Objects that did not exist.
    pub created: Vec<(Kind, String)>,
    /// Objects that were changed because the plan had.
    pub updated: Vec<(Kind, String)>,
    /// Objects that were no longer planned.
    pub pruned: Vec<(Kind, String)>,
    /// Fields that somebody else had changed, and that were put back.
    pub drift: Vec<Drift>,
}

/// A field that somebody else had changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Drift {
    /// Kind of the object.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// The field.
    pub path: String,
    /// Who changed it, as far as the API server remembers.
    pub manager: Option<String>,
}

/// Why a pass could not write what it had planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// A word for conditions and metrics.
    pub reason: &'static str,
    /// What happened, for people.
    pub message: String,
    /// Whether it helps to try again without anybody doing anything.
    pub transient: bool,
}
