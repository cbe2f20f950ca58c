//! A domain service: everything that its resource need not say. It is laid under what is said when a revision is
//! rendered, and stored with it, so that a later release of the operator changes nothing that runs.

use super::sidecar_image;
use crate::api::DomainService;
use crate::check::Shape;
use crate::facts::Facts;

/// The shape of a revision that is rendered now.
pub(super) fn complete(shape: &Shape, facts: &Facts) -> Shape {
    let mut shape = shape.clone();
    let Some(service) = shape.domain_service.and_then(DomainService::definition) else { return shape };
    shape.image = sidecar_image(facts).to_string();
    shape.args = ["service", service.name].map(str::to_string).to_vec();
    let migrate = ["service", service.name, "migrate"];
    shape.migration.get_or_insert_default().args = migrate.map(str::to_string).to_vec();
    let sidecar = shape.sidecar.get_or_insert_default();
    let texts = |texts: &[&str]| texts.iter().map(|text| text.to_string()).collect();
    sidecar.routes = texts(service.routes);
    let auth = sidecar.auth.get_or_insert_default();
    if auth.public_routes.is_empty() {
        auth.public_routes = texts(service.public_routes);
    }
    for (kpi, metric) in service.kpis {
        sidecar.kpis.entry(kpi.to_string()).or_insert(metric.to_string());
    }
    shape
}
