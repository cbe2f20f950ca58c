//! Who calls, without an id.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::header::HeaderMap;

use super::super::Users;
use super::super::types::{UpdateUser, User};
use super::{read, update};
use crate::services::body::Body;
use crate::services::failure::Failure;
use crate::sidecar::correlation::CorrelationId;

/// Me
#[utoipa::path(
    get, path = "/api/v1/users/me", tag = "me",
    security(("bearer" = [])),
    responses((status = 200, description = "Who calls", body = User))
)]
pub async fn get_me(State(users): State<Arc<Users>>, headers: HeaderMap) -> Result<Response, Failure> {
    let (caller, edition) = users.admit(&headers, None).await?;
    read(&users, caller.id, edition).await
}

/// Change me
#[utoipa::path(
    put, path = "/api/v1/users/me", tag = "me",
    security(("bearer" = [])),
    params(("If-Match" = Option<String>, Header, description = "The ETag that the change is of")),
    request_body = UpdateUser,
    responses(
        (status = 200, description = "Changed", body = User),
        (status = 400, description = "Not what was asked for"),
        (status = 404, description = "User not found"),
        (status = 409, description = "Somebody has the address or the name, or the version is another"),
        (status = 412, description = "The version is another than If-Match says"),
    )
)]
pub async fn replace_me(
    State(users): State<Arc<Users>>,
    Extension(correlation): Extension<CorrelationId>,
    headers: HeaderMap,
    Body(change): Body<UpdateUser>,
) -> Result<Response, Failure> {
    let (caller, _) = users.admit(&headers, None).await?;
    update(&users, &caller, caller.id, &headers, &change, &correlation).await
}

/// Change me in parts
#[utoipa::path(
    patch, path = "/api/v1/users/me", tag = "me",
    security(("bearer" = [])),
    params(("If-Match" = Option<String>, Header, description = "The ETag that the change is of")),
    request_body = UpdateUser,
    responses(
        (status = 200, description = "Changed", body = User),
        (status = 400, description = "Not what was asked for"),
        (status = 404, description = "User not found"),
        (status = 409, description = "Somebody has the address or the name, or the version is another"),
        (status = 412, description = "The version is another than If-Match says"),
    )
)]
pub async fn change_me(
    users: State<Arc<Users>>,
    correlation: Extension<CorrelationId>,
    headers: HeaderMap,
    change: Body<UpdateUser>,
) -> Result<Response, Failure> {
    replace_me(users, correlation, headers, change).await
}
