//! When the pods of a service that is not ready are asked why: soon at first, then ever more seldom, and never of a
//! service that is.

use std::time::Duration;

use jiff::Timestamp;

use super::context::Context;
use crate::api::VisiobookServiceStatus;
use crate::api::names::Colour;
use crate::apply;
use crate::facts::{ContainerFact, DeploymentFact};
use crate::plan::Owner;

/// A pod may take so long to start before anybody asks.
const FIRST: Duration = Duration::from_secs(20);
/// Longest time between two looks.
const SELDOM: Duration = Duration::from_secs(600);

/// What was seen, and when to look again.
pub(super) struct Looked {
    pub(super) containers: Vec<ContainerFact>,
    pub(super) again: Option<Duration>,
}

/// Look at the pods of a service if it is time to.
pub(super) async fn look(
    context: &Context,
    owner: &Owner,
    colour: Colour,
    serving: Option<&DeploymentFact>,
    previous: &VisiobookServiceStatus,
) -> Looked {
    let unready = serving.is_some_and(|serving| serving.available < serving.replicas);
    let since = previous
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Ready" && condition.status == "False");
    let (true, Some(since)) = (unready, since) else {
        context.looked(&owner.uid, None);
        return Looked { containers: Vec::new(), again: unready.then_some(FIRST) };
    };
    let age = Timestamp::now().duration_since(since.last_transition_time.0);
    let age = Duration::try_from(age).unwrap_or_default();
    if age < FIRST {
        return Looked { containers: Vec::new(), again: Some(FIRST - age) };
    }
    let pause = age.clamp(FIRST, SELDOM);
    if let Some((before, containers)) = context.last_look(&owner.uid)
        && before < pause
    {
        return Looked { containers, again: Some(pause - before) };
    }
    let containers = match apply::containers(&context.writer, owner, colour).await {
        Ok(containers) => containers,
        Err(error) => {
            tracing::debug!(%error, name = owner.name, "pods cannot be looked at");
            Vec::new()
        }
    };
    context.looked(&owner.uid, Some(containers.clone()));
    Looked { containers, again: Some(pause) }
}
