//! Rules of Prometheus, as a PrometheusRule holds them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// How much an alert hurries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Somebody has to look now.
    Critical,
    /// Somebody has to look soon.
    Warning,
    /// Good to know.
    Info,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Severity::Critical => "critical",
            Severity::Warning => "warning",
            Severity::Info => "info",
        }
    }
}

/// An alert.
pub struct AlertRule {
    /// Its name, also that of its runbook.
    pub name: String,
    /// When it fires.
    pub expr: String,
    /// How long that has to be so.
    pub lasts: &'static str,
    /// How much it hurries.
    pub severity: Severity,
    /// Labels of its own, beside the severity.
    pub labels: BTreeMap<String, String>,
    /// What is wrong, in a line.
    pub summary: String,
    /// What it means.
    pub description: String,
}

impl AlertRule {
    /// The rule, with a link to its runbook on the page `runbooks`.
    pub fn render(self, runbooks: &str) -> Value {
        let mut labels = self.labels;
        labels.insert("severity".into(), self.severity.as_str().into());
        json!({
            "alert": self.name,
            "expr": self.expr,
            "for": self.lasts,
            "labels": labels,
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": format!("{runbooks}#{}", self.name.to_lowercase()),
            },
        })
    }
}

/// A rule that keeps the value of an expression under a name.
pub fn record(name: &str, expr: String) -> Value {
    json!({ "record": name, "expr": expr })
}
