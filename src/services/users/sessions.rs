//! Sessions: who is logged in, until when, and how that ends (G15). They are rows of the database, so that one that is
//! revoked is so at once, in every replica.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::statements as sql;
use super::store::{Actor, Edition, Store};
use super::types::{Role, Session};
use crate::services::database::{Error, commit};

/// Who calls, with a session that holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Caller {
    /// The user.
    pub id: Uuid,
    /// What the user may now, whatever the token says.
    pub role: Role,
    /// The session.
    pub session: Uuid,
}

/// A refresh token: its session, and what only its holder knows.
pub struct Refresh {
    /// Its session.
    pub session: Uuid,
    secret: [u8; 32],
}

/// What became of asking for the next tokens.
pub enum Renewed {
    /// The session goes on, for a user with a role.
    Done(Uuid, String),
    /// The token is none that holds.
    Refused,
    /// It was used before: the session has ended.
    Replayed,
}

/// What refresh tokens are signed with, so that each that was ever given is known again, long after its session has gone on
/// with others.
pub struct RefreshKeys(Vec<RefreshKey>);

struct RefreshKey(hmac::Key);

impl RefreshKeys {
    /// Derived from secrets, the one in use first.
    pub fn new(secrets: &[String]) -> RefreshKeys {
        let key = |secret: &String| RefreshKey(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()));
        RefreshKeys(secrets.iter().map(key).collect())
    }

    /// Whether a token was given by us.
    pub fn made(&self, token: &Refresh) -> bool {
        let (nonce, tag) = token.secret.split_at(16);
        self.0.iter().any(|key| verify_slices_are_equal(&key.tag(token.session, nonce), tag).is_ok())
    }
}

impl RefreshKey {
    fn tag(&self, session: Uuid, nonce: &[u8]) -> [u8; 16] {
        // Nothing else that is signed with the same secret begins like that.
        let signed = hmac::sign(&self.0, &[b"refresh\0", session.as_bytes().as_slice(), nonce].concat());
        let mut tag = [0; 16];
        tag.copy_from_slice(&signed.as_ref()[..16]);
        tag
    }
}

impl Refresh {
    /// A new one of a session: random, and signed.
    pub fn new(session: Uuid, keys: &RefreshKeys) -> Option<Refresh> {
        let mut secret = [0; 32];
        let (nonce, tag) = secret.split_at_mut(16);
        aws_lc_rs::rand::fill(nonce).ok()?;
        tag.copy_from_slice(&keys.0.first()?.tag(session, nonce));
        Some(Refresh { session, secret })
    }

    /// The one that a text is.
    pub fn read(text: &str) -> Option<Refresh> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (session, secret) = bytes.split_first_chunk::<16>()?;
        Some(Refresh { session: Uuid::from_bytes(*session), secret: secret.try_into().ok()? })
    }

    /// Its text.
    pub fn text(&self) -> String {
        let mut bytes = self.session.as_bytes().to_vec();
        bytes.extend(self.secret);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// What of it is kept.
    fn hash(&self) -> Vec<u8> {
        Sha256::digest(self.secret).to_vec()
    }
}

/// An account as attempts to log in are counted: a hash, so that what was typed is kept nowhere.
fn account(email: &str) -> Vec<u8> {
    Sha256::digest(email.to_ascii_lowercase()).to_vec()
}

impl Store {
    /// Role of the user whose `session` holds, and the state of the user `about`.
    pub async fn admit(
        &self,
        id: Uuid,
        session: Uuid,
        about: Option<Uuid>,
    ) -> Result<Option<(Caller, Option<Edition>)>, Error> {
        let read = || async {
            let query = sqlx::query_as(sql::ADMIT).bind(session).bind(id).bind(about);
            Ok(query.fetch_optional(&self.database.pool()).await?)
        };
        let row: Option<(String, Option<i32>, Option<String>)> =
            self.database.run("select", "user_sessions", read).await?;
        Ok(row.map(|(role, version, updated_at)| {
            let edition = version.zip(updated_at);
            let edition = edition.map(|(version, updated_at)| Edition { version, updated_at });
            (Caller { id, role: Role::of(&role).unwrap_or(Role::User), session }, edition)
        }))
    }

    /// Count an attempt to log in: how many of this quarter of an hour failed, and in how many seconds it ends.
    pub async fn count_login(&self, email: &str) -> Result<(i32, i64), Error> {
        let account = account(email);
        let write = || async {
            let mut transaction = self.database.begin().await?;
            let counted =
                sqlx::query_as(sql::COUNT_LOGIN).bind(&account).fetch_one(&mut *transaction).await?;
            commit(transaction).await?;
            Ok(counted)
        };
        self.database.run("upsert", "login_attempts", write).await
    }

    /// Forget the failures of an account.
    pub async fn forget_logins(&self, email: &str) -> Result<(), Error> {
        let account = account(email);
        let write = || async {
            sqlx::query(sql::FORGET_LOGINS).bind(&account).execute(&self.database.pool()).await?;
            Ok(())
        };
        self.database.run("delete", "login_attempts", write).await
    }

    /// Id, password's hash, status and role of whom an address is of.
    pub async fn credentials(&self, email: &str) -> Result<Option<(Uuid, String, String, String)>, Error> {
        let email = email.to_ascii_lowercase();
        let read = || async {
            Ok(sqlx::query_as(sql::BY_EMAIL).bind(&email).fetch_optional(&self.database.pool()).await?)
        };
        self.database.run("select", "users", read).await
    }

    /// Begin a session of a user whose password is still the one of `hash`, and who is still active.
    pub async fn begin_session(
        &self,
        (id, hash, email): (Uuid, &str, &str),
        refresh: &Refresh,
        correlation_id: &str,
    ) -> Result<bool, Error> {
        let account = account(email);
        let actor = Actor { id: Some(id), correlation_id: correlation_id.to_owned() };
        let write = || async {
            let mut transaction = self.database.begin().await?;
            let logged_in =
                sqlx::query(sql::LOGGED_IN).bind(id).bind(hash).execute(&mut *transaction).await?;
            if logged_in.rows_affected() == 0 {
                return Ok(false);
            }
            sqlx::query(sql::INSERT_SESSION)
                .bind(refresh.session)
                .bind(id)
                .bind(refresh.hash())
                .execute(&mut *transaction)
                .await?;
            sqlx::query(sql::TRIM_SESSIONS).bind(id).execute(&mut *transaction).await?;
            sqlx::query(sql::FORGET_LOGINS).bind(&account).execute(&mut *transaction).await?;
            self.note(&mut transaction, id, "user.logged_in", json!({}), &actor).await?;
            commit(transaction).await?;
            Ok(true)
        };
        let begun = self.database.run("insert", "user_sessions", write).await?;
        self.outbox.wake();
        Ok(begun)
    }

    /// Let a session go on with the `next` refresh token in place of `used`, which may be `ours`.
    pub async fn renew_session(&self, used: &Refresh, next: &Refresh, ours: bool) -> Result<Renewed, Error> {
        let write = || async {
            let mut transaction = self.database.begin().await?;
            let renewed: Option<(Uuid, String)> = sqlx::query_as(sql::RENEW_SESSION)
                .bind(used.session)
                .bind(used.hash())
                .bind(next.hash())
                .fetch_optional(&mut *transaction)
                .await?;
            let outcome = match renewed {
                Some((id, role)) => Renewed::Done(id, role),
                None => {
                    let replayed: Option<Uuid> = sqlx::query_scalar(sql::REVOKE_REPLAYED)
                        .bind(used.session)
                        .bind(used.hash())
                        .bind(ours)
                        .fetch_optional(&mut *transaction)
                        .await?;
                    replayed.map_or(Renewed::Refused, |_| Renewed::Replayed)
                }
            };
            commit(transaction).await?;
            Ok(outcome)
        };
        self.database.run("update", "user_sessions", write).await
    }

    /// The sessions of a user.
    pub async fn sessions(&self, caller: &Caller) -> Result<Vec<Session>, Error> {
        let read = || async {
            Ok(sqlx::query_as(sql::SESSIONS).bind(caller.id).fetch_all(&self.database.pool()).await?)
        };
        let rows: Vec<(Uuid, String, String, String)> =
            self.database.run("select", "user_sessions", read).await?;
        let session = |(id, created_at, used_at, expires_at)| Session {
            id,
            current: id == caller.session,
            created_at,
            used_at,
            expires_at,
        };
        Ok(rows.into_iter().map(session).collect())
    }

    /// End one session of a user; whether there was one.
    pub async fn end_session(&self, id: Uuid, session: Uuid) -> Result<bool, Error> {
        let write = || async {
            let mut transaction = self.database.begin().await?;
            let ended =
                sqlx::query(sql::REVOKE_SESSION).bind(id).bind(session).execute(&mut *transaction).await?;
            commit(transaction).await?;
            Ok(ended.rows_affected() > 0)
        };
        self.database.run("update", "user_sessions", write).await
    }

    /// End every session of a user.
    pub async fn end_sessions(&self, id: Uuid) -> Result<(), Error> {
        let write = || async {
            let mut transaction = self.database.begin().await?;
            sqlx::query(sql::REVOKE_SESSIONS).bind(vec![id]).execute(&mut *transaction).await?;
            commit(transaction).await
        };
        self.database.run("update", "user_sessions", write).await
    }

    /// How many users are there now (E36).
    pub async fn active_users(&self) -> Result<i64, Error> {
        let read =
            || async { Ok(sqlx::query_scalar(sql::ACTIVE_USERS).fetch_one(&self.database.pool()).await?) };
        self.database.run("statistics", "user_sessions", read).await
    }

    /// Delete what has ended, a thousand rows at a time.
    pub async fn sweep(&self) -> Result<(), Error> {
        for statement in [sql::SWEEP_SESSIONS, sql::SWEEP_LOGINS] {
            let delete = || async { Ok(sqlx::query(statement).execute(&self.database.pool()).await?) };
            while self.database.run("delete", "user_sessions", delete).await?.rows_affected() == 1000 {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_token_comes_back_as_it_was_given_and_is_kept_as_a_hash() {
        let keys = RefreshKeys::new(&["now".into(), "before".into()]);
        let given = Refresh::new(Uuid::from_u128(7), &keys).unwrap();
        let back = Refresh::read(&given.text()).unwrap();
        assert_eq!((back.session, back.hash()), (given.session, given.hash()));
        assert_ne!(given.hash(), given.secret);
        assert_ne!(given.text(), Refresh::new(Uuid::from_u128(7), &keys).unwrap().text());
        for none in ["", "x", "!!", &given.text()[1..], &format!("{}AA", given.text())] {
            assert!(Refresh::read(none).is_none(), "{none}");
        }
    }

    #[test]
    fn a_refresh_token_that_was_ever_given_is_known_and_one_that_was_made_up_is_not() {
        let keys = |secrets: &[&str]| {
            RefreshKeys::new(&secrets.iter().map(|secret| (*secret).to_owned()).collect::<Vec<_>>())
        };
        let (old, both, other) = (keys(&["old"]), keys(&["new", "old"]), keys(&["other"]));
        let given = Refresh::new(Uuid::from_u128(7), &old).unwrap();
        assert!(old.made(&given) && both.made(&given) && !other.made(&given));
        assert!(!old.made(&Refresh { session: Uuid::from_u128(8), ..given }), "it is of its session");
    }

    #[test]
    fn an_account_is_one_in_any_case() {
        assert_eq!(account("Ada@Example.com"), account("ada@example.COM"));
        assert_ne!(account("ada@example.com"), account("ada@example.org"));
    }
}
