//! What a service would become, from its resource alone: for review, without a cluster.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Owner, build, merge};
use crate::api::VisiobookService;
use crate::api::kinds::Kind;
use crate::check::{self, Refusal};
use crate::facts::{EnvironmentFact, Facts, Installation, SecretFact};
use crate::rollout::{self, Rotation};

/// Everything that a first pass would make where all secrets are there, or every refusal. Each object stands for
/// itself: without its owner, which has no uid yet, and in one piece whoever applies which part.
pub fn preview(
    service: &VisiobookService,
    environment: &EnvironmentFact,
    operator: &Installation,
) -> Result<Vec<Value>, Vec<Refusal>> {
    let valid = check::validate(service, environment)?;
    let name = service.metadata.name.clone().unwrap_or_default();
    let asked = check::asked(&name, &service.spec);
    let there = || SecretFact::Present { digest: String::new(), length: SECRET_LENGTH };
    let copied = valid.shape.copied_pull_secrets.iter().cloned();
    let facts = Facts {
        environment: environment.clone(),
        sealed_secrets: asked.iter().map(|key| key.name.clone()).collect(),
        secrets: asked.into_iter().map(|key| ((key.name, key.key), there())).collect(),
        pull_secrets: copied.map(|name| (name, there())).collect(),
        sidecar_image: operator.image.clone(),
        operator_namespace: operator.namespace.clone(),
        cluster_domain: operator.cluster_domain.clone(),
        ..Facts::default()
    };
    let mut decision = rollout::step(&Ok(valid), &facts);
    if !decision.held.is_empty() {
        return Err(decision.held);
    }
    // Once its migration, which is shown beside them, has been run.
    if let Some(waiting) = decision.jobs.waiting.take() {
        decision.revision = Some(waiting);
    }
    // A digest of secrets that nobody has read says nothing.
    decision.rotation = Rotation::default();
    let replicas = rollout::size(service.spec.replicas, None, &decision, &facts);
    let owner =
        Owner { name, namespace: service.metadata.namespace.clone().unwrap_or_default(), uid: String::new() };
    let mut objects: Vec<Value> = Vec::new();
    let mut places = BTreeMap::new();
    // Values of Secrets are the operator's to make: what stands in the plan only keeps their place.
    let planned = build(&owner, &decision, replicas, &facts).objects.into_iter();
    for planned in planned.filter(|planned| planned.kind != Kind::Secret) {
        let place = *places.entry((planned.kind, planned.name)).or_insert(objects.len());
        match objects.get_mut(place) {
            Some(object) => merge(object, planned.object),
            None => objects.push(planned.object),
        }
    }
    for object in &mut objects {
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("ownerReferences");
        }
    }
    Ok(objects)
}

/// Fits every rule about the length of a secret.
const SECRET_LENGTH: usize = crate::contract::ENCRYPTION_KEY_LENGTH;
const _: () = assert!(SECRET_LENGTH >= crate::contract::JWT_SECRET_MIN);
