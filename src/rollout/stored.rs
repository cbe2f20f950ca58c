//! What a ControllerRevision holds: a revision renders once, and what it holds outlives the operator that wrote it.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::check::Shape;

/// The format that is written. A field that an older operator may overlook needs no new one: what is stored is kept
/// as it is, with every field that this operator does not know.
const FORMAT: u64 = 1;

/// A revision as it was rendered.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// What it was rendered from.
    pub shape: Shape,
    /// The pod template, without what depends on the colour.
    pub template: Value,
    /// Content of its ConfigMap.
    pub config: Value,
    /// Everything that is stored. It can never be changed.
    pub data: Value,
}

/// A stored revision that this operator cannot read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "revision {hash} was stored in a form that this operator cannot read ({why}), so what runs is left as it is. \
     Install the release of the operator that stored it, or release a change of the service, which is rendered anew"
)]
pub struct Unreadable {
    hash: String,
    why: String,
}

impl Stored {
    /// A revision that was rendered just now.
    pub fn new(shape: Shape, template: Value, config: Value, number: i64) -> Stored {
        let data = json!({
            "format": FORMAT,
            "shape": shape,
            "template": template,
            "config": config,
            // That of the ControllerRevision can be edited.
            "number": number,
        });
        Stored { shape, template, config, data }
    }

    /// A revision as it was stored, by this operator or another.
    pub fn read(hash: &str, data: &Value) -> Result<Stored, Unreadable> {
        #[derive(Deserialize)]
        struct Content {
            shape: Shape,
            template: Value,
            config: Value,
        }
        let unreadable = |why: String| Unreadable { hash: hash.into(), why };
        // The first release wrote none.
        let format = data.get("format").map_or(Some(FORMAT), Value::as_u64);
        if format.is_none_or(|format| format > FORMAT) {
            return Err(unreadable(format!("format {}, known up to {FORMAT}", data["format"])));
        }
        let Content { shape, template, config } =
            Content::deserialize(data).map_err(|error| unreadable(error.to_string()))?;
        Ok(Stored { shape, template, config, data: data.clone() })
    }
}
