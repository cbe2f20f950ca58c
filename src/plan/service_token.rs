//! The token by which other services know this one, and the keys that their tokens are verified with (B22, D79).

use serde_json::{Value, json};

use super::{Owner, Planned, Site};
use crate::api::kinds::Kind;
use crate::api::{Dependency, DomainService, SidecarMode, names};
use crate::check::{Serving, Shape};
use crate::contract::{leave, service_token};
use crate::facts::{Content, Facts, Signing, TokenContent};

/// Volume of the application's container.
const TOKEN_VOLUME: &str = "service-token";
/// Volume of the sidecar's, and where it is mounted.
const KEYS_VOLUME: &str = "sidecar-services";
pub(super) const KEYS_FOLDER: &str = "/etc/visiobook/keys/services";
/// Part of its life after which a token is made anew: what is left outlasts an operator that is down for days.
const RENEWED_AFTER: i64 = 4;

/// Whether the service has a token: it calls others.
pub(super) fn has_token(shape: &Shape) -> bool {
    !shape.depends_on.is_empty()
}

/// Whether its sidecar checks the tokens of others: where it checks who calls at all.
pub(super) fn verifies(shape: &Shape) -> bool {
    let said = shape.sidecar.as_ref();
    shape.mode() == SidecarMode::Proxy
        && said.is_some_and(|said| said.auth.is_some() || said.service_tokens.is_some())
}

/// Whether the operator tells its sidecar when traffic has left: it has clients, and two colours.
pub(super) fn hears_operator(shape: &Shape, serving: Option<&Serving>) -> bool {
    let has_colours = serving.is_some_and(|serving| serving.release.is_some());
    has_colours && !shape.worker && shape.mode() == SidecarMode::Proxy
}

/// What the sidecar knows the operator by.
pub(super) fn operator_variable(owner: &Owner) -> Value {
    let operator = leave::Operator {
        keys_folder: KEYS_FOLDER.to_string(),
        service: leave::audience(&owner.namespace, &owner.name),
    };
    json!({ "name": leave::VARIABLE, "value": json!(operator).to_string() })
}

/// What the application finds its token by: the file is current, the variable what it was when the container started.
pub(super) fn variables(service: &str, shape: &Shape) -> Vec<(&'static str, Value)> {
    if !has_token(shape) {
        return Vec::new();
    }
    let reference =
        json!({ "secretKeyRef": { "name": names::service_token(service), "key": service_token::FILE } });
    let file = format!("{}/{}", service_token::FOLDER, service_token::FILE);
    vec![
        (service_token::VARIABLE, json!({ "name": service_token::VARIABLE, "valueFrom": reference })),
        (service_token::FILE_VARIABLE, json!({ "name": service_token::FILE_VARIABLE, "value": file })),
    ]
}

/// The volumes of a pod.
pub(super) fn volumes(service: &str, shape: &Shape, hears_operator: bool) -> Vec<Value> {
    let token = has_token(shape).then(|| {
        json!({ "name": TOKEN_VOLUME, "secret": { "secretName": names::service_token(service), "defaultMode": 0o440 } })
    });
    let mut keys = json!({ "name": names::service_keys(service), "defaultMode": 0o444 });
    if !verifies(shape) {
        // No pod waits for what only sends clients away.
        keys["optional"] = true.into();
    }
    let keys = has_keys(shape, hears_operator).then(|| json!({ "name": KEYS_VOLUME, "configMap": keys }));
    token.into_iter().chain(keys).collect()
}

/// Where the application finds its token.
pub(super) fn mount(shape: &Shape) -> Option<Value> {
    has_token(shape)
        .then(|| json!({ "name": TOKEN_VOLUME, "mountPath": service_token::FOLDER, "readOnly": true }))
}

fn has_keys(shape: &Shape, hears_operator: bool) -> bool {
    verifies(shape) || hears_operator
}

/// Where an application finds the keys that verifies tokens itself.
pub(super) fn application_keys_mount(shape: &Shape) -> Option<Value> {
    let own = shape.domain_service.and_then(DomainService::definition);
    own.filter(|own| own.verifies_services && verifies(shape))
        .map(|_| json!({ "name": KEYS_VOLUME, "mountPath": service_token::KEYS_FOLDER, "readOnly": true }))
}

/// Where the sidecar finds the keys.
pub(super) fn keys_mount(shape: &Shape, hears_operator: bool) -> Option<Value> {
    has_keys(shape, hears_operator)
        .then(|| json!({ "name": KEYS_VOLUME, "mountPath": KEYS_FOLDER, "readOnly": true }))
}

/// What the pods of a template mount, and when to look at the token again, in Unix seconds.
pub(super) fn build(
    site: &Site<'_>,
    shape: &Shape,
    template: &Value,
    facts: &Facts,
) -> (Vec<Planned>, Option<i64>) {
    let Some(signing) = &facts.signing else { return (Vec::new(), None) };
    let mounts = |volume: &str| {
        let volumes = template.pointer("/spec/volumes").and_then(Value::as_array);
        volumes.into_iter().flatten().any(|mounted| mounted["name"] == volume)
    };
    let mut objects = Vec::new();
    if mounts(KEYS_VOLUME) {
        let body = json!({ "data": signing.public });
        objects.push(Planned::new(site, Kind::ConfigMap, names::service_keys(&site.owner.name), body));
    }
    if !mounts(TOKEN_VOLUME) {
        return (objects, None);
    }
    let held = match facts.contents.get(&names::service_token(&site.owner.name)) {
        Some(Content::ServiceToken(token)) => Some(token),
        _ => None,
    };
    let calls = calls(site, shape, held, facts);
    let token = match held {
        Some(held) if !is_due(held, &calls, signing, facts.now) => held.clone(),
        _ => TokenContent {
            kid: signing.kid.clone(),
            issued: facts.now,
            expires: facts.now + signing.lifetime,
            calls,
        },
    };
    let wake_at = renewed_at(&token);
    let name = names::service_token(&site.owner.name);
    objects.push(super::secret(site, name, "Opaque", service_token::FILE, &Content::ServiceToken(token)));
    (objects, Some(wake_at))
}

/// Services that the token says it calls. While pods of another revision may still run, none is taken away.
fn calls(site: &Site<'_>, shape: &Shape, held: Option<&TokenContent>, facts: &Facts) -> Vec<String> {
    let named = |dependency: &Dependency| {
        let namespace = dependency.namespace.as_ref().unwrap_or(&site.owner.namespace);
        format!("{namespace}/{}", dependency.service())
    };
    // Both colours read the same token.
    let other = site.decision.other.as_ref().and_then(|other| other.revision.as_ref());
    let more = other.into_iter().flat_map(|other| &other.shape.depends_on);
    let mut calls: Vec<String> = shape.depends_on.iter().chain(more).map(named).collect();
    if !super::has_settled(site, facts) {
        calls.extend(held.into_iter().flat_map(|held| held.calls.clone()));
    }
    calls.sort();
    calls.dedup();
    calls
}

/// Whether a token is to be made anew: it is old enough, its key is gone, or it says too little or too much.
fn is_due(token: &TokenContent, calls: &[String], signing: &Signing, now: i64) -> bool {
    now >= renewed_at(token)
        // Made by a clock that was ahead, or for longer than it may be now.
        || token.issued > now + signing.lifetime / RENEWED_AFTER
        || token.expires > token.issued + signing.lifetime
        || token.calls != calls
        || !signing.public.contains_key(&token.kid)
}

fn renewed_at(token: &TokenContent) -> i64 {
    token.issued + (token.expires - token.issued) / RENEWED_AFTER
}
