//! Whose clients are to leave? Connections that are kept alive survive a change of the selector, so the sidecars of the
//! colour that has lost its traffic are told of it: at each change, and once more by an operator that starts anew while
//! the release is soaking, for it does not know whether the one before has told them.

use serde_json::Value;

use super::{Decision, recall};
use crate::api::ReleaseState;
use crate::api::names::Colour;
use crate::contract::leave;
use crate::facts::Facts;

/// A colour whose clients are to leave, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// The colour.
    pub colour: Colour,
    /// Why.
    pub reason: &'static str,
}

impl Decision {
    /// Whose clients are to leave, now that the Service selects `selected`. `known` is what it selected when this was asked
    /// before; `None`: this process has not asked yet.
    pub fn leaving(&self, facts: &Facts, selected: Option<Colour>, known: Option<Colour>) -> Option<Leaving> {
        // Without colours there is nobody to leave; and nobody leaves for pods that do not serve yet.
        let release = self.release.as_ref().filter(|_| selected == Some(self.colour))?;
        let moved = [facts.selected, known].into_iter().flatten().any(|before| before != self.colour);
        let reason = if moved {
            "traffic has moved"
        } else if known.is_none() && release.state == ReleaseState::Soaking {
            "traffic has moved not long ago"
        } else {
            return None;
        };
        let colour = self.colour.other();
        hears(colour, facts).then_some(Leaving { colour, reason })
    }
}

/// Whether the sidecars of a colour know the operator, as its revision was rendered: what else may listen in a pod is not
/// to be handed a token.
fn hears(colour: Colour, facts: &Facts) -> bool {
    let revision = facts.deployments.get(&colour).map(|deployment| &deployment.revision);
    let stored = revision.and_then(|hash| recall(hash, facts).ok().flatten()?.0.stored);
    let sidecar = stored.as_ref().and_then(|stored| stored.template.pointer("/spec/initContainers/0/env"));
    let mut env = sidecar.and_then(Value::as_array).into_iter().flatten();
    env.any(|variable| variable["name"] == leave::VARIABLE)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::release::first;
    use super::super::{Jobs, Reason, Rotation};
    use super::*;
    use crate::api::RolloutStatus;
    use crate::api::names::Colour::{Blue, Green};
    use crate::check::Shape;
    use crate::facts::{DeploymentFact, RevisionFact};

    fn serves(colour: Colour, state: ReleaseState) -> Decision {
        Decision {
            colour,
            revision: None,
            serving: None,
            rotation: Rotation::default(),
            reason: Reason::Releasing,
            message: String::new(),
            held: Vec::new(),
            release: Some(RolloutStatus { state, ..first(colour, "0123456789") }),
            other: None,
            look: false,
            spots: Default::default(),
            jobs: Jobs::default(),
            standing: Default::default(),
            wake_at: None,
        }
    }

    /// Two colours, whose sidecars have these variables.
    fn saw_with(selected: Option<Colour>, env: Value) -> Facts {
        let hash = "0123456789".to_string();
        let template = json!({ "spec": { "initContainers": [{ "env": env }] } });
        let data = json!({ "shape": Shape::default(), "template": template, "config": {}, "number": 1 });
        let runs = DeploymentFact { revision: hash.clone(), ..DeploymentFact::default() };
        Facts {
            selected,
            deployments: Colour::ALL.map(|colour| (colour, runs.clone())).into(),
            revisions: vec![RevisionFact { hash, number: 1, data, serving: None }],
            ..Facts::default()
        }
    }

    fn saw(selected: Option<Colour>) -> Facts {
        saw_with(selected, json!([{ "name": "A" }, { "name": leave::VARIABLE, "value": "{}" }]))
    }

    fn leaves(decision: &Decision, saw: &Facts, selected: Colour, known: Option<Colour>) -> Option<Colour> {
        decision.leaving(saw, Some(selected), known).map(|leaving| leaving.colour)
    }

    #[test]
    fn the_colour_that_has_lost_its_traffic_is_told_at_each_change_and_not_again() {
        for (colour, state) in [
            (Green, ReleaseState::Soaking),
            // An abort, an undo, a return by itself.
            (Blue, ReleaseState::Stable),
        ] {
            let decision = serves(colour, state);
            let other = colour.other();
            // This pass has moved it.
            assert_eq!(leaves(&decision, &saw(Some(other)), colour, Some(other)), Some(other));
            // So has the one before, which did not hear of its success.
            assert_eq!(leaves(&decision, &saw(Some(colour)), colour, Some(other)), Some(other));
            // Somebody else had moved it, and it is put back.
            assert_eq!(leaves(&decision, &saw(Some(other)), colour, Some(colour)), Some(other));
            assert_eq!(leaves(&decision, &saw(Some(colour)), colour, Some(colour)), None);
        }
    }

    #[test]
    fn nobody_is_told_before_the_selector_has_changed() {
        let decision = serves(Green, ReleaseState::Soaking);
        assert_eq!(leaves(&decision, &saw(Some(Blue)), Blue, Some(Blue)), None);
        assert_eq!(decision.leaving(&saw(Some(Blue)), None, Some(Blue)), None);
    }

    #[test]
    fn an_operator_that_starts_anew_tells_once_more_while_the_release_soaks() {
        let again = |state| leaves(&serves(Green, state), &saw(Some(Green)), Green, None);
        assert_eq!(again(ReleaseState::Soaking), Some(Blue));
        for state in [ReleaseState::Stable, ReleaseState::Deploying, ReleaseState::Retiring] {
            assert_eq!(again(state), None, "{state:?}");
        }
    }

    #[test]
    fn pods_that_know_of_no_operator_are_handed_no_token() {
        let decision = serves(Green, ReleaseState::Soaking);
        let told = |facts: &Facts| leaves(&decision, facts, Green, Some(Blue));
        assert_eq!(told(&saw(Some(Blue))), Some(Blue));
        assert_eq!(told(&saw_with(Some(Blue), json!([{ "name": "VISIOBOOK_SIDECAR" }]))), None);
        assert_eq!(told(&saw_with(Some(Blue), Value::Null)), None);
        // Its Deployment is gone, or nothing is known of its revision.
        let gone = Facts { deployments: Default::default(), ..saw(Some(Blue)) };
        let lost = Facts { revisions: Vec::new(), ..saw(Some(Blue)) };
        assert_eq!((told(&gone), told(&lost)), (None, None));
    }

    #[test]
    fn a_service_that_was_never_released_tells_nobody() {
        let decision = Decision { release: None, ..serves(Blue, ReleaseState::Stable) };
        assert_eq!(leaves(&decision, &saw(Some(Green)), Blue, Some(Green)), None);
        // The first Service selects nothing before it is there.
        assert_eq!(leaves(&serves(Blue, ReleaseState::Stable), &saw(None), Blue, None), None);
    }
}
