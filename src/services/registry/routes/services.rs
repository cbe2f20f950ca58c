//! Services, and what they have told.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::HeaderMap;
use uuid::Uuid;

use super::super::Registry;
use super::super::difference::difference;
use super::super::lint::{Report, lint};
use super::super::statements::SORTS;
use super::super::store::Found;
use super::super::types::{Compared, Registered, Revision, Told};
use super::admit;
use crate::services::body::json;
use crate::services::failure::{Failure, permit};
use crate::services::page::{Page, Start, Wanted};
use crate::services::parameters::{PathId, Query, refuse};
use crate::services::schema::Definition;
use crate::sidecar::correlation::CorrelationId;

const BAD_ID: &str = "Invalid service ID format";
const NOT_FOUND: &str = "Service not found";
const NO_REVISION: &str = "Revision not found";
const ADMINS_ONLY: &str = "Only an admin may do this";
const FAILED: &str = "Failed to retrieve schemas";

/// List services
///
/// For services, moderators and admins.
#[utoipa::path(
    get, path = "/api/v1/migrations/services", tag = "services",
    security(("bearer" = [])),
    params(
        ("page" = Option<i64>, Query, description = "Which page, from 1"),
        ("limit" = Option<i64>, Query, description = "Entries, 1 to 100; else 10"),
        ("size" = Option<i64>, Query, description = "The same as limit"),
        ("sort" = Option<String>, Query, description = "createdAt, updatedAt or service, with :asc or :desc", pattern = "^(createdAt|updatedAt|service)(:(asc|desc))?$"),
        ("filter[service]" = Option<String>, Query, description = "Services of a name", pattern = r"^[^\u0000]*$"),
        ("filter[namespace]" = Option<String>, Query, description = "Services of a namespace", pattern = r"^[^\u0000]*$"),
    ),
    responses(
        (status = 200, description = "Services", body = Page<Registered>),
        (status = 400, description = "A parameter that is wrong"),
        (status = 403, description = "Neither service nor moderator nor admin"),
    )
)]
pub async fn list_services(
    State(registry): State<Arc<Registry>>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    admit(&registry, &headers)?;
    let (wanted, page) = paged(&query, &SORTS)?;
    let (mut name, mut namespace) = (None, None);
    for (field, value) in query.filters() {
        match field {
            "service" => name = Some(value),
            "namespace" => namespace = Some(value),
            other => return Err(refuse(&format!("filter[{other}]"), "must be of service or namespace")),
        }
    }
    let services = registry.store.services(&wanted, page, (name, namespace)).await;
    Ok(json(StatusCode::OK, &services.map_err(|error| Failure::of_database(FAILED, error))?))
}

/// A service
///
/// For services, moderators and admins.
#[utoipa::path(
    get, path = "/api/v1/migrations/services/{id}", tag = "services",
    security(("bearer" = [])),
    params(("id" = Uuid, Path, description = "The service's id")),
    responses(
        (status = 200, description = "The service", body = Registered),
        (status = 400, description = "Invalid service ID format"),
        (status = 403, description = "Neither service nor moderator nor admin"),
        (status = 404, description = "Service not found"),
    )
)]
pub async fn get_service(
    State(registry): State<Arc<Registry>>,
    id: PathId,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    admit(&registry, &headers)?;
    let service = registry.store.service(id.uuid(BAD_ID)?).await;
    let service = service.map_err(|error| Failure::of_database(FAILED, error))?;
    Ok(json(StatusCode::OK, &service.ok_or_else(not_found)?))
}

/// Forget a service
///
/// For admins: with every schema that it has told. It is back when it tells the next one.
#[utoipa::path(
    delete, path = "/api/v1/migrations/services/{id}", tag = "services",
    security(("bearer" = [])),
    params(("id" = Uuid, Path, description = "The service's id")),
    responses(
        (status = 204, description = "Forgotten"),
        (status = 400, description = "Invalid service ID format"),
        (status = 403, description = "No admin"),
        (status = 404, description = "Service not found"),
    )
)]
pub async fn forget_service(
    State(registry): State<Arc<Registry>>,
    Extension(correlation): Extension<CorrelationId>,
    id: PathId,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    permit(registry.callers.identify(&headers)?.is_admin(), ADMINS_ONLY)?;
    let id = id.uuid(BAD_ID)?;
    let work = async {
        let forgotten = registry.store.forget(id, correlation.as_str()).await;
        match forgotten.map_err(|error| Failure::of_database("Failed to forget the service", error))? {
            true => Ok(StatusCode::NO_CONTENT.into_response()),
            false => Err(not_found()),
        }
    };
    registry.measures.measure("forget_service", work).await
}

/// A schema of a service
///
/// For services, moderators and admins.
#[utoipa::path(
    get, path = "/api/v1/migrations/services/{id}/schema", tag = "services",
    security(("bearer" = [])),
    params(
        ("id" = Uuid, Path, description = "The service's id"),
        ("revision" = Option<i64>, Query, description = "Which; else the latest"),
    ),
    responses(
        (status = 200, description = "The schema", body = Told),
        (status = 400, description = "A parameter that is wrong"),
        (status = 403, description = "Neither service nor moderator nor admin"),
        (status = 404, description = "Service or revision not found"),
    )
)]
pub async fn get_schema(
    State(registry): State<Arc<Registry>>,
    id: PathId,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    admit(&registry, &headers)?;
    let id = id.uuid(BAD_ID)?;
    let found = schema(&registry, id, query.number("revision")?).await?;
    let Found { revision, version, told_at, definition } = found;
    let Definition { schema, indexes, constraints } = definition;
    Ok(json(StatusCode::OK, &Told { revision, version, told_at, schema, indexes, constraints }))
}

/// The schemas of a service
///
/// For services, moderators and admins. The last thousand are kept.
#[utoipa::path(
    get, path = "/api/v1/migrations/services/{id}/revisions", tag = "services",
    security(("bearer" = [])),
    params(
        ("id" = Uuid, Path, description = "The service's id"),
        ("page" = Option<i64>, Query, description = "Which page, from 1"),
        ("limit" = Option<i64>, Query, description = "Entries, 1 to 100; else 10"),
        ("size" = Option<i64>, Query, description = "The same as limit"),
        ("sort" = Option<String>, Query, description = "revision, with :asc or :desc", pattern = "^revision(:(asc|desc))?$"),
    ),
    responses(
        (status = 200, description = "Newest first", body = Page<Revision>),
        (status = 400, description = "A parameter that is wrong"),
        (status = 403, description = "Neither service nor moderator nor admin"),
        (status = 404, description = "Service not found"),
    )
)]
pub async fn list_revisions(
    State(registry): State<Arc<Registry>>,
    id: PathId,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    admit(&registry, &headers)?;
    let id = id.uuid(BAD_ID)?;
    let (wanted, page) = paged(&query, &[("revision", ())])?;
    let revisions = registry.store.revisions(id, &wanted, page).await;
    let revisions = revisions.map_err(|error| Failure::of_database(FAILED, error))?;
    Ok(json(StatusCode::OK, &revisions.ok_or_else(not_found)?))
}

/// What differs between two schemas of a service
///
/// For services, moderators and admins.
#[utoipa::path(
    get, path = "/api/v1/migrations/services/{id}/diff", tag = "services",
    security(("bearer" = [])),
    params(
        ("id" = Uuid, Path, description = "The service's id"),
        ("from" = Option<i64>, Query, description = "The revision before, 0 for none; else the one before `to`"),
        ("to" = Option<i64>, Query, description = "The revision after; else the latest"),
    ),
    responses(
        (status = 200, description = "What differs", body = Compared),
        (status = 400, description = "A parameter that is wrong"),
        (status = 403, description = "Neither service nor moderator nor admin"),
        (status = 404, description = "Service or revision not found"),
    )
)]
pub async fn compare_schemas(
    State(registry): State<Arc<Registry>>,
    id: PathId,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    admit(&registry, &headers)?;
    let id = id.uuid(BAD_ID)?;
    let (from, to) = (query.number("from")?, query.number("to")?);
    let after = schema(&registry, id, to).await?;
    let (from, before) = match from.unwrap_or(i64::from(after.revision) - 1) {
        0 => (0, Definition::default()),
        from => {
            let before = schema(&registry, id, Some(from)).await?;
            (before.revision, before.definition)
        }
    };
    let difference = difference(&before, &after.definition);
    Ok(json(StatusCode::OK, &Compared { from, to: after.revision, difference }))
}

/// Lint a service
///
/// For services, moderators and admins.
#[utoipa::path(
    get, path = "/api/v1/migrations/services/{id}/lint", tag = "services",
    security(("bearer" = [])),
    params(
        ("id" = Uuid, Path, description = "The service's id"),
        ("revision" = Option<i64>, Query, description = "Which schema; else the latest"),
    ),
    responses(
        (status = 200, description = "What there is to mend", body = Report),
        (status = 400, description = "A parameter that is wrong"),
        (status = 403, description = "Neither service nor moderator nor admin"),
        (status = 404, description = "Service or revision not found"),
    )
)]
pub async fn lint_service(
    State(registry): State<Arc<Registry>>,
    id: PathId,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    admit(&registry, &headers)?;
    let id = id.uuid(BAD_ID)?;
    let found = schema(&registry, id, query.number("revision")?).await?;
    Ok(json(StatusCode::OK, &lint(&found.definition)))
}

/// What of a list is asked for, and which page.
fn paged<F: Copy + PartialEq>(
    query: &Query,
    sorts: &[(&'static str, F)],
) -> Result<(Wanted<F>, i64), Failure> {
    let wanted = Wanted::read(query, sorts)?;
    match wanted.start {
        Start::Page(page) => Ok((wanted, page)),
        Start::After(_) => Err(refuse("cursor", "cannot be followed here: ask for a page")),
    }
}

async fn schema(registry: &Registry, id: Uuid, revision: Option<i64>) -> Result<Found, Failure> {
    let revision = revision.map(i32::try_from).transpose().map_err(|_| no_revision())?;
    let found = registry.store.schema(id, revision).await;
    let found = found.map_err(|error| Failure::of_database(FAILED, error))?;
    // Without a revision there is no service either.
    found.ok_or_else(|| if revision.is_some() { no_revision() } else { not_found() })
}

fn no_revision() -> Failure {
    Failure::not_found("RESOURCE_NOT_FOUND", NO_REVISION)
}

fn not_found() -> Failure {
    Failure::not_found("RESOURCE_NOT_FOUND", NOT_FOUND)
}
