//! The SQL of the registry. A test prepares every statement against a real database.

use crate::services::page::Direction;

/// Services with their latest schema.
const SERVICES: &str = "SELECT s.id, s.namespace, s.name, r.service_version, r.revision, \
    to_char(r.told_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), \
    to_char(s.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), \
    to_char(s.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') \
    FROM registered_services s CROSS JOIN LATERAL (SELECT service_version, revision, told_at FROM schema_revisions \
    WHERE service_id = s.id ORDER BY revision DESC LIMIT 1) r";
/// Services by name and namespace, where these are given.
const FILTER: &str = "($1::text IS NULL OR s.name = $1) AND ($2::text IS NULL OR s.namespace = $2)";

/// A service by id.
pub fn service() -> String {
    format!("{SERVICES} WHERE s.id = $1")
}

/// A page: name, namespace, limit, offset.
pub fn services(sort: Sort, direction: Direction) -> String {
    let way = way(direction);
    let columns = sort.columns().map(|column| format!("{column} {way}")).join(", ");
    format!("{SERVICES} WHERE {FILTER} ORDER BY {columns} LIMIT $3 OFFSET $4")
}

/// A page of the schemas of a service: its id, limit, offset.
pub fn revisions(direction: Direction) -> String {
    let way = way(direction);
    format!(
        "SELECT revision, service_version, to_char(told_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), \
        to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), \
        (SELECT count(DISTINCT entry->>'table_name') FROM jsonb_array_elements(definition->'schema') entry), \
        jsonb_array_length(definition->'schema')::bigint \
        FROM schema_revisions WHERE service_id = $1 ORDER BY revision {way} LIMIT $2 OFFSET $3"
    )
}

fn way(direction: Direction) -> &'static str {
    match direction {
        Direction::Ascending => "ASC",
        Direction::Descending => "DESC",
    }
}

/// What a list of services can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// When they told first.
    CreatedAt,
    /// When they told last.
    UpdatedAt,
    /// Their name.
    Service,
}

/// The names of them in a request, the default first.
pub const SORTS: [(&str, Sort); 3] =
    [("createdAt", Sort::CreatedAt), ("updatedAt", Sort::UpdatedAt), ("service", Sort::Service)];

impl Sort {
    fn columns(self) -> [&'static str; 2] {
        match self {
            Sort::CreatedAt => ["s.created_at", "s.id"],
            Sort::UpdatedAt => ["s.updated_at", "s.id"],
            Sort::Service => ["s.name", "s.namespace"],
        }
    }
}

pub(super) const COUNT: &str = "SELECT count(*) FROM registered_services s WHERE ($1::text IS NULL OR s.name = $1) \
    AND ($2::text IS NULL OR s.namespace = $2)";
/// It locks the row: of two that tell at once, one waits.
pub(super) const REGISTER: &str = "INSERT INTO registered_services (namespace, name) VALUES ($1, $2) \
    ON CONFLICT (name, namespace) DO UPDATE SET updated_at = now(), version = registered_services.version + 1 \
    RETURNING id";
/// The latest schema, and whether it was read after so many microseconds since 1970.
pub(super) const LATEST: &str = "SELECT revision, digest, told_at > 'epoch'::timestamptz + $2::bigint * interval '1 microsecond', \
    definition FROM schema_revisions WHERE service_id = $1 ORDER BY revision DESC LIMIT 1";
pub(super) const CONFIRM: &str = "UPDATE schema_revisions SET service_version = $3, \
    told_at = greatest(told_at, 'epoch'::timestamptz + $4::bigint * interval '1 microsecond'), updated_at = now(), \
    version = version + 1 WHERE service_id = $1 AND revision = $2";
pub(super) const INSERT: &str = "INSERT INTO schema_revisions (service_id, revision, service_version, told_at, digest, definition) \
    VALUES ($1, $2, $3, 'epoch'::timestamptz + $4::bigint * interval '1 microsecond', $5, $6)";
/// The oldest of too many.
pub(super) const TRIM: &str = "DELETE FROM schema_revisions WHERE service_id = $1 AND revision <= $2 - 1000";
/// A schema by its number; none: the latest.
pub(super) const REVISION: &str = "SELECT revision, service_version, \
    to_char(told_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), definition FROM schema_revisions \
    WHERE service_id = $1 AND ($2::int IS NULL OR revision = $2) ORDER BY revision DESC LIMIT 1";
pub(super) const COUNT_REVISIONS: &str = "SELECT count(*) FROM schema_revisions WHERE service_id = $1";
pub(super) const DELETE: &str = "DELETE FROM registered_services WHERE id = $1";
pub(super) const COUNT_SERVICES: &str = "SELECT count(*) FROM registered_services";

/// Every statement there is.
pub fn all() -> Vec<String> {
    let mut all = vec![service()];
    for direction in [Direction::Ascending, Direction::Descending] {
        all.extend(SORTS.map(|(_, sort)| services(sort, direction)));
        all.push(revisions(direction));
    }
    let fixed =
        [COUNT, REGISTER, LATEST, CONFIRM, INSERT, TRIM, REVISION, COUNT_REVISIONS, DELETE, COUNT_SERVICES];
    all.extend(fixed.map(str::to_owned));
    all
}
