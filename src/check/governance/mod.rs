//! What an environment allows, held against a service by the very expressions that the API server evaluates.

mod policies;
mod rules;
mod variables;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use kube_cel::KubeCelExt;
use kube_cel::cel::{Context, Program, Value as Cel};
use serde_json::Value;

use super::Refusal;
use super::resolve::EnvironmentRules;
use crate::api::VisiobookServiceSpec;
pub use policies::policies;

/// An expression read once; `None` where it is none, which a test rules out.
type Read = Option<Program>;

struct Compiled {
    variables: Vec<(&'static str, Read)>,
    rules: Vec<(&'static rules::Rule, Read, Read)>,
    functions: Context<'static>,
}

static COMPILED: LazyLock<Compiled> = LazyLock::new(|| Compiled {
    variables: variables::VARIABLES
        .iter()
        .map(|variable| (variable.0, read(&variables::variable(variable))))
        .collect(),
    rules: rules::RULES.iter().map(|rule| (rule, read(&rule.holds()), read(&rule.message()))).collect(),
    functions: Context::default().with_all(),
});

fn read(expression: &str) -> Read {
    Program::compile(expression).ok()
}

/// Every rule of the environment that a service breaks. What cannot be evaluated is refused, as the API server does.
pub(super) fn broken(
    name: &str,
    spec: &VisiobookServiceSpec,
    environment: &EnvironmentRules,
) -> Vec<Refusal> {
    let json = |part: Result<Value, serde_json::Error>| cel(&part.unwrap_or_default());
    let metadata = Cel::from(HashMap::from([("name", Cel::from(name))]));
    let object =
        Cel::from(HashMap::from([("metadata", metadata), ("spec", json(serde_json::to_value(spec)))]));
    let mut variables = HashMap::from([
        ("environment", json(serde_json::to_value(&environment.said))),
        ("name", Cel::from(environment.name.as_str())),
    ]);
    let evaluate = |variables: &HashMap<&'static str, Cel>, program: &Read| {
        let mut context = COMPILED.functions.new_inner_scope();
        context.add_variable_from_value("object", object.clone());
        context.add_variable_from_value("variables", Cel::from(variables.clone()));
        program.as_ref().and_then(|program| program.execute(&context).ok())
    };
    for (name, program) in &COMPILED.variables {
        if let Some(value) = evaluate(&variables, program) {
            variables.insert(name, value);
        }
    }
    let mut refusals = Vec::new();
    for (rule, holds, message) in &COMPILED.rules {
        if let Some(Cel::Bool(true)) = evaluate(&variables, holds) {
            continue;
        }
        let message = match evaluate(&variables, message) {
            Some(Cel::String(text)) => Arc::unwrap_or_clone(text),
            _ => "cannot be held against its environment: correct the field, or the environment".to_string(),
        };
        refusals.push(Refusal { rule: rule.name, field: rule.field.to_string(), message });
    }
    refusals
}

/// JSON in the words of CEL. Whole numbers are `int`, as they are to the API server.
fn cel(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(truth) => Cel::Bool(*truth),
        Value::Number(number) => {
            number.as_i64().map_or_else(|| Cel::Float(number.as_f64().unwrap_or_default()), Cel::Int)
        }
        Value::String(text) => Cel::from(text.as_str()),
        Value::Array(items) => Cel::List(Arc::new(items.iter().map(cel).collect())),
        Value::Object(members) => Cel::from(
            members.iter().map(|(name, value)| (name.as_str(), cel(value))).collect::<HashMap<_, _>>(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_matched_by_whole_path_segments() {
        let breaks = |image: &str, registry: &str| {
            let said = serde_json::json!({ "type": "development", "images": { "registries": [registry] } });
            let environment = crate::facts::EnvironmentFact::Governed {
                name: "any".into(),
                spec: Box::new(serde_json::from_value(said).unwrap()),
            };
            let spec = VisiobookServiceSpec { image: Some(image.into()), ..Default::default() };
            !broken("users", &spec, &crate::check::rules_of(&environment).unwrap()).is_empty()
        };
        assert!(breaks("ghcr.io/visiobook-evil/users:1", "ghcr.io/visiobook"));
        assert!(!breaks("ghcr.io/visiobook-evil/users:1", "ghcr.io"));
        assert!(!breaks("ghcr.io/visiobook-evil/users:1", "ghcr.io/visiobook-evil/"));
        assert!(!breaks("nginx", "docker.io/library"));
        assert!(!breaks("stefanprodan/podinfo:6", "docker.io"));
        assert!(!breaks("registry:5000/users", "registry:5000"));
        assert!(breaks("registry:5000/users", "registry"));
    }

    #[test]
    fn every_expression_can_be_read() {
        for (name, program) in &COMPILED.variables {
            assert!(program.is_some(), "{name}");
        }
        for (rule, holds, message) in &COMPILED.rules {
            assert!(holds.is_some() && message.is_some(), "{} on {}", rule.name, rule.field);
        }
    }
}
