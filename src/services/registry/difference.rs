//! What differs between two schemas.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::services::schema::{Column, Constraint, Definition, Index};

/// What differs between two schemas.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// Whether the release before may fail on it: a table or a column is gone, or has another type.
    pub breaking: bool,
    /// Tables that came.
    pub tables_added: Vec<String>,
    /// Tables that went.
    pub tables_removed: Vec<String>,
    /// Columns that came, those of new tables too.
    pub columns_added: Vec<Column>,
    /// Columns that went, those of removed tables too.
    pub columns_removed: Vec<Column>,
    /// Columns of another type or bound.
    pub columns_changed: Vec<Changed>,
    /// Indexes that came.
    pub indexes_added: Vec<Index>,
    /// Indexes that went.
    pub indexes_removed: Vec<Index>,
    /// Constraints that came.
    pub constraints_added: Vec<Constraint>,
    /// Constraints that went.
    pub constraints_removed: Vec<Constraint>,
}

/// A column that changed.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Changed {
    /// As it was.
    pub before: Column,
    /// As it is.
    pub after: Column,
}

/// What differs between `before` and `after`, each list in the order of names.
pub fn difference(before: &Definition, after: &Definition) -> Difference {
    let (was, is) = (columns(before), columns(after));
    let changed: Vec<Changed> = was
        .iter()
        .filter_map(|(name, before)| {
            let after = is.get(name).filter(|after| **after != *before)?;
            Some(Changed { before: (*before).clone(), after: (*after).clone() })
        })
        .collect();
    let only_in = |one: &BTreeMap<_, &Column>, other: &BTreeMap<_, &Column>| -> Vec<Column> {
        one.iter()
            .filter(|(name, _)| !other.contains_key(*name))
            .map(|(_, column)| (*column).clone())
            .collect()
    };
    let tables = |one: &Definition, other: &Definition| -> Vec<String> {
        one.tables().difference(&other.tables()).map(|name| (*name).to_owned()).collect()
    };
    let columns_removed = only_in(&was, &is);
    Difference {
        breaking: !columns_removed.is_empty() || !changed.is_empty(),
        tables_added: tables(after, before),
        tables_removed: tables(before, after),
        columns_added: only_in(&is, &was),
        columns_removed,
        columns_changed: changed,
        indexes_added: entries(&after.indexes, &before.indexes),
        indexes_removed: entries(&before.indexes, &after.indexes),
        constraints_added: entries(&after.constraints, &before.constraints),
        constraints_removed: entries(&before.constraints, &after.constraints),
    }
}

fn columns(of: &Definition) -> BTreeMap<(&str, &str), &Column> {
    of.schema
        .iter()
        .map(|column| ((column.table_name.as_str(), column.column_name.as_str()), column))
        .collect()
}

/// Those of one list that are not in another; both are sorted.
fn entries<T: Clone + Ord>(one: &[T], other: &[T]) -> Vec<T> {
    one.iter().filter(|entry| other.binary_search(entry).is_err()).cloned().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn definition(document: Value) -> Definition {
        serde_json::from_value::<Definition>(document).unwrap().sorted()
    }

    fn column(table: &str, name: &str, kind: &str) -> Value {
        json!({ "table_name": table, "column_name": name, "data_type": kind })
    }

    #[test]
    fn what_came_went_and_changed_is_told_apart() {
        let before = definition(json!({
            "schema": [column("books", "title", "text"), column("books", "pages", "integer"), column("old", "id", "uuid")],
            "indexes": [{ "table_name": "books", "index_name": "idx_books_title" }],
        }));
        let after = definition(json!({
            "schema": [column("books", "title", "text"), column("books", "pages", "bigint"), column("new", "id", "uuid")],
            "constraints": [{ "table_name": "new", "constraint_name": "new_pkey", "constraint_type": "PRIMARY KEY" }],
        }));
        let told = difference(&before, &after);
        assert!(told.breaking);
        assert_eq!(
            (told.tables_added, told.tables_removed),
            (vec!["new".to_owned()], vec!["old".to_owned()])
        );
        assert_eq!(told.columns_added.len() + told.columns_removed.len(), 2);
        assert_eq!(told.columns_changed.len(), 1);
        assert_eq!(told.columns_changed[0].after.data_type, "bigint");
        assert_eq!((told.indexes_removed.len(), told.constraints_added.len()), (1, 1));
        assert_eq!((told.indexes_added.len(), told.constraints_removed.len()), (0, 0));
    }

    #[test]
    fn what_only_adds_breaks_nothing_and_nothing_is_no_difference() {
        let before = definition(json!({ "schema": [column("books", "title", "text")] }));
        let after = definition(
            json!({ "schema": [column("books", "title", "text"), column("books", "isbn", "text")] }),
        );
        assert!(!difference(&before, &after).breaking);
        assert!(difference(&after, &before).breaking);
        assert_eq!(difference(&after, &after), Difference::default());
    }
}
