//! The same rules as admission policies, which hold while no operator runs, and those that only the API server can
//! hold: who may do what.

mod orders;

use serde_json::{Value, json};

use super::rules::{self, Rule};
use super::variables::{SCALE_VARIABLES, VARIABLES, Variable, variable};
use crate::api::names::{ALLOW_DELETION, APPROVE, ENVIRONMENT};
use crate::api::{GROUP, crds};
use orders::{approval, approval_accounts, approval_accounts_development, attestation, break_glass};

/// What a policy looks at.
struct Matched {
    group: &'static str,
    operations: &'static [&'static str],
    resources: &'static [&'static str],
}

const SERVICES: Matched =
    Matched { group: GROUP, operations: &["CREATE", "UPDATE"], resources: &["visiobookservices"] };
const SCALES: Matched =
    Matched { group: GROUP, operations: &["UPDATE"], resources: &["visiobookservices/scale"] };
/// The label can be changed through the subresources too.
const NAMESPACES: Matched = Matched {
    group: "",
    operations: &["CREATE", "UPDATE"],
    resources: &["namespaces", "namespaces/status", "namespaces/finalize"],
};
const DEFINITIONS: Matched = Matched {
    group: "apiextensions.k8s.io",
    operations: &["DELETE"],
    resources: &["customresourcedefinitions"],
};

/// Whose rules apply.
#[derive(Clone, Copy)]
enum Governed {
    /// Those of the environment that the label of the namespace names. A binding cannot follow a label: every
    /// environment is held against every change, and those that the label does not name hold nothing against it.
    ByEnvironment,
    /// The built-in rules, for a namespace without a label.
    BuiltIn,
    /// What each environment knows of the others, which the operator tells them.
    ByAll,
    /// Anybody's.
    Always,
}

/// A policy in the making: what it is called, what it looks at, and what must hold.
struct Policy {
    name: &'static str,
    about: &'static str,
    governed: Governed,
    matched: Matched,
    /// Changes that it does not look at are those for which one of these is false.
    conditions: Vec<(&'static str, String)>,
    variables: Vec<(String, String)>,
    /// What holds, and the message where it does not.
    validations: Vec<(String, String)>,
}

/// Every policy and its binding: the file, and the objects in it.
pub fn policies() -> Vec<(String, Vec<Value>)> {
    let all = [
        environment(),
        development(),
        exists(),
        scale(),
        approval(),
        break_glass(),
        attestation(),
        approval_accounts(),
        approval_accounts_development(),
        namespaces(),
        definitions(),
    ];
    all.iter().map(|policy| (format!("{}.yaml", policy.name), policy.objects())).collect()
}

/// Only what changes the spec: what a stricter environment has outlawed must still take an abort, a status, an
/// annotation.
fn spec_changes() -> (&'static str, String) {
    ("spec-changes", "oldObject == null || object.spec != oldObject.spec".to_string())
}

fn environment() -> Policy {
    Policy {
        name: "visiobook-environment",
        about: "What the environment of a namespace allows its services.",
        governed: Governed::ByEnvironment,
        matched: SERVICES,
        conditions: vec![spec_changes()],
        variables: shared(VARIABLES.iter()),
        validations: validations(rules::RULES),
    }
}

fn development() -> Policy {
    Policy {
        name: "visiobook-development",
        about: "What services may do in a namespace without an environment. It has no parameters, so that it holds wherever it is installed.",
        governed: Governed::BuiltIn,
        ..environment()
    }
}

fn scale() -> Policy {
    let wanted = VARIABLES.iter().filter(|(name, _)| SCALE_VARIABLES.contains(name));
    Policy {
        name: "visiobook-scale",
        about: "How many pods the environment of a namespace allows, asked through the scale subresource.",
        governed: Governed::ByEnvironment,
        matched: SCALES,
        conditions: vec![spec_changes()],
        variables: shared(wanted),
        validations: validations(rules::SCALE_RULES),
    }
}

fn exists() -> Policy {
    let label = format!("namespaceObject.metadata.labels['{ENVIRONMENT}']");
    Policy {
        name: "visiobook-environment-exists",
        about: "The label of a namespace names an environment that exists. No expression can look for one, so each of them lists all of them in its status.",
        governed: Governed::ByAll,
        matched: Matched { resources: &["visiobookservices", "visiobookservices/scale"], ..SERVICES },
        conditions: vec![(
            "spec-changes-or-approves",
            format!(
                "oldObject == null || object.spec != oldObject.spec || ({}) != ({})",
                annotation("object", APPROVE),
                annotation("oldObject", APPROVE)
            ),
        )],
        variables: vec![("label".into(), label)],
        validations: vec![(
            // One that is too new to have a list has no say.
            "!has(params.status) || !has(params.status.environments) || variables.label in params.status.environments".into(),
            format!(
                "'metadata.namespace: the label {ENVIRONMENT} names \"' + variables.label + '\", which does not exist: create that VisiobookEnvironment or correct the label; the operator lists a new one as soon as it runs [environment-exists]'"
            ),
        )],
    }
}

fn namespaces() -> Policy {
    let label = |object: &str| {
        format!(
            "{object} != null && has({object}.metadata.labels) && '{ENVIRONMENT}' in {object}.metadata.labels ? {object}.metadata.labels['{ENVIRONMENT}'] : ''"
        )
    };
    let may = |variable: &str| {
        let check = format!(
            "authorizer.group('{GROUP}').resource('visiobookenvironments').name(variables.{variable}).check('assign').allowed()"
        );
        (
            format!("variables.after == variables.before || variables.{variable} == '' || {check}"),
            format!(
                "'metadata.labels: ' + request.userInfo.username + ' may not change which environment governs ' + request.name + ': it takes the verb assign on VisiobookEnvironment ' + variables.{variable} + ' [environment-label]'"
            ),
        )
    };
    Policy {
        name: "visiobook-namespace-environment",
        about: "Who may change which environment governs a namespace: whoever may assign both, the one that it leaves and the one that it joins.",
        governed: Governed::Always,
        matched: NAMESPACES,
        conditions: vec![],
        variables: vec![("after".into(), label("object")), ("before".into(), label("oldObject"))],
        validations: vec![may("after"), may("before")],
    }
}

fn definitions() -> Policy {
    let names: Vec<String> = crds().into_iter().filter_map(|crd| crd.metadata.name).collect();
    Policy {
        name: "visiobook-crd-deletion",
        about: "Deleting a CRD deletes every resource of its kind, and with them all that runs: only on purpose.",
        governed: Governed::Always,
        matched: DEFINITIONS,
        // A deletion of all of them names none: what is looked at is the object.
        conditions: vec![(
            "ours",
            format!("oldObject != null && oldObject.metadata.name in {}", json!(names)),
        )],
        variables: vec![],
        validations: vec![(
            format!(
                "has(oldObject.metadata.annotations) && '{ALLOW_DELETION}' in oldObject.metadata.annotations"
            ),
            format!(
                "'metadata.annotations: deleting ' + oldObject.metadata.name + ' deletes every such resource and what it runs: annotate it with {ALLOW_DELETION} first if that is meant [crd-deletion]'"
            ),
        )],
    }
}

fn annotation(object: &str, name: &str) -> String {
    format!(
        "{object} != null && has({object}.metadata.annotations) && '{name}' in {object}.metadata.annotations ? {object}.metadata.annotations['{name}'] : ''"
    )
}

fn shared<'a>(variables: impl Iterator<Item = &'a Variable>) -> Vec<(String, String)> {
    variables.map(|shared| (shared.0.to_string(), variable(shared))).collect()
}

fn validations(rules: &[Rule]) -> Vec<(String, String)> {
    rules.iter().map(|rule| (rule.holds(), rule.told())).collect()
}

impl Policy {
    fn objects(&self) -> Vec<Value> {
        let labels = json!({ "app.kubernetes.io/name": "visiobook-operator", "app.kubernetes.io/part-of": "visiobook" });
        let metadata = json!({ "name": self.name, "labels": labels, "annotations": { "kubernetes.io/description": self.about } });
        let mut spec = json!({
            "failurePolicy": "Fail",
            "matchConstraints": { "resourceRules": [{
                "apiGroups": [self.matched.group], "apiVersions": ["*"],
                "operations": self.matched.operations, "resources": self.matched.resources,
            }] },
        });
        let mut binding = json!({ "policyName": self.name, "validationActions": ["Deny"] });
        let label = |operator: &str| json!({ "namespaceSelector": { "matchExpressions": [{ "key": ENVIRONMENT, "operator": operator }] } });
        let ours = format!("params.metadata.name == namespaceObject.metadata.labels['{ENVIRONMENT}']");
        let environments =
            json!({ "apiVersion": format!("{GROUP}/v1alpha1"), "kind": "VisiobookEnvironment" });
        let mut variables = Vec::new();
        match self.governed {
            Governed::ByEnvironment => {
                spec["paramKind"] = environments;
                binding["paramRef"] = json!({ "selector": {}, "parameterNotFoundAction": "Allow" });
                binding["matchResources"] = label("Exists");
                variables = vec![
                    ("ours".to_string(), ours),
                    ("environment".to_string(), "params.spec".to_string()),
                    ("name".to_string(), "params.metadata.name".to_string()),
                ];
            }
            Governed::BuiltIn => {
                binding["matchResources"] = label("DoesNotExist");
                variables = vec![
                    ("environment".to_string(), "dyn({'type': 'development'})".to_string()),
                    ("name".to_string(), "'development (built in)'".to_string()),
                ];
            }
            Governed::ByAll => {
                spec["paramKind"] = environments;
                binding["paramRef"] = json!({ "selector": {}, "parameterNotFoundAction": "Deny" });
                binding["matchResources"] = label("Exists");
            }
            Governed::Always => {}
        }
        variables.extend(self.variables.iter().cloned());
        if !variables.is_empty() {
            let variable =
                |(name, expression): &(String, String)| json!({ "name": name, "expression": expression });
            spec["variables"] = variables.iter().map(variable).collect();
        }
        if !self.conditions.is_empty() {
            let condition =
                |(name, expression): &(&str, String)| json!({ "name": name, "expression": expression });
            spec["matchConditions"] = self.conditions.iter().map(condition).collect();
        }
        let validation = |(holds, message): &(String, String)| {
            let expression = match self.governed {
                Governed::ByEnvironment => format!("!variables.ours || ({holds})"),
                _ => holds.clone(),
            };
            json!({ "expression": expression, "messageExpression": message, "reason": "Forbidden" })
        };
        spec["validations"] = self.validations.iter().map(validation).collect();
        let object = |kind: &str, spec: &Value| json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": metadata, "spec": spec });
        vec![object("ValidatingAdmissionPolicy", &spec), object("ValidatingAdmissionPolicyBinding", &binding)]
    }
}
