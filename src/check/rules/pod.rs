//! Probes and the pass-through of the pod.

use std::collections::BTreeSet;

use super::{Broken, Subject};
use crate::api::{ProbeSpec, names};
use crate::contract;

pub(super) fn probes(it: &Subject<'_>, broken: &mut Broken) {
    let Some(probes) = &it.spec.probes else { return };
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
    let Some(pod) = &it.spec.pod else { return };
    for label in pod.labels.keys() {
        if [names::APP, names::NAME, names::VERSION, names::MANAGED_BY, names::REVISION]
            .contains(&label.as_str())
        {
            broken.tell(
                "label-reserved",
                format!("spec.pod.labels.{label}"),
                "the operator sets this label: choose another",
            );
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
