//! Every refusal of one document: of the schema, of its CEL rules, and of the operator's own check.

use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use serde::Serialize;
use serde_json::Value;

use super::{Placed, schema};
use crate::api::{VisiobookEnvironment, VisiobookService, crds};
use crate::check;

/// A refusal, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file.
    pub file: String,
    /// The line, counted from 1.
    pub line: u64,
    /// Kind and name of the resource.
    pub resource: String,
    /// Name of the rule, stable over releases.
    pub rule: String,
    /// The field.
    pub field: String,
    /// What is wrong, and the way out.
    pub message: String,
}

impl Finding {
    /// Whether the API server refuses it by the CRD alone.
    pub fn is_of_the_crd(&self) -> bool {
        self.rule.starts_with("schema-") || ["unknown-field", "crd-rule"].contains(&self.rule.as_str())
    }
}

/// The schema of a kind.
struct Law {
    root: JSONSchemaProps,
    /// The same as the CEL evaluator reads it.
    json: Value,
}

static LAWS: LazyLock<[Law; 2]> = LazyLock::new(|| {
    crds().map(|crd| {
        let version = crd.spec.versions.into_iter().next();
        let root = version.and_then(|version| version.schema?.open_api_v3_schema).unwrap_or_default();
        let json = serde_json::to_value(&root).unwrap_or_default();
        Law { root, json }
    })
});

/// Hold a VisiobookService against everything that would refuse it. The service itself, if it can be read.
pub fn examine(placed: &Placed<'_>) -> (Option<VisiobookService>, Vec<Finding>) {
    let mut findings = lawful(&LAWS[0], placed);
    let mut service: Option<VisiobookService> = read(placed, &mut findings);
    if let Some(service) = &mut service {
        service.metadata.namespace = Some(placed.namespace.clone());
        if let Err(refusals) = check::validate(service, &placed.environment) {
            let refusals = refusals
                .into_iter()
                .map(|refusal| find(placed, refusal.rule, refusal.field, refusal.message));
            // The CRD and the check may word one rule alike.
            let new: Vec<Finding> =
                refusals.filter(|new| !findings.iter().any(|old| old.message == new.message)).collect();
            findings.extend(new);
        }
    }
    findings.sort_by_key(|finding| finding.line);
    (service, findings)
}

/// Hold a VisiobookEnvironment against its CRD.
pub fn examine_environment(placed: &Placed<'_>) -> (Option<VisiobookEnvironment>, Vec<Finding>) {
    let mut findings = lawful(&LAWS[1], placed);
    let environment = read(placed, &mut findings);
    findings.sort_by_key(|finding| finding.line);
    (environment, findings)
}

fn lawful(law: &Law, placed: &Placed<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if placed.document.text("/apiVersion") != Some("platform.visiobook.com/v1alpha1") {
        let message = "this release knows platform.visiobook.com/v1alpha1 only: write that".to_string();
        findings.push(find(placed, "schema-enum", "apiVersion".into(), message));
    }
    if placed.document.text("/metadata/name").is_none_or(str::is_empty) {
        findings.push(find(placed, "schema-required", "metadata.name".into(), "name is missing".into()));
    }
    let mut broken = Vec::new();
    schema::hold(&law.root, &placed.document.value, "", &mut broken);
    findings.extend(broken.into_iter().map(|(rule, field, message)| find(placed, rule, field, message)));
    let unfit = ["schema-type", "schema-required"];
    if !findings.iter().any(|finding| unfit.contains(&finding.rule.as_str())) {
        // The API server evaluates them where the types are right.
        let errors = kube_cel::Validator::new().validate(&law.json, &placed.document.value, None);
        for error in errors.err().into_iter().flat_map(|errors| errors.into_vec()) {
            // A rule of the whole resource names its field first.
            let named = error.message.split(' ').next().filter(|word| word.starts_with("metadata."));
            let field = match named {
                Some(field) if error.field_path.is_empty() => field.to_string(),
                _ => error.field_path,
            };
            findings.push(find(placed, "crd-rule", field, error.message));
        }
    }
    findings
}

/// The typed resource; what its types refuse beyond the schema is a finding.
fn read<K: serde::de::DeserializeOwned>(placed: &Placed<'_>, findings: &mut Vec<Finding>) -> Option<K> {
    match serde_path_to_error::deserialize(&placed.document.value) {
        Ok(resource) => Some(resource),
        Err(error) => {
            if findings.is_empty() {
                let field = error.path().to_string();
                findings.push(find(placed, "schema-type", field, error.into_inner().to_string()));
            }
            None
        }
    }
}

fn find(placed: &Placed<'_>, rule: &str, field: String, message: String) -> Finding {
    let document = placed.document;
    let kind = document.text("/kind").unwrap_or_default();
    Finding {
        file: placed.file.to_string(),
        line: document.line_of(&field),
        resource: format!("{kind} {}", document.text("/metadata/name").unwrap_or("without a name")),
        rule: rule.to_string(),
        field,
        message,
    }
}
