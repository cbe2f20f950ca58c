//! Logging in, staying so, and logging out (G15).

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::HeaderMap;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::Users;
use super::sessions::{Refresh, Renewed};
use super::types::{Granted, Login, Renew, Sessions};
use super::validation::PASSWORD_BYTES;
use crate::services::body::{Body, INVALID, json};
use crate::services::failure::Failure;
use crate::services::parameters::PathId;
use crate::services::tokens::ACCESS_SECONDS;
use crate::sidecar::auth;
use crate::sidecar::correlation::CorrelationId;

/// What is told of a wrong name or a wrong password alike (F07).
const WRONG: &str = "invalid credentials";
/// What is told of a right password of somebody who may not log in (F07).
const INACTIVE: &str = "account is not active";
const FAILED: &str = "Failed to log in";

pub(super) fn routes() -> OpenApiRouter<Arc<Users>> {
    OpenApiRouter::new()
        .routes(routes!(log_in, renew, list_sessions, log_out_everywhere))
        .routes(routes!(log_out))
}

/// Log in
///
/// After 10 failures within a quarter of an hour an account waits for its end, whatever the password.
#[utoipa::path(
    post, path = "/api/v1/users/sessions", tag = "sessions",
    request_body = Login,
    responses(
        (status = 201, description = "Logged in", body = Granted),
        (status = 400, description = "Not what was asked for"),
        (status = 401, description = "invalid credentials"),
        (status = 403, description = "account is not active"),
        (status = 429, description = "Too many failures: come back after Retry-After seconds"),
    )
)]
async fn log_in(
    State(users): State<Arc<Users>>,
    Extension(correlation): Extension<CorrelationId>,
    Body(login): Body<Login>,
) -> Result<Response, Failure> {
    users.measures.measure("log_in", begin(&users, correlation.as_str(), login)).await
}

async fn begin(users: &Users, correlation_id: &str, login: Login) -> Result<Response, Failure> {
    let failed = |error| Failure::of_database(FAILED, error);
    let Login { email, password } = login;
    let is_text =
        |text: &str, most: usize| (1..=most).contains(&text.chars().count()) && !text.contains('\0');
    if !is_text(&email, 255) || !is_text(&password, PASSWORD_BYTES) || password.len() > PASSWORD_BYTES {
        return Err(Failure::invalid(INVALID));
    }
    users.kpis.tries_login();
    // Who finds no place has not failed.
    let admitted = users.passwords.admit()?;
    if users.login_attempts > 0 {
        let (failures, seconds) = users.store.count_login(&email).await.map_err(failed)?;
        if failures as u32 > users.login_attempts {
            return Err(Failure::limited("Too many failed logins: try again later", seconds.unsigned_abs()));
        }
    }
    // Letters of which the database knows a plain one in lower case are others to us: each would be counted by itself.
    let known = match email.is_ascii() {
        true => users.store.credentials(&email).await.map_err(failed)?,
        false => None,
    };
    // Nobody's password is checked as well: the time tells nobody who is known.
    let hash = known.as_ref().map(|(_, hash, ..)| hash.clone());
    let is_right = users.passwords.verify(admitted, password, hash).await?;
    let Some((id, hash, status, role)) = known.filter(|_| is_right) else {
        return Err(Failure::unauthorized(WRONG));
    };
    if status != "active" {
        return Err(Failure::forbidden(INACTIVE));
    }
    let refresh = new_refresh(users, Uuid::new_v4())?;
    let begun = users.store.begin_session((id, &hash, &email), &refresh, correlation_id).await;
    if !begun.map_err(failed)? {
        // Suspended, deleted or given another password since it was read.
        return Err(Failure::unauthorized(WRONG));
    }
    Ok(json(StatusCode::CREATED, &granted(users, id, &role, &refresh)?))
}

/// Stay logged in
///
/// A refresh token holds once. Used again it is in two hands, and the session ends.
#[utoipa::path(
    put, path = "/api/v1/users/sessions", tag = "sessions",
    request_body = Renew,
    responses(
        (status = 200, description = "The next tokens", body = Granted),
        (status = 400, description = "Not what was asked for"),
        (status = 401, description = "A refresh token that does not hold"),
    )
)]
async fn renew(State(users): State<Arc<Users>>, Body(asked): Body<Renew>) -> Result<Response, Failure> {
    let work = async {
        let used = Refresh::read(&asked.refresh_token).ok_or_else(|| Failure::unauthorized(auth::INVALID))?;
        let next = new_refresh(&users, used.session)?;
        let renewed = users.store.renew_session(&used, &next, users.refresh_keys.made(&used)).await;
        match renewed.map_err(|error| Failure::of_database(FAILED, error))? {
            Renewed::Done(id, role) => Ok(json(StatusCode::OK, &granted(&users, id, &role, &next)?)),
            Renewed::Refused => Err(Failure::unauthorized(auth::INVALID)),
            Renewed::Replayed => {
                tracing::warn!(session = %used.session, "A refresh token was used twice: its session is ended");
                Err(Failure::unauthorized(auth::INVALID))
            }
        }
    };
    users.measures.measure("renew_session", work).await
}

/// My sessions
#[utoipa::path(
    get, path = "/api/v1/users/sessions", tag = "sessions",
    security(("bearer" = [])),
    responses((status = 200, description = "Newest first", body = Sessions))
)]
async fn list_sessions(State(users): State<Arc<Users>>, headers: HeaderMap) -> Result<Response, Failure> {
    let (caller, _) = users.admit(&headers, None).await?;
    let items = users.store.sessions(&caller).await;
    let items = items.map_err(|error| Failure::of_database("Failed to retrieve sessions", error))?;
    Ok(json(StatusCode::OK, &Sessions { items }))
}

/// Log out everywhere
#[utoipa::path(
    delete, path = "/api/v1/users/sessions", tag = "sessions",
    security(("bearer" = [])),
    responses((status = 204, description = "No session of mine holds any more"))
)]
async fn log_out_everywhere(
    State(users): State<Arc<Users>>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let (caller, _) = users.admit(&headers, None).await?;
    let ended = users.store.end_sessions(caller.id).await;
    ended.map_err(|error| Failure::of_database("Failed to end the sessions", error))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Log out
#[utoipa::path(
    delete, path = "/api/v1/users/sessions/{id}", tag = "sessions",
    security(("bearer" = [])),
    params(("id" = Uuid, Path, description = "Id of a session of mine")),
    responses(
        (status = 204, description = "It does not hold any more"),
        (status = 400, description = "Invalid session ID format"),
        (status = 404, description = "Session not found"),
    )
)]
async fn log_out(
    State(users): State<Arc<Users>>,
    id: PathId,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let (caller, _) = users.admit(&headers, None).await?;
    let id = id.uuid("Invalid session ID format")?;
    let ended = users.store.end_session(caller.id, id).await;
    match ended.map_err(|error| Failure::of_database("Failed to end the session", error))? {
        true => Ok(StatusCode::NO_CONTENT.into_response()),
        false => Err(Failure::not_found("RESOURCE_NOT_FOUND", "Session not found")),
    }
}

fn new_refresh(users: &Users, session: Uuid) -> Result<Refresh, Failure> {
    Refresh::new(session, &users.refresh_keys).ok_or_else(|| Failure::internal(FAILED, "no random numbers"))
}

fn granted(users: &Users, id: Uuid, role: &str, refresh: &Refresh) -> Result<Granted, Failure> {
    Ok(Granted {
        session_id: refresh.session,
        user_id: id,
        access_token: users.tokens.sign(id, role, refresh.session)?,
        refresh_token: refresh.text(),
        token_type: "Bearer",
        expires_in: ACCESS_SECONDS,
    })
}
