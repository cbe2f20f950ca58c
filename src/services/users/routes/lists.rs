//! Users together: lists, search, numbers; for those who may see everybody.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use http::header::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::Users;
use super::super::statements::SORTS;
use super::super::store::Filter;
use super::super::types::{Found, Role, Statistics, Status, User};
use super::{json, permit};
use crate::services::failure::Failure;
use crate::services::page::{Page, Slice, Start, Wanted};
use crate::services::parameters::{Query, refuse};

const SEERS_ONLY: &str = "Only a moderator or an admin may do this";

/// A list of users: by pages, or by what follows a cursor.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[allow(dead_code)]
enum Listed {
    Page(Page<User>),
    Slice(Slice<User>),
}

/// List users
///
/// For moderators and admins. By pages, or, with a cursor, part after part: that stays quick however long the list is.
#[utoipa::path(
    get, path = "/api/v1/users", tag = "users",
    security(("bearer" = [])),
    params(
        ("page" = Option<i64>, Query, description = "Which page, from 1"),
        ("limit" = Option<i64>, Query, description = "Entries, 1 to 100; else 10"),
        ("size" = Option<i64>, Query, description = "The same as limit"),
        ("sort" = Option<String>, Query, description = "createdAt, updatedAt, email or username, with :asc or :desc", pattern = "^(createdAt|updatedAt|email|username)(:(asc|desc))?$"),
        ("filter[status]" = Option<Status>, Query, description = "Users of a status"),
        ("filter[role]" = Option<Role>, Query, description = "Users of a role"),
        ("include" = Option<String>, Query, description = "profile", pattern = "^profile$"),
        ("cursor" = Option<String>, Query, description = "Empty, and then nextCursor of the part before; page is not looked at, and the order is that of createdAt", pattern = "^([A-Za-z0-9_-]{32})?$"),
    ),
    responses(
        (status = 200, description = "Users", body = Listed),
        (status = 400, description = "A parameter that is wrong"),
        (status = 403, description = "Neither moderator nor admin"),
    )
)]
pub async fn list_users(
    State(users): State<Arc<Users>>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let (caller, _) = users.admit(&headers, None).await?;
    permit(caller.sees_all(), SEERS_ONLY)?;
    let wanted = Wanted::read(&query, &SORTS)?;
    let filter = filter(&query)?;
    let with_profile = match query.get("include") {
        None => false,
        Some("profile") => true,
        Some(_) => return Err(refuse("include", "must be profile")),
    };
    let failed = |error| Failure::of_database("Failed to retrieve users", error);
    let shown = |items: &mut Vec<User>| {
        if !with_profile {
            items.iter_mut().for_each(|user| user.profile = None);
        }
    };
    let listed = match wanted.start {
        Start::Page(page) => {
            let mut page = users.store.page(&wanted, page, filter).await.map_err(failed)?;
            shown(&mut page.items);
            Listed::Page(page)
        }
        Start::After(_) => {
            let mut slice = users.store.slice(&wanted, filter).await.map_err(failed)?;
            shown(&mut slice.items);
            Listed::Slice(slice)
        }
    };
    Ok(json(StatusCode::OK, &listed))
}

fn filter(query: &Query) -> Result<Filter, Failure> {
    let mut filter = Filter::default();
    for (field, value) in query.filters() {
        match field {
            "status" => {
                let status = Status::of(value);
                filter.status = Some(
                    status
                        .ok_or_else(|| refuse("filter[status]", "must be active, inactive or suspended"))?,
                );
            }
            "role" => {
                let role = Role::of(value);
                filter.role =
                    Some(role.ok_or_else(|| refuse("filter[role]", "must be user, moderator or admin"))?);
            }
            other => return Err(refuse(&format!("filter[{other}]"), "must be of status or role")),
        }
    }
    Ok(filter)
}

/// Search users
///
/// For moderators and admins: at most 20 whose address or one of whose names contains the text.
#[utoipa::path(
    get, path = "/api/v1/users/search", tag = "users",
    security(("bearer" = [])),
    params(("q" = String, Query, description = "The text, in any case", min_length = 1, max_length = 100, pattern = r"^[^\u0000]*$")),
    responses(
        (status = 200, description = "Newest first", body = Found),
        (status = 400, description = "No text, or too long a one"),
        (status = 403, description = "Neither moderator nor admin"),
    )
)]
pub async fn search_users(
    State(users): State<Arc<Users>>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let (caller, _) = users.admit(&headers, None).await?;
    permit(caller.sees_all(), SEERS_ONLY)?;
    let text = query.get("q").unwrap_or_default();
    if !(1..=100).contains(&text.chars().count()) {
        return Err(refuse("q", "must have 1 to 100 characters"));
    }
    let found = users.store.search(text).await;
    let mut items = found.map_err(|error| Failure::of_database("Failed to retrieve users", error))?;
    items.iter_mut().for_each(|user| user.profile = None);
    Ok(json(StatusCode::OK, &Found { items }))
}

/// Count users
#[utoipa::path(
    get, path = "/api/v1/users/stats", tag = "users",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "How many there are", body = Statistics),
        (status = 403, description = "Neither moderator nor admin"),
    )
)]
pub async fn user_statistics(
    State(users): State<Arc<Users>>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let (caller, _) = users.admit(&headers, None).await?;
    permit(caller.sees_all(), SEERS_ONLY)?;
    let statistics = users.store.statistics().await;
    let statistics = statistics.map_err(|error| Failure::of_database("Failed to retrieve users", error))?;
    Ok(json(StatusCode::OK, &statistics))
}
