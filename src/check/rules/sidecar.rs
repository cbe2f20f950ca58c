//! What may be asked of a sidecar, and what a service may depend on.

use std::collections::BTreeMap;

use http::Uri;
use ipnet::IpNet;

use super::{Broken, Subject};
use crate::api::quantity::Quantity;
use crate::api::{Sidecar, SidecarMode};
use crate::check::image;

/// Stores, which are declared as secrets; `<NAME>_URL` of a service must not look like one.
const STORES: [&str; 2] = ["database", "redis"];

/// Most bytes that a resource may say of its sidecar.
const MOST_BYTES: usize = 64 * 1024;

/// What has no effect is refused: somebody who wrote `auth` must not find out later that nobody checks tokens.
pub(super) fn mode(it: &Subject<'_>, broken: &mut Broken) {
    let Some(sidecar) = &it.spec.sidecar else { return };
    let set = |field: &'static str, set: bool| set.then_some(field);
    let of_requests = [
        set("routes", !sidecar.routes.is_empty()),
        set("auth", sidecar.auth.is_some()),
        set("serviceTokens", sidecar.service_tokens.is_some()),
        set("csrf", sidecar.csrf.is_some()),
        set("cors", sidecar.cors.is_some()),
        set("hosts", !sidecar.hosts.is_empty()),
        set("rateLimit", sidecar.rate_limit.is_some()),
        set("compression", sidecar.compression.is_some()),
        set("errors", sidecar.errors.is_some()),
        set("retries", sidecar.retries.is_some()),
        set("breaker", sidecar.breaker.is_some()),
    ];
    let mode = it.mode();
    if mode != SidecarMode::Proxy {
        for field in of_requests.into_iter().flatten() {
            broken.tell(
                "sidecar-mode",
                format!("spec.sidecar.{field}"),
                match it.spec.is_worker() {
                    true => "has no effect on a worker, which gets no requests: take it out, or take spec.service.enabled out".to_string(),
                    false => format!("has no effect in mode {mode:?}, where no request passes through the sidecar: take it out, or set spec.sidecar.mode to Proxy"),
                },
            );
        }
    }
    let rest = Sidecar {
        mode: None,
        routes: Vec::new(),
        auth: None,
        service_tokens: None,
        csrf: None,
        cors: None,
        hosts: Vec::new(),
        rate_limit: None,
        compression: None,
        errors: None,
        retries: None,
        breaker: None,
        ..Sidecar::clone(sidecar)
    };
    if mode == SidecarMode::Off && rest != Sidecar::default() {
        let message = "Off leaves the sidecar out: take the other fields of spec.sidecar out too, or choose Proxy or Observe";
        broken.tell("sidecar-off", "spec.sidecar.mode", message);
    }
    // It is told all of it in one variable, and the kernel takes 128 KiB of one.
    let bytes = serde_json::to_string(sidecar).map_or(0, |text| text.len());
    if bytes > MOST_BYTES {
        let message = format!(
            "is {bytes} bytes of JSON, of {MOST_BYTES} that a sidecar can be told: use fewer or shorter routes"
        );
        broken.tell("sidecar-size", "spec.sidecar", message);
    }
}

/// A worker gets no requests: whatever is about them is a mistake (A02).
pub(super) fn worker(it: &Subject<'_>, broken: &mut Broken) {
    if !it.spec.is_worker() {
        return;
    }
    let service = it.spec.service.clone().unwrap_or_default();
    let exposed = it.spec.ingress.as_ref().is_some_and(|ingress| ingress.enabled.unwrap_or(true));
    let said = [
        ("spec.port", it.spec.port.is_some(), "a worker listens on no port"),
        ("spec.service.port", service.port.is_some(), "nobody sends a worker requests"),
        ("spec.service.type", service.type_.is_some(), "nobody sends a worker requests"),
        ("spec.ingress", exposed, "nobody reaches a worker from outside"),
        ("spec.sidecar.mode", it.mode() == SidecarMode::Proxy, "in mode Proxy a sidecar takes requests"),
    ];
    for (field, _, why) in said.into_iter().filter(|(_, is_said, _)| *is_said) {
        broken.tell("worker", field, format!("{why}: take it out, or take spec.service.enabled out"));
    }
}

/// Tokens and sessions need keys to check them with.
pub(super) fn keys(it: &Subject<'_>, broken: &mut Broken) {
    let Some(sidecar) = &it.spec.sidecar else { return };
    if let Some(auth) = &sidecar.auth {
        if auth.secret.is_none() && auth.jwks.is_none() && !it.spec.secrets.contains_key("JWT_SECRET") {
            let message =
                "has no key to check tokens with: add JWT_SECRET to spec.secrets, or set secret or jwks here";
            broken.tell("auth-key", "spec.sidecar.auth", message);
        }
        let url = |jwks: &str| {
            jwks.parse::<Uri>()
                .is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
        };
        if auth.jwks.as_deref().is_some_and(|jwks| !url(jwks)) {
            broken.tell(
                "url",
                "spec.sidecar.auth.jwks",
                "write an http or https URL, such as https://login.example.com/jwks.json",
            );
        }
    }
    if let Some(csrf) = &sidecar.csrf {
        if !it.spec.secrets.contains_key("CSRF_SECRET") {
            broken.tell("csrf-key", "spec.sidecar.csrf", "needs a key: add CSRF_SECRET to spec.secrets");
        }
        if csrf.cookie.is_none() && sidecar.auth.as_ref().is_none_or(|auth| auth.cookie.is_none()) {
            let message =
                "protects sessions that are kept in a cookie: name it here or in spec.sidecar.auth.cookie";
            broken.tell("csrf-cookie", "spec.sidecar.csrf.cookie", message);
        }
    }
    let cookies = [
        ("spec.sidecar.auth.cookie", sidecar.auth.as_ref().and_then(|auth| auth.cookie.as_deref())),
        ("spec.sidecar.csrf.cookie", sidecar.csrf.as_ref().and_then(|csrf| csrf.cookie.as_deref())),
    ];
    for (field, cookie) in cookies {
        let is_token = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
        };
        if cookie.is_some_and(|cookie| !is_token(cookie)) {
            broken.tell(
                "cookie-name",
                field,
                "a cookie's name is letters, digits and dashes, without blanks",
            );
        }
    }
}

pub(super) fn routes(it: &Subject<'_>, broken: &mut Broken) {
    let Some(sidecar) = &it.spec.sidecar else { return };
    let public = sidecar.auth.as_ref().map(|auth| auth.public_routes.as_slice()).unwrap_or_default();
    for (field, routes) in
        [("spec.sidecar.routes", &*sidecar.routes), ("spec.sidecar.auth.publicRoutes", public)]
    {
        // A template under one method and the same under all of them do not get in each other's way.
        let mut routers: BTreeMap<&str, matchit::Router<()>> = BTreeMap::new();
        for (index, route) in routes.iter().enumerate() {
            let (method, path) = match route.split_once(' ') {
                Some((method, path)) => (method, path),
                None => ("", route.as_str()),
            };
            let wrong = if !method.bytes().all(|b| b.is_ascii_uppercase()) {
                Some(format!("\"{method}\" is not a method"))
            } else if !path.starts_with('/') {
                Some("its path does not begin with a slash".to_string())
            } else if !path.bytes().all(|b| b.is_ascii_graphic()) || path.contains(['?', '#']) {
                Some("its path has a character that no path has".to_string())
            } else {
                routers.entry(method).or_default().insert(path, ()).err().map(|error| error.to_string())
            };
            if let Some(wrong) = wrong {
                broken.tell(
                    "route-template",
                    format!("{field}[{index}]"),
                    format!("\"{route}\": {wrong}; write a template such as /api/v1/users/{{id}} or GET /api/v1/files/{{*path}}"),
                );
            }
        }
    }
}

/// Words of resource and environment that have a form.
pub(super) fn words(it: &Subject<'_>, broken: &mut Broken) {
    let of = format!("VisiobookEnvironment {}: spec.sidecar", it.environment.name);
    let default = Sidecar::default();
    let sidecar = it.spec.sidecar.as_deref().unwrap_or(&default);
    if it.mode() == SidecarMode::Off {
        return;
    }
    if let Some(environment) = &it.environment.said.sidecar {
        for (index, range) in environment.trusted_proxies.iter().enumerate() {
            if range.parse::<IpNet>().is_err() {
                let message =
                    format!("\"{range}\" is no range of addresses: write one such as 10.0.0.0/8 or fd00::/8");
                broken.tell("range", format!("{of}.trustedProxies[{index}]"), message);
            }
        }
        origins(&format!("{of}.corsOrigins"), &environment.cors_origins, broken);
        if let Some(image) = environment.image.as_deref().filter(|image| image::parse(image).is_none()) {
            let message = format!(
                "\"{image}\" is not an image: write registry/path:tag or registry/path@sha256:digest"
            );
            broken.tell("image-reference", format!("{of}.image"), message);
        }
        if environment.rate_limit.is_some() && environment.trusted_proxies.is_empty() {
            let message =
                "counts by the client's address, which only trustedProxies let through: set them too";
            broken.tell("rate-limit-proxies", format!("{of}.rateLimit"), message);
        }
    }
    origins("spec.sidecar.cors.origins", sidecar.cors.as_ref().map_or(&[], |cors| &cors.origins), broken);
    for (index, host) in sidecar.hosts.iter().enumerate() {
        if !super::exposure::is_host(host) {
            let message =
                format!("\"{host}\" is no host name: write one such as api.visiobook.com or *.visiobook.com");
            broken.tell("host-name", format!("spec.sidecar.hosts[{index}]"), message);
        }
    }
    for (kpi, metric) in &sidecar.kpis {
        let mut bytes = metric.bytes();
        let starts = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_' || b == b':');
        if !starts || !bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':') {
            let message = format!("\"{metric}\" is no name of a metric: write one such as active_users");
            broken.tell("metric-name", format!("spec.sidecar.kpis.{kpi}"), message);
        }
    }
    let paths = [("metricsPath", &sidecar.metrics_path), ("healthPath", &sidecar.health_path)];
    for (field, path) in paths {
        let empty = field == "metricsPath" && path.as_deref() == Some("");
        let is_path = |path: &String| path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic());
        if !empty && path.as_ref().is_some_and(|path| !is_path(path)) {
            broken.tell(
                "url-path",
                format!("spec.sidecar.{field}"),
                "a path begins with a slash and has no blanks",
            );
        }
    }
    if sidecar
        .logs
        .as_ref()
        .and_then(|logs| logs.sample_rate)
        .is_some_and(|rate| !(0.0..=1.0).contains(&rate))
    {
        broken.tell("sample-rate", "spec.sidecar.logs.sampleRate", "write a part from 0 to 1, such as 0.1");
    }
    if sidecar.migrations.is_some() && !it.says("DATABASE_URL") {
        let message =
            "are looked at in the database of DATABASE_URL: add it to spec.secrets, or take migrations out";
        broken.tell("migrations-database", "spec.sidecar.migrations", message);
    }
}

/// An origin is a scheme, a host and perhaps a port; a page's path is none of it, and `*` is everybody (X28).
fn origins(field: &str, origins: &[String], broken: &mut Broken) {
    for (index, origin) in origins.iter().enumerate() {
        let rest = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        let is_origin = rest.is_some_and(|rest| {
            !rest.contains(['/', '@', '*', '?', '#'])
                && origin.parse::<Uri>().is_ok_and(|uri| uri.host().is_some_and(|host| !host.is_empty()))
        });
        if !is_origin {
            let message = format!(
                "\"{origin}\" is no origin: write scheme and host, such as https://app.visiobook.com or http://localhost:3000"
            );
            broken.tell("origin", format!("{field}[{index}]"), message);
        }
    }
}

pub(super) fn resources(it: &Subject<'_>, broken: &mut Broken) {
    let resource = it.spec.sidecar.as_deref().and_then(|sidecar| sidecar.resources.as_ref());
    let environment = it.environment.said.sidecar.as_ref().and_then(|sidecar| sidecar.resources.as_ref());
    let of = format!("VisiobookEnvironment {}: spec.sidecar.resources", it.environment.name);
    for (field, said) in [("spec.sidecar.resources", resource), (of.as_str(), environment)] {
        let Some(said) = said else { continue };
        for (part, quantities) in [("requests", &said.requests), ("limits", &said.limits)] {
            for (name, quantity) in quantities.iter().flatten() {
                let field = format!("{field}.{part}.{name}");
                if !["cpu", "memory"].contains(&name.as_str()) {
                    broken.tell("sidecar-resource", field, "a sidecar uses cpu and memory only: take it out");
                } else if let Err(wrong) = Quantity::parse(&quantity.0) {
                    broken.tell("quantity", field, wrong);
                } else if quantity.0.starts_with('-') {
                    broken.tell("quantity", field, "must not be below zero");
                }
            }
        }
        if said.claims.as_ref().is_some_and(|claims| !claims.is_empty()) {
            broken.tell(
                "resource-claims",
                format!("{field}.claims"),
                "resource claims are not supported: take them out",
            );
        }
    }
    let merged = crate::check::sidecar::merge(it.spec, it.environment.said.sidecar.as_ref());
    let (requests, limits) = crate::check::sidecar_resources(merged.resources.as_ref());
    for (name, request) in &requests {
        let read = |text: &String| Quantity::parse(text).ok();
        if let (Some(request), Some(limit)) = (read(request), limits.get(name).and_then(read))
            && request > limit
        {
            let message = format!(
                "the request of {request} is above the limit of {limit}: raise spec.sidecar.resources.limits.{name} too"
            );
            broken.tell("request-above-limit", format!("spec.sidecar.resources.requests.{name}"), message);
        }
    }
}

pub(super) fn dependencies(it: &Subject<'_>, broken: &mut Broken) {
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, dependency) in it.spec.depends_on.iter().enumerate() {
        let field = format!("spec.dependsOn[name={}]", dependency.name);
        let is_label = |text: &str| {
            !text.is_empty()
                && text.len() <= 63
                && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !text.starts_with('-')
                && !text.ends_with('-')
        };
        let starts = dependency.name.starts_with(|c: char| c.is_ascii_lowercase());
        if !starts || !is_label(&dependency.name) || !dependency.namespace.as_deref().is_none_or(is_label) {
            let message = "name a Service, and its namespace where it is another: lower-case letters, digits and dashes";
            broken.tell("depends-on-name", &field, message);
        }
        let here = dependency.namespace.as_deref().is_none_or(|namespace| namespace == it.namespace);
        if dependency.name == it.name && here {
            broken.tell("depends-on-itself", &field, "a service cannot wait for itself: take it out");
        }
        if STORES.contains(&dependency.name.as_str()) {
            let message =
                "stores are declared by DATABASE_URL and REDIS_URL in spec.secrets: take it out here";
            broken.tell("depends-on-store", &field, message);
        }
        if dependency.port == Some(0) {
            broken.tell("port-range", format!("{field}.port"), "choose a port from 1 to 65535");
        }
        if names.insert(&dependency.name, index).is_some() {
            broken.tell(
                "depends-on-once",
                &field,
                "is listed twice, and both would be the same variable: take one out",
            );
        }
    }
}
