//! Variables and files: each once, readable, and not the operator's own.

use std::collections::{BTreeMap, BTreeSet};

use super::{Broken, Subject};
use crate::api::{EnvironmentType, SidecarMode, VisiobookServiceSpec};
use crate::contract;

pub(super) fn sources(spec: &VisiobookServiceSpec) -> [(&'static str, BTreeSet<&str>); 4] {
    fn keys<V>(map: &BTreeMap<String, V>) -> BTreeSet<&str> {
        map.keys().map(String::as_str).collect()
    }
    [
        ("spec.env", keys(&spec.env)),
        ("spec.config", keys(&spec.config)),
        ("spec.secrets", keys(&spec.secrets)),
        ("spec.configMapKeyRefs", keys(&spec.config_map_key_refs)),
    ]
}

/// Whether a text can be the name of a variable.
pub(super) fn is_name(variable: &str) -> bool {
    let mut bytes = variable.bytes();
    let starts = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    starts && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

pub(super) fn variable_names(it: &Subject<'_>, broken: &mut Broken) {
    for (field, variables) in sources(it.spec) {
        for variable in variables {
            if !is_name(variable) {
                broken.tell(
                    "variable-name",
                    format!("{field}.{variable}"),
                    "a variable is letters, digits and underscores, and starts with no digit",
                );
            }
        }
    }
    for file in it.spec.config_files.iter().flat_map(|files| files.files.keys()) {
        let field = format!("spec.configFiles.files.{file}");
        if file.is_empty()
            || file.len() > 253
            || file == "."
            || file.starts_with("..")
            || !file.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        {
            let message = "a file name is letters, digits, dots, dashes and underscores, and begins with one dot at most";
            broken.tell("file-name", &field, message);
        }
        if it.spec.config.contains_key(file) {
            broken.tell(
                "variable-once",
                field,
                "spec.config has a variable of this name and both live in one ConfigMap: rename the file",
            );
        }
    }
}

pub(super) fn variables_once(it: &Subject<'_>, broken: &mut Broken) {
    let sources = sources(it.spec);
    for (index, (field, variables)) in sources.iter().enumerate() {
        for (other, others) in &sources[index + 1..] {
            for variable in variables.intersection(others) {
                let message = format!("{other} defines {variable} too: keep one of them");
                broken.tell("variable-once", format!("{field}.{variable}"), message);
            }
        }
    }
}

pub(super) fn variables_reserved(it: &Subject<'_>, broken: &mut Broken) {
    for (field, variables) in sources(it.spec) {
        if variables.contains("PORT") {
            broken.tell(
                "variable-reserved",
                format!("{field}.PORT"),
                "the operator passes spec.port as PORT: set spec.port",
            );
        }
        if variables.contains("ENVIRONMENT") {
            broken.tell(
                "variable-reserved",
                format!("{field}.ENVIRONMENT"),
                "the namespace decides the environment: take it out",
            );
        }
    }
}

/// An application beside a sidecar that is told a port of the sidecar's would fail to listen.
pub(super) fn metrics_port(it: &Subject<'_>, broken: &mut Broken) {
    if it.mode() == SidecarMode::Off {
        return;
    }
    let taken = [contract::METRICS_PORT, contract::SIDECAR_PORT].map(|port| port.to_string());
    for (field, values) in [("spec.env", &it.spec.env), ("spec.config", &it.spec.config)] {
        if values.get("PROMETHEUS_PORT").is_some_and(|port| taken.contains(port)) {
            broken.tell(
                "port-once",
                format!("{field}.PROMETHEUS_PORT"),
                "the sidecar listens there: give the application another port, and name it in spec.sidecar.metricsPort",
            );
        }
    }
}

pub(super) fn config_size(it: &Subject<'_>, broken: &mut Broken) {
    // A ConfigMap holds 1 MiB; the stored revision holds the same content beside the pod template.
    const MOST: usize = 512 * 1024;
    let files = it.spec.config_files.iter().flat_map(|files| &files.files);
    let size: usize = it.spec.config.iter().chain(files).map(|(key, value)| key.len() + value.len()).sum();
    if size > MOST {
        let message = format!(
            "config and configFiles hold {size} bytes together, of {MOST} allowed: mount what is large from a volume"
        );
        broken.tell("config-size", "spec.configFiles", message);
    }
}

/// H01, for the values that stand in the resource itself. `check::secrets` holds values in Secrets against it.
pub(super) fn literal_values(it: &Subject<'_>, broken: &mut Broken) {
    // A domain service starts with nothing that allows the clear.
    let is_clear = |mode: &str| {
        mode == "disable" || it.spec.domain_service.is_some() && ["allow", "prefer"].contains(&mode)
    };
    for (field, values) in [("spec.env", &it.spec.env), ("spec.config", &it.spec.config)] {
        for (variable, value) in values {
            let field = format!("{field}.{variable}");
            let production = it.environment.type_ == EnvironmentType::Production;
            if production && variable == "DB_SSL_MODE" && is_clear(value) {
                broken.tell(
                    "database-tls",
                    &field,
                    "a production database is spoken to with TLS: use require or stricter",
                );
            }
            if production && let Some(wrong) = wrong_length(variable, value.chars().count()) {
                broken.tell("secret-length", &field, wrong);
            }
            if contract::TIMEOUT_VARIABLES.contains(&variable.as_str())
                && seconds(value).is_none_or(|s| s < 1.0)
            {
                let message =
                    format!("\"{value}\" is not a time-out of at least one second: write one such as 30s");
                broken.tell("timeout", &field, message);
            }
        }
    }
}

/// What is wrong with a secret of this length in production (H01), if anything.
pub(in crate::check) fn wrong_length(variable: &str, length: usize) -> Option<String> {
    match variable {
        "JWT_SECRET" if length < contract::JWT_SECRET_MIN => Some(format!(
            "has {length} characters and needs at least {} in production: make a longer one",
            contract::JWT_SECRET_MIN
        )),
        "ENCRYPTION_KEY" if length != contract::ENCRYPTION_KEY_LENGTH => Some(format!(
            "has {length} characters and needs exactly {} in production",
            contract::ENCRYPTION_KEY_LENGTH
        )),
        _ => None,
    }
}

/// A duration as Go writes it (`1m30s`, `500ms`), in seconds.
fn seconds(text: &str) -> Option<f64> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let unit_end = rest[number..]
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .map_or(rest.len(), |end| number + end);
        let unit = match &rest[number..unit_end] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += rest[..number].parse::<f64>().ok()? * unit;
        rest = &rest[unit_end..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        assert_eq!(seconds("1m30s"), Some(90.0));
        assert_eq!(seconds("500ms"), Some(0.5));
        assert_eq!(seconds("1.5h"), Some(5400.0));
        for wrong in ["", "30", "s", "-1s", "1d"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
