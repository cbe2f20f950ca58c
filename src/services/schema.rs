//! The schema of a service, in the words of `information_schema` (F09): what a service tells of its own database, and
//! the registry keeps.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnection;
use utoipa::ToSchema;

use super::body::whole_or_null;
use super::failure::{Detail, Failure};

/// Entries of each list at most.
const MOST: usize = 10_000;
/// Characters of a name at most; PostgreSQL's have 63 bytes.
const LONGEST: usize = 128;
/// Details that a refusal names at most.
const TOLD: usize = 20;

/// Of views others are in charge, and what only a role of its own may see is none of a service's.
const COLUMNS: &str = "SELECT c.table_name::text, c.column_name::text, c.data_type::text, c.character_maximum_length::int \
    FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name) \
    WHERE c.table_schema = current_schema() AND t.table_type = 'BASE TABLE' ORDER BY 1, 2";
const INDEXES: &str = "SELECT tablename::text, indexname::text FROM pg_indexes \
    WHERE schemaname = current_schema() ORDER BY 1, 2";
const CONSTRAINTS: &str = "SELECT table_name::text, constraint_name::text, constraint_type::text \
    FROM information_schema.table_constraints WHERE table_schema = current_schema() \
    AND constraint_type IN ('PRIMARY KEY', 'FOREIGN KEY', 'UNIQUE') ORDER BY 1, 2";

/// Every statement, to be held against a real database.
pub const STATEMENTS: [&str; 3] = [COLUMNS, INDEXES, CONSTRAINTS];

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Its table.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^\u0000]+$", example = "books")]
    pub table_name: String,
    /// Its name. A table has no two of one name that differ.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^\u0000]+$", example = "title")]
    pub column_name: String,
    /// Its type, as `information_schema` spells it.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^\u0000]+$", example = "character varying")]
    pub data_type: String,
    /// Characters that it holds at most, where its type has such a bound.
    #[serde(default, deserialize_with = "whole_or_null", skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1_000_000_000, example = 255)]
    pub character_maximum_length: Option<i32>,
}

/// An index of a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// Its table.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^\u0000]+$", example = "books")]
    pub table_name: String,
    /// Its name.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^\u0000]+$", example = "idx_books_title")]
    pub index_name: String,
}

/// A constraint of a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Constraint {
    /// Its table.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^\u0000]+$", example = "books")]
    pub table_name: String,
    /// Its name.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^\u0000]+$", example = "fk_books_author_id")]
    pub constraint_name: String,
    /// `PRIMARY KEY`, `FOREIGN KEY` or `UNIQUE`.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^\u0000]+$", example = "FOREIGN KEY")]
    pub constraint_type: String,
}

/// A schema.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// The columns of every table.
    #[schema(max_items = 10000)]
    pub schema: Vec<Column>,
    /// The indexes. What is not told is not looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, max_items = 10000)]
    pub indexes: Vec<Index>,
    /// The constraints. What is not told is not looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, max_items = 10000)]
    pub constraints: Vec<Constraint>,
}

impl Definition {
    /// The schema that a connection is in. Read it in one snapshot: a migration may be at work.
    pub async fn read(connection: &mut PgConnection) -> Result<Definition, sqlx::Error> {
        let columns: Vec<(String, String, String, Option<i32>)> =
            sqlx::query_as(COLUMNS).fetch_all(&mut *connection).await?;
        let indexes: Vec<(String, String)> = sqlx::query_as(INDEXES).fetch_all(&mut *connection).await?;
        let constraints: Vec<(String, String, String)> =
            sqlx::query_as(CONSTRAINTS).fetch_all(&mut *connection).await?;
        let column = |(table_name, column_name, data_type, character_maximum_length)| Column {
            table_name,
            column_name,
            data_type,
            character_maximum_length,
        };
        let constraint = |(table_name, constraint_name, constraint_type)| Constraint {
            table_name,
            constraint_name,
            constraint_type,
        };
        let definition = Definition {
            schema: columns.into_iter().map(column).collect(),
            indexes: indexes
                .into_iter()
                .map(|(table_name, index_name)| Index { table_name, index_name })
                .collect(),
            constraints: constraints.into_iter().map(constraint).collect(),
        };
        Ok(definition.sorted())
    }

    /// The same in one order, so that two of one content are equal.
    pub fn sorted(mut self) -> Definition {
        self.schema.sort();
        self.schema.dedup();
        self.indexes.sort();
        self.indexes.dedup();
        self.constraints.sort();
        self.constraints.dedup();
        self
    }

    /// The names of its tables.
    pub fn tables(&self) -> BTreeSet<&str> {
        self.schema.iter().map(|column| column.table_name.as_str()).collect()
    }

    /// Whether it can be a schema.
    pub fn check(&self) -> Result<(), Failure> {
        let mut found = Vec::new();
        for (list, length) in [
            ("schema", self.schema.len()),
            ("indexes", self.indexes.len()),
            ("constraints", self.constraints.len()),
        ] {
            if length > MOST {
                found.push(detail(list.to_owned(), format!("must have at most {MOST} entries")));
            }
        }
        for (field, text) in self.texts() {
            if !(1..=LONGEST).contains(&text.chars().count()) || text.contains('\0') {
                let rule = format!("must have 1 to {LONGEST} characters, and not the character NUL");
                found.push(detail(field(), rule));
            }
        }
        let mut seen = BTreeMap::new();
        for (index, column) in self.schema.iter().enumerate() {
            let name = (&column.table_name, &column.column_name);
            if *seen.entry(name).or_insert(column) != column {
                found.push(detail(
                    format!("schema[{index}]"),
                    "tells a column a second time, and otherwise".into(),
                ));
            }
            if column.character_maximum_length.is_some_and(|length| !(0..=1_000_000_000).contains(&length)) {
                let field = format!("schema[{index}].character_maximum_length");
                found.push(detail(field, "must be a number from 0 to 1000000000".into()));
            }
        }
        found.truncate(TOLD);
        match found.is_empty() {
            true => Ok(()),
            false => Err(Failure { details: found, ..Failure::invalid(super::body::INVALID) }),
        }
    }

    /// Every text in it, with the field that it is in.
    fn texts(&self) -> impl Iterator<Item = (impl Fn() -> String, &str)> {
        let at =
            |list: &'static str, index: usize, name: &'static str| move || format!("{list}[{index}].{name}");
        let columns = self.schema.iter().enumerate().flat_map(move |(index, column)| {
            [
                (at("schema", index, "table_name"), column.table_name.as_str()),
                (at("schema", index, "column_name"), column.column_name.as_str()),
                (at("schema", index, "data_type"), column.data_type.as_str()),
            ]
        });
        let indexes = self.indexes.iter().enumerate().flat_map(move |(index, of)| {
            [
                (at("indexes", index, "table_name"), of.table_name.as_str()),
                (at("indexes", index, "index_name"), of.index_name.as_str()),
            ]
        });
        let constraints = self.constraints.iter().enumerate().flat_map(move |(index, of)| {
            [
                (at("constraints", index, "table_name"), of.table_name.as_str()),
                (at("constraints", index, "constraint_name"), of.constraint_name.as_str()),
                (at("constraints", index, "constraint_type"), of.constraint_type.as_str()),
            ]
        });
        columns.chain(indexes).chain(constraints)
    }
}

fn detail(field: String, message: String) -> Detail {
    Detail { field, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(table: &str, name: &str) -> Column {
        Column {
            table_name: table.into(),
            column_name: name.into(),
            data_type: "text".into(),
            character_maximum_length: None,
        }
    }

    fn refusal(schema: Vec<Column>) -> Option<String> {
        let definition = Definition { schema, ..Definition::default() };
        definition.check().err().map(|failure| failure.details[0].field.clone())
    }

    #[test]
    fn what_can_be_no_schema_is_told_with_its_place() {
        assert_eq!(refusal(vec![column("a", "x"), column("a", "y"), column("b", "x")]), None);
        assert_eq!(refusal(vec![column("a", "x"), column("a", "x")]), None);
        let otherwise = Column { data_type: "uuid".into(), ..column("a", "x") };
        assert_eq!(refusal(vec![column("a", "x"), otherwise]).as_deref(), Some("schema[1]"));
        assert_eq!(refusal(vec![column("", "x")]).as_deref(), Some("schema[0].table_name"));
        assert_eq!(refusal(vec![column("a", "x\0")]).as_deref(), Some("schema[0].column_name"));
        assert_eq!(refusal(vec![column("a", &"é".repeat(129))]).as_deref(), Some("schema[0].column_name"));
        assert_eq!(refusal(vec![column("a", &"é".repeat(128))]), None);
        let many = (0..10_001).map(|number| column("a", &number.to_string())).collect();
        assert_eq!(refusal(many).as_deref(), Some("schema"));
        let negative = Column { character_maximum_length: Some(-1), ..column("a", "x") };
        assert_eq!(refusal(vec![negative]).as_deref(), Some("schema[0].character_maximum_length"));
        let wrong = vec![column("", ""); 100];
        let details = Definition { schema: wrong, ..Definition::default() }.check().unwrap_err().details;
        assert_eq!(details.len(), TOLD, "an answer stays small");
    }

    #[test]
    fn the_order_in_which_it_is_told_is_no_part_of_it() {
        let one = Definition { schema: vec![column("b", "x"), column("a", "y")], ..Definition::default() };
        let other = Definition { schema: vec![column("a", "y"), column("b", "x")], ..Definition::default() };
        assert_ne!(one, other);
        let twice = Definition { schema: [&one.schema[..], &one.schema].concat(), ..Definition::default() };
        assert_eq!(one.sorted(), other.clone().sorted());
        assert_eq!(twice.sorted(), other.sorted());
    }
}
