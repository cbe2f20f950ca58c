//! Why pods do not become ready, or end: asked of the API server, now and then, where they do not do what they should.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::{Error, Writer};
use crate::api::names::{self, Colour};
use crate::facts::{ContainerFact, Spot};
use crate::plan::Owner;

/// Pods that are looked at: those of a service mostly fail alike.
const MOST: u32 = 10;

/// Label of the pods of a Job.
const JOB: &str = "batch.kubernetes.io/job-name";

/// The containers of pods that are not ready, of those that are to stay.
pub async fn containers(writer: &Writer, owner: &Owner, colour: Colour) -> Result<Vec<ContainerFact>, Error> {
    let labels = format!("{}={},{}={}", names::NAME, owner.name, names::VERSION, colour.as_str());
    list(writer, owner, &labels).await
}

/// The same, of each of these. What cannot be read is told of nothing: it would only have said why.
pub async fn look(
    writer: &Writer,
    owner: &Owner,
    spots: &BTreeSet<Spot>,
) -> BTreeMap<Spot, Vec<ContainerFact>> {
    let mut looked = BTreeMap::new();
    for spot in spots {
        let found = match spot {
            Spot::Colour(colour) => containers(writer, owner, *colour).await,
            Spot::Job(name) => list(writer, owner, &format!("{JOB}={name}")).await,
        };
        let found = found.unwrap_or_else(|error| {
            tracing::debug!(%error, name = owner.name, "pods cannot be looked at");
            Vec::new()
        });
        looked.insert(spot.clone(), found);
    }
    looked
}

async fn list(writer: &Writer, owner: &Owner, labels: &str) -> Result<Vec<ContainerFact>, Error> {
    let params = ListParams::default().labels(labels).limit(MOST);
    let pods: Api<Pod> = Api::namespaced(writer.claimed()?, &owner.namespace);
    let pods = pods.list(&params).await.map_err(|error| Error::Refused {
        what: format!("list the pods of {}", owner.name),
        source: Box::new(error),
    })?;
    let staying = pods.items.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    Ok(staying.flat_map(of_pod).collect())
}

fn of_pod(pod: &Pod) -> Vec<ContainerFact> {
    let Some(status) = &pod.status else { return Vec::new() };
    let homeless = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    if let Some(homeless) = homeless {
        return vec![ContainerFact {
            pod: pod.name_any(),
            waiting: homeless.reason.clone(),
            message: homeless.message.clone(),
            ..ContainerFact::default()
        }];
    }
    let statuses = [&status.init_container_statuses, &status.container_statuses];
    let statuses = statuses.into_iter().flatten().flatten();
    statuses.filter(|container| !container.ready).map(|container| of_container(pod, container)).collect()
}

fn of_container(pod: &Pod, status: &ContainerStatus) -> ContainerFact {
    let (state, last) = (status.state.as_ref(), status.last_state.as_ref());
    let waiting = state.and_then(|state| state.waiting.as_ref());
    let ended = [state, last].into_iter().flatten().find_map(|state| state.terminated.as_ref());
    ContainerFact {
        pod: pod.name_any(),
        name: status.name.clone(),
        waiting: waiting.and_then(|waiting| waiting.reason.clone()),
        message: waiting.and_then(|waiting| waiting.message.clone()),
        ended: ended.map(|ended| ended.exit_code),
        said: ended.and_then(|ended| ended.message.clone()).filter(|said| !said.trim().is_empty()),
    }
}
