//! The SQL of users. A test prepares every statement against a real database.

use crate::services::page::Direction;

/// A user as answers show it, with its profile.
const USER: &str = "SELECT u.id, u.email, u.username, u.role, u.status, u.preferences, \
    to_char(u.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), \
    to_char(u.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), \
    u.version, p.id, p.first_name, p.last_name, p.avatar, p.bio, \
    (extract(epoch FROM u.created_at) * 1000000)::bigint \
    FROM users u LEFT JOIN user_profiles p ON p.user_id = u.id";
/// Users by status and role, where these are given.
const FILTER: &str = "($1::text IS NULL OR u.status = $1) AND ($2::text IS NULL OR u.role = $2)";

/// A user by id.
pub fn by_id() -> String {
    format!("{USER} WHERE u.id = $1")
}

/// The same, for a change: nobody else changes it meanwhile.
pub fn by_id_for_update() -> String {
    format!("{USER} WHERE u.id = $1 FOR NO KEY UPDATE OF u")
}

/// A page: status, role, limit, offset.
pub fn page(sort: Sort, direction: Direction) -> String {
    let way = way(direction);
    format!("{USER} WHERE {FILTER} ORDER BY {} {way}, u.id {way} LIMIT $3 OFFSET $4", sort.column())
}

/// What follows a cursor: status, role, limit, microseconds, id.
pub fn slice(direction: Direction, after: bool) -> String {
    let (way, sign) = (way(direction), if direction == Direction::Ascending { '>' } else { '<' });
    let after = match after {
        true => format!(
            " AND (u.created_at, u.id) {sign} ('epoch'::timestamptz + $4::bigint * interval '1 microsecond', $5::uuid)"
        ),
        false => String::new(),
    };
    format!("{USER} WHERE {FILTER}{after} ORDER BY u.created_at {way}, u.id {way} LIMIT $3")
}

/// What contains a pattern, in any case.
pub fn search() -> String {
    format!(
        "{USER} WHERE u.username ILIKE $1 OR u.email ILIKE $1 OR p.first_name ILIKE $1 OR p.last_name ILIKE $1 \
        ORDER BY u.created_at DESC, u.id DESC LIMIT 20"
    )
}

fn way(direction: Direction) -> &'static str {
    match direction {
        Direction::Ascending => "ASC",
        Direction::Descending => "DESC",
    }
}

/// What a list of users can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// When they registered.
    CreatedAt,
    /// When they were changed.
    UpdatedAt,
    /// Their address, in any case.
    Email,
    /// Their name, in any case.
    Username,
}

/// The names of them in a request, the default first.
pub const SORTS: [(&str, Sort); 4] = [
    ("createdAt", Sort::CreatedAt),
    ("updatedAt", Sort::UpdatedAt),
    ("email", Sort::Email),
    ("username", Sort::Username),
];

impl Sort {
    fn column(self) -> &'static str {
        match self {
            Sort::CreatedAt => "u.created_at",
            Sort::UpdatedAt => "u.updated_at",
            Sort::Email => "lower(u.email)",
            Sort::Username => "lower(u.username)",
        }
    }
}

pub(super) const COUNT: &str = "SELECT count(*) FROM users u WHERE ($1::text IS NULL OR u.status = $1) AND ($2::text IS NULL OR u.role = $2)";
pub(super) const STATISTICS: &str = "SELECT count(*), count(*) FILTER (WHERE status = 'active'), \
    count(*) FILTER (WHERE status = 'inactive'), count(*) FILTER (WHERE status = 'suspended'), \
    count(*) FILTER (WHERE created_at > now() - interval '30 days') FROM users";
pub(super) const INSERT: &str = "INSERT INTO users (id, email, username, password) VALUES ($1, $2, $3, $4)";
pub(super) const INSERT_PROFILE: &str =
    "INSERT INTO user_profiles (user_id, first_name, last_name) VALUES ($1, $2, $3)";
pub(super) const UPDATE: &str = "UPDATE users SET email = $2, username = $3, preferences = $4, updated_at = now(), \
    version = version + 1 WHERE id = $1";
pub(super) const UPDATE_PROFILE: &str = "INSERT INTO user_profiles (user_id, first_name, last_name, avatar, bio) \
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT (user_id) DO UPDATE SET first_name = excluded.first_name, \
    last_name = excluded.last_name, avatar = excluded.avatar, bio = excluded.bio, updated_at = now(), \
    version = user_profiles.version + 1";
pub(super) const UPDATE_STATUS: &str =
    "UPDATE users SET status = $2, updated_at = now(), version = version + 1 WHERE id = $1";
pub(super) const UPDATE_ROLE: &str =
    "UPDATE users SET role = $2, updated_at = now(), version = version + 1 WHERE id = $1";
pub(super) const UPDATE_PASSWORD: &str = "UPDATE users SET password = $2, updated_at = now(), version = version + 1 WHERE id = $1 AND password = $3";
/// Locked in the order of their ids, so that two of these never wait for each other.
pub(super) const CHANGE_MANY: &str = "WITH meant AS (SELECT id, status FROM users WHERE id = ANY($1) AND status <> $2 \
    ORDER BY id FOR NO KEY UPDATE) UPDATE users SET status = $2, updated_at = now(), version = version + 1 \
    FROM meant WHERE users.id = meant.id RETURNING users.id, meant.status";
pub(super) const DELETE: &str =
    "DELETE FROM users WHERE id = $1 AND ($2::int[] IS NULL OR version = ANY($2))";
pub(super) const PASSWORD: &str = "SELECT password FROM users WHERE id = $1";
/// Of an address in lower case.
pub(super) const BY_EMAIL: &str = "SELECT id, password, status, role FROM users WHERE lower(email) = $1";
/// Whether who acts is an admin, for as long as the transaction lasts.
pub(super) const IS_ADMIN: &str =
    "SELECT id FROM users WHERE id = $1 AND role = 'admin' AND status = 'active' FOR SHARE";
/// Role of who calls, where the session holds; and the state of whom the request is about.
pub const ADMIT: &str = "SELECT u.role, a.version, \
    to_char(a.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') FROM user_sessions s \
    JOIN users u ON u.id = s.user_id LEFT JOIN users a ON a.id = $3 WHERE s.id = $1 AND s.user_id = $2 \
    AND s.revoked_at IS NULL AND s.expires_at > now() AND u.status = 'active'";
pub(super) const LOGGED_IN: &str = "UPDATE users SET last_login = now(), login_count = login_count + 1 \
    WHERE id = $1 AND status = 'active' AND password = $2";
pub(super) const INSERT_SESSION: &str = "INSERT INTO user_sessions (id, user_id, refresh_hash, expires_at) \
    VALUES ($1, $2, $3, now() + interval '30 days')";
/// The oldest of too many sessions that hold. One that has ended takes nobody's place: it goes with the sweep.
pub(super) const TRIM_SESSIONS: &str = "DELETE FROM user_sessions WHERE user_id = $1 AND id IN \
    (SELECT id FROM user_sessions WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > now() \
    ORDER BY updated_at DESC, id OFFSET 20)";
pub(super) const RENEW_SESSION: &str = "UPDATE user_sessions s SET refresh_hash = $3, previous_hash = $2, \
    expires_at = now() + interval '30 days', updated_at = now(), version = s.version + 1 FROM users u \
    WHERE s.id = $1 AND s.refresh_hash = $2 AND s.revoked_at IS NULL AND s.expires_at > now() \
    AND u.id = s.user_id AND u.status = 'active' RETURNING u.id, u.role";
/// A refresh token that was used before is in two hands: the session ends for both. $3 says that it was given by us; the one
/// before the current is known anyway.
pub(super) const REVOKE_REPLAYED: &str = "UPDATE user_sessions SET revoked_at = now(), updated_at = now(), \
    version = version + 1 WHERE id = $1 AND refresh_hash <> $2 AND (previous_hash = $2 OR $3) AND revoked_at IS NULL RETURNING user_id";
pub(super) const REVOKE_SESSION: &str = "UPDATE user_sessions SET revoked_at = now(), updated_at = now(), \
    version = version + 1 WHERE user_id = $1 AND id = $2 AND revoked_at IS NULL";
pub(super) const REVOKE_SESSIONS: &str = "UPDATE user_sessions SET revoked_at = now(), updated_at = now(), \
    version = version + 1 WHERE user_id = ANY($1) AND revoked_at IS NULL";
pub(super) const SESSIONS: &str = "SELECT id, to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), \
    to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), \
    to_char(expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') FROM user_sessions \
    WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > now() ORDER BY updated_at DESC, id";
/// Count a login before it is looked at, so that a thousand at once are a thousand.
pub(super) const COUNT_LOGIN: &str = "INSERT INTO login_attempts AS a (account, failures, window_ends) \
    VALUES ($1, 1, now() + interval '15 minutes') ON CONFLICT (account) DO UPDATE SET \
    failures = CASE WHEN a.window_ends <= now() THEN 1 ELSE least(a.failures + 1, 1000000) END, \
    window_ends = CASE WHEN a.window_ends <= now() THEN now() + interval '15 minutes' ELSE a.window_ends END, \
    updated_at = now(), version = a.version + 1 \
    RETURNING failures, ceil(extract(epoch FROM window_ends - now()))::bigint";
pub(super) const FORGET_LOGINS: &str = "DELETE FROM login_attempts WHERE account = $1";
pub(super) const INSERT_CHANGE: &str = "INSERT INTO user_changes (user_id, actor_id, action, changes, correlation_id) \
    VALUES ($1, $2, $3, $4, $5)";
/// The same of many whose status changed: from which to which.
pub(super) const INSERT_CHANGES: &str = "INSERT INTO user_changes (user_id, actor_id, action, changes, correlation_id) \
    SELECT id, $2, $3, jsonb_build_object('status', jsonb_build_array(before, $6::text)), $4 \
    FROM unnest($1::uuid[], $5::text[]) AS many (id, before)";
/// Users who logged in or stayed logged in within a quarter of an hour: what an access token lives.
pub(super) const ACTIVE_USERS: &str = "SELECT count(DISTINCT user_id) FROM user_sessions \
    WHERE updated_at > now() - interval '15 minutes' AND revoked_at IS NULL";
pub(super) const SWEEP_SESSIONS: &str = "DELETE FROM user_sessions WHERE id IN (SELECT id FROM user_sessions \
    WHERE expires_at < now() OR revoked_at < now() - interval '1 day' LIMIT 1000 FOR UPDATE SKIP LOCKED)";
pub(super) const SWEEP_LOGINS: &str = "DELETE FROM login_attempts WHERE id IN (SELECT id FROM login_attempts \
    WHERE window_ends < now() LIMIT 1000 FOR UPDATE SKIP LOCKED)";
pub(super) const GRANT: &str = "UPDATE users SET role = $2, updated_at = now(), version = version + 1 WHERE lower(email) = lower($1) RETURNING id";

/// Every statement there is.
pub fn all() -> Vec<String> {
    let mut all: Vec<String> = vec![by_id(), by_id_for_update(), search()];
    for direction in [Direction::Ascending, Direction::Descending] {
        all.extend(SORTS.map(|(_, sort)| page(sort, direction)));
        all.extend([slice(direction, false), slice(direction, true)]);
    }
    let fixed = [
        COUNT,
        STATISTICS,
        INSERT,
        INSERT_PROFILE,
        UPDATE,
        UPDATE_PROFILE,
        UPDATE_STATUS,
        UPDATE_ROLE,
        UPDATE_PASSWORD,
        CHANGE_MANY,
        DELETE,
        PASSWORD,
        BY_EMAIL,
        IS_ADMIN,
        ADMIT,
        LOGGED_IN,
        INSERT_SESSION,
        TRIM_SESSIONS,
        RENEW_SESSION,
        REVOKE_REPLAYED,
        REVOKE_SESSION,
        REVOKE_SESSIONS,
        SESSIONS,
        COUNT_LOGIN,
        FORGET_LOGINS,
        INSERT_CHANGE,
        INSERT_CHANGES,
        ACTIVE_USERS,
        SWEEP_SESSIONS,
        SWEEP_LOGINS,
        GRANT,
    ];
    all.extend(fixed.map(str::to_owned));
    all
}
