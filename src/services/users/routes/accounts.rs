//! Users one by one: registering, reading, changing, deleting (D48, F03).

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{HeaderMap, HeaderValue, LOCATION};
use uuid::Uuid;

use super::super::store::{Actor, New};
use super::super::types::{CreateUser, UpdateUser, User};
use super::super::{Users, validation};
use super::{NOT_ONESELF, NOT_YOURS, OUTDATED, about, entity, matching, not_found, permit, read, update};
use crate::services::body::Body;
use crate::services::failure::{Envelope, Failure};
use crate::services::parameters::PathId;
use crate::sidecar::correlation::CorrelationId;

/// Register
///
/// Addresses and names are one whatever their case.
#[utoipa::path(
    post, path = "/api/v1/users", tag = "users",
    request_body = CreateUser,
    responses(
        (status = 201, description = "Registered", body = User),
        (status = 400, description = "Not what was asked for", body = Envelope),
        (status = 409, description = "user already exists"),
    )
)]
pub async fn create_user(
    State(users): State<Arc<Users>>,
    Extension(correlation): Extension<CorrelationId>,
    Body(new): Body<CreateUser>,
) -> Result<Response, Failure> {
    let work = async {
        validation::check_new(&new)?;
        let hash = users.passwords.hash(new.password).await?;
        let CreateUser { email, username, first_name, last_name, .. } = new;
        let new = New { id: Uuid::new_v4(), email, username, hash, first_name, last_name };
        let actor = Actor { id: Some(new.id), correlation_id: correlation.as_str().to_owned() };
        let user = users.store.create(&new, &actor).await.map_err(|error| match error.duplicate() {
            Some(_) => Failure::conflict("user already exists"),
            None => Failure::of_database("User creation failed", error),
        })?;
        users.kpis.registered();
        let mut response = entity(StatusCode::CREATED, &user);
        if let Ok(place) = HeaderValue::from_str(&format!("/api/v1/users/{}", user.id)) {
            response.headers_mut().insert(LOCATION, place);
        }
        Ok(response)
    };
    users.measures.measure("create_user", work).await
}

/// A user
///
/// For the user, moderators and admins.
#[utoipa::path(
    get, path = "/api/v1/users/{id}", tag = "users",
    security(("bearer" = [])),
    params(("id" = Uuid, Path, description = "The user's id")),
    responses(
        (status = 200, description = "The user", body = User),
        (status = 400, description = "Invalid user ID format"),
        (status = 403, description = "Somebody else"),
        (status = 404, description = "User not found"),
    )
)]
pub async fn get_user(
    State(users): State<Arc<Users>>,
    id: PathId,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let (caller, id, version) = about(&users, &headers, &id).await?;
    permit(caller.id == id || caller.sees_all(), NOT_YOURS)?;
    read(&users, id, version).await
}

/// Change a user
///
/// For the user and admins. What is left out stays, as with PATCH.
#[utoipa::path(
    put, path = "/api/v1/users/{id}", tag = "users",
    security(("bearer" = [])),
    params(
        ("id" = Uuid, Path, description = "The user's id"),
        ("If-Match" = Option<String>, Header, description = "The ETag that the change is of"),
    ),
    request_body = UpdateUser,
    responses(
        (status = 200, description = "Changed", body = User),
        (status = 400, description = "Not what was asked for"),
        (status = 403, description = "Somebody else"),
        (status = 404, description = "User not found"),
        (status = 409, description = "Somebody has the address or the name, or the version is another"),
        (status = 412, description = "The version is another than If-Match says"),
    )
)]
pub async fn replace_user(
    State(users): State<Arc<Users>>,
    id: PathId,
    Extension(correlation): Extension<CorrelationId>,
    headers: HeaderMap,
    Body(change): Body<UpdateUser>,
) -> Result<Response, Failure> {
    let (caller, id, _) = about(&users, &headers, &id).await?;
    permit(caller.id == id || caller.is_admin(), NOT_YOURS)?;
    update(&users, &caller, id, &headers, &change, &correlation).await
}

/// Change a user in parts
#[utoipa::path(
    patch, path = "/api/v1/users/{id}", tag = "users",
    security(("bearer" = [])),
    params(
        ("id" = Uuid, Path, description = "The user's id"),
        ("If-Match" = Option<String>, Header, description = "The ETag that the change is of"),
    ),
    request_body = UpdateUser,
    responses(
        (status = 200, description = "Changed", body = User),
        (status = 400, description = "Not what was asked for"),
        (status = 403, description = "Somebody else"),
        (status = 404, description = "User not found"),
        (status = 409, description = "Somebody has the address or the name, or the version is another"),
        (status = 412, description = "The version is another than If-Match says"),
    )
)]
pub async fn change_user(
    users: State<Arc<Users>>,
    id: PathId,
    correlation: Extension<CorrelationId>,
    headers: HeaderMap,
    change: Body<UpdateUser>,
) -> Result<Response, Failure> {
    replace_user(users, id, correlation, headers, change).await
}

/// Delete a user
///
/// For the user and admins. Everything that is theirs goes too.
#[utoipa::path(
    delete, path = "/api/v1/users/{id}", tag = "users",
    security(("bearer" = [])),
    params(
        ("id" = Uuid, Path, description = "The user's id"),
        ("If-Match" = Option<String>, Header, description = "The ETag of what is to be deleted"),
    ),
    responses(
        (status = 204, description = "Deleted"),
        (status = 400, description = "Invalid user ID format"),
        (status = 403, description = "Somebody else, or an admin about themself"),
        (status = 404, description = "User not found"),
        (status = 412, description = "The version is another than If-Match says"),
    )
)]
pub async fn delete_user(
    State(users): State<Arc<Users>>,
    id: PathId,
    Extension(correlation): Extension<CorrelationId>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let (caller, id, version) = about(&users, &headers, &id).await?;
    permit(caller.id == id || caller.is_admin(), NOT_YOURS)?;
    permit(!(caller.id == id && caller.is_admin()), NOT_ONESELF)?;
    let matching = matching(&headers);
    let work = async {
        let actor = caller.as_actor(correlation.as_str());
        let deleted = users.store.delete(id, matching.as_deref(), &actor).await;
        match deleted.map_err(|error| Failure::of_database("Failed to delete user", error))? {
            true => Ok(StatusCode::NO_CONTENT.into_response()),
            false if matching.is_some() && version.is_some() => Err(Failure::precondition(OUTDATED)),
            false => Err(not_found()),
        }
    };
    users.measures.measure("delete_user", work).await
}
