//! Prometheus, the real one, finds what the operator writes for it, and dashboards and alerts find what pods tell.

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use visiobook::api::kinds::Kind;
use visiobook::api::{Outcome, VisiobookService, names};
use visiobook::plan::monitoring::OF_DATABASES;
use visiobook::telemetry::monitoring as own;

use crate::support::definitions::Definitions;
use crate::support::operator::{Stage, visiobook};
use crate::support::prometheus::Prometheus;
use crate::support::{Clients, quick};

/// podinfo, which is written in Go, tells the metrics of its runtime, and answers with any status that it is asked for.
/// It only says that it has a database.
fn podinfo() -> Value {
    json!({
        "image": "docker.io/stefanprodan/podinfo:6.9.2",
        "stack": "go",
        "replicas": 2,
        "env": { "PODINFO_PORT": "8080", "PODINFO_PORT_METRICS": "9797", "PODINFO_DATA_PATH": "/tmp", "DB_HOST": "nowhere" },
        "sidecar": { "metricsPort": 9797, "routes": ["/version", "/status/{code}"] },
    })
}

/// The queries of a dashboard, with the title of their panel.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("text").to_string();
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    panels
        .flat_map(|panel| {
            let targets = panel["targets"].as_array().expect("queries").iter();
            targets.map(|target| (text(&panel["title"]), text(&target["expr"]))).collect::<Vec<_>>()
        })
        .collect()
}

fn dashboard(config: &Value, file: &str) -> Value {
    serde_json::from_str(config["data"][file].as_str().expect("a dashboard")).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn dashboards_and_alerts_find_what_real_pods_tell() {
    let _definitions = Definitions::installed().await;
    let stage = Stage::governed("monitoring", json!({ "type": "development" })).await;
    let site = &stage.site;
    let operator = stage.launch(Default::default());
    operator.leads().await;
    site.apply("films", podinfo()).await;
    site.ready("films").await;
    site.condition("films", "MonitoringReady", "True", "Enabled").await;

    let monitor = site.existing(Kind::ServiceMonitor, "films").await;
    let rule = site.existing(Kind::PrometheusRule, "films").await;
    let prometheus = Prometheus::start(&[monitor], &[rule, own::rules()], operator.admin()).await;

    // Every tenth request fails.
    let service = site.existing(Kind::Service, "films").await;
    let address = format!("{}:80", service["spec"]["clusterIP"].as_str().expect("an address"));
    let address = address.parse().expect("an address");
    let (good, bad) = (Clients::start(address, "/version", 2), Clients::start(address, "/status/500", 1));

    let me = format!(r#"namespace="{}",job="films""#, site.namespace);
    let up = prometheus.until(&format!("sum(up{{{me}}}) == 2")).await;
    assert_eq!(up.len(), 1);
    // From the kubelet, by the pod's name and the container's.
    let pods = format!(
        r#"namespace="{}",pod=~"films-(blue|green)-[a-z0-9]+-[a-z0-9]+",container="app""#,
        site.namespace
    );
    prometheus.until(&format!("container_memory_working_set_bytes{{{pods}}}")).await;

    // Something for the operator to put back.
    prometheus.until(r#"up{job="visiobook-operator"} == 1"#).await;
    let longer = json!([{ "op": "replace", "path": "/spec/endpoints/0/interval", "value": "2m" }]);
    site.meddle(Kind::ServiceMonitor, "films", longer).await.expect("patched");

    let board = site.existing(Kind::ConfigMap, "films-dashboard").await;
    let board = dashboard(&board, &format!("{}_films.json", site.namespace));
    let mut empty = Vec::new();
    for (title, query) in queries(&board) {
        // What only services with a database tell; podinfo has none.
        if OF_DATABASES.iter().any(|metric| query.contains(metric)) {
            assert!(
                prometheus.query(&query).is_empty(),
                "{title} returns something: take it out of the list"
            );
            empty.push(title);
            continue;
        }
        prometheus.until(&query).await;
    }
    assert!(empty.len() >= 2, "{empty:?}");
    let own = own::board();
    for (_, query) in queries(&dashboard(&own, "visiobook-operator.json")) {
        prometheus.until(&query).await;
    }

    // The dashboard of releases: a switch, and a return.
    let release = |number: &str| {
        quick(
            json!({ "rollout": { "strategy": "BlueGreen", "soakSeconds": 1 }, "env": { "RELEASE": number } }),
        )
    };
    site.apply("scenes", release("1")).await;
    site.ready("scenes").await;
    let theirs = format!(r#"namespace="{}",name="scenes""#, site.namespace);
    prometheus.until(&format!("visiobook_release_state{{{theirs}}}")).await;
    site.apply("scenes", release("2")).await;
    let ended = async |outcome: Outcome| {
        let is = |service: &VisiobookService| {
            let release = service.status.as_ref().and_then(|status| status.rollout.as_ref());
            release.is_some_and(|release| release.outcome == Some(outcome))
        };
        site.until("scenes", outcome.as_str(), is)
            .await
            .status
            .and_then(|status| status.rollout)
            .expect("one")
    };
    let promoted = ended(Outcome::Promoted).await;
    let undo = json!({ "metadata": { "annotations": { names::UNDO: promoted.attempt } } });
    site.services().patch("scenes", &PatchParams::default(), &Patch::Merge(&undo)).await.expect("an order");
    ended(Outcome::RolledBack).await;
    let board = dashboard(&own, "visiobook-releases.json");
    for (_, query) in queries(&board) {
        prometheus.until(&query).await;
    }
    // The mark of the switch stands at the switch.
    let mark = board["annotations"]["list"][0]["expr"].as_str().expect("a query");
    let mark = prometheus.until(mark).await;
    let switched = promoted.switched.expect("a switch").0.as_millisecond().to_string();
    assert!(mark.iter().any(|series| series["value"][1] == *switched), "{switched}: {mark:?}");

    // The rules are loaded, and see the errors; what is well does not fire.
    let errors = r#"ALERTS{alertname="HighErrorRate",service="films"}"#;
    prometheus.until(errors).await;
    let alive = prometheus.query(&format!("sum(visiobook_application_up{{{me}}})"));
    assert_eq!(alive[0]["value"][1], "2");
    assert!(prometheus.query(r#"ALERTS{alertname="ApplicationDown",service="films"}"#).is_empty());

    // Every tenth request fails, so no version keeps the objective.
    let checks = json!({ "objectives": true, "prometheus": prometheus.url_for_pods(&site.client).await });
    let rollout = json!({ "strategy": "BlueGreen", "soakSeconds": 5, "warmSeconds": 3600, "checks": checks });
    let often = json!({ "interval": "5s" });
    site.environment(
        &site.namespace,
        json!({ "type": "development", "rollout": rollout, "monitoring": often }),
    )
    .await;
    let ended = async |outcome: Outcome, number: i64| {
        let told = site.until("films", outcome.as_str(), |service| {
            let release = service.status.as_ref().and_then(|status| status.rollout.as_ref());
            release.is_some_and(|release| release.number == number && release.outcome == Some(outcome))
        });
        told.await.status.and_then(|status| status.rollout).expect("one")
    };
    let films = |release: &str, more: Value| {
        let mut spec = podinfo();
        spec["env"]["RELEASE"] = release.into();
        visiobook::plan::merge(&mut spec, more);
        spec
    };
    site.apply("films", films("1", json!({}))).await;
    let back = ended(Outcome::RolledBack, 1).await;
    let why = &back.history[0].reason;
    assert!(
        back.history[0].switched.is_some() && why.contains("errorPercent") && why.contains("is above 1"),
        "{why}"
    );
    let (answered, _) = good.stop().await;
    assert!(answered > 0);
    bad.stop().await;
    let known = json!({ "pods": { "query": "sum(up{pod=~\"$pods\"})", "min": 2 } });
    site.apply("films", films("2", json!({ "rollout": { "checks": { "metrics": known } } }))).await;
    ended(Outcome::Promoted, 2).await;

    // What nobody knows is no success, and neither is a Prometheus that does not answer.
    let here = prometheus.url();
    let measure = |prometheus: &str, query: &str| {
        let query = format!("queue={query}");
        let of = ["measure", "--prometheus", prometheus, "--seconds", "1", "--patience", "1"];
        visiobook(&[&of[..], &["--query", &query, "--max", "queue=1"]].concat())
    };
    assert_eq!(measure(&here, "vector(1)").0, 0);
    for (prometheus, query, why) in [
        (&*here, "vector(2)", "queue: 2 is above 1"),
        (&*here, "sum(unheard_of)", "queue: no data, which is no success"),
        (&*here, "sum(", "queue: Prometheus answers 400"),
        ("http://127.0.0.1:1", "vector(1)", "queue: "),
    ] {
        let (code, told) = measure(prometheus, query);
        assert!(code == 1 && told.contains(why), "{query}: {told}");
    }
}
