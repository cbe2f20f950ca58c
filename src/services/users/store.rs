//! Users in the database, with the record of every change, and the event of it, in the same transaction.

mod change;
mod read;

use std::sync::Arc;

use serde_json::{Map, Value, json};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

use super::ADMINS_ONLY;
use super::statements as sql;
use super::types::{Preferences, Profile, Role, Status, UpdateUser, User};
use crate::services::cache::Cache;
use crate::services::database::{Database, Error, commit};
use crate::services::outbox::{Event, Outbox};
use change::{changed, differences};
pub use read::{Edition, Filter};

/// Who does something, in which request.
#[derive(Clone, Debug)]
pub struct Actor {
    /// The user who does it; none: nobody who is known yet.
    pub id: Option<Uuid>,
    /// The id of the request.
    pub correlation_id: String,
}

/// A user to be.
pub struct New {
    /// Its id, so that a second try makes no second user.
    pub id: Uuid,
    /// Its address.
    pub email: String,
    /// Its name.
    pub username: String,
    /// Its password's hash.
    pub hash: String,
    /// What it says of itself.
    pub first_name: Option<String>,
    /// What it says of itself.
    pub last_name: Option<String>,
}

/// What became of a change.
pub enum Outcome {
    /// It is done.
    Done(Box<User>),
    /// There is no such user.
    Unknown,
    /// `If-Match` names another version.
    Unmatched,
    /// The body names another version.
    Outdated,
}

/// The users.
pub struct Store {
    pub(super) database: Arc<Database>,
    pub(super) outbox: Arc<Outbox>,
    cache: Arc<Cache>,
}

impl Store {
    /// Users in `database`.
    pub fn new(database: Arc<Database>, outbox: Arc<Outbox>, cache: Arc<Cache>) -> Store {
        Store { database, outbox, cache }
    }

    /// Register one (F06: user and profile in one transaction).
    pub async fn create(&self, new: &New, actor: &Actor) -> Result<User, Error> {
        let created = self.database.run("insert", "users", || async {
            let mut transaction = self.database.begin().await?;
            sqlx::query(sql::INSERT)
                .bind(new.id)
                .bind(&new.email)
                .bind(&new.username)
                .bind(&new.hash)
                .execute(&mut *transaction)
                .await?;
            sqlx::query(sql::INSERT_PROFILE)
                .bind(new.id)
                .bind(&new.first_name)
                .bind(&new.last_name)
                .execute(&mut *transaction)
                .await?;
            let user = find(&mut transaction, sql::by_id(), new.id).await?.ok_or(sqlx::Error::RowNotFound)?;
            let changes = json!({ "email": [null, user.email], "username": [null, user.username] });
            self.note(&mut transaction, new.id, "user.created", changes, actor).await?;
            commit(transaction).await?;
            Ok(user)
        });
        let created = created.await?;
        self.outbox.wake();
        Ok(created)
    }

    /// Change one, where nobody has changed it since `matching` (If-Match) or the body's version (DL07, G17).
    pub async fn update(
        &self,
        id: Uuid,
        change: &UpdateUser,
        matching: Option<&[i32]>,
        actor: &Actor,
    ) -> Result<Outcome, Error> {
        let work = || async {
            let mut transaction = self.database.begin().await?;
            still_admin(&mut transaction, actor, &[id]).await?;
            let Some(before) = find(&mut transaction, sql::by_id_for_update(), id).await? else {
                return Ok(Outcome::Unknown);
            };
            if matching.is_some_and(|matching| !matching.contains(&before.version)) {
                return Ok(Outcome::Unmatched);
            }
            if change.version.is_some_and(|version| version != before.version) {
                return Ok(Outcome::Outdated);
            }
            let after = changed(&before, change);
            let changes = differences(&before, &after);
            if changes.is_empty() {
                return Ok(Outcome::Done(Box::new(before)));
            }
            sqlx::query(sql::UPDATE)
                .bind(id)
                .bind(&after.email)
                .bind(&after.username)
                .bind(Json(&after.preferences))
                .execute(&mut *transaction)
                .await?;
            if after.profile != before.profile
                && let Some(profile) = &after.profile
            {
                sqlx::query(sql::UPDATE_PROFILE)
                    .bind(id)
                    .bind(&profile.first_name)
                    .bind(&profile.last_name)
                    .bind(&profile.avatar)
                    .bind(&profile.bio)
                    .execute(&mut *transaction)
                    .await?;
            }
            let user = find(&mut transaction, sql::by_id(), id).await?.ok_or(sqlx::Error::RowNotFound)?;
            self.note(&mut transaction, id, "user.updated", Value::Object(changes), actor).await?;
            commit(transaction).await?;
            Ok(Outcome::Done(Box::new(user)))
        };
        let outcome = self.database.run("update", "users", work).await?;
        self.forget(&[id]).await;
        Ok(outcome)
    }

    /// Set a status. Who is not active is logged out everywhere.
    pub async fn set_status(&self, id: Uuid, status: Status, actor: &Actor) -> Result<Option<User>, Error> {
        let what = (sql::UPDATE_STATUS, "status", status.as_str(), "user.status_changed");
        self.set(id, what, status != Status::Active, |user| user.status.as_str(), actor).await
    }

    /// Set a role.
    pub async fn set_role(&self, id: Uuid, role: Role, actor: &Actor) -> Result<Option<User>, Error> {
        let what = (sql::UPDATE_ROLE, "role", role.as_str(), "user.role_changed");
        self.set(id, what, false, |user| user.role.as_str(), actor).await
    }

    /// Set the role of the user of an address, by hand; whether there is one.
    pub async fn grant(&self, email: &str, role: &str) -> Result<bool, Error> {
        let actor = Actor { id: None, correlation_id: "by hand".to_owned() };
        let work = || async {
            let mut transaction = self.database.begin().await?;
            let query = sqlx::query_scalar(sql::GRANT).bind(email).bind(role);
            let id: Option<Uuid> = query.fetch_optional(&mut *transaction).await?;
            if let Some(id) = id {
                let changes = json!({ "role": [null, role] });
                self.note(&mut transaction, id, "user.role_changed", changes, &actor).await?;
            }
            commit(transaction).await?;
            Ok(id.is_some())
        };
        self.database.run("update", "users", work).await
    }

    async fn set(
        &self,
        id: Uuid,
        (statement, field, value, action): (&'static str, &str, &str, &'static str),
        ends_sessions: bool,
        current: impl Fn(&User) -> &'static str,
        actor: &Actor,
    ) -> Result<Option<User>, Error> {
        let work = || async {
            let mut transaction = self.database.begin().await?;
            still_admin(&mut transaction, actor, &[id]).await?;
            let Some(before) = find(&mut transaction, sql::by_id_for_update(), id).await? else {
                return Ok(None);
            };
            if current(&before) == value {
                return Ok(Some(before));
            }
            sqlx::query(statement).bind(id).bind(value).execute(&mut *transaction).await?;
            if ends_sessions {
                sqlx::query(sql::REVOKE_SESSIONS).bind(vec![id]).execute(&mut *transaction).await?;
            }
            let user = find(&mut transaction, sql::by_id(), id).await?.ok_or(sqlx::Error::RowNotFound)?;
            let changes = json!({ field: [current(&before), value] });
            self.note(&mut transaction, id, action, changes, actor).await?;
            commit(transaction).await?;
            Ok(Some(user))
        };
        let user = self.database.run("update", "users", work).await?;
        self.forget(&[id]).await;
        Ok(user)
    }

    /// Set one status for many; how many had another (DL19, DL21).
    pub async fn set_many(&self, ids: &[Uuid], status: Status, actor: &Actor) -> Result<u64, Error> {
        let work = || async {
            let mut transaction = self.database.begin().await?;
            still_admin(&mut transaction, actor, ids).await?;
            let rows: Vec<(Uuid, String)> = sqlx::query_as(sql::CHANGE_MANY)
                .bind(ids)
                .bind(status.as_str())
                .fetch_all(&mut *transaction)
                .await?;
            let (ids, before): (Vec<Uuid>, Vec<String>) = rows.into_iter().unzip();
            if status != Status::Active {
                sqlx::query(sql::REVOKE_SESSIONS).bind(&ids).execute(&mut *transaction).await?;
            }
            // Together: a thousand by themselves would take as many times as long.
            let action = "user.status_changed";
            sqlx::query(sql::INSERT_CHANGES)
                .bind(&ids)
                .bind(actor.id)
                .bind(action)
                .bind(&actor.correlation_id)
                .bind(&before)
                .bind(status.as_str())
                .execute(&mut *transaction)
                .await?;
            let payload = json!({ "fields": ["status"] });
            let id = &actor.correlation_id;
            self.outbox.write_many(&mut transaction, (action, &ids), id, &payload).await?;
            commit(transaction).await?;
            Ok(ids.len() as u64)
        };
        let changed = self.database.run("update", "users", work).await?;
        self.forget(ids).await;
        Ok(changed)
    }

    /// Delete one, with everything that is theirs (X33); whether there was one, of a version that is `matching`.
    pub async fn delete(&self, id: Uuid, matching: Option<&[i32]>, actor: &Actor) -> Result<bool, Error> {
        let work = || async {
            let mut transaction = self.database.begin().await?;
            still_admin(&mut transaction, actor, &[id]).await?;
            let deleted = sqlx::query(sql::DELETE)
                .bind(id)
                .bind(matching)
                .execute(&mut *transaction)
                .await?
                .rows_affected();
            if deleted == 0 {
                return Ok(false);
            }
            self.note(&mut transaction, id, "user.deleted", json!({}), actor).await?;
            commit(transaction).await?;
            Ok(true)
        };
        let deleted = self.database.run("delete", "users", work).await?;
        self.forget(&[id]).await;
        Ok(deleted)
    }

    /// The hash of a user's password.
    pub async fn password(&self, id: Uuid) -> Result<Option<String>, Error> {
        let read = || async {
            Ok(sqlx::query_scalar(sql::PASSWORD).bind(id).fetch_optional(&self.database.pool()).await?)
        };
        self.database.run("select", "users", read).await
    }

    /// Change a password, where it is still the one of `before`; every session ends.
    pub async fn set_password(
        &self,
        id: Uuid,
        before: &str,
        hash: &str,
        actor: &Actor,
    ) -> Result<bool, Error> {
        let work = || async {
            let mut transaction = self.database.begin().await?;
            still_admin(&mut transaction, actor, &[id]).await?;
            let query = sqlx::query(sql::UPDATE_PASSWORD).bind(id).bind(hash).bind(before);
            if query.execute(&mut *transaction).await?.rows_affected() == 0 {
                return Ok(false);
            }
            sqlx::query(sql::REVOKE_SESSIONS).bind(vec![id]).execute(&mut *transaction).await?;
            self.note(&mut transaction, id, "user.password_changed", json!({}), actor).await?;
            commit(transaction).await?;
            Ok(true)
        };
        let changed = self.database.run("update", "users", work).await?;
        self.forget(&[id]).await;
        Ok(changed)
    }

    /// Record a change, and write its event: who reads it knows what happened, and asks for more where it may.
    pub(super) async fn note(
        &self,
        connection: &mut PgConnection,
        id: Uuid,
        action: &'static str,
        changes: Value,
        actor: &Actor,
    ) -> Result<(), sqlx::Error> {
        sqlx::query(sql::INSERT_CHANGE)
            .bind(id)
            .bind(actor.id)
            .bind(action)
            .bind(&changes)
            .bind(&actor.correlation_id)
            .execute(&mut *connection)
            .await?;
        // Names of fields alone: an address is nothing for everybody who reads a stream.
        let fields: Vec<&String> = changes.as_object().into_iter().flat_map(Map::keys).collect();
        let payload = json!({ "fields": fields });
        let event = Event { kind: action, subject: id, correlation_id: &actor.correlation_id, payload };
        self.outbox.write(connection, &event).await
    }

    async fn forget(&self, ids: &[Uuid]) {
        self.cache.forget(&ids.iter().map(|id| key(*id)).collect::<Vec<_>>()).await;
        self.outbox.wake();
    }
}

/// Where a user is kept (DL29).
fn key(id: Uuid) -> String {
    format!("user:{id}")
}

/// Who acts on others is an admin until it is done: two who take that from each other at once must not both succeed.
async fn still_admin(connection: &mut PgConnection, actor: &Actor, about: &[Uuid]) -> Result<(), Error> {
    let Some(id) = actor.id.filter(|id| about != [*id]) else { return Ok(()) };
    let is_admin: Option<Uuid> =
        sqlx::query_scalar(sql::IS_ADMIN).bind(id).fetch_optional(connection).await?;
    is_admin.map(drop).ok_or(Error::Forbidden(ADMINS_ONLY))
}

async fn find(
    connection: &mut PgConnection,
    statement: String,
    id: Uuid,
) -> Result<Option<User>, sqlx::Error> {
    let row = sqlx::query(AssertSqlSafe(statement)).bind(id).fetch_optional(connection).await?;
    row.as_ref().map(user).transpose()
}

/// The user of a row of `statements::USER`.
fn user(row: &PgRow) -> Result<User, sqlx::Error> {
    let word = |index: usize| -> Result<String, sqlx::Error> { row.try_get(index) };
    let (role, status) = (word(3)?, word(4)?);
    let Json(preferences): Json<Preferences> = row.try_get(5)?;
    let profile = match row.try_get::<Option<Uuid>, _>(9)? {
        Some(id) => Some(Profile {
            id,
            first_name: row.try_get(10)?,
            last_name: row.try_get(11)?,
            avatar: row.try_get(12)?,
            bio: row.try_get(13)?,
        }),
        None => None,
    };
    Ok(User {
        id: row.try_get(0)?,
        email: word(1)?,
        username: word(2)?,
        // A word that a newer version brought is the least that there is.
        role: Role::of(&role).unwrap_or(Role::User),
        status: Status::of(&status).unwrap_or(Status::Inactive),
        preferences,
        profile,
        created_at: word(6)?,
        updated_at: word(7)?,
        version: row.try_get(8)?,
    })
}
