//! Schemas as they are told, and as they might be.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use http::header::HeaderMap;
use jiff::fmt::temporal::Pieces;

use super::super::Registry;
use super::super::callers::Caller;
use super::super::lint::{Report, lint};
use super::super::store::{Outcome, Telling};
use super::super::types::{SyncSchema, Synced};
use super::admit;
use crate::services::body::{Body, json};
use crate::services::failure::{Envelope, Failure, permit};
use crate::services::parameters::refuse;
use crate::services::schema::Definition;
use crate::sidecar::correlation::CorrelationId;

/// Bytes of a schema at most: about 10,000 columns.
const MOST_BYTES: usize = 1 << 20;
const SERVICES_ONLY: &str = "Only a service may tell its schema, with its SERVICE_TOKEN";
const NOT_YOURS: &str = "A service tells its own schema: the token is of another";
const OUTDATED: &str = "Another schema was read later and told before: read it again";

/// Tell a schema
///
/// For services, of themselves, after their migrations. A schema that differs from the one before is a new revision.
#[utoipa::path(
    post, path = "/api/v1/migrations/sync", tag = "migrations",
    security(("bearer" = [])),
    request_body = SyncSchema,
    responses(
        (status = 200, description = "The schema that was known", body = Synced),
        (status = 201, description = "A new revision", body = Synced),
        (status = 400, description = "Not what was asked for", body = Envelope),
        (status = 403, description = "No service, or another one"),
        (status = 404, description = "No adapter found for service"),
        (status = 409, description = "Another schema was read later and told before"),
        (status = 413, description = "A body of more than 1048576 bytes"),
    )
)]
pub async fn sync_schema(
    State(registry): State<Arc<Registry>>,
    Extension(correlation): Extension<CorrelationId>,
    headers: HeaderMap,
    Body(told): Body<SyncSchema, MOST_BYTES>,
) -> Result<Response, Failure> {
    let caller = registry.callers.identify(&headers)?;
    registry.measures.measure("sync_schema", keep(&registry, caller, told, &correlation)).await
}

async fn keep(
    registry: &Registry,
    caller: Caller,
    told: SyncSchema,
    correlation: &CorrelationId,
) -> Result<Response, Failure> {
    let Caller::Service { namespace, name } = caller else { return Err(Failure::forbidden(SERVICES_ONLY)) };
    if !(1..=128).contains(&told.version.chars().count()) || told.version.contains('\0') {
        return Err(refuse("version", "must have 1 to 128 characters, and not the character NUL"));
    }
    let Some(read_at) = microseconds(&told.timestamp) else {
        return Err(refuse("timestamp", "must be a time as RFC 3339 has it, such as 2026-11-21T12:00:00Z"));
    };
    permit(told.service == name, NOT_YOURS)?;
    if !registry.knows(&namespace, &name) {
        // The words of F09.
        let message = format!("No adapter found for service: {name}");
        return Err(Failure::not_found("RESOURCE_NOT_FOUND", message));
    }
    let version = told.version.clone();
    let definition = told.into_definition();
    definition.check()?;
    let definition = definition.sorted();
    let report = lint(&definition);
    // A clock that is ahead must not hold back those that are right.
    let now = jiff::Timestamp::now().as_microsecond();
    let telling = Telling {
        namespace,
        name,
        version,
        definition,
        read_at: read_at.clamp(0, now),
        correlation_id: correlation.as_str().to_owned(),
    };
    let outcome = registry.store.keep(&telling).await;
    let kept = match outcome.map_err(|error| Failure::of_database("Failed to keep the schema", error))? {
        Outcome::Kept(kept) => *kept,
        Outcome::Outdated => return Err(Failure::conflict(OUTDATED)),
    };
    registry.kpis.synced(kept.changed, report.findings.len());
    let Telling { namespace, name: service, .. } = telling;
    if kept.changed {
        let (revision, breaking, findings) = (kept.revision, kept.difference.breaking, report.findings.len());
        tracing::info!(namespace, service_name = service, revision, breaking, findings, "A schema changed");
    }
    let status = if kept.changed { StatusCode::CREATED } else { StatusCode::OK };
    let synced = Synced {
        id: kept.id,
        namespace,
        service,
        revision: kept.revision,
        changed: kept.changed,
        difference: kept.difference,
        lint: report,
    };
    Ok(json(status, &synced))
}

/// Microseconds since 1970 of a time as RFC 3339 has it.
fn microseconds(text: &str) -> Option<i64> {
    let pieces = Pieces::parse(text).ok()?;
    let (date, offset) = (pieces.date().to_datetime(pieces.time()?), pieces.to_numeric_offset()?);
    // The last hours of the year 9999 are no moment that a clock here shows, and to come for certain.
    Some(offset.to_timestamp(date).map_or(i64::MAX, |time| time.as_microsecond()))
}

/// Lint a schema
///
/// For services, moderators and admins. Nothing is kept: for a build that wants to know before.
#[utoipa::path(
    post, path = "/api/v1/migrations/lint", tag = "migrations",
    security(("bearer" = [])),
    request_body = Definition,
    responses(
        (status = 200, description = "What there is to mend", body = Report),
        (status = 400, description = "Not what was asked for"),
        (status = 403, description = "Neither service nor moderator nor admin"),
        (status = 413, description = "A body of more than 1048576 bytes"),
    )
)]
pub async fn lint_schema(
    State(registry): State<Arc<Registry>>,
    headers: HeaderMap,
    Body(definition): Body<Definition, MOST_BYTES>,
) -> Result<Response, Failure> {
    admit(&registry, &headers)?;
    definition.check()?;
    Ok(json(StatusCode::OK, &lint(&definition.sorted())))
}
