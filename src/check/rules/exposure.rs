//! The way in from outside, and who may connect.

use std::net::Ipv4Addr;

use ipnet::IpNet;

use super::{Broken, Subject};
use crate::api::EnvironmentType;
use crate::check::exposure::{self, Controller};

/// Whether a text is a host name, or the wildcard of one.
pub(super) fn is_host(host: &str) -> bool {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    host.len() <= 253 && name.split('.').all(is_label) && name.parse::<Ipv4Addr>().is_err()
}

pub(super) fn ingress(it: &Subject<'_>, broken: &mut Broken) {
    if !exposure::wanted(it.spec, it.environment) {
        return;
    }
    let said = it.spec.ingress.clone().unwrap_or_default();
    let environment = &it.environment.name;
    let of_environment = it.environment.said.ingress.as_ref();
    let hosts = exposure::hosts(it.name, it.spec, it.environment);
    if hosts.is_empty() {
        let message = format!(
            "has no host: name one, or let VisiobookEnvironment {environment} name its ingress.domain"
        );
        broken.tell("ingress-host", "spec.ingress.hosts", message);
    }
    for (index, host) in hosts.iter().enumerate() {
        let field = format!("spec.ingress.hosts[{index}]");
        if !is_host(host) {
            let message =
                format!("\"{host}\" is no host name: write one such as api.visiobook.com or *.visiobook.com");
            broken.tell("host-name", &field, message);
        }
        let domain = of_environment.and_then(|ingress| ingress.domain.as_deref());
        if let Some(domain) = domain
            && !host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        {
            let message = format!(
                "\"{host}\" is not of the domain {domain} of VisiobookEnvironment {environment}: choose {domain} or a name below it"
            );
            broken.tell("ingress-domain", &field, message);
        }
    }
    preview(it, &hosts, broken);
    if let Some(path) = &said.path {
        let is_segment = |segment: &str| {
            !["", ".", ".."].contains(&segment)
                && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~-".contains(&b))
        };
        let below = path.strip_prefix('/');
        if below.is_none_or(|below| !below.is_empty() && !below.split('/').all(is_segment)) {
            let message = format!("\"{path}\" is no path: write one such as /api/v1/users");
            broken.tell("url-path", "spec.ingress.path", message);
        }
    }
    let encrypted = said.tls.and_then(|tls| tls.enabled).unwrap_or(true);
    if !encrypted && it.environment.type_ == EnvironmentType::Production {
        let message = "is false, and production is encrypted: take it out";
        broken.tell("ingress-tls", "spec.ingress.tls.enabled", message);
    }
    let class = exposure::class(it.environment);
    if said.requests_per_minute.is_some() && class.map(Controller::of) != Some(Controller::Nginx) {
        let message = "has no effect: only ingress controllers of class nginx count requests; set spec.sidecar.rateLimit";
        broken.tell("ingress-limit", "spec.ingress.requestsPerMinute", message);
    }
    for key in said.annotations.keys().filter(|key| key.ends_with("-snippet")) {
        let message = "runs its text in the ingress controller that all services share: use an annotation that says what you need";
        broken.tell("ingress-snippet", format!("spec.ingress.annotations.{key}"), message);
    }
}

/// Hosts of the colour that does not serve, which are made from those of the service.
fn preview(it: &Subject<'_>, hosts: &[String], broken: &mut Broken) {
    let domain = it.environment.said.ingress.as_ref().and_then(|ingress| ingress.domain.as_ref());
    let previews = exposure::preview_hosts(it.name, it.spec, it.environment);
    for (index, (preview, host)) in
        previews.iter().zip(hosts).enumerate().filter(|(_, (_, host))| is_host(host))
    {
        let why = if host.starts_with("*.") {
            "a wildcard has none".to_string()
        } else if !is_host(preview) {
            format!("\"{preview}\" would have more than 253 characters, or a label of more than 63")
        } else if domain == Some(host) {
            format!("\"{preview}\" is not below the domain {host}")
        } else if hosts.contains(preview) {
            format!("\"{preview}\" is a host of the service itself")
        } else {
            continue;
        };
        let message = format!(
            "\"{host}\" has no preview host: {why}; choose another host, or set spec.ingress.preview: false"
        );
        broken.tell("preview-host", format!("spec.ingress.hosts[{index}]"), message);
    }
}

pub(super) fn isolation(it: &Subject<'_>, broken: &mut Broken) {
    for (index, allowed) in it.spec.network_policy.iter().flat_map(|policy| &policy.allow_from).enumerate() {
        if allowed.namespace.is_none() && allowed.service.is_none() {
            let message = "names nobody: name a namespace, a service or both";
            broken.tell("allow-from", format!("spec.networkPolicy.allowFrom[{index}]"), message);
        }
    }
    let of_environment = it.environment.said.network_policy.as_ref();
    let ranges =
        of_environment.and_then(|policy| policy.egress.as_ref()).map_or(&[][..], |egress| &egress.ranges);
    for (index, range) in ranges.iter().enumerate().filter(|(_, range)| range.parse::<IpNet>().is_err()) {
        let field = format!(
            "VisiobookEnvironment {}: spec.networkPolicy.egress.ranges[{index}]",
            it.environment.name
        );
        let message =
            format!("\"{range}\" is no range of addresses: write one such as 10.0.0.0/8 or fd00::/8");
        broken.tell("range", field, message);
    }
}
