//! Telling a schema, and looking at what was told.

mod migrations;
mod services;

use std::sync::Arc;

use http::header::HeaderMap;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Registry;
use crate::services::failure::{Failure, permit};

const SEERS_ONLY: &str = "Only a service, a moderator or an admin may do this";

pub(super) fn routes() -> OpenApiRouter<Arc<Registry>> {
    OpenApiRouter::new()
        .routes(routes!(migrations::sync_schema))
        .routes(routes!(migrations::lint_schema))
        .routes(routes!(services::list_services))
        .routes(routes!(services::get_service, services::forget_service))
        .routes(routes!(services::get_schema))
        .routes(routes!(services::list_revisions))
        .routes(routes!(services::compare_schemas))
        .routes(routes!(services::lint_service))
}

fn admit(registry: &Registry, headers: &HeaderMap) -> Result<(), Failure> {
    permit(registry.callers.identify(headers)?.sees_all(), SEERS_ONLY)
}
