//! Registry credentials of the environment: copies in the namespace of the service, which follow the original.

use super::{Planned, Site};
use crate::api::kinds::Kind;
use crate::api::names;
use crate::check::{PULL_SECRET_KEY, Shape};
use crate::facts::{Content, Facts, SecretFact};

/// A copy for each Secret that the environment names. One whose original is gone stays as it is, and is told by name.
pub(super) fn build(site: &Site<'_>, shape: &Shape, facts: &Facts) -> (Vec<Planned>, Vec<(Kind, String)>) {
    let (mut copies, mut kept) = (Vec::new(), Vec::new());
    for from in &shape.copied_pull_secrets {
        let name = name(&site.owner.name, from);
        match facts.pull_secrets.get(from) {
            Some(SecretFact::Present { digest, .. }) => {
                let content = Content::PullSecret { from: from.clone(), digest: digest.clone() };
                copies.push(super::secret(
                    site,
                    name,
                    "kubernetes.io/dockerconfigjson",
                    PULL_SECRET_KEY,
                    &content,
                ));
            }
            _ => kept.push((Kind::Secret, name)),
        }
    }
    (copies, kept)
}

/// Name of a copy.
pub(super) fn name(service: &str, from: &str) -> String {
    names::pull_secret(service, &crate::check::digest(&from.into()))
}
