//! Variables: what the operator gives anyway is left out, and each is said once.

use std::collections::BTreeMap;

use serde_json::Value;

use super::values::{Values, text};
use super::{Error, Fate};
use crate::api::{EnvironmentType, KeyRef, SecretSource, Stack, VisiobookServiceSpec};
use crate::check::Shape;
use crate::contract;
use crate::plan;

/// Names under which applications are told their environment (X04).
const ENVIRONMENTS: [&str; 4] = ["NODE_ENV", "PYTHON_ENV", "APP_ENV", "ENVIRONMENT"];
/// The secrets of the chart's own values, which a team's values leave as they are (A13, L01).
const CHART_SECRETS: [(&str, &str, &str); 3] = [
    ("DATABASE_URL", "database-credentials", "url"),
    ("JWT_SECRET", "jwt-credentials", "secret"),
    ("REDIS_URL", "redis-credentials", "url"),
];

/// What the values say of a variable. The ConfigMap is what a team's own values word; `env` may be the chart's (X15).
fn said<'a>(values: &'a Values<'_>, variable: &str) -> Option<&'a Value> {
    ["configMap", "env"].into_iter().find_map(|field| values.peek(field)?.get(variable))
}

/// The environment that the values were written for, as far as they tell.
pub(super) fn environment(values: &Values<'_>) -> Option<EnvironmentType> {
    let of_app = values.peek("app.environment");
    let word = ENVIRONMENTS.into_iter().find_map(|variable| said(values, variable)).or(of_app)?;
    serde_json::from_value(word.clone()).ok()
}

/// The technology, by the name under which it is told its environment.
pub(super) fn stack(values: &Values<'_>) -> Option<Stack> {
    let told = |variable| said(values, variable).is_some();
    match () {
        () if told("NODE_ENV") => Some(Stack::Nodejs),
        () if told("PYTHON_ENV") => Some(Stack::Python),
        () => None,
    }
}

pub(super) fn convert(
    values: &mut Values<'_>,
    spec: &mut VisiobookServiceSpec,
    name: &str,
    environment: Option<EnvironmentType>,
) -> Result<(), Error> {
    secrets(values, spec)?;
    older(values, spec)?;
    let env = map(values, "env")?;
    let mut config = map(values, "configMap")?;
    for variable in env.keys() {
        if config.contains_key(variable) {
            let field = format!("configMap.{variable}");
            values.note(&field, Fate::Changed, "env says it too and won, so that value is kept");
            config.remove(variable);
        }
    }
    let target: Option<u16> = values.parse("service.targetPort")?;
    let told = env.get("PORT").or(config.get("PORT")).and_then(|port| port.parse().ok());
    let default = if spec.stack == Some(Stack::Python) { contract::PORT_PYTHON } else { contract::PORT };
    spec.port = target.or(told).filter(|port| *port != default);
    let types = match environment {
        Some(environment) => vec![environment],
        None => vec![EnvironmentType::Development, EnvironmentType::Staging, EnvironmentType::Production],
    };
    let given: Vec<_> = types.into_iter().map(|type_| plan::given(name, &shape(spec, type_))).collect();
    for (field, said, into) in [("env", env, &mut spec.env), ("configMap", config, &mut spec.config)] {
        for (variable, value) in said {
            let path = format!("{field}.{variable}");
            let anyway = given.iter().all(|given| given.get(&variable) == Some(&value));
            match variable.as_str() {
                "PORT" => values.note(&path, Fate::Given, "the operator passes spec.port as PORT"),
                "PROMETHEUS_PORT" if value == contract::METRICS_PORT.to_string() => {
                    let message = "the sidecar listens on 9090: an application with metrics of its own gets another port, named in spec.sidecar.metricsPort";
                    values.note(&path, Fate::Changed, message);
                }
                _ if anyway => values.note(&path, Fate::Given, "the operator passes the same"),
                word if ENVIRONMENTS.contains(&word) && environment.is_some() => {
                    values.note(&path, Fate::Given, "the environment of the namespace says it");
                }
                "PROMETHEUS_PORT" => {
                    if let Ok(port) = value.parse() {
                        spec.sidecar.get_or_insert_default().metrics_port = Some(port);
                    }
                    into.insert(variable, value);
                }
                _ => drop(into.insert(variable, value)),
            }
        }
    }
    Ok(())
}

/// What the operator looks at when it gives variables.
fn shape(spec: &VisiobookServiceSpec, environment: EnvironmentType) -> Shape {
    let secrets = spec.secrets.iter().filter_map(|(variable, source)| {
        let (name, key) = (source.name.clone()?, source.key.clone()?);
        Some((variable.clone(), KeyRef { name, key }))
    });
    Shape {
        environment,
        stack: spec.stack,
        profile: spec.profile,
        image: spec.image.clone().unwrap_or_default(),
        port: spec.port,
        gpu: spec.gpu.clone(),
        secrets: secrets.collect(),
        ..Shape::default()
    }
}

fn secrets(values: &mut Values<'_>, spec: &mut VisiobookServiceSpec) -> Result<(), Error> {
    let older = values.is_older();
    let said: BTreeMap<String, Option<BTreeMap<String, Value>>> =
        values.parse("secrets")?.unwrap_or_default();
    for (name, reference) in &said {
        let path = format!("secrets.{name}");
        let Some(reference) = reference else { continue };
        let part = |names: [&str; 2]| names.into_iter().find_map(|name| text(reference.get(name)?));
        let (Some(secret), Some(key)) = (part(["secretName", "name"]), part(["key", "key"])) else {
            return Err(values.unreadable(&path, "write the name of a Secret and a key in it"));
        };
        let variable = variable(name);
        if variable != *name {
            values.note(&path, Fate::Changed, format!("it becomes the variable {variable}, as in the chart"));
        }
        spec.secrets.insert(variable, SecretSource::of(secret, key));
        for other in reference.keys().filter(|part| !["secretName", "name", "key"].contains(&part.as_str())) {
            values.note(&format!("{path}.{other}"), Fate::NoHome, "a secret has a name and a key");
        }
    }
    if older {
        return Ok(());
    }
    for (name, secret, key) in CHART_SECRETS {
        if !said.contains_key(name) {
            let reference = SecretSource::of(secret, key);
            spec.secrets.insert(name.into(), reference);
            let message = format!(
                "{name} comes from the chart's own values: take it out of spec.secrets if the service has no use for it"
            );
            values.note("secrets", Fate::Changed, message);
        }
    }
    Ok(())
}

/// `dbPassword` to `DB_PASSWORD`; a variable stays one.
fn variable(name: &str) -> String {
    if !name.contains(|letter: char| letter.is_lowercase()) {
        return name.to_string();
    }
    let mut variable = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !variable.is_empty() {
            variable.push('_');
        }
        variable.extend(if letter == '-' { '_' } else { letter }.to_uppercase());
    }
    variable
}

/// What the older chart says of the application (A26).
fn older(values: &mut Values<'_>, spec: &mut VisiobookServiceSpec) -> Result<(), Error> {
    if let Some(word) = values.text("app.environment")? {
        let fate = if serde_json::from_value::<EnvironmentType>(word.into()).is_ok() {
            (
                Fate::Given,
                "the environment of the namespace says it; set spec.stack to have it passed as APP_ENV",
            )
        } else {
            (Fate::NoHome, "an environment is development, staging or production")
        };
        values.note("app.environment", fate.0, fate.1);
    }
    if let Some(level) = values.text("app.logLevel")? {
        spec.env.insert("LOG_LEVEL".into(), level);
    }
    if let Some(false) = values.parse("app.metrics.enabled")? {
        values.note(
            "app.metrics.enabled",
            Fate::Changed,
            "the sidecar serves /metrics on 9090 for every service",
        );
    }
    if let Some(port) = values.parse::<u16>("app.metrics.port")?
        && port != contract::METRICS_PORT
    {
        spec.sidecar.get_or_insert_default().metrics_port = Some(port);
    }
    Ok(())
}

/// Variables as texts, which is what the chart made of them.
fn map(values: &mut Values<'_>, field: &str) -> Result<BTreeMap<String, String>, Error> {
    let said: BTreeMap<String, Value> = values.parse(field)?.unwrap_or_default();
    let mut variables = BTreeMap::new();
    for (variable, value) in said {
        match text(&value) {
            Some(value) => drop(variables.insert(variable, value)),
            None if value.is_null() => {}
            None => {
                return Err(values.unreadable(&format!("{field}.{variable}"), "a variable is a text"));
            }
        }
    }
    Ok(variables)
}
