//! `target/bench.json`: one list, to which every benchmark adds its part.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

/// One line of the list.
#[derive(Serialize)]
pub struct Figure {
    pub name: String,
    pub value: f64,
    pub unit: &'static str,
    pub against: String,
    pub ratio: Option<f64>,
    pub goal: &'static str,
    pub holds: bool,
}

impl Figure {
    /// One that is measured against nothing, told at once.
    #[allow(dead_code)] // Of the benchmarks that share this file, some have none.
    pub fn absolute(name: &str, value: f64, unit: &'static str, goal: &'static str, holds: bool) -> Figure {
        println!("{name}: {value:.1} {unit}");
        Figure { name: name.into(), value, unit, against: String::new(), ratio: None, goal, holds }
    }
}

/// Put figures into the list, in place of those of the same name.
pub fn record(figures: &[Figure]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    let file = folder.join("bench.json");
    std::fs::create_dir_all(&folder).expect("target/");
    let known = std::fs::read_to_string(&file).ok().and_then(|text| serde_json::from_str(&text).ok());
    let mut list: Vec<Value> = known.unwrap_or_default();
    for figure in figures {
        let figure = serde_json::to_value(figure).expect("json");
        list.retain(|known| known["name"] != figure["name"]);
        list.push(figure);
    }
    std::fs::write(file, serde_json::to_string_pretty(&list).expect("json")).expect("bench.json");
}
