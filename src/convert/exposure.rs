//! The way in, and how a service is watched (A10, A11, A20, A21).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::values::Values;
use super::{Error, Fate};
use crate::api::{Ingress, IngressTls, Monitoring, VisiobookServiceSpec};

const NGINX: &str = "nginx.ingress.kubernetes.io";
/// Keys of a limit that no controller reads (G03), and those that ingress-nginx does.
const LIMITS: [&str; 2] = ["rate-limit", "limit-rpm"];

#[derive(Deserialize)]
struct Host {
    #[serde(default)]
    host: String,
    #[serde(default)]
    paths: Vec<Path>,
}

#[derive(Deserialize)]
struct Path {
    path: String,
}

#[derive(Deserialize)]
struct Tls {
    #[serde(rename = "secretName")]
    secret_name: Option<String>,
}

/// The way in.
pub(super) fn ingress(values: &mut Values<'_>, spec: &mut VisiobookServiceSpec) -> Result<(), Error> {
    if values.peek("ingress").is_none() && !values.is_older() {
        let message = "the chart's own values offer the placeholder /api/v1/service-name at api.visiobook.com, which is left out: spec.ingress: {} offers the service under a path of its own";
        values.note("ingress", Fate::Changed, message);
    }
    if values.parse("ingress.enabled")? != Some(true) {
        // A part that is switched off needs no home.
        values.take("ingress");
        return Ok(());
    }
    let mut ingress = Ingress::default();
    let hosts: Vec<Host> = values.parse("ingress.hosts")?.unwrap_or_default();
    ingress.hosts = hosts.iter().map(|host| host.host.clone()).filter(|host| !host.is_empty()).collect();
    let mut paths: Vec<String> = hosts
        .iter()
        .flat_map(|host| &host.paths)
        .map(|path| {
            Some(path.path.trim_end_matches('/')).filter(|path| !path.is_empty()).unwrap_or("/").into()
        })
        .collect();
    paths.dedup();
    if paths.len() > 1 {
        let others = paths[1..].join(", ");
        let message =
            format!("a service has one path, with everything below it: {others} need an Ingress of your own");
        values.note("ingress.hosts", Fate::NoHome, message);
    }
    ingress.path = paths.into_iter().next();
    let tls: Vec<Tls> = values.parse("ingress.tls")?.unwrap_or_default();
    ingress.tls = Some(match tls.into_iter().next() {
        Some(tls) => IngressTls { enabled: None, secret_name: tls.secret_name },
        None => {
            values.note(
                "ingress",
                Fate::Changed,
                "without tls: production refuses it, so name a certificate there",
            );
            IngressTls { enabled: Some(false), secret_name: None }
        }
    });
    if let Some(class) = values.text("ingress.className")?.filter(|class| class != "nginx") {
        let message = format!("the environment says it for all its services: ingress.className: {class}");
        values.note("ingress.className", Fate::Changed, message);
    }
    let said: BTreeMap<String, String> = values.parse("ingress.annotations")?.unwrap_or_default();
    for (annotation, value) in said {
        annotate(values, &mut ingress, annotation, value);
    }
    spec.ingress = Some(ingress);
    Ok(())
}

fn annotate(values: &mut Values<'_>, ingress: &mut Ingress, annotation: String, value: String) {
    let key = annotation.strip_prefix(NGINX).and_then(|key| key.strip_prefix('/')).unwrap_or_default();
    let mut note = |fate, message: String| {
        values.note("ingress.annotations", fate, format!("{annotation}: {message}"));
    };
    match (key, value.parse()) {
        ("rewrite-target", _) => {
            note(
                Fate::Changed,
                "the path arrives at the application as it is, which expects all of it".into(),
            );
        }
        ("ssl-redirect" | "force-ssl-redirect", _) => {
            note(Fate::Given, "where there is TLS, the operator says so".into());
        }
        ("rate-limit-window", _) => note(Fate::Given, "a limit is per minute".into()),
        (key, Ok(limit)) if LIMITS.contains(&key) => {
            ingress.requests_per_minute = Some(limit);
            note(Fate::Changed, "it becomes ingress.requestsPerMinute".into());
        }
        _ => {
            ingress.annotations.insert(annotation, value);
        }
    }
}

/// How it is watched.
pub(super) fn monitoring(values: &mut Values<'_>, spec: &mut VisiobookServiceSpec) -> Result<(), Error> {
    let mut monitoring = Monitoring::default();
    for field in ["monitoring.enabled", "monitoring.serviceMonitor.enabled"] {
        monitoring.enabled = monitoring.enabled.or(values.parse(field)?.filter(|enabled| !enabled));
    }
    monitoring.interval =
        values.text("monitoring.serviceMonitor.interval")?.filter(|interval| interval != "30s");
    for labels in ["labels", "additionalLabels"] {
        let field = format!("monitoring.serviceMonitor.{labels}");
        monitoring.labels.extend(values.parse::<BTreeMap<String, String>>(&field)?.unwrap_or_default());
    }
    for (field, given) in [("path", "/metrics"), ("port", "metrics")] {
        let field = format!("monitoring.serviceMonitor.{field}");
        if values.text(&field)?.is_some_and(|said| said != given) {
            let message = "Prometheus asks the sidecar for /metrics at 9090; sidecar.metricsPath and sidecar.metricsPort say where it finds the application's own";
            values.note(&field, Fate::Changed, message);
        }
    }
    spec.monitoring = (monitoring != Monitoring::default()).then(|| Box::new(monitoring));
    Ok(())
}
