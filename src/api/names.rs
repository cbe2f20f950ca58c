//! Names of children, labels and annotations: the words that the cluster remembers us by.

use super::jobs::Phase;

/// Longest name of a VisiobookService: every child adds at most 23 characters and must stay within 63.
pub const MAX_NAME: usize = 40;
/// Endings a service may not have, because its own children end in them.
pub const RESERVED_ENDINGS: [&str; 3] = ["-blue", "-green", "-preview"];

/// What the name of the ConfigMap with a service's dashboard ends in.
pub const DASHBOARD: &str = "-dashboard";

/// Field manager of everything but the selector of Services.
pub const MANAGER: &str = "visiobook-operator";
/// Field manager of the selector of Services, which the general apply never lists.
pub const SWITCH_MANAGER: &str = "visiobook-operator/switch";
/// Field manager of `status`.
pub const STATUS_MANAGER: &str = "visiobook-operator/status";

/// Label by which the operator finds its children again.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY`].
pub const MANAGED_BY_VALUE: &str = "visiobook-operator";
/// Label of the service a child belongs to (A31).
pub const NAME: &str = "app.kubernetes.io/name";
/// Label of the service a pod belongs to, as the seeds' pipelines ask for it (A31).
pub const APP: &str = "app";
/// Label that traffic is switched by (A31, C16).
pub const VERSION: &str = "version";
/// Label of a namespace: the environment that governs it.
pub const ENVIRONMENT: &str = "platform.visiobook.com/environment";
/// Label of a pod, a Deployment and a ControllerRevision: the revision it was rendered from.
pub const REVISION: &str = "platform.visiobook.com/revision";
/// Prefix of labels of a pod: the services of its namespace that it calls, which their policies select it by.
pub const DEPENDS_ON: &str = "depends-on.platform.visiobook.com";
/// Annotation of a ControllerRevision: what of the accepted spec shapes no pod.
pub const SERVING: &str = "platform.visiobook.com/serving";
/// Annotation of an object made by somebody else that a service may take over.
pub const ADOPT: &str = "platform.visiobook.com/adopt";
/// As whose what an environment puts into its namespaces is known, in the label [`NAME`]: no service can be called so.
pub const GOVERNOR: &str = "visiobook.environment";
/// ClusterRoles that groups of an environment are bound to: who view, who edit, who approve.
pub const ROLES: [&str; 3] = ["visiobook-viewer", "visiobook-editor", "visiobook-approver"];
/// Annotation of a service: the attempt that somebody approves.
pub const APPROVE: &str = "platform.visiobook.com/approve";
/// Annotation of a service: who set [`APPROVE`].
pub const APPROVED_BY: &str = "platform.visiobook.com/approved-by";
/// Annotation of a service: the attempt that somebody lets go on in a freeze.
pub const BREAK_GLASS: &str = "platform.visiobook.com/break-glass";
/// Begins the annotations of a service by which people attest something of a release, one for each item: the attempt, who
/// says so, and the evidence, with a space between them.
pub const ATTEST: &str = "attest.platform.visiobook.com/";
/// Annotation of a service: who set [`BREAK_GLASS`].
pub const BREAK_GLASS_BY: &str = "platform.visiobook.com/break-glass-by";
/// Annotation of a service: why [`BREAK_GLASS`] was set.
pub const BREAK_GLASS_REASON: &str = "platform.visiobook.com/break-glass-reason";
/// Annotation of a service: the attempt that somebody stops.
pub const ABORT: &str = "platform.visiobook.com/abort";
/// Annotation of a service: the attempt that failed and that somebody wants tried again.
pub const RETRY: &str = "platform.visiobook.com/retry";
/// Annotation of a service: the attempt that serves and that somebody takes back.
pub const UNDO: &str = "platform.visiobook.com/undo";
/// Annotation of a service: evidence that another environment has verified its image.
pub const EVIDENCE: &str = "platform.visiobook.com/evidence";
/// Annotation of an environment: services that failed, as its status names them, in spite of which the others go on.
pub const CONTINUE_WAVE: &str = "platform.visiobook.com/continue-wave";
/// Annotation of a ControllerRevision: the wave of the environment that it came with, and whether that is over.
pub const WAVE: &str = "platform.visiobook.com/wave";
/// Annotation of a ControllerRevision: digest of what the service itself says, without its environment.
pub const OWN: &str = "platform.visiobook.com/own";
/// Annotation of a Service, under the manager of its selector: where the releases of the service stand.
pub const RELEASE: &str = "platform.visiobook.com/release";
/// Label of a preview Service, which what selects the services of a team leaves out by it.
pub const PREVIEW: &str = "platform.visiobook.com/preview";
/// Annotation of a Deployment: the attempt that it was made for.
pub const ATTEMPT: &str = "platform.visiobook.com/attempt";
/// Annotation of a ControllerRevision: what became of its migration.
pub const MIGRATION: &str = "platform.visiobook.com/migration";
/// Label of a pod of a Job: the service that it is run for, whose policy lets it in by this.
pub const JOB_OF: &str = "platform.visiobook.com/job-of";
/// Annotation of a CRD of ours that may be deleted, with all that it holds.
pub const ALLOW_DELETION: &str = "platform.visiobook.com/allow-deletion";
/// Annotation of a Deployment: keyed digest of the secrets its pods use.
pub const SECRETS_DIGEST: &str = "platform.visiobook.com/secrets-digest";
/// Annotation of a pod: changed at a rotation of its secrets, which replaces the pod.
pub const SECRETS_ROTATION: &str = "platform.visiobook.com/secrets-rotation";
/// Annotation of a pod and its Deployment: when that was. A status may be late or lost; this is one write with the mark.
pub const SECRETS_ROTATED: &str = "platform.visiobook.com/secrets-rotated";

/// Readiness gate of a pod, and the condition by which the operator opens it.
pub const CONTRACT: &str = "platform.visiobook.com/contract";
/// Label of a pod with that gate, by which such pods are watched.
pub const GATE: &str = "platform.visiobook.com/gate";
/// Field manager of that condition.
pub const GATE_MANAGER: &str = "visiobook-operator/gate";
/// Annotation of a ControllerRevision: a pod of it has passed the gate.
pub const GATE_PASSED: &str = "platform.visiobook.com/gate-passed";

/// Annotation of a Secret of ours: what it holds, but for the values.
pub const CONTENT: &str = "platform.visiobook.com/content";

/// One of the two places a revision can run in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// `<name>-blue`, where every service starts.
    Blue,
    /// `<name>-green`.
    Green,
}

impl Colour {
    /// Both, in order.
    pub const ALL: [Colour; 2] = [Colour::Blue, Colour::Green];

    /// The colour that is not this one.
    pub fn other(self) -> Colour {
        match self {
            Colour::Blue => Colour::Green,
            Colour::Green => Colour::Blue,
        }
    }

    /// The word in names and in the `version` label.
    pub fn as_str(self) -> &'static str {
        match self {
            Colour::Blue => "blue",
            Colour::Green => "green",
        }
    }

    /// Read the word back.
    pub fn parse(word: &str) -> Option<Colour> {
        Colour::ALL.into_iter().find(|colour| colour.as_str() == word)
    }
}

/// Name of a colour's Deployment and PodDisruptionBudget.
pub fn coloured(service: &str, colour: Colour) -> String {
    format!("{service}-{}", colour.as_str())
}

/// Name of the Service of the colour that does not serve.
pub fn preview(service: &str) -> String {
    format!("{service}-preview")
}

/// Name of the ConfigMap that holds content of this digest.
pub fn config(service: &str, digest: &str) -> String {
    format!("{service}-config-{digest}")
}

/// Name of the Secret with a service's token.
pub fn service_token(service: &str) -> String {
    format!("{service}-service-token")
}

/// Name of the ConfigMap with the public keys that tokens of other services are verified with.
pub fn service_keys(service: &str) -> String {
    format!("{service}-service-keys")
}

/// Name of a copy of registry credentials, by the digest of the original's name.
pub fn pull_secret(service: &str, digest: &str) -> String {
    format!("{service}-pull-{digest}")
}

/// Name of the ExternalSecret of a service, and of the Secret that it fills.
pub fn external_secret(service: &str) -> String {
    format!("{service}-secrets")
}

/// Name of the NetworkPolicy of a service's Jobs. No service can be called so, for there is a dot in it.
pub fn jobs(service: &str) -> String {
    format!("{service}.jobs")
}

/// Name of the ControllerRevision that stores a revision.
pub fn revision(service: &str, revision: &str) -> String {
    format!("{service}-{revision}")
}

/// Longest name of a Job: its pods bear it as a label.
const LONGEST_JOB: usize = 63;

/// Name of a Job of a release, the same whoever makes it. What tells it apart stands at its end, so that only a long
/// name of a service is ever cut.
pub fn job(service: &str, phase: Phase, attempt: &str) -> String {
    let ending = format!("-{attempt}-{}", phase.as_str());
    let most = LONGEST_JOB.saturating_sub(ending.len());
    let service = service.get(..most).unwrap_or(service);
    format!("{service}{ending}")
}

/// What a Job is for, from its name, which nobody can edit: phase, attempt and revision.
pub fn parse_job(name: &str) -> Option<(Phase, String, String)> {
    let (rest, word) = name.rsplit_once('-')?;
    let phase = Phase::ALL.into_iter().find(|phase| phase.as_str() == word)?;
    let (rest, number) = rest.rsplit_once('-')?;
    let number: i64 = number.parse().ok()?;
    let revision = rest.rsplit_once('-')?.1;
    Some((phase, format!("{revision}-{number}"), revision.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_named_after_what_it_is_for_and_read_back_from_it() {
        let long = "a".repeat(MAX_NAME);
        for (service, attempt) in [("users", "3f9c2a7be1-7"), (&long, "3f9c2a7be1-123456")] {
            for phase in Phase::ALL {
                let name = job(service, phase, attempt);
                assert!(name.len() <= LONGEST_JOB, "{name}");
                assert_eq!(parse_job(&name), Some((phase, attempt.into(), "3f9c2a7be1".into())));
            }
        }
        assert_eq!(job("users", Phase::Migration, "3f9c2a7be1-7"), "users-3f9c2a7be1-7-migrate");
        for other in ["users", "users-migrate", "users-3f9c2a7be1-x-live", "users-3f9c2a7be1-7-other"] {
            assert_eq!(parse_job(other), None, "{other}");
        }
    }
}
