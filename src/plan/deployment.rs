//! Deployment: the pods of one colour.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Planned, Site, merge, selector};
use crate::api::kinds::Kind;
use crate::api::names;
use crate::check::Serving;
use crate::rollout::{Stored, Wanted};

/// Seconds until Kubernetes calls a rollout stuck (C10).
const PROGRESS_DEADLINE: i64 = 600;

pub(super) fn build(
    site: &Site<'_>,
    revision: &Wanted,
    rendered: &Stored,
    serving: Option<&Serving>,
) -> Planned {
    let mut template = rendered.template.clone();
    merge(
        &mut template,
        json!({ "metadata": { "labels": { names::VERSION: site.decision.colour.as_str() } } }),
    );
    let rotation = &site.decision.rotation;
    let mut annotations = Map::new();
    if let Some(digest) = &rotation.digest {
        annotations.insert(names::SECRETS_DIGEST.into(), digest.as_str().into());
    }
    let at = rotation.at.and_then(|at| Timestamp::from_second(at).ok()).map(|at| at.to_string());
    for (annotation, value) in
        [(names::SECRETS_ROTATION, rotation.mark.as_ref()), (names::SECRETS_ROTATED, at.as_ref())]
    {
        let Some(value) = value else { continue };
        merge(&mut template, json!({ "metadata": { "annotations": { annotation: value } } }));
        // Nothing else tells it, so there are two of it: whichever somebody edits is put back from the other.
        annotations.insert(annotation.into(), value.as_str().into());
    }
    if let Some(attempt) = attempt(site, revision) {
        annotations.insert(names::ATTEMPT.into(), attempt.into());
    }
    let mut body = json!({
        "metadata": { "labels": { names::REVISION: revision.hash, names::VERSION: site.decision.colour.as_str() } },
        "spec": {
            "replicas": site.replicas,
            "selector": { "matchLabels": selector(site) },
            "strategy": { "type": "RollingUpdate", "rollingUpdate": pace(site.replicas, serving) },
            "revisionHistoryLimit": super::history::KEPT,
            "progressDeadlineSeconds": PROGRESS_DEADLINE,
            "template": template,
        },
    });
    if !annotations.is_empty() {
        body["metadata"]["annotations"] = Value::Object(annotations);
    }
    Planned::new(site, Kind::Deployment, names::coloured(&site.owner.name, site.decision.colour), body)
}

/// The release that the pods came with, by which its number is found again should every record be lost.
fn attempt<'a>(site: &'a Site<'_>, revision: &Wanted) -> Option<&'a str> {
    let release = site.decision.release.as_ref()?;
    release.attempt.as_deref().filter(|_| release.attempted() == Some(&revision.hash))
}

/// A05: one more, one less; but the only pod there is does not go before its successor is ready.
fn pace(replicas: i32, serving: Option<&Serving>) -> Value {
    let or = |said: Option<&Value>, default: i32| match said {
        Some(value) if !value.is_null() => value.clone(),
        _ => Value::from(default),
    };
    let surge = or(serving.map(|serving| &serving.max_surge), 1);
    // Where none may be added, one has to go first.
    let missing = i32::from(replicas > 1 || surge == 0 || surge == "0%");
    json!({
        "maxSurge": surge,
        "maxUnavailable": or(serving.map(|serving| &serving.max_unavailable), missing),
    })
}
