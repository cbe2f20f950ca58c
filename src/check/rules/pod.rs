//! Probes and the pass-through of the pod.

use std::collections::BTreeSet;

use super::{Broken, Subject};
use crate::api::{DomainService, GROUP, ProbeSpec, SidecarMode, names};
use crate::contract::{self, service_token};

/// Volumes of the operator's own.
const RESERVED_VOLUMES: [&str; 8] = [
    "tmp",
    "var-cache",
    "config",
    "service-token",
    "sidecar-jwt",
    "sidecar-csrf",
    "sidecar-services",
    "sidecar-trust",
];

pub(super) fn probes(it: &Subject<'_>, broken: &mut Broken) {
    let Some(probes) = &it.spec.probes else { return };
    if probes.deep.is_some() && it.mode() == SidecarMode::Off {
        let message = "asks the sidecar, and spec.sidecar.mode Off leaves it out: take one of them out";
        broken.tell("probe-deep", "spec.probes.deep", message);
    }
    for (name, probe) in [("liveness", &probes.liveness), ("startup", &probes.startup)] {
        if probe.as_ref().and_then(|probe| probe.success_threshold).is_some_and(|threshold| threshold != 1) {
            broken.tell(
                "probe-threshold",
                format!("spec.probes.{name}.successThreshold"),
                "must be 1 for this probe",
            );
        }
    }
    let asks = |probe: &ProbeSpec| {
        probe.http_get.is_some() || probe.tcp_socket.is_some() || probe.exec.is_some() || probe.grpc.is_some()
    };
    if probes.startup.as_ref().is_some_and(|probe| probe.enabled != Some(false) && !asks(probe)) {
        broken.tell(
            "probe-action",
            "spec.probes.startup",
            "say what to ask: httpGet, tcpSocket, exec or grpc",
        );
    }
}

pub(super) fn pod(it: &Subject<'_>, broken: &mut Broken) {
    let mut mounted = BTreeSet::from(["/tmp", "/var/cache"]);
    if let Some(files) = &it.spec.config_files
        && !mounted.insert(files.mount_path.as_deref().unwrap_or(contract::CONFIG_PATH))
    {
        let message = "the operator mounts room to write there: choose another path";
        broken.tell("mount-once", "spec.configFiles.mountPath", message);
    }
    if it.spec.domain_service.and_then(DomainService::definition).is_some_and(|own| own.verifies_services)
        && !mounted.insert(service_token::KEYS_FOLDER)
    {
        let message = "the operator mounts the keys of services' tokens there: choose another path";
        broken.tell("mount-once", "spec.configFiles.mountPath", message);
    }
    let Some(pod) = &it.spec.pod else { return };
    for label in pod.labels.keys() {
        // By labels with a prefix of ours, policies let pods in: those of Jobs, and callers.
        if [names::APP, names::NAME, names::VERSION, names::MANAGED_BY].contains(&label.as_str())
            || label.split_once('/').is_some_and(|(prefix, _)| [GROUP, names::DEPENDS_ON].contains(&prefix))
        {
            broken.tell(
                "label-reserved",
                format!("spec.pod.labels.{label}"),
                "labels like this one are the operator's: choose another",
            );
        }
    }
    for volume in pod.volumes.iter().filter(|volume| RESERVED_VOLUMES.contains(&volume.name.as_str())) {
        broken.tell(
            "volume-reserved",
            format!("spec.pod.volumes[name={}]", volume.name),
            "the operator has a volume of this name: choose another",
        );
    }
    if let Some(hook) = &pod.pre_stop {
        let set =
            [hook.exec.is_some(), hook.http_get.is_some(), hook.sleep.is_some(), hook.tcp_socket.is_some()];
        if set.iter().filter(|set| **set).count() != 1 || hook.tcp_socket.is_some() {
            broken.tell(
                "pre-stop-action",
                "spec.pod.preStop",
                "say what to do, and one thing only: exec, httpGet or sleep",
            );
        }
        let grace = pod.termination_grace_period_seconds.unwrap_or(contract::GRACE_SECONDS);
        if hook.sleep.as_ref().is_some_and(|sleep| sleep.seconds < 1 || sleep.seconds > grace) {
            let message = format!(
                "sleeps for 1 to {grace} s, the grace period: choose another time, or raise spec.pod.terminationGracePeriodSeconds"
            );
            broken.tell("pre-stop-sleep", "spec.pod.preStop.sleep.seconds", message);
        }
    }
    let volumes: BTreeSet<&str> = pod.volumes.iter().map(|volume| volume.name.as_str()).collect();
    for mount in &pod.volume_mounts {
        let field = format!("spec.pod.volumeMounts[mountPath={}]", mount.mount_path);
        if !mounted.insert(&mount.mount_path) {
            broken.tell("mount-once", &field, "something is mounted there already: choose another path");
        }
        if !volumes.contains(mount.name.as_str()) {
            broken.tell(
                "volume-exists",
                field,
                format!("spec.pod.volumes has no volume \"{}\": add it", mount.name),
            );
        }
    }
}
