//! What of a schema is not as the guidelines want it (DL02-DL04), and what to do about it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use utoipa::ToSchema;

use crate::services::schema::{Column, Definition};

/// Columns that every table has, with their types (DL03).
const MANDATORY: [(&str, &str, &str); 4] = [
    ("id", "uuid", "id uuid PRIMARY KEY DEFAULT gen_random_uuid()"),
    ("created_at", "timestamp with time zone", "created_at timestamptz NOT NULL DEFAULT now()"),
    ("updated_at", "timestamp with time zone", "updated_at timestamptz NOT NULL DEFAULT now()"),
    ("version", "integer", "version int NOT NULL DEFAULT 1"),
];
/// Tables in which migration tools and extensions keep their own; those that begin with an underscore are such too.
const OF_TOOLS: [&str; 5] =
    ["alembic_version", "flyway_schema_history", "schema_migrations", "spatial_ref_sys", "goose_db_version"];

/// What a schema is like.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Report {
    /// Whether there is nothing to mend.
    pub passed: bool,
    /// Tables that were looked at: not those of migration tools.
    pub tables: usize,
    /// What there is to mend, table by table.
    pub findings: Vec<Finding>,
}

/// Something to mend.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Finding {
    /// The rule, such as `table-name`.
    #[schema(example = "mandatory-field")]
    pub rule: &'static str,
    /// The requirement that the rule is of.
    #[schema(example = "DL03")]
    pub requirement: &'static str,
    /// The table.
    #[schema(example = "books")]
    pub table: String,
    /// The column, the index or the constraint; left out where it is the table itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "version")]
    pub name: Option<String>,
    /// What is wrong, and what to do.
    #[schema(example = "table books has no column version: add `version int NOT NULL DEFAULT 1`")]
    pub message: String,
}

/// Hold a schema against the guidelines.
pub fn lint(definition: &Definition) -> Report {
    let mut tables: BTreeMap<&str, Table<'_>> = BTreeMap::new();
    for column in definition.schema.iter().filter(|column| !is_of_a_tool(&column.table_name)) {
        tables.entry(&column.table_name).or_default().columns.push(column);
    }
    for index in &definition.indexes {
        if let Some(table) = tables.get_mut(index.table_name.as_str()) {
            table.indexes.push(&index.index_name);
        }
    }
    for constraint in &definition.constraints {
        let Some(table) = tables.get_mut(constraint.table_name.as_str()) else { continue };
        match constraint.constraint_type.as_str() {
            "PRIMARY KEY" => table.primary_keys.insert(&constraint.constraint_name),
            "FOREIGN KEY" => table.foreign_keys.insert(&constraint.constraint_name),
            _ => continue,
        };
    }
    let mut findings = Vec::new();
    for (name, table) in &tables {
        let mut look = Look { name, table, findings: &mut findings };
        look.at_names();
        look.at_mandatory_fields();
        look.at_types();
        // Where no constraint is told, nobody knows.
        look.at_keys(!definition.constraints.is_empty());
        look.at_indexes();
    }
    Report { passed: findings.is_empty(), tables: tables.len(), findings }
}

fn is_of_a_tool(table: &str) -> bool {
    table.starts_with('_') || OF_TOOLS.contains(&table)
}

/// A table.
#[derive(Default)]
struct Table<'a> {
    columns: Vec<&'a Column>,
    indexes: Vec<&'a str>,
    primary_keys: BTreeSet<&'a str>,
    foreign_keys: BTreeSet<&'a str>,
}

/// A look at a table.
struct Look<'a> {
    name: &'a str,
    table: &'a Table<'a>,
    findings: &'a mut Vec<Finding>,
}

impl Look<'_> {
    fn find(
        &mut self,
        (rule, requirement): (&'static str, &'static str),
        name: Option<&str>,
        message: String,
    ) {
        let (table, name) = (self.name.to_owned(), name.map(str::to_owned));
        self.findings.push(Finding { rule, requirement, table, name, message });
    }

    fn at_names(&mut self) {
        let table = self.name;
        if !is_snake_case(table) {
            let message = format!("table {table:?} is not in snake_case: call it {:?}", snake_case(table));
            self.find(("table-name", "DL02"), None, message);
        }
        for column in &self.table.columns {
            let name = column.column_name.as_str();
            if !is_snake_case(name) {
                let right = snake_case(name);
                let message =
                    format!("column {name:?} of table {table} is not in snake_case: call it {right:?}");
                self.find(("column-name", "DL02"), Some(name), message);
            }
        }
    }

    fn at_mandatory_fields(&mut self) {
        let table = self.name;
        for (name, kind, definition) in MANDATORY {
            match self.table.columns.iter().find(|column| column.column_name == name) {
                None => {
                    let message = format!("table {table} has no column {name}: add `{definition}`");
                    self.find(("mandatory-field", "DL03"), Some(name), message);
                }
                Some(column) if column.data_type != kind => {
                    let is = &column.data_type;
                    let message = format!("column {name} of table {table} is {is}: make it {kind}");
                    self.find(("mandatory-type", "DL03"), Some(name), message);
                }
                Some(_) => {}
            }
        }
    }

    fn at_types(&mut self) {
        let table = self.name;
        for column in &self.table.columns {
            let (name, kind) = (column.column_name.as_str(), column.data_type.as_str());
            let is_mandatory = MANDATORY.iter().any(|(mandatory, ..)| *mandatory == name);
            let length = column.character_maximum_length;
            let wanted = match kind {
                "json" => "jsonb",
                "timestamp without time zone" if !is_mandatory => "timestamp with time zone",
                // A length that was not told may be the right one.
                "character varying" if name == "email" && length.is_none_or(|length| length == 255) => {
                    continue;
                }
                _ if name == "email" => "character varying(255)",
                _ => continue,
            };
            let length = length.map(|length| format!("({length})")).unwrap_or_default();
            let message = format!("column {name} of table {table} is {kind}{length}: make it {wanted}");
            self.find(("standard-type", "DL04"), Some(name), message);
        }
    }

    fn at_keys(&mut self, are_told: bool) {
        let table = self.name;
        if are_told && self.table.primary_keys.is_empty() {
            let message = format!("table {table} has no primary key: make it id");
            self.find(("primary-key", "DL03"), None, message);
        }
        let begins = format!("fk_{table}_");
        for name in self.table.foreign_keys.iter().copied().filter(|name| !is_called(name, &begins)) {
            let message = format!("foreign key {name:?} of table {table}: call it {begins}<column>");
            self.find(("foreign-key-name", "DL02"), Some(name), message);
        }
    }

    fn at_indexes(&mut self) {
        let table = self.name;
        let begins = format!("idx_{table}_");
        for name in self.table.indexes.iter().copied() {
            // PostgreSQL names that of a primary key by itself.
            let is_primary = name.ends_with("_pkey") || self.table.primary_keys.contains(name);
            if !is_primary && !is_called(name, &begins) {
                let message = format!("index {name:?} of table {table}: call it {begins}<column>");
                self.find(("index-name", "DL02"), Some(name), message);
            }
        }
    }
}

/// Whether something is called by what it begins with and more.
fn is_called(name: &str, begins: &str) -> bool {
    name.strip_prefix(begins).is_some_and(|rest| !rest.is_empty())
}

fn is_snake_case(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.split('_').all(|word| {
            !word.is_empty()
                && word.bytes().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit())
        })
}

/// A name as the guidelines would have it.
fn snake_case(name: &str) -> String {
    let mut words = String::new();
    let mut after_small = false;
    for letter in name.chars() {
        if letter.is_ascii_alphanumeric() {
            if letter.is_ascii_uppercase() && after_small {
                words.push('_');
            }
            words.push(letter.to_ascii_lowercase());
        } else if !words.ends_with('_') {
            words.push('_');
        }
        after_small = letter.is_ascii_lowercase() || letter.is_ascii_digit();
    }
    let name = words.trim_matches('_');
    match name.starts_with(|first: char| first.is_ascii_lowercase()) {
        true => name.to_owned(),
        false => format!("t_{name}").trim_end_matches('_').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn columns(table: &str, more: &[(&str, &str)]) -> Vec<Column> {
        let standard = MANDATORY.map(|(name, kind, _)| (name, kind));
        standard
            .iter()
            .chain(more)
            .map(|(name, kind)| Column {
                table_name: table.into(),
                column_name: (*name).into(),
                data_type: (*kind).into(),
                character_maximum_length: None,
            })
            .collect()
    }

    fn told(schema: Vec<Column>) -> Vec<(&'static str, String)> {
        let report = lint(&Definition { schema, ..Definition::default() });
        assert_eq!(report.passed, report.findings.is_empty());
        report.findings.into_iter().map(|finding| (finding.rule, finding.message)).collect()
    }

    #[test]
    fn a_schema_of_the_guidelines_passes_and_tools_keep_their_own() {
        let mut schema = columns("books", &[("title", "text"), ("published_at", "timestamp with time zone")]);
        for tool in ["_prisma_migrations", "_users_migrations", "alembic_version"] {
            schema.push(Column { table_name: tool.into(), ..schema[0].clone() });
        }
        let report = lint(&Definition { schema, ..Definition::default() });
        assert_eq!(report, Report { passed: true, tables: 1, findings: Vec::new() });
    }

    #[test]
    fn names_are_snake_case_and_the_right_one_is_told() {
        for (name, right) in [
            ("UserProfiles", "user_profiles"),
            ("userId", "user_id"),
            ("user-id", "user_id"),
            ("user__id", "user_id"),
            ("HTTPStatus", "httpstatus"),
            ("2fa", "t_2fa"),
            ("é", "t"),
        ] {
            assert!(!is_snake_case(name), "{name}");
            assert_eq!(snake_case(name), right);
            assert!(is_snake_case(right), "{right}");
            assert_eq!(told(columns(name, &[]))[0].0, "table-name");
            let found = told(columns("books", &[(name, "text")]));
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].0 == "column-name" && found[0].1.contains(right), "{found:?}");
        }
    }

    #[test]
    fn mandatory_fields_are_there_with_their_types() {
        let mut schema = columns("books", &[]);
        schema.retain(|column| column.column_name != "version");
        schema[0].data_type = "integer".into();
        schema[1].data_type = "timestamp without time zone".into();
        let found = told(schema);
        assert_eq!(
            found,
            [
                ("mandatory-type", "column id of table books is integer: make it uuid".into()),
                (
                    "mandatory-type",
                    "column created_at of table books is timestamp without time zone: make it timestamp with time zone"
                        .into()
                ),
                (
                    "mandatory-field",
                    "table books has no column version: add `version int NOT NULL DEFAULT 1`".into()
                ),
            ]
        );
    }

    #[test]
    fn standard_types_are_used() {
        let mut schema = columns(
            "books",
            &[("meta", "json"), ("due", "timestamp without time zone"), ("email", "character varying")],
        );
        assert_eq!(told(schema.clone()).len(), 2);
        schema.last_mut().unwrap().character_maximum_length = Some(100);
        let found = told(schema);
        assert!(found.iter().all(|(rule, _)| *rule == "standard-type"), "{found:?}");
        assert_eq!(
            found[2].1,
            "column email of table books is character varying(100): make it character varying(255)"
        );
    }

    #[test]
    fn indexes_and_keys_are_called_by_table_and_column() {
        let index = |name: &str| json!({ "table_name": "books", "index_name": name });
        let key = |name: &str, kind: &str| json!({ "table_name": "books", "constraint_name": name, "constraint_type": kind });
        let with = |indexes: serde_json::Value, constraints: serde_json::Value| {
            let definition =
                json!({ "schema": columns("books", &[]), "indexes": indexes, "constraints": constraints });
            let report = lint(&serde_json::from_value(definition).unwrap());
            report.findings.into_iter().map(|finding| (finding.rule, finding.name)).collect::<Vec<_>>()
        };
        let primary = key("pk", "PRIMARY KEY");
        let fine = with(
            json!([index("idx_books_title"), index("pk")]),
            json!([primary, key("fk_books_author_id", "FOREIGN KEY")]),
        );
        assert_eq!(fine, []);
        let wrong = with(
            json!([index("books_title_key"), index("idx_books_"), index("idx_other_title")]),
            json!([primary, key("books_author_id_fkey", "FOREIGN KEY")]),
        );
        let rules: Vec<&str> = wrong.iter().map(|(rule, _)| *rule).collect();
        assert_eq!(rules, ["foreign-key-name", "index-name", "index-name", "index-name"]);
        assert_eq!(with(json!([]), json!([key("fk_books_x", "FOREIGN KEY")])), [("primary-key", None)]);
    }
}
