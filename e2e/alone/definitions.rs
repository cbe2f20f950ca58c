//! Optional kinds come and go while the operator runs: it follows within seconds, without a restart, without a flood
//! of logs, and without a request while nothing happens.

use std::time::{Duration, Instant};

use serde_json::json;
use visiobook::api::kinds::Kind;

use crate::support::definitions::Definitions;
use crate::support::operator::Stage;
use crate::support::proxy::{Call, Proxy, tail};
use crate::support::{STANDIN, eventually, message};

/// Longest time until the operator has followed, on a busy machine.
const SECONDS: Duration = Duration::from_secs(20);
/// Lines that one coming or going may cost.
const MOST_LINES: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_comes_and_goes_while_the_operator_runs_is_followed_without_a_restart() {
    let definitions = Definitions::installed().await;
    let kind = Kind::HTTPRoute;
    definitions.remove(kind).await;
    let environment = json!({
        "type": "development", "defaults": { "replicas": 0 },
        "ingress": { "domain": "visiobook.com", "className": "nginx", "gateway": { "name": "public", "namespace": "edge" } },
    });
    let stage = Stage::governed("definitions", environment).await;
    let site = &stage.site;
    let proxy = Proxy::start().await;
    let mut operator = stage.operator(&proxy);
    operator.leads().await;
    site.apply("users", json!({ "image": STANDIN, "ingress": {} })).await;

    // It is not there: a condition says so, and everything else is.
    let service = site.condition("users", "Exposed", "False", "KindMissing").await;
    assert!(message(&service, "Exposed").contains(&kind.definition()), "{}", message(&service, "Exposed"));
    crate::process::state::settled(site, "users").await;
    for (made, name) in [
        (Kind::Service, "users"),
        (Kind::Deployment, "users-blue"),
        (Kind::NetworkPolicy, "users"),
        (Kind::Ingress, "users"),
    ] {
        assert!(site.child(made, name).await.is_some(), "{made:?}");
    }

    for round in 0..2 {
        let (lines, started) = (operator.log().len(), Instant::now());
        definitions.install(kind).await;
        let arrived = Instant::now();
        site.condition("users", "Exposed", "True", "Enabled").await;
        let route = eventually("the route", || async { site.child(kind, "users").await.ok_or(()) }).await;
        assert_eq!(route["spec"]["rules"][0]["matches"][0]["path"]["value"], "/api/v1/users");
        assert!(arrived.elapsed() < SECONDS, "round {round}: it came after {:?}", arrived.elapsed());

        // It is kept as it should be, like any other child.
        let stolen =
            json!([{ "op": "replace", "path": "/spec/hostnames", "value": ["elsewhere.example.com"] }]);
        site.meddle(kind, "users", stolen).await.expect("changed");
        eventually("the host again", || async {
            let hosts = site.existing(kind, "users").await["spec"]["hostnames"].clone();
            if hosts == json!(["api.visiobook.com"]) { Ok(()) } else { Err(hosts) }
        })
        .await;
        // Whoever deletes it now does so while it is offered: it comes back.
        site.children(kind).delete("users", &Default::default()).await.expect("deleted");
        eventually("the route again", || async { site.child(kind, "users").await.ok_or(()) }).await;

        let leaving = Instant::now();
        definitions.remove(kind).await;
        site.condition("users", "Exposed", "False", "KindMissing").await;
        assert!(leaving.elapsed() < SECONDS, "round {round}: it went after {:?}", leaving.elapsed());
        let news = operator.log().len() - lines;
        assert!(news <= 2 * MOST_LINES, "round {round}: {news} lines in {:?}", started.elapsed());
        assert!(operator.runs(), "the operator ended");
    }

    // Without the kind nothing is asked while nothing happens.
    proxy.quiet(Duration::from_secs(5)).await;
    let mark = proxy.mark();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let asked: Vec<Call> = proxy.since(mark).into_iter().filter(|call| !call.is_upkeep()).collect();
    assert!(asked.is_empty(), "{} requests: {:#?}", asked.len(), tail(&asked));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_tells_nothing_anew_of_a_kind_whether_it_is_there_or_not() {
    let definitions = Definitions::installed().await;
    definitions.remove(Kind::ServiceMonitor).await;
    let gateway = json!({ "domain": "visiobook.com", "gateway": { "name": "public", "namespace": "edge" } });
    let environment = json!({ "type": "development", "defaults": { "replicas": 0 }, "ingress": gateway });
    let stage = Stage::governed("known", environment).await;
    let proxy = Proxy::start().await;
    let mut operator = stage.operator(&proxy);
    operator.leads().await;
    stage.site.apply("users", json!({ "image": STANDIN, "ingress": {} })).await;
    stage.site.condition("users", "Exposed", "True", "Enabled").await;
    crate::process::state::settled(&stage.site, "users").await;
    proxy.quiet(Duration::from_secs(5)).await;

    operator.kill();
    let mark = proxy.mark();
    let operator = stage.operator(&proxy);
    operator.leads().await;
    proxy.quiet(Duration::from_secs(5)).await;
    let writes = proxy.writes(mark);
    assert!(writes.is_empty(), "a restart cost {} writes: {:#?}", writes.len(), tail(&writes));
}
