//! T24: the operator is gone for good. What it made can still be deleted, and goes as a whole.

use futures::future::join_all;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use visiobook::api::kinds::Kind;

use super::state;
use crate::support::operator::Stage;
use crate::support::proxy::Proxy;
use crate::support::{eventually, kubectl};

/// Children of a whole service: one of each kind that every cluster has, but for a Job, which only a release has.
const WHOLE: usize = Kind::ALL.len() - Kind::OPTIONAL.len() - 1;

#[tokio::test(flavor = "multi_thread")]
async fn t24_without_an_operator_a_deleted_service_takes_its_children_along_and_so_does_its_namespace() {
    let stage = Stage::new("orphaned").await;
    let site = &stage.site;
    state::secret(site).await;
    let proxy = Proxy::start().await;
    let mut operator = stage.operator(&proxy);
    operator.leads().await;
    for name in ["background", "foreground", "remaining"] {
        site.apply(name, state::first_spec()).await;
    }
    for name in ["background", "foreground", "remaining"] {
        state::settled(site, name).await;
        assert_eq!(site.all_children(name).await.len(), WHOLE, "one child of each kind");
    }
    operator.kill();

    for cascade in ["background", "foreground"] {
        let cascades = format!("--cascade={cascade}");
        kubectl(&["delete", "vbs", cascade, &cascades, "--timeout=60s", "-n", &site.namespace], None);
    }
    join_all(["background", "foreground"].map(|name| {
        eventually("the children to go", move || async move {
            let left = site.all_children(name).await;
            if left.is_empty() {
                Ok(())
            } else {
                Err(left.into_iter().map(|(kind, _)| kind).collect::<Vec<_>>())
            }
        })
    }))
    .await;
    assert_eq!(site.all_children("remaining").await.len(), WHOLE, "the neighbour keeps its own");

    kubectl(&["delete", "namespace", &site.namespace, "--wait=false"], None);
    let namespaces: Api<Namespace> = Api::all(site.client.clone());
    eventually("the namespace to go", || async {
        match namespaces.get_opt(&site.namespace).await {
            Ok(None) => Ok(()),
            other => Err(other.map(|namespace| namespace.and_then(|namespace| namespace.status))),
        }
    })
    .await;
}
