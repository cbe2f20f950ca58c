//! ServiceAccount: an identity of the service's own, without a token in its pods (A15).

use serde_json::{Value, json};

use super::{Planned, Site};
use crate::api::kinds::Kind;
use crate::check::Serving;

pub(super) fn build(site: &Site<'_>, serving: &Serving) -> Option<Planned> {
    let account = serving.account.as_ref()?;
    let name = account.name.clone().unwrap_or_else(|| site.owner.name.clone());
    let mut body = json!({ "automountServiceAccountToken": false });
    if !account.annotations.is_empty() {
        body["metadata"] = json!({ "annotations": Value::from_iter(account.annotations.clone()) });
    }
    Some(Planned::new(site, Kind::ServiceAccount, name, body))
}
