//! Which pods are ready behind a service: read from the API server at the moment at which traffic may move, for a watch
//! may lag by seconds.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::api::{Api, ListParams, PartialObjectMeta};

use super::{Error, Writer};
use crate::api::names::{self, Colour};
use crate::facts::EndpointFact;
use crate::plan::Owner;

/// Label of an EndpointSlice that names its Service.
const SERVICE: &str = "kubernetes.io/service-name";

/// The pods that are ready and not on their way out, behind either Service of a service. A pod's labels say which
/// revision it is of: the Deployment's say only what it is to become.
pub async fn endpoints(writer: &Writer, owner: &Owner) -> Result<Vec<EndpointFact>, Error> {
    let preview = names::preview(&owner.name);
    let client = writer.claimed()?;
    let refused = |what: &str| {
        let what = format!("list the {what} of {}", owner.name);
        move |source| Error::Refused { what, source: Box::new(source) }
    };
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), &owner.namespace);
    let behind = ListParams::default().labels(&format!("{SERVICE} in ({},{preview})", owner.name));
    let slices = slices.list(&behind).await.map_err(refused("endpoints"))?;
    // After the endpoints, so that each of them has its pod here unless it is gone since.
    let pods: Api<PartialObjectMeta<Pod>> = Api::namespaced(client, &owner.namespace);
    let ours = ListParams::default().labels(&format!("{}={}", names::NAME, owner.name));
    let pods = pods.list_metadata(&ours).await.map_err(refused("pods"))?;
    let of_pod: HashMap<String, (Colour, String)> = pods
        .items
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .filter_map(|pod| {
            let colour = Colour::parse(pod.labels().get(names::VERSION)?)?;
            Some((pod.uid()?, (colour, pod.labels().get(names::REVISION)?.clone())))
        })
        .collect();
    let mut found = Vec::new();
    for slice in &slices.items {
        let preview = slice.labels().get(SERVICE) == Some(&preview);
        for endpoint in slice.endpoints.iter().flatten() {
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            // Unknown counts as ready, as it does for whoever routes by it.
            let serves = conditions.ready.unwrap_or(true) && !conditions.terminating.unwrap_or(false);
            let uid = endpoint.target_ref.as_ref().and_then(|target| target.uid.clone());
            if let Some(uid) = uid.filter(|_| serves)
                && let Some((colour, revision)) = of_pod.get(&uid).cloned()
            {
                found.push(EndpointFact { uid, colour, revision, preview });
            }
        }
    }
    Ok(found)
}
