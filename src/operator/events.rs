//! Events: what is told of an object where people look for it.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType};

use super::context::Context;
use crate::check;
use crate::status;

/// Longest note of an event.
const NOTE: usize = 1000;

/// What is told.
pub(super) struct Told<'a> {
    pub(super) warning: bool,
    /// A word.
    pub(super) reason: &'a str,
    /// A sentence.
    pub(super) note: &'a str,
    /// Another object that it is about too.
    pub(super) related: Option<ObjectReference>,
}

/// Tell something of an object. One that cannot be told is logged: nothing depends on it.
pub(super) async fn publish(context: &Context, about: &ObjectReference, told: Told<'_>) {
    if !context.writer.leads() {
        // Whoever leads now tells its own.
        return;
    }
    let note = status::cut(told.note, NOTE);
    let event = Event {
        type_: if told.warning { EventType::Warning } else { EventType::Normal },
        reason: told.reason.to_string(),
        // The recorder takes events of one reason and action for repetitions and keeps the first note only.
        action: format!("{}-{}", told.reason, check::digest(&note.as_str().into())),
        note: Some(note),
        secondary: told.related,
    };
    if let Err(error) = context.recorder.publish(&event, about).await {
        tracing::warn!(%error, kind = about.kind, namespace = about.namespace, name = about.name, "an event could not be told");
    }
}
