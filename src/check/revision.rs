//! The identity of what a pod is made from.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Shape;

/// Characters of the hash that names and labels carry.
const LENGTH: usize = 10;

impl Shape {
    /// The revision: SHA-256 over the canonical JSON of the shape, its first ten hexadecimal characters. Golden
    /// vectors in `tests/all/revision.rs` hold it, for a change of it would restart every pod of every cluster.
    pub fn revision(&self) -> String {
        let value = serde_json::to_value(self).unwrap_or_default();
        digest(&value)
    }
}

/// Ten hexadecimal characters of the SHA-256 over the canonical JSON of a value.
pub fn digest(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(value, &mut text);
    let hash = Sha256::digest(text.as_bytes());
    hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>()[..LENGTH].to_string()
}

/// Whether a text can be such a digest.
pub fn is_digest(text: &str) -> bool {
    text.len() == LENGTH && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// JSON without blanks, members sorted by name: independent of how the map in memory is ordered.
fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(members) => {
            let mut names: Vec<&String> = members.keys().collect();
            names.sort();
            text.push('{');
            for (index, name) in names.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                write_canonical(&members[name], text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_canonical(item, text);
            }
            text.push(']');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}
