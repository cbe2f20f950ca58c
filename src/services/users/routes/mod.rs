//! Users themselves: who may see and change them, and what is answered (D48-D50, G16).

mod accounts;
mod lists;
mod me;
mod rights;

use std::sync::Arc;

use axum::response::Response;
use http::StatusCode;
use http::header::{ETAG, HeaderMap, HeaderValue, IF_MATCH};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::Users;
use super::sessions::Caller;
use super::store::{Edition, Outcome};
use super::types::{UpdateUser, User};
use super::validation;
use crate::services::body::json;
use crate::services::failure::{Failure, permit};
use crate::services::parameters::PathId;
use crate::sidecar::correlation::CorrelationId;

const BAD_ID: &str = "Invalid user ID format";
const NOT_FOUND: &str = "User not found";
const NOT_YOURS: &str = "Only the user or an admin may do this";
const NOT_ONESELF: &str = "Another admin has to do this: an admin cannot lock themself out";
const OUTDATED: &str = "The user was changed meanwhile: read it again";

pub(super) fn routes() -> OpenApiRouter<Arc<Users>> {
    OpenApiRouter::new()
        .routes(routes!(accounts::create_user, lists::list_users))
        .routes(routes!(lists::search_users))
        .routes(routes!(lists::user_statistics))
        .routes(routes!(rights::change_many_users))
        .routes(routes!(me::get_me, me::replace_me, me::change_me))
        .routes(routes!(
            accounts::get_user,
            accounts::replace_user,
            accounts::change_user,
            accounts::delete_user
        ))
        .routes(routes!(rights::change_password))
        .routes(routes!(rights::change_status))
        .routes(routes!(rights::change_role))
}

/// A user with the version that a change can be bound to.
fn entity(status: StatusCode, user: &User) -> Response {
    let mut response = json(status, user);
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", user.version)) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// Who calls, whom it is about, and the state of that one where there is one.
async fn about(
    users: &Users,
    headers: &HeaderMap,
    id: &PathId,
) -> Result<(Caller, Uuid, Option<Edition>), Failure> {
    let parsed = id.uuid(BAD_ID);
    // Who has no token is not told what an id looks like.
    let (caller, edition) = users.admit(headers, parsed.as_ref().ok().copied()).await?;
    Ok((caller, parsed?, edition))
}

async fn read(users: &Users, id: Uuid, edition: Option<Edition>) -> Result<Response, Failure> {
    let edition = edition.ok_or_else(not_found)?;
    let user = users.store.find(id, &edition).await;
    let user = user.map_err(|error| Failure::of_database("Failed to retrieve user", error))?;
    Ok(entity(StatusCode::OK, &user.ok_or_else(not_found)?))
}

async fn update(
    users: &Users,
    caller: &Caller,
    id: Uuid,
    headers: &HeaderMap,
    change: &UpdateUser,
    correlation: &CorrelationId,
) -> Result<Response, Failure> {
    let work = async {
        validation::check_change(change)?;
        let matching = matching(headers);
        let actor = caller.as_actor(correlation.as_str());
        let outcome = users.store.update(id, change, matching.as_deref(), &actor).await;
        let outcome = outcome.map_err(|error| match error.duplicate() {
            Some("idx_users_email") => Failure::conflict("Email already in use"),
            Some(_) => Failure::conflict("Username already exists"),
            None => Failure::of_database("Failed to update user", error),
        })?;
        match outcome {
            Outcome::Done(user) => Ok(entity(StatusCode::OK, &user)),
            Outcome::Unknown => Err(not_found()),
            Outcome::Unmatched => Err(Failure::precondition(OUTDATED)),
            Outcome::Outdated => Err(Failure::conflict(OUTDATED)),
        }
    };
    users.measures.measure("update_user", work).await
}

/// The versions that `If-Match` names; none: any. What is no version of ours matches nothing.
fn matching(headers: &HeaderMap) -> Option<Vec<i32>> {
    let lines: Vec<&str> = headers.get_all(IF_MATCH).iter().filter_map(|line| line.to_str().ok()).collect();
    if !headers.contains_key(IF_MATCH) || lines.iter().any(|line| line.trim() == "*") {
        return None;
    }
    let tags = lines.iter().flat_map(|line| line.split(',')).map(str::trim);
    Some(tags.filter_map(|tag| tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok()).collect())
}

fn not_found() -> Failure {
    Failure::not_found("USER_NOT_FOUND", NOT_FOUND)
}
