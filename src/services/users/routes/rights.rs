//! Who may log in, with which password, and what they may.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::HeaderMap;
use uuid::Uuid;

use super::super::sessions::Caller;
use super::super::types::{ChangeMany, ChangePassword, ChangeRole, ChangeStatus, Changed, User};
use super::super::{ADMINS_ONLY, Users, validation};
use super::{BAD_ID, NOT_ONESELF, NOT_YOURS, OUTDATED, about, entity, json, not_found, permit};
use crate::services::body::Body;
use crate::services::database::Error;
use crate::services::failure::Failure;
use crate::services::parameters::{PathId, refuse};
use crate::sidecar::correlation::CorrelationId;

/// Ids in one request.
const MOST_IDS: usize = 1000;

/// Give many users one status
///
/// For admins. Ids that are none, and one's own, are passed over.
#[utoipa::path(
    post, path = "/api/v1/users/bulk", tag = "users",
    security(("bearer" = [])),
    request_body = ChangeMany,
    responses(
        (status = 200, description = "How many had another status", body = Changed),
        (status = 400, description = "Not what was asked for"),
        (status = 403, description = "No admin"),
    )
)]
pub async fn change_many_users(
    State(users): State<Arc<Users>>,
    Extension(correlation): Extension<CorrelationId>,
    headers: HeaderMap,
    Body(change): Body<ChangeMany>,
) -> Result<Response, Failure> {
    let (caller, _) = users.admit(&headers, None).await?;
    permit(caller.is_admin(), ADMINS_ONLY)?;
    if !(1..=MOST_IDS).contains(&change.ids.len()) {
        return Err(refuse("ids", "must be 1 to 1000"));
    }
    let ids: Vec<Uuid> = change
        .ids
        .into_iter()
        .filter_map(|id| PathId(id).uuid(BAD_ID).ok())
        .filter(|id| *id != caller.id)
        .collect();
    let work = async {
        let changed = users.store.set_many(&ids, change.status, &caller.as_actor(correlation.as_str())).await;
        changed.map_err(|error| Failure::of_database("Failed to update users", error))
    };
    let modified_count = users.measures.measure("change_many_users", work).await?;
    Ok(json(StatusCode::OK, &Changed { modified_count }))
}

/// Change a password
///
/// For the user, who gives the one that was, and admins. Every session of the user ends.
#[utoipa::path(
    put, path = "/api/v1/users/{id}/password", tag = "users",
    security(("bearer" = [])),
    params(("id" = Uuid, Path, description = "The user's id")),
    request_body = ChangePassword,
    responses(
        (status = 204, description = "Changed"),
        (status = 400, description = "Not what was asked for"),
        (status = 403, description = "Somebody else, or the wrong password"),
        (status = 404, description = "User not found"),
        (status = 409, description = "It was changed meanwhile"),
        (status = 429, description = "Too many failures: come back after Retry-After seconds"),
    )
)]
pub async fn change_password(
    State(users): State<Arc<Users>>,
    id: PathId,
    Extension(correlation): Extension<CorrelationId>,
    headers: HeaderMap,
    Body(change): Body<ChangePassword>,
) -> Result<Response, Failure> {
    let (caller, id, _) = about(&users, &headers, &id).await?;
    permit(caller.id == id || caller.is_admin(), NOT_YOURS)?;
    validation::check_password("newPassword", &change.new_password)?;
    if change.current_password.as_ref().is_some_and(|password| password.len() > validation::PASSWORD_BYTES) {
        return Err(refuse("currentPassword", "must be at most 72 bytes long"));
    }
    let failed = |error| Failure::of_database("Failed to update user", error);
    let work = async {
        let before = users.store.password(id).await.map_err(failed)?.ok_or_else(not_found)?;
        if caller.id == id {
            // A stolen access token must not become a password by guessing.
            // No address has a NUL.
            let key = format!("\0password:{id}");
            let admitted = users.passwords.admit()?;
            if users.login_attempts > 0 {
                let (failures, seconds) = users.store.count_login(&key).await.map_err(failed)?;
                if failures as u32 > users.login_attempts {
                    return Err(Failure::limited(
                        "Too many wrong passwords: try again later",
                        seconds.unsigned_abs(),
                    ));
                }
            }
            let given = change.current_password.unwrap_or_default();
            permit(
                users.passwords.verify(admitted, given, Some(before.clone())).await?,
                "currentPassword is wrong",
            )?;
            users.store.forget_logins(&key).await.map_err(failed)?;
        }
        let hash = users.passwords.hash(change.new_password).await?;
        let actor = caller.as_actor(correlation.as_str());
        match users.store.set_password(id, &before, &hash, &actor).await.map_err(failed)? {
            true => Ok(StatusCode::NO_CONTENT.into_response()),
            false => Err(Failure::conflict(OUTDATED)),
        }
    };
    users.measures.measure("change_password", work).await
}

/// Suspend a user, or let them in again
///
/// For admins. Who is not active is logged out everywhere at once.
#[utoipa::path(
    put, path = "/api/v1/users/{id}/status", tag = "users",
    security(("bearer" = [])),
    params(("id" = Uuid, Path, description = "The user's id")),
    request_body = ChangeStatus,
    responses(
        (status = 200, description = "Changed", body = User),
        (status = 400, description = "Not what was asked for"),
        (status = 403, description = "No admin, or about themself"),
        (status = 404, description = "User not found"),
    )
)]
pub async fn change_status(
    State(users): State<Arc<Users>>,
    id: PathId,
    Extension(correlation): Extension<CorrelationId>,
    headers: HeaderMap,
    Body(change): Body<ChangeStatus>,
) -> Result<Response, Failure> {
    let (caller, id) = about_another(&users, &headers, &id).await?;
    let work = async {
        let changed = users.store.set_status(id, change.status, &caller.as_actor(correlation.as_str())).await;
        after_change(changed)
    };
    users.measures.measure("change_status", work).await
}

/// Say what a user may
///
/// For admins.
#[utoipa::path(
    put, path = "/api/v1/users/{id}/role", tag = "users",
    security(("bearer" = [])),
    params(("id" = Uuid, Path, description = "The user's id")),
    request_body = ChangeRole,
    responses(
        (status = 200, description = "Changed", body = User),
        (status = 400, description = "Not what was asked for"),
        (status = 403, description = "No admin, or about themself"),
        (status = 404, description = "User not found"),
    )
)]
pub async fn change_role(
    State(users): State<Arc<Users>>,
    id: PathId,
    Extension(correlation): Extension<CorrelationId>,
    headers: HeaderMap,
    Body(change): Body<ChangeRole>,
) -> Result<Response, Failure> {
    let (caller, id) = about_another(&users, &headers, &id).await?;
    let work = async {
        let changed = users.store.set_role(id, change.role, &caller.as_actor(correlation.as_str())).await;
        after_change(changed)
    };
    users.measures.measure("change_role", work).await
}

/// The same of what only an admin may, and not about themself.
async fn about_another(users: &Users, headers: &HeaderMap, id: &PathId) -> Result<(Caller, Uuid), Failure> {
    let (caller, id, _) = about(users, headers, id).await?;
    permit(caller.is_admin(), ADMINS_ONLY)?;
    permit(caller.id != id, NOT_ONESELF)?;
    Ok((caller, id))
}

fn after_change(changed: Result<Option<User>, Error>) -> Result<Response, Failure> {
    let user = changed.map_err(|error| Failure::of_database("Failed to update user", error))?;
    Ok(entity(StatusCode::OK, &user.ok_or_else(not_found)?))
}
