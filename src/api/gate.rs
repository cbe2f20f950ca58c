//! Whether the operator keeps pods from requests until what they depend on is ready.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::VisiobookServiceSpec;

/// What pods wait for before they take requests, beyond their own probes.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gate {
    /// Whether pods wait until what spec.dependsOn names is ready. Default: Latched where spec.dependsOn or
    /// spec.domainService is set, else Off. Off to another mode, and back, replaces the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<GateMode>,
}

// The schema takes its words from here, not from the field.
/// Latched: once a pod of a revision has passed, its later pods do not wait for others, so that an outage of a
/// dependency takes no pod out. Continuous: pods are taken out where a dependency is not ready for 30 s, and let in
/// once all are for 10 s. Off: no pod waits. Default: Latched where spec.dependsOn or spec.domainService is set, else
/// Off. Off to another mode, and back, replaces the pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GateMode {
    /// Until a pod of the revision has passed.
    Latched,
    /// For ever.
    Continuous,
    /// Never.
    Off,
}

impl VisiobookServiceSpec {
    /// Whether pods wait at the gate, as far as somebody says otherwise than it is anyway: saying it is no change.
    pub fn said_gated(&self) -> Option<bool> {
        let mode = self.gate.as_ref()?.mode?;
        Some(mode != GateMode::Off).filter(|said| *said != self.is_gated_by_default())
    }

    fn is_gated_by_default(&self) -> bool {
        !self.depends_on.is_empty() || self.domain_service.is_some()
    }

    /// Whether pods wait at the gate.
    pub fn is_gated(&self) -> bool {
        self.said_gated().unwrap_or(self.is_gated_by_default())
    }
}
