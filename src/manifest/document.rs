//! YAML documents, and the line on which each field stands.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::Spanned;

/// One document of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// What it says.
    pub value: Value,
    /// Line on which it begins, counted from 1.
    pub line: u64,
    /// Line of each field, by its path, such as `spec.pod.volumes[0].name`.
    lines: BTreeMap<String, u64>,
}

/// A file that is no YAML.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct Unreadable {
    /// Where.
    pub line: u64,
    /// Why, in the parser's words.
    pub message: String,
}

/// Every document of a text that is not empty.
pub fn read(text: &str) -> Result<Vec<Document>, Unreadable> {
    let nodes: Vec<Spanned<Node>> = serde_saphyr::from_multiple(text).map_err(|error| Unreadable {
        line: error.location().map_or(1, |location| location.line()),
        message: error.without_snippet().to_string(),
    })?;
    let documents = nodes.into_iter().map(|node| {
        let line = node.referenced.line();
        let mut lines = BTreeMap::new();
        let value = node.value.place("", &mut lines);
        Document { value, line, lines }
    });
    Ok(documents.filter(|document| !document.value.is_null()).collect())
}

impl Document {
    /// Line of a field, or of the nearest thing around it that the document has.
    pub fn line_of(&self, field: &str) -> u64 {
        let mut path = field;
        loop {
            if let Some(line) = self.lines.get(path) {
                return *line;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return self.line,
            }
        }
    }

    /// A text in it.
    pub fn text(&self, pointer: &str) -> Option<&str> {
        self.value.pointer(pointer)?.as_str()
    }

    /// Whether it is an object of this kind of ours.
    pub fn is_ours(&self, kind: &str) -> bool {
        let group = self.text("/apiVersion").and_then(|version| version.split_once('/'));
        group.is_some_and(|(group, _)| group == crate::api::GROUP) && self.text("/kind") == Some(kind)
    }
}

/// A value whose parts know where they stand.
enum Node {
    Map(Vec<(Spanned<String>, Node)>),
    List(Vec<Spanned<Node>>),
    Scalar(Value),
}

impl Node {
    /// The value without its places, which go into `lines`.
    fn place(self, path: &str, lines: &mut BTreeMap<String, u64>) -> Value {
        match self {
            Node::Scalar(value) => value,
            Node::List(items) => {
                let items = items.into_iter().enumerate().map(|(index, item)| {
                    let path = format!("{path}[{index}]");
                    lines.insert(path.clone(), item.referenced.line());
                    item.value.place(&path, lines)
                });
                Value::Array(items.collect())
            }
            Node::Map(members) => {
                let mut map = Map::new();
                for (key, node) in members {
                    let path =
                        if path.is_empty() { key.value.clone() } else { format!("{path}.{}", key.value) };
                    lines.insert(path.clone(), key.referenced.line());
                    map.insert(key.value, node.place(&path, lines));
                }
                Value::Object(map)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(Builder)
    }
}

struct Builder;

impl<'de> Visitor<'de> for Builder {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(Builder)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(Builder)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(member) = members.next_entry()? {
            list.push(member);
        }
        Ok(Node::Map(list))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_knows_its_line() {
        let text = "# a comment\nkind: A\nspec:\n  list:\n    - name: x\n    - name: y\n      deep: {a: 1,\n        b: 2}\n---\n\n---\nkind: B\n";
        let documents = read(text).unwrap();
        assert_eq!(documents.len(), 2);
        let first = &documents[0];
        for (field, line) in [
            ("kind", 2),
            ("spec", 3),
            ("spec.list[1]", 6),
            ("spec.list[1].name", 6),
            ("spec.list[1].deep.b", 8),
            ("spec.list[1].deep.absent", 7),
            ("absent", 2),
        ] {
            assert_eq!(first.line_of(field), line, "{field}");
        }
        assert_eq!(first.value["spec"]["list"][1]["deep"]["b"], 2);
        assert_eq!((documents[1].line, documents[1].line_of("kind")), (12, 12));
    }

    #[test]
    fn what_is_no_yaml_is_told_with_its_line() {
        assert_eq!(read("a: 1\nb: [1,\n").unwrap_err().line, 2);
        assert_eq!(read("a: 1\na: 2\n").unwrap_err().line, 2);
    }
}
