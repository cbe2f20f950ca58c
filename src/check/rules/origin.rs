//! Which names and images may run, and on which ports.

use super::{Broken, Subject};
use crate::api::{SidecarMode, names};
use crate::check::image;
use crate::contract;

pub(super) fn name(it: &Subject<'_>, broken: &mut Broken) {
    if it.name.len() > names::MAX_NAME {
        let message = format!(
            "use at most {} characters, so that the names of its children fit into 63",
            names::MAX_NAME
        );
        broken.tell("name-length", "metadata.name", message);
    }
    if let Some(ending) = names::RESERVED_ENDINGS.iter().find(|ending| it.name.ends_with(**ending)) {
        broken.tell(
            "name-ending",
            "metadata.name",
            format!("must not end in {ending}: the service's own children do"),
        );
    }
}

pub(super) fn image_or_domain_service(it: &Subject<'_>, broken: &mut Broken) {
    match (&it.spec.image, it.spec.domain_service) {
        (Some(_), None) => {}
        (None, Some(asked)) => super::domain_service::domain_service(it, asked, broken),
        _ => broken.tell(
            "image-or-domain-service",
            "spec",
            "set exactly one of spec.image and spec.domainService",
        ),
    }
}

pub(super) fn image_reference(it: &Subject<'_>, broken: &mut Broken) {
    if let Some(reference) = &it.spec.image
        && image::parse(reference).is_none()
    {
        let message = format!(
            "\"{reference}\" is not an image: write registry/path:tag or registry/path@sha256:digest"
        );
        broken.tell("image-reference", "spec.image", message);
    }
}

pub(super) fn ports(it: &Subject<'_>, broken: &mut Broken) {
    let service = it.spec.service.as_ref().and_then(|service| service.port);
    for (field, port) in [("spec.port", it.spec.port), ("spec.service.port", service)] {
        if port == Some(contract::METRICS_PORT) {
            let message = format!(
                "{} is taken by {} of the runtime contract: choose another port",
                contract::METRICS_PORT,
                contract::METRICS_PATH
            );
            broken.tell("port-once", field, message);
        }
        if field == "spec.port" && port == Some(contract::SIDECAR_PORT) && it.mode() == SidecarMode::Proxy {
            let message = format!(
                "{} is taken by the sidecar: choose another port, or set spec.sidecar.mode to Observe or Off",
                contract::SIDECAR_PORT
            );
            broken.tell("port-once", field, message);
        }
        if port == Some(0) {
            broken.tell("port-range", field, "choose a port from 1 to 65535");
        }
    }
}
