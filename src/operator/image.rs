//! The image that sidecars run: the operator's own, as its pod names it. A variable beside the image would be
//! forgotten by whoever changes the image.

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};

use super::leader;

/// Name of the operator's container, as config/manager has it.
const CONTAINER: &str = "operator";
/// Outside of a cluster there is no pod: the image of this release.
pub const OF_RELEASE: &str = concat!("ghcr.io/visiobook/visiobook:", env!("CARGO_PKG_VERSION"));

/// The image of the pod that this process is, or of the release where it is none.
pub(super) async fn of_pod(client: &Client, election: &leader::Config) -> Result<String, kube::Error> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &election.namespace);
    let pod = pods.get_opt(&election.identity).await?;
    let containers = pod.and_then(|pod| pod.spec).map(|spec| spec.containers).unwrap_or_default();
    let own = containers.iter().find(|container| container.name == CONTAINER).or(containers.first());
    Ok(own.and_then(|container| container.image.clone()).unwrap_or_else(|| OF_RELEASE.to_string()))
}
