//! What a newer operator renders differently: a revision of its own, where the environment lets it replace pods.

use serde_json::{Value, json};

use crate::check::{self, Shape};
use crate::facts::Facts;

/// What is asked for with how it is rendered, where that is more than the resource and its environment say. `running`
/// is the revision that serves.
pub(super) fn asked(plain: &Shape, running: Option<&str>, facts: &Facts) -> Option<Shape> {
    let stored = |hash: &str| facts.revisions.iter().find(|revision| revision.hash == hash);
    let with = |rendering: String| Shape { rendering: Some(rendering), ..plain.clone() };
    // What runs is rendered as it is: an environment that lets nothing be replaced any more takes nothing back.
    let kept = running
        .and_then(stored)
        .and_then(|revision| revision.data.pointer("/shape/rendering"))
        .and_then(Value::as_str)
        .map(|rendering| with(rendering.to_string()))
        .filter(|kept| running == Some(&*kept.revision()));
    let Some(fresh) = &facts.rendering else { return kept };
    let Some(base) = stored(&kept.as_ref().unwrap_or(plain).revision()) else { return kept };
    let is_same = match kept.as_ref().and_then(|kept| kept.rendering.as_ref()) {
        Some(rendering) => *rendering == fresh.digest,
        None => {
            let data = json!({ "template": base.data["template"], "config": base.data["config"] });
            fresh.either.contains(&check::digest(&data))
        }
    };
    if is_same { kept } else { Some(with(fresh.digest.clone())) }
}
