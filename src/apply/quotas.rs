//! What the quotas of a namespace leave: read when a release begins, of all of them, whoever made them.

use k8s_openapi::api::core::v1::ResourceQuota;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::{Error, Writer};
use crate::facts::QuotaFact;

/// The quotas of a namespace that count every pod. What cannot be read is told of nothing: it would only have warned.
pub async fn quotas(writer: &Writer, namespace: &str) -> Vec<QuotaFact> {
    list(writer, namespace).await.unwrap_or_else(|error| {
        tracing::debug!(%error, namespace, "quotas cannot be looked at");
        Vec::new()
    })
}

async fn list(writer: &Writer, namespace: &str) -> Result<Vec<QuotaFact>, Error> {
    let api: Api<ResourceQuota> = Api::namespaced(writer.claimed()?, namespace);
    let found = api.list(&ListParams::default()).await.map_err(|error| Error::Refused {
        what: format!("list the quotas of {namespace}"),
        source: Box::new(error),
    })?;
    let counts_all = |quota: &ResourceQuota| {
        quota.spec.as_ref().is_none_or(|spec| {
            spec.scope_selector.is_none() && spec.scopes.as_ref().is_none_or(|scopes| scopes.is_empty())
        })
    };
    let fact = |quota: &ResourceQuota| {
        let status = quota.status.clone().unwrap_or_default();
        let used = status.used.unwrap_or_default();
        let resources = status.hard.unwrap_or_default().into_iter().map(|(name, hard)| {
            let taken = used.get(&name).map_or("0".to_string(), |used| used.0.clone());
            (name, (hard.0, taken))
        });
        QuotaFact { name: quota.name_any(), resources: resources.collect() }
    };
    Ok(found.items.iter().filter(|quota| counts_all(quota)).map(fact).collect())
}
