//! What watches a service: for which services there is what, and that its words are those of the documentation.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use visiobook::api::kinds::Kind;
use visiobook::facts::Missing;
use visiobook::plan::{Plan, Planned};
use visiobook::telemetry::monitoring as own;

use crate::cases::{Case, examples};

fn case(spec: Value, environment: Value) -> Case {
    let mut service = json!({
        "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookService",
        "metadata": { "name": "books", "namespace": "shop" },
        "spec": { "image": "ghcr.io/visiobook/books:1.2.0" },
    });
    visiobook::plan::merge(&mut service["spec"], spec);
    let mut rules = json!({ "type": "development" });
    visiobook::plan::merge(&mut rules, environment);
    Case {
        service: serde_json::from_value(service).unwrap(),
        environment: visiobook::facts::EnvironmentFact::Governed {
            name: "shop".into(),
            spec: Box::new(serde_json::from_value(rules).unwrap()),
        },
    }
}

fn find<'a>(plan: &'a Plan, kind: Kind, name: &str) -> Option<&'a Planned> {
    plan.objects.iter().find(|planned| planned.kind == kind && planned.name == name)
}

fn rules(plan: &Plan) -> BTreeMap<String, Value> {
    let rule = find(plan, Kind::PrometheusRule, "books").expect("rules");
    let groups = rule.object["spec"]["groups"].as_array().unwrap();
    let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
    rules.filter_map(|rule| Some((rule["alert"].as_str()?.to_string(), rule.clone()))).collect()
}

fn expr(plan: &Plan, alert: &str) -> String {
    rules(plan)[alert]["expr"].as_str().unwrap().to_string()
}

fn dashboard(planned: &Planned) -> Value {
    let data = planned.object["data"].as_object().unwrap();
    let (_, text) = data.iter().next().unwrap();
    serde_json::from_str(text.as_str().unwrap()).unwrap()
}

fn queries(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    targets.map(|target| target["expr"].as_str().unwrap().to_string()).collect()
}

/// Names in an expression that metrics could have: what stands before a brace.
fn metrics(expr: &str) -> BTreeSet<String> {
    let named = expr.match_indices('{').map(|(at, _)| {
        let start = expr[..at].rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
        expr[start.map_or(0, |start| start + 1)..at].to_string()
    });
    named.filter(|name| !name.is_empty()).collect()
}

#[test]
fn a_service_that_says_nothing_is_scraped_every_30_seconds_under_its_own_name() {
    let plan = case(json!({}), json!({})).plan();
    let monitor = &find(&plan, Kind::ServiceMonitor, "books").expect("a ServiceMonitor").object;
    assert_eq!(
        monitor["spec"],
        json!({
            "jobLabel": "app.kubernetes.io/name",
            "selector": { "matchLabels": {
                "app.kubernetes.io/name": "books", "app.kubernetes.io/managed-by": "visiobook-operator",
            } },
            "endpoints": [{ "port": "metrics", "path": "/metrics", "interval": "30s", "scrapeTimeout": "10s" }],
        })
    );
    // It selects the Service by labels that it has, and a port that it has.
    let service = plan.objects.iter().find(|planned| planned.object["spec"]["ports"].is_array()).unwrap();
    let labels = service.object["metadata"]["labels"].as_object().unwrap();
    for (label, value) in monitor["spec"]["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(labels.get(label), Some(value));
    }
    assert!(service.object["spec"]["ports"].as_array().unwrap().iter().any(|port| port["name"] == "metrics"));
}

#[test]
fn labels_and_interval_come_from_resource_and_environment() {
    let environment = json!({ "monitoring": {
        "labels": { "release": "prometheus" }, "alertLabels": { "team": "platform" }, "interval": "1m",
        "runbookUrl": "https://wiki.example/runbooks",
    } });
    let spec = json!({ "monitoring": { "interval": "5s", "labels": { "tier": "one" } } });
    let plan = case(spec, environment.clone()).plan();
    for kind in [Kind::ServiceMonitor, Kind::PrometheusRule] {
        let labels = &find(&plan, kind, "books").unwrap().object["metadata"]["labels"];
        assert_eq!(labels["release"], "prometheus");
        assert_eq!(labels["tier"], "one");
        assert_eq!(labels["app.kubernetes.io/name"], "books");
    }
    let endpoint = &find(&plan, Kind::ServiceMonitor, "books").unwrap().object["spec"]["endpoints"][0];
    // Prometheus refuses a timeout above the interval.
    assert_eq!((&endpoint["interval"], &endpoint["scrapeTimeout"]), (&json!("5s"), &json!("5s")));
    for (alert, rule) in rules(&plan) {
        assert_eq!(rule["labels"]["team"], "platform", "{alert}");
        let runbook = format!("https://wiki.example/runbooks#{}", alert.to_lowercase());
        assert_eq!(rule["annotations"]["runbook_url"], json!(runbook), "{alert}");
    }
    let plan = case(json!({}), environment).plan();
    let endpoint = &find(&plan, Kind::ServiceMonitor, "books").unwrap().object["spec"]["endpoints"][0];
    assert_eq!((&endpoint["interval"], &endpoint["scrapeTimeout"]), (&json!("1m"), &json!("10s")));
}

#[test]
fn thresholds_come_from_the_spec() {
    let plain = case(json!({}), json!({})).plan();
    // 80 % of the 256 MiB that development gives.
    assert!(expr(&plain, "HighMemoryUsage").ends_with("> 214748364"), "{}", expr(&plain, "HighMemoryUsage"));
    assert!(expr(&plain, "HighErrorRate").ends_with("> 0.05"));
    assert!(expr(&plain, "HighLatency").ends_with("> 1"));
    assert!(expr(&plain, "LatencyObjectiveMissed").ends_with("> 0.5"));
    assert!(expr(&plain, "ErrorBudgetBurnFast").contains("> 14.4 * 0.001 "));

    let spec = json!({
        "resources": { "limits": { "memory": "1Gi" } },
        "secrets": { "DATABASE_URL": { "name": "books", "key": "url" } },
        "env": { "DB_MAX_OPEN_CONNS": "50" },
        "monitoring": { "objectives": {
            "availabilityPercent": 99.95, "maxErrorPercent": 1, "latencyMilliseconds": 100,
            "maxLatencyMilliseconds": 250, "maxMemoryPercent": 90,
        } },
    });
    let plan = case(spec, json!({})).plan();
    assert!(expr(&plan, "HighMemoryUsage").ends_with("> 966367641"));
    assert!(expr(&plan, "HighErrorRate").ends_with("> 0.01"));
    assert!(expr(&plan, "HighLatency").ends_with("> 0.25"));
    assert!(expr(&plan, "LatencyObjectiveMissed").ends_with("> 0.1"));
    assert!(expr(&plan, "ErrorBudgetBurnFast").contains("> 14.4 * 0.0005 "));
    assert!(expr(&plan, "DatabaseConnectionsHigh").contains(" / 50 or "));
}

#[test]
fn alerts_are_those_that_fit_the_service() {
    let of = |spec: Value| rules(&case(spec, json!({})).plan()).into_keys().collect::<BTreeSet<_>>();
    let plain = of(json!({}));
    let without = |left_out: &[&str]| -> BTreeSet<String> {
        plain.iter().filter(|alert| !left_out.contains(&alert.as_str())).cloned().collect()
    };
    for alert in ["HighGoroutineCount", "DatabaseConnectionsHigh", "SlowDatabaseQueries"] {
        assert!(!plain.contains(alert), "{alert}");
    }
    let added = |spec: Value| of(spec).difference(&plain).cloned().collect::<Vec<_>>();
    assert_eq!(added(json!({ "stack": "go" })), ["HighGoroutineCount"]);
    assert_eq!(added(json!({ "stack": "nodejs" })), [""; 0]);
    for database in [
        json!({ "secrets": { "DATABASE_URL": { "name": "books", "key": "url" } } }),
        json!({ "config": { "DB_HOST": "postgres" } }),
    ] {
        assert_eq!(added(database), ["DatabaseConnectionsHigh", "SlowDatabaseQueries"]);
    }
    // Nobody tells the room in /tmp without a sidecar.
    assert_eq!(of(json!({ "sidecar": { "mode": "Off" } })), without(&["DiskSpaceLow"]));
    let disabled = json!({ "monitoring": { "disabledAlerts": ["ModerateTrafficIncrease", "DiskSpaceLow"] } });
    assert_eq!(of(disabled), without(&["ModerateTrafficIncrease", "DiskSpaceLow"]));
}

#[test]
fn a_pool_whose_bound_nobody_knows_is_measured_by_its_own() {
    let spec = json!({ "secrets": {
        "DATABASE_URL": { "name": "books", "key": "url" }, "DB_MAX_OPEN_CONNS": { "name": "books", "key": "most" },
    } });
    let expr = expr(&case(spec, json!({})).plan(), "DatabaseConnectionsHigh");
    assert!(
        !expr.contains("db_connections_active") && expr.contains("go_sql_max_open_connections"),
        "{expr}"
    );
}

#[test]
fn monitoring_and_dashboard_can_be_left_out() {
    let off = case(json!({ "monitoring": { "enabled": false } }), json!({})).plan();
    for kind in [Kind::ServiceMonitor, Kind::PrometheusRule] {
        assert!(find(&off, kind, "books").is_none());
    }
    assert!(find(&off, Kind::ConfigMap, "books-dashboard").is_none());
    let bare = case(json!({ "monitoring": { "dashboard": false } }), json!({})).plan();
    assert!(find(&bare, Kind::PrometheusRule, "books").is_some());
    assert!(find(&bare, Kind::ConfigMap, "books-dashboard").is_none());
    // Off in the environment, on in the resource.
    let on =
        case(json!({ "monitoring": { "enabled": true } }), json!({ "monitoring": { "enabled": false } }));
    assert!(find(&on.plan(), Kind::ServiceMonitor, "books").is_some());
}

#[test]
fn monitoring_is_no_part_of_the_revision() {
    let plain = case(json!({}), json!({}));
    let watched = case(
        json!({ "monitoring": { "interval": "5s", "objectives": { "maxErrorPercent": 1 } } }),
        json!({ "monitoring": { "labels": { "release": "prometheus" } } }),
    );
    assert_eq!(plain.verdict().unwrap().shape.revision(), watched.verdict().unwrap().shape.revision());
}

#[test]
fn the_dashboard_changes_in_place_and_outlives_a_refusal() {
    let case = case(json!({}), json!({}));
    let plan = case.plan();
    let board = find(&plan, Kind::ConfigMap, "books-dashboard").expect("a dashboard");
    assert_eq!(board.object["metadata"]["labels"]["grafana_dashboard"], "1");
    assert_eq!(board.object["immutable"], Value::Null);
    // Beside it the config of the pods, which is immutable and named by its content.
    let configs: Vec<_> = plan.objects.iter().filter(|planned| planned.kind == Kind::ConfigMap).collect();
    assert_eq!(configs.len(), 2);
    assert!(configs.iter().any(|planned| planned.object["immutable"] == true && planned.name != board.name));
    // Nothing is known of what stands around the pods: the dashboard stays.
    let mut decision = case.decide();
    decision.serving = None;
    let refused = visiobook::plan::build(&case.owner(), &decision, 1, &case.facts());
    assert!(refused.keep.contains(&(Kind::ConfigMap, "books-dashboard".to_string())));
}

#[test]
fn without_the_definitions_all_else_is_planned() {
    let case = case(json!({}), json!({}));
    let mut facts = case.facts();
    facts.missing_kinds =
        [Kind::ServiceMonitor, Kind::PrometheusRule].map(|kind| (kind, Missing::NotInstalled)).into();
    let plan = visiobook::plan::build(&case.owner(), &case.decide(), 1, &facts);
    assert_eq!(plan.left_out, [Kind::ServiceMonitor, Kind::PrometheusRule].into());
    assert!(find(&plan, Kind::ConfigMap, "books-dashboard").is_some());
    assert_eq!(plan.objects.len(), case.plan().objects.len() - 2);
}

#[test]
fn dashboards_are_what_grafana_reads() {
    let mut uids = BTreeSet::new();
    let mut boards: Vec<Value> = examples()
        .iter()
        .map(|case| {
            let name = format!("{}-dashboard", case.name());
            dashboard(find(&case.plan(), Kind::ConfigMap, &name).unwrap_or_else(|| panic!("{name}")))
        })
        .collect();
    let own = own::board();
    for (_, board) in own["data"].as_object().unwrap() {
        boards.push(serde_json::from_str(board.as_str().unwrap()).unwrap());
    }
    for board in boards {
        let uid = board["uid"].as_str().unwrap().to_string();
        assert!(uid.len() <= 40, "Grafana takes uids of 40 characters");
        assert!(uids.insert(uid), "two dashboards would be one");
        let (mut ids, mut places) = (BTreeSet::new(), BTreeSet::new());
        for panel in board["panels"].as_array().unwrap() {
            assert!(ids.insert(panel["id"].as_u64()), "{}: two panels have one id", panel["title"]);
            assert!(places.insert(panel["gridPos"].to_string()), "{}: lies on another", panel["title"]);
            assert_eq!(panel["datasource"]["uid"], "${datasource}");
        }
        assert_eq!(board["templating"]["list"][0]["name"], "datasource");
        assert!(queries(&board).len() >= 8);
    }
}

/// The guidelines' panels, by their titles (E70-E76).
#[test]
fn a_go_service_with_a_database_has_the_panels_of_the_guidelines() {
    let spec = json!({ "stack": "go", "secrets": { "DATABASE_URL": { "name": "books", "key": "url" } } });
    let titles = |spec: Value| -> Vec<String> {
        let plan = case(spec, json!({})).plan();
        let board = dashboard(find(&plan, Kind::ConfigMap, "books-dashboard").unwrap());
        let panels = board["panels"].as_array().unwrap();
        panels.iter().map(|panel| panel["title"].as_str().unwrap().to_string()).collect()
    };
    let all = titles(spec);
    let common = ["Request Rate", "Response Time P95", "Error Rate", "Active Connections", "Memory Usage"];
    let special = ["Goroutines", "GC Duration", "Database Connections"];
    for title in common.iter().chain(&special) {
        assert!(all.iter().any(|shown| shown == title), "{title} is not in {all:?}");
    }
    let plain = titles(json!({}));
    assert!(common.iter().all(|title| plain.iter().any(|shown| shown == title)));
    assert!(!special.iter().any(|title| plain.iter().any(|shown| shown == title)), "{plain:?}");
}

fn document() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/monitoring.md")).unwrap()
}

#[test]
fn every_alert_has_a_runbook() {
    let document = document();
    let of_services = visiobook::api::Alert::ALL.iter().map(|alert| alert.to_string());
    let own = own::rules();
    let own = own["spec"]["groups"][0]["rules"].as_array().unwrap();
    let own = own.iter().map(|rule| rule["alert"].as_str().unwrap().to_string());
    let alerts: Vec<String> = of_services.chain(own).collect();
    for alert in &alerts {
        assert!(
            document.contains(&format!("\n### {alert}\n")),
            "docs/monitoring.md has no runbook for {alert}"
        );
    }
    let headings = document.lines().filter_map(|line| line.strip_prefix("### "));
    for heading in headings {
        assert!(
            alerts.iter().any(|alert| alert == heading),
            "docs/monitoring.md: there is no alert {heading}"
        );
    }
}

#[test]
fn every_metric_that_is_asked_for_is_told_in_the_documentation() {
    let document = document();
    let spec = json!({ "stack": "go", "secrets": { "DATABASE_URL": { "name": "books", "key": "url" } } });
    let plan = case(spec, json!({})).plan();
    let rule = &find(&plan, Kind::PrometheusRule, "books").unwrap().object;
    let groups = rule["spec"]["groups"].as_array().unwrap();
    let alerts = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
    let asked = alerts.map(|rule| rule["expr"].as_str().unwrap().to_string());
    let board = dashboard(find(&plan, Kind::ConfigMap, "books-dashboard").unwrap());
    let names: BTreeSet<String> = asked
        .chain(queries(&board))
        .flat_map(|expr| metrics(&expr))
        .map(|name| {
            // Parts of a histogram are told under its name.
            ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|part| name.strip_suffix(part).map(str::to_string))
                .unwrap_or(name)
        })
        .collect();
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        assert!(document.contains(&format!("`{name}`")), "docs/monitoring.md does not say who tells {name}");
    }
}

/// What watches the operator, as `config/monitoring` and the chart install it.
#[test]
fn the_files_of_config_monitoring_are_a_reference_of_the_code() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/monitoring");
    for (file, object) in [("prometheus-rule.yaml", own::rules()), ("dashboard.yaml", own::board())] {
        let path = folder.join(file);
        let text = serde_saphyr::to_string(&object).unwrap();
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let stored = fs::read_to_string(&path).unwrap_or_default();
        assert!(stored == text, "{} is not what the code says: run `make generate`", path.display());
    }
}
