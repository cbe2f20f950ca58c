//! What is said of schemas, in requests and in answers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::difference::Difference;
use super::lint::Report;
use crate::services::schema::{Column, Constraint, Definition, Index};

/// A schema as a service tells it after its migrations (F09, DL08).
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SyncSchema {
    /// The service: who tells.
    #[schema(min_length = 1, max_length = 253, pattern = r"^[^\u0000]+$", example = "books")]
    pub service: String,
    /// Its version.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^\u0000]+$", example = "1.4.0")]
    pub version: String,
    /// The columns of every table, as `information_schema.columns` has them.
    #[schema(max_items = 10000)]
    pub schema: Vec<Column>,
    /// The indexes. What is not told is not looked at.
    #[serde(default)]
    #[schema(required = false, max_items = 10000)]
    pub indexes: Vec<Index>,
    /// The constraints. What is not told is not looked at.
    #[serde(default)]
    #[schema(required = false, max_items = 10000)]
    pub constraints: Vec<Constraint>,
    /// When the schema was read. One that is to come counts as now.
    #[schema(format = DateTime, example = "2026-11-21T12:00:00.000Z")]
    pub timestamp: String,
}

impl SyncSchema {
    /// The schema in it.
    pub fn into_definition(self) -> Definition {
        let SyncSchema { schema, indexes, constraints, .. } = self;
        Definition { schema, indexes, constraints }
    }
}

/// What became of a schema that was told.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Synced {
    /// Id of the service here.
    pub id: Uuid,
    /// Namespace of the service.
    pub namespace: String,
    /// Its name.
    pub service: String,
    /// Counts the schemas of the service that differ from the one before.
    pub revision: i32,
    /// Whether this one does.
    pub changed: bool,
    /// What differs; of a first schema, everything.
    pub difference: Difference,
    /// What is not as the guidelines want it.
    pub lint: Report,
}

/// A service that has told its schema.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Registered {
    /// Its id here.
    pub id: Uuid,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub service: String,
    /// Its version that told last.
    pub version: String,
    /// Its schema, counted.
    pub revision: i32,
    /// When that was read last.
    #[schema(format = DateTime)]
    pub told_at: String,
    /// When the service told for the first time.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When it told last.
    #[schema(format = DateTime)]
    pub updated_at: String,
}

/// A schema of a service.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// Its number.
    pub revision: i32,
    /// The version of the service that told it last.
    pub version: String,
    /// When it was read last.
    #[schema(format = DateTime)]
    pub told_at: String,
    /// When it was told first.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// Its tables.
    pub tables: i64,
    /// Its columns.
    pub columns: i64,
}

/// A schema with what is in it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// Its number.
    pub revision: i32,
    /// The version of the service that told it last.
    pub version: String,
    /// When it was read last.
    #[schema(format = DateTime)]
    pub told_at: String,
    /// The columns of every table.
    pub schema: Vec<Column>,
    /// The indexes.
    pub indexes: Vec<Index>,
    /// The constraints.
    pub constraints: Vec<Constraint>,
}

/// What differs between two schemas of a service.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Compared {
    /// The number of the one before; 0: none.
    pub from: i32,
    /// The number of the one after.
    pub to: i32,
    /// What differs.
    pub difference: Difference,
}
