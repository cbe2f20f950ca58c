//! Whether another environment has verified what is asked for (C12, G09).

use super::resolve::EnvironmentRules;
use super::{Refusal, image};
use crate::api::{VisiobookService, names};
use crate::contract::evidence;

/// Why a service may not run here yet, if its environment asks for evidence.
pub(super) fn broken(service: &VisiobookService, environment: &EnvironmentRules) -> Option<Refusal> {
    let promotion = environment.said.rollout.as_ref()?.promotion.as_ref()?;
    // Those of this program have no image of their own.
    let reference = service.spec.image.as_deref()?;
    let (here, from) = (&environment.name, promotion.from.join(" or "));
    let Some(digest) = image::parse(reference).and_then(|image| image.digest) else {
        return Some(Refusal {
            rule: "promotion-digest",
            field: "spec.image".into(),
            message: format!(
                "{here} runs only what {from} has verified, which is known by its digest: write the image as name@sha256:..."
            ),
        });
    };
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let annotations = service.metadata.annotations.as_ref();
    let text = annotations.and_then(|annotations| annotations.get(names::EVIDENCE));
    let why = match text {
        None => "there is no evidence that it has".to_string(),
        Some(text) => {
            let known = promotion.keys.iter().find_map(|key| evidence::verify(key, text));
            match known {
                None => "the evidence is signed with none of the keys in spec.rollout.promotion.keys".into(),
                Some(known) if known.service != name => {
                    format!("the evidence is for the service {}", known.service)
                }
                Some(known) if known.digest != digest => {
                    format!("the evidence is for {}", known.digest)
                }
                Some(known) if !promotion.from.contains(&known.environment) => {
                    format!("the evidence is from {}", known.environment)
                }
                Some(_) => return None,
            }
        }
    };
    Some(Refusal {
        rule: "promotion-evidence",
        field: "metadata.annotations".into(),
        message: format!(
            "{here} runs only what {from} has verified, and {why}: set {} to what `visiobook rollout evidence {name}` prints there once this image is promoted",
            names::EVIDENCE
        ),
    })
}
