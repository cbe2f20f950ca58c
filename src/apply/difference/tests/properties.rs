//! Random plans, with the field set and the live object that an API server makes of them.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::{Change, ChangeKind, Difference, compare};
use super::OURS;

/// What a schema says about a value, and the value.
#[derive(Clone, Debug)]
enum Shape {
    Scalar(Value),
    Atomic(Value),
    Struct(Vec<(String, Shape)>),
    Keyed(Vec<(String, Shape)>),
    Set(Vec<String>),
}

/// One entry of the field set: where it is, in the plan and in the field set.
#[derive(Clone, Debug)]
struct Leaf {
    path: String,
    plan: String,
    fields: Vec<String>,
    /// Its value names its item, so it cannot change by itself.
    names_item: bool,
}

#[derive(Default)]
struct Made {
    leaves: Vec<Leaf>,
}

impl Made {
    /// Make plan, field set and live object of a shape.
    fn make(&mut self, shape: &Shape, at: &Leaf) -> (Value, Value, Value) {
        match shape {
            Shape::Scalar(value) | Shape::Atomic(value) => {
                self.leaves.push(at.clone());
                (value.clone(), json!({}), value.clone())
            }
            Shape::Struct(members) if members.is_empty() => {
                self.leaves.push(at.clone());
                (json!({}), json!({}), json!({}))
            }
            Shape::Struct(members) => {
                let (mut plan, mut fields, mut live) = (Map::new(), Map::new(), Map::new());
                for (name, shape) in members {
                    let dot = if at.path.is_empty() { "" } else { "." };
                    let below = at.below(format!("{dot}{name}"), name, format!("f:{name}"));
                    let (a, b, c) = self.make(shape, &below);
                    plan.insert(name.clone(), a);
                    fields.insert(format!("f:{name}"), b);
                    live.insert(name.clone(), c);
                }
                live.insert("defaulted".to_owned(), json!(1));
                (plan.into(), fields.into(), live.into())
            }
            Shape::Keyed(items) => {
                let (mut plan, mut fields, mut live) = (Vec::new(), Map::new(), Vec::new());
                for (index, (key, shape)) in items.iter().enumerate() {
                    let raw = format!("k:{{\"name\":\"{key}\"}}");
                    let item = at.below(format!("[name={key}]"), &index.to_string(), raw.clone());
                    let (mut a, mut b, mut c) = self.make(shape, &item);
                    let mut name = item.below(".name".to_owned(), "name", "f:name".to_owned());
                    name.names_item = true;
                    self.leaves.push(name);
                    a["name"] = json!(key);
                    c["name"] = json!(key);
                    b["f:name"] = json!({});
                    b["."] = json!({});
                    plan.push(a);
                    fields.insert(raw, b);
                    live.extend([json!({"name": format!("guest-{index}")}), c]);
                }
                (plan.into(), fields.into(), live.into())
            }
            Shape::Set(items) => {
                let mut fields = Map::new();
                for (index, item) in items.iter().enumerate() {
                    let raw = format!("v:\"{item}\"");
                    let mut leaf = at.below(format!("[\"{item}\"]"), &index.to_string(), raw.clone());
                    leaf.names_item = true;
                    self.leaves.push(leaf);
                    fields.insert(raw, json!({}));
                }
                (json!(items), fields.into(), json!(items))
            }
        }
    }
}

impl Leaf {
    fn root() -> Leaf {
        Leaf { path: String::new(), plan: String::new(), fields: Vec::new(), names_item: false }
    }

    fn below(&self, path: String, plan: &str, element: String) -> Leaf {
        let fields = self.fields.iter().cloned().chain([element]).collect();
        Leaf {
            path: format!("{}{path}", self.path),
            plan: format!("{}/{plan}", self.plan),
            fields,
            names_item: false,
        }
    }

    /// Nobody's struct is told from nobody's atomic value by no one, so a report may be above or below.
    fn is_around(&self, path: &str) -> bool {
        self.path.starts_with(path) || path.starts_with(&self.path)
    }

    /// Take it out of a field set, as the API server does: what is left empty goes too.
    fn disown(&self, fields: &mut Value) {
        fn remove(node: &mut Value, path: &[String]) {
            let (Some((first, rest)), Some(members)) = (path.split_first(), node.as_object_mut()) else {
                return;
            };
            if let Some(child) = members.get_mut(first) {
                remove(child, rest);
                if rest.is_empty() || child.as_object().is_some_and(Map::is_empty) {
                    members.remove(first);
                } else if child.as_object().is_some_and(|child| child.keys().eq(["."])) {
                    *child = json!({});
                }
            }
        }
        remove(fields, &self.fields);
    }

    /// A field set of this leaf alone.
    fn alone(&self) -> Value {
        self.fields.iter().rev().fold(json!({}), |node, element| json!({element: node}))
    }
}

/// A random object as it is after an apply.
#[derive(Clone, Debug)]
struct Case {
    plan: Value,
    fields: Value,
    live: Value,
    leaves: Vec<Leaf>,
}

impl Case {
    fn compare(&self, others: &[Value]) -> Difference {
        let mut live = self.live.clone();
        let ours = json!({"manager": OURS, "operation": "Apply", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z",
            "fieldsType": "FieldsV1", "fieldsV1": self.fields});
        live["metadata"] = json!({"name": "x", "managedFields": [ours]});
        for fields in others {
            let entry = json!({"manager": "hand", "operation": "Update", "time": "2026-01-02T00:00:00Z", "fieldsV1": fields});
            live["metadata"]["managedFields"].as_array_mut().unwrap().push(entry);
        }
        compare(&self.plan, &live, OURS)
    }
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z.é ]{0,6}".prop_map(Value::from)
    ]
}

fn word() -> impl Strategy<Value = String> {
    "[a-e]{1,2}"
}

fn distinct<T: Clone + std::fmt::Debug>(
    item: impl Strategy<Value = T>,
    least: usize,
) -> impl Strategy<Value = Vec<(String, T)>> {
    prop::collection::btree_map(word(), item, least..4).prop_map(|items| items.into_iter().collect())
}

fn shape() -> impl Strategy<Value = Shape> {
    let leaf = prop_oneof![
        4 => scalar().prop_map(Shape::Scalar),
        1 => prop::collection::vec(scalar(), 0..3).prop_map(|items| Shape::Atomic(items.into())),
        1 => distinct(scalar(), 0).prop_map(|members| Shape::Atomic(members.into_iter().collect::<Map<_, _>>().into())),
        1 => prop::collection::btree_set(word(), 1..4).prop_map(|items| Shape::Set(items.into_iter().collect())),
    ];
    leaf.prop_recursive(4, 40, 4, |inner| {
        let object = distinct(inner.clone(), 0).prop_map(Shape::Struct);
        let item = distinct(inner, 1).prop_map(Shape::Struct);
        prop_oneof![2 => object, 1 => distinct(item, 1).prop_map(Shape::Keyed)]
    })
}

fn case() -> impl Strategy<Value = Case> {
    distinct(shape(), 1).prop_map(|members| {
        let mut made = Made::default();
        let (mut plan, fields, mut live) = made.make(&Shape::Struct(members), &Leaf::root());
        for object in [&mut plan, &mut live] {
            object["apiVersion"] = json!("v1");
            object["kind"] = json!("Thing");
        }
        plan["metadata"] = json!({"name": "x", "resourceVersion": "7"});
        Case { plan, fields, live, leaves: made.leaves }
    })
}

/// A case, and one of its leaves that the test can use.
fn case_and_leaf(usable: fn(&Case, &Leaf) -> bool) -> impl Strategy<Value = (Case, Leaf)> {
    (case(), any::<prop::sample::Index>()).prop_filter_map("no leaf of use", move |(case, index)| {
        let leaves: Vec<_> = case.leaves.iter().filter(|leaf| usable(&case, leaf)).collect();
        let leaf = (!leaves.is_empty()).then(|| index.get(&leaves))?.to_owned().clone();
        Some((case, leaf))
    })
}

/// An empty list that nobody owns is not told from a keyed one, which nobody can own.
fn can_be_missed(case: &Case, leaf: &Leaf) -> bool {
    case.plan.pointer(&leaf.plan) != Some(&json!([]))
}

/// Any JSON, with field sets among its strings and keys.
fn anything() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        Just("f:spec"),
        Just("f:a"),
        Just("f:"),
        Just("k:{\"name\":\"a\"}"),
        Just("k:{\"name\""),
        Just("k:{}"),
        Just("v:\"a\""),
        Just("v:"),
        Just("i:0"),
        Just("i:-1"),
        Just("i:99999999999999999999"),
        Just("."),
        Just(""),
        Just("é"),
        Just("spec"),
        Just("a"),
        Just("name"),
        Just("metadata"),
    ]
    .prop_map(str::to_owned);
    let leaf = prop_oneof![
        Just(Value::Null),
        scalar(),
        any::<f64>().prop_map(Value::from),
        text.clone().prop_map(Value::from)
    ];
    leaf.prop_recursive(5, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(text.clone(), inner, 0..4)
                .prop_map(|members| members.into_iter().collect::<Map<_, _>>().into()),
        ]
    })
}

fn only(difference: Difference) -> Result<Change, TestCaseError> {
    match difference {
        Difference::Differs(changes) if changes.len() == 1 => Ok(changes.into_iter().next().unwrap()),
        other => Err(TestCaseError::fail(format!("{other:?}"))),
    }
}

proptest! {
    #[test]
    fn an_applied_plan_is_the_same(case in case()) {
        prop_assert_eq!(case.compare(&[]), Difference::Same);
        // A guest beside us changes nothing.
        prop_assert_eq!(case.compare(&[json!({"f:guest": {"f:a": {}}})]), Difference::Same);
    }

    #[test]
    fn a_field_that_others_own_too_is_still_ours((case, leaf) in case_and_leaf(|_, _| true)) {
        prop_assert_eq!(case.compare(&[leaf.alone()]), Difference::Same);
    }

    #[test]
    fn a_new_value_is_planned((mut case, leaf) in case_and_leaf(|_, leaf| !leaf.names_item)) {
        *case.plan.pointer_mut(&leaf.plan).unwrap() = json!("CHANGED");
        let change = only(case.compare(&[]))?;
        prop_assert_eq!((change.path, change.kind), (leaf.path, ChangeKind::Planned));
    }

    #[test]
    fn a_field_taken_from_us_is_drift((mut case, leaf) in case_and_leaf(can_be_missed)) {
        leaf.disown(&mut case.fields);
        let change = only(case.compare(&[leaf.alone()]))?;
        prop_assert_eq!((change.path, change.kind), (leaf.path, ChangeKind::Drift { manager: Some("hand".to_owned()) }));
    }

    #[test]
    fn a_field_that_nobody_owns_is_planned((mut case, leaf) in case_and_leaf(can_be_missed)) {
        leaf.disown(&mut case.fields);
        let Difference::Differs(changes) = case.compare(&[]) else { return Err(TestCaseError::fail("no difference")) };
        prop_assert!(changes.iter().all(|change| change.kind == ChangeKind::Planned && leaf.is_around(&change.path)));
    }

    #[test]
    fn a_field_dropped_from_the_plan_is_an_orphan((mut case, leaf) in case_and_leaf(|_, leaf| !leaf.names_item)) {
        let (parent, name) = leaf.plan.rsplit_once('/').unwrap();
        case.plan.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
        // Without its last member the struct itself would become a leaf.
        prop_assume!(parent.is_empty() || case.plan.pointer(parent) != Some(&json!({})));
        let change = only(case.compare(&[]))?;
        prop_assert_eq!((change.path, change.kind), (leaf.path, ChangeKind::Orphan));
    }

    #[test]
    fn changes_are_sorted(plan in case(), live in case()) {
        let mixed = Case { plan: plan.plan, ..live };
        if let Difference::Differs(changes) = mixed.compare(&[json!({"f:a": {"f:b": {}}})]) {
            prop_assert!(!changes.is_empty() && changes.is_sorted_by_key(|change| &change.path));
        }
    }

    #[test]
    fn nothing_panics(plan in anything(), live in anything(), fields in anything(), other in anything()) {
        let _ = compare(&plan, &live, OURS);
        let mixed = Case { plan, fields, live: json!({"spec": live}), leaves: Vec::new() };
        let _ = mixed.compare(std::slice::from_ref(&other));
        let _ = mixed.compare(&[json!({"f:spec": other})]);
    }
}
