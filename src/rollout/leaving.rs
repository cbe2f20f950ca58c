//! Whose clients are to leave? Connections that are kept alive survive a change of the selector, so the sidecars of the
//! colour that has lost its traffic are told of it: at each change, and once more by an operator that starts anew while
//! the release is soaking, for it does not know whether the one before has told them.

use super::Decision;
use crate::api::ReleaseState;
use crate::api::names::Colour;
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
        Some(Leaving { colour: self.colour.other(), reason })
    }
}

#[cfg(test)]
mod tests {
    use super::super::release::first;
    use super::super::{Jobs, Reason, Rotation};
    use super::*;
    use crate::api::RolloutStatus;
    use crate::api::names::Colour::{Blue, Green};

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
            wake_at: None,
        }
    }

    fn saw(selected: Option<Colour>) -> Facts {
        Facts { selected, ..Facts::default() }
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
    fn a_service_that_was_never_released_tells_nobody() {
        let decision = Decision { release: None, ..serves(Blue, ReleaseState::Stable) };
        assert_eq!(leaves(&decision, &saw(Some(Green)), Blue, Some(Green)), None);
        // The first Service selects nothing before it is there.
        assert_eq!(leaves(&serves(Blue, ReleaseState::Stable), &saw(None), Blue, None), None);
    }
}
