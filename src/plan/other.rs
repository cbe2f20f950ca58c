//! What stands in the colour that does not serve: the new revision before traffic moves, the old one after it.

use super::{
    Owner, Planned, Site, budget, config, deployment, history, ingress, pull_secret, render, service,
    service_token,
};
use crate::api::kinds::Kind;
use crate::api::names;
use crate::check::Serving;
use crate::facts::Facts;
use crate::rollout::{Decision, Wanted};

/// The second colour's objects.
#[derive(Default)]
pub(super) struct Second {
    /// What its pods need, before they start.
    pub(super) before: Vec<Planned>,
    /// Its pods, and what stands around them.
    pub(super) pods: Vec<Planned>,
    /// What stays as it is.
    pub(super) kept: Vec<(Kind, String)>,
}

pub(super) fn build(
    owner: &Owner,
    decision: &Decision,
    replicas: i32,
    facts: &Facts,
    serving: Option<&Serving>,
) -> Second {
    let mut second = Second::default();
    let Some(other) = &decision.other else { return second };
    let colour = decision.colour.other();
    let Some(revision) = &other.revision else {
        second.kept.push((Kind::Deployment, names::coloured(&owner.name, colour)));
        second.kept.push((Kind::PodDisruptionBudget, names::coloured(&owner.name, colour)));
        let preview = names::preview(&owner.name);
        second.kept.push((Kind::Service, preview.clone()));
        if serving.and_then(|serving| serving.exposure.as_ref()?.preview.as_ref()).is_some() {
            second.kept.extend([Kind::Ingress, Kind::HTTPRoute].map(|kind| (kind, preview.clone())));
        }
        return second;
    };
    // The builders look at one colour: here the other one is it.
    let decision = Decision {
        colour,
        revision: Some(revision.clone()),
        rotation: other.rotation.clone(),
        ..decision.clone()
    };
    let site = Site { owner, decision: &decision, replicas };
    let rendered = render(owner, revision, serving, facts);
    (second.before, second.kept) = before(&site, revision, facts, serving);
    second.pods.push(service::preview(&site, revision, &rendered));
    second.pods.extend(serving.and_then(|serving| budget::build(&site, serving)));
    if other.starts {
        second.pods.push(deployment::build(&site, revision, &rendered, serving));
    }
    // After the Deployment, which is not made once a name is taken.
    if let (Some(serving), false) = (serving, revision.shape.worker) {
        second.pods.extend(ingress::preview(&site, serving));
    }
    second
}

/// What the pods of a revision need before they start, and so does its migration; beside it what stays as it is.
pub(super) fn before(
    site: &Site<'_>,
    revision: &Wanted,
    facts: &Facts,
    serving: Option<&Serving>,
) -> (Vec<Planned>, Vec<(Kind, String)>) {
    let rendered = render(site.owner, revision, serving, facts);
    let mut objects = vec![config::build(site, &rendered)];
    let (tokens, _) = service_token::build(site, &revision.shape, &rendered.template, facts);
    let (copies, kept) = pull_secret::build(site, &revision.shape, facts);
    objects.extend(tokens.into_iter().chain(copies));
    objects.push(history::build(site, revision, &rendered, serving, facts));
    (objects, kept)
}

/// A colour that the Service still selects stays until it does no longer, whatever was decided.
pub(super) fn kept(owner: &Owner, decision: &Decision, facts: &Facts) -> Vec<(Kind, String)> {
    let selected = facts.selected.filter(|selected| *selected != decision.colour);
    let name = selected.map(|colour| names::coloured(&owner.name, colour));
    let kinds = [Kind::Deployment, Kind::PodDisruptionBudget];
    name.into_iter().flat_map(|name| kinds.map(|kind| (kind, name.clone()))).collect()
}
