//! What a resource may say of a domain service, which brings the rest.

use super::{Broken, Subject};
use crate::api::{DomainService, Profile, SidecarMode};
use crate::contract::domain_services::DOMAIN_SERVICES;

pub(super) fn domain_service(it: &Subject<'_>, asked: DomainService, broken: &mut Broken) {
    let Some(service) = asked.definition() else {
        let known: Vec<&str> = DOMAIN_SERVICES.iter().map(|service| service.name).collect();
        let message = format!(
            "{} does not come with this release yet: set spec.image, or take one of {}",
            asked.as_str(),
            known.join(", ")
        );
        return broken.tell("domain-service-available", "spec.domainService", message);
    };
    for field in overridden(it) {
        let message = format!("comes with the domain service {}: take it out", service.name);
        broken.tell("domain-service-field", field, message);
    }
    for variable in service.secrets.iter().filter(|variable| !it.spec.secrets.contains_key(**variable)) {
        let message = format!(
            "the domain service {} does not start without it: name the key of a Secret that holds it",
            service.name
        );
        broken.tell("domain-service-secret", format!("spec.secrets.{variable}"), message);
    }
}

/// Fields that the domain service decides itself.
fn overridden(it: &Subject<'_>) -> Vec<String> {
    let spec = it.spec;
    let set = |field: &str, set: bool| set.then(|| format!("spec.{field}"));
    let sidecar = spec.sidecar.clone().unwrap_or_default();
    let fields = [
        set("stack", spec.stack.is_some()),
        set("profile", !matches!(spec.profile, None | Some(Profile::Backend))),
        set("command", !spec.command.is_empty()),
        set("args", !spec.args.is_empty()),
        set("port", spec.port.is_some()),
        set("gpu", spec.gpu.is_some()),
        set("migration", spec.migration.is_some()),
        set("sidecar.mode", !matches!(sidecar.mode, None | Some(SidecarMode::Proxy))),
        set("sidecar.protocol", sidecar.protocol.is_some()),
        set("sidecar.routes", !sidecar.routes.is_empty()),
        set("sidecar.auth.secret", sidecar.auth.is_some_and(|auth| auth.secret.is_some())),
        set("sidecar.metricsPath", sidecar.metrics_path.is_some()),
        set("sidecar.metricsPort", sidecar.metrics_port.is_some()),
        set("sidecar.healthPath", sidecar.health_path.is_some()),
        set("sidecar.migrations", sidecar.migrations.is_some()),
    ];
    // It would listen past its sidecar.
    let hosts = super::variables::sources(spec)
        .into_iter()
        .filter(|(_, variables)| variables.contains("HOST"))
        .map(|(field, _)| format!("{field}.HOST"));
    fields.into_iter().flatten().chain(hosts).collect()
}
