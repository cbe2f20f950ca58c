//! Users as they are read: one, from the cache where it is right; a page; what follows; what was found.

use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

use super::super::statements::{self as sql, Sort};
use super::super::types::{ByStatus, Role, Statistics, Status, User};
use super::{Store, key, user};
use crate::services::database::{Error, commit};
use crate::services::page::{Cursor, Page, Slice, Start, Wanted};

/// Counts the shapes that a user was kept in: an entry of another is none, also where it can be read.
const FORMAT: u32 = 1;

/// Which state of a user is right. A failover that loses a change gives its version to another one, at another time.
#[derive(Clone, Debug, PartialEq)]
pub struct Edition {
    /// Counts changes.
    pub version: i32,
    /// When the last one was, as answers show it.
    pub updated_at: String,
}

/// A user in the cache.
#[derive(Serialize, Deserialize)]
struct Kept {
    format: u32,
    user: User,
}

impl Kept {
    /// The user of an id, where it is of this edition.
    fn right(self, id: Uuid, edition: &Edition) -> Option<User> {
        let Kept { format, user } = self;
        let is_right = format == FORMAT
            && user.id == id
            && user.version == edition.version
            && user.updated_at == edition.updated_at;
        is_right.then_some(user)
    }
}

/// Which users a list is of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter {
    /// Those of a status.
    pub status: Option<Status>,
    /// Those of a role.
    pub role: Option<Role>,
}

impl Store {
    /// The user of an id, from the cache where it has this `edition`.
    pub async fn find(&self, id: Uuid, edition: &Edition) -> Result<Option<User>, Error> {
        let key = key(id);
        let kept = self.cache.get::<Kept>(&key).await;
        if let Some(user) = kept.and_then(|kept| kept.right(id, edition)) {
            return Ok(Some(user));
        }
        let read = || async {
            let row = sqlx::query(AssertSqlSafe(sql::by_id()))
                .bind(id)
                .fetch_optional(&self.database.pool())
                .await?;
            Ok(row.as_ref().map(user).transpose()?)
        };
        let found = self.database.run("select", "users", read).await?;
        let Some(user) = found else { return Ok(None) };
        let kept = Kept { format: FORMAT, user };
        self.cache.put(&key, &kept).await;
        Ok(Some(kept.user))
    }

    /// A page of a list (D52, D55, DL20).
    pub async fn page(&self, wanted: &Wanted<Sort>, page: i64, filter: Filter) -> Result<Page<User>, Error> {
        let statement = sql::page(wanted.sort, wanted.direction);
        let read = || async {
            let (status, role) = filter.words();
            let mut transaction = self.database.begin_snapshot().await?;
            let total: i64 =
                sqlx::query_scalar(sql::COUNT).bind(status).bind(role).fetch_one(&mut *transaction).await?;
            let rows = sqlx::query(AssertSqlSafe(statement.clone()))
                .bind(status)
                .bind(role)
                .bind(wanted.limit)
                .bind(Page::<User>::skipped(page, wanted.limit))
                .fetch_all(&mut *transaction)
                .await?;
            commit(transaction).await?;
            let items = rows.iter().map(user).collect::<Result<_, _>>()?;
            Ok(Page::new(items, total, page, wanted.limit))
        };
        self.database.run("select", "users", read).await
    }

    /// What follows a cursor.
    pub async fn slice(&self, wanted: &Wanted<Sort>, filter: Filter) -> Result<Slice<User>, Error> {
        let after = match &wanted.start {
            Start::After(after) => *after,
            Start::Page(_) => None,
        };
        let statement = sql::slice(wanted.direction, after.is_some());
        let read = || async {
            let (status, role) = filter.words();
            // One more than is shown tells whether there is more.
            let mut query =
                sqlx::query(AssertSqlSafe(statement.clone())).bind(status).bind(role).bind(wanted.limit + 1);
            if let Some(Cursor { created, id }) = after {
                query = query.bind(created).bind(id);
            }
            let rows = query.fetch_all(&self.database.pool()).await?;
            let size = wanted.limit;
            let shown = rows.len().min(size as usize);
            let next_cursor = (rows.len() > shown).then(|| rows.get(shown - 1)).flatten();
            let next_cursor = next_cursor
                .map(|row| {
                    Ok::<_, sqlx::Error>(Cursor { created: row.try_get(14)?, id: row.try_get(0)? }.text())
                })
                .transpose()?;
            let items = rows.iter().take(shown).map(user).collect::<Result<_, _>>()?;
            Ok(Slice { items, size, next_cursor })
        };
        self.database.run("select", "users", read).await
    }

    /// At most 20 users whose names or address contain a text (G23: what it says stands for itself).
    pub async fn search(&self, text: &str) -> Result<Vec<User>, Error> {
        let mut pattern = String::from("%");
        for letter in text.chars() {
            if matches!(letter, '%' | '_' | '\\') {
                pattern.push('\\');
            }
            pattern.push(letter);
        }
        pattern.push('%');
        let read = || async {
            let rows = sqlx::query(AssertSqlSafe(sql::search())).bind(&pattern);
            let rows = rows.fetch_all(&self.database.pool()).await?;
            Ok(rows.iter().map(user).collect::<Result<_, _>>()?)
        };
        self.database.run("search", "users", read).await
    }

    /// How many there are (F07).
    pub async fn statistics(&self) -> Result<Statistics, Error> {
        let read = || async {
            let row = sqlx::query(sql::STATISTICS).fetch_one(&self.database.pool()).await?;
            let by_status =
                ByStatus { active: row.try_get(1)?, inactive: row.try_get(2)?, suspended: row.try_get(3)? };
            Ok(Statistics { total: row.try_get(0)?, by_status, recent_signups: row.try_get(4)? })
        };
        self.database.run("statistics", "users", read).await
    }
}

impl Filter {
    fn words(self) -> (Option<&'static str>, Option<&'static str>) {
        (self.status.map(Status::as_str), self.role.map(Role::as_str))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_kept_user_counts_at_its_version_its_time_and_in_this_shape_alone() {
        let (id, updated_at) = (Uuid::from_u128(7), "2026-11-21T12:03:10.123Z");
        let user = json!({
            "id": id, "email": "ada@example.com", "username": "ada", "role": "user", "status": "active",
            "preferences": { "language": "en", "timezone": "UTC", "notifications": true },
            "createdAt": "2026-11-20T00:00:00.000Z", "updatedAt": updated_at, "version": 2,
        });
        let right = |entry: Value, id: Uuid, version: i32, updated_at: &str| {
            let edition = Edition { version, updated_at: updated_at.into() };
            let kept = serde_json::from_value::<Kept>(entry).ok();
            kept.and_then(|kept| kept.right(id, &edition)).is_some()
        };
        let kept = json!({ "format": FORMAT, "user": user });
        assert!(right(kept.clone(), id, 2, updated_at));
        assert!(!right(kept.clone(), id, 3, updated_at));
        assert!(!right(kept.clone(), id, 2, "2026-11-21T12:03:15.000Z"), "another change has the version");
        assert!(!right(kept, Uuid::nil(), 2, updated_at));
        assert!(!right(json!({ "format": FORMAT + 1, "user": user }), id, 2, updated_at));
        assert!(!right(user, id, 2, updated_at), "as it was kept before");
    }
}
