//! A path through an object in the words of a field set, and how a reader sees it.

use std::borrow::Cow;
use std::fmt;

use serde_json::{Map, Value};

/// Elements of a field set from the root down: `f:spec`, `k:{"name":"app"}`, `v:"x"`, `i:0`.
#[derive(Default)]
pub struct Path<'a>(Vec<Cow<'a, str>>);

impl<'a> Path<'a> {
    /// The root.
    pub fn new() -> Self {
        Self::default()
    }

    /// One step down.
    pub fn push(&mut self, element: Cow<'a, str>) {
        self.0.push(element);
    }

    /// One step up.
    pub fn pop(&mut self) {
        self.0.pop();
    }

    /// Up to `depth`.
    pub fn truncate(&mut self, depth: usize) {
        self.0.truncate(depth);
    }

    /// The elements, from the root down.
    pub fn elements(&self) -> &[Cow<'a, str>] {
        &self.0
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, raw) in self.0.iter().enumerate() {
            let Some(name) = raw.strip_prefix("f:") else {
                write!(f, "[{}]", Element::parse(raw))?;
                continue;
            };
            // Label and annotation keys hold dots themselves.
            if name.contains('.') {
                write!(f, "[{name}]")?;
            } else {
                write!(f, "{}{name}", if depth == 0 { "" } else { "." })?;
            }
        }
        Ok(())
    }
}

/// How a field set names an item of a list.
pub enum Element {
    /// By the values of its key fields.
    Key(Map<String, Value>),
    /// By its value: the list is a set.
    Item(Value),
    /// By its place.
    Index(usize),
    /// In a way that no API server writes.
    Unknown(String),
}

impl Element {
    /// Read an element.
    pub fn parse(raw: &str) -> Element {
        let known = match raw.split_at_checked(2) {
            Some(("k:", key)) => serde_json::from_str(key).ok().map(Element::Key),
            Some(("v:", value)) => serde_json::from_str(value).ok().map(Element::Item),
            Some(("i:", index)) => index.parse().ok().map(Element::Index),
            _ => None,
        };
        known.unwrap_or_else(|| Element::Unknown(raw.to_owned()))
    }

    /// Whether it names this item.
    pub fn names(&self, index: usize, item: &Value) -> bool {
        match self {
            Element::Key(key) => key.iter().all(|(name, value)| item.get(name) == Some(value)),
            Element::Item(value) => value == item,
            Element::Index(place) => *place == index,
            Element::Unknown(_) => false,
        }
    }

    /// Whether it names this item once defaults are filled in.
    pub fn may_name(&self, item: &Value) -> bool {
        let Element::Key(key) = self else { return false };
        let given = |name| item.get(name);
        key.keys().any(|name| given(name).is_some())
            && key.iter().all(|(name, value)| given(name).is_none_or(|given| given == value))
    }

    /// The item it names in a list, and its place.
    pub fn find<'a>(&self, items: &'a [Value]) -> Option<(usize, &'a Value)> {
        items.iter().enumerate().find(|(index, item)| self.names(*index, item))
    }

    /// How the same list would name another of its items.
    pub fn alike(&self, index: usize, item: &Value) -> Element {
        match self {
            Element::Key(key) => {
                let fields = key.keys().filter_map(|name| Some((name.clone(), item.get(name)?.clone())));
                Element::Key(fields.collect())
            }
            Element::Item(_) => Element::Item(item.clone()),
            Element::Index(_) | Element::Unknown(_) => Element::Index(index),
        }
    }

    /// The element as a field set writes it.
    pub fn raw(&self) -> String {
        match self {
            Element::Key(key) => format!("k:{}", Value::Object(key.clone())),
            Element::Item(value) => format!("v:{value}"),
            Element::Index(index) => format!("i:{index}"),
            Element::Unknown(raw) => raw.clone(),
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Element::Key(key) => {
                for (place, (name, value)) in key.iter().enumerate() {
                    let comma = if place == 0 { "" } else { "," };
                    match value {
                        Value::String(value) => write!(f, "{comma}{name}={value}")?,
                        value => write!(f, "{comma}{name}={value}")?,
                    }
                }
                Ok(())
            }
            Element::Item(value) => write!(f, "{value}"),
            Element::Index(index) => write!(f, "{index}"),
            Element::Unknown(raw) => f.write_str(raw),
        }
    }
}

/// The one member or item in which two values differ, if it is only one: a long atomic list then names the line.
pub fn parting<'a>(live: &'a Value, plan: &'a Value) -> Option<(String, (&'a Value, &'a Value))> {
    match (live, plan) {
        (Value::Object(live), Value::Object(plan)) if live.keys().eq(plan.keys()) => {
            let pairs = live.iter().zip(plan.values());
            single(pairs.filter(|((_, a), b)| a != b).map(|((name, a), b)| (format!("f:{name}"), (a, b))))
        }
        (Value::Array(live), Value::Array(plan)) if live.len() == plan.len() => {
            let pairs = live.iter().zip(plan).enumerate();
            single(pairs.filter(|(_, (a, b))| a != b).map(|(index, pair)| (format!("i:{index}"), pair)))
        }
        _ => None,
    }
}

/// The only item of an iterator that has just one.
fn single<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    let first = items.next()?;
    items.next().is_none().then_some(first)
}

/// A value on one short line.
pub fn short(value: &Value) -> String {
    const LIMIT: usize = 120;
    let mut text = value.to_string();
    if let Some((end, _)) = text.char_indices().nth(LIMIT) {
        text.truncate(end);
        text.push('…');
    }
    text
}
