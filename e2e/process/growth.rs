//! T25: services come and go; the operator stays as small as it was, and what cannot work costs ever less.

use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt};
use kube::api::DeleteParams;
use serde_json::json;
use visiobook::api::kinds::Kind;

use super::{soak, state};
use crate::support::operator::Stage;
use crate::support::proxy::Proxy;
use crate::support::{STANDIN, Site, eventually, sum};

const SERVICES: usize = 30;
/// So much more memory at the end of a churn than near its start is no growth.
const TOLERANCE: f64 = 1.15;

#[tokio::test(flavor = "multi_thread")]
async fn t25_services_that_come_and_go_leave_neither_memory_nor_series_behind() {
    let stage = Stage::new("growth").await;
    let site = &stage.site;
    state::secret(site).await;
    let proxy = Proxy::start().await;
    let operator = stage.operator(&proxy);
    operator.leads().await;
    // One round before the first look: every kind of thing was then done once.
    churn(site).await;
    let series = operator.metrics().await.lines().count();

    let long = Duration::from_secs(if soak() { 600 } else { 20 });
    let (started, mut sizes) = (Instant::now(), Vec::new());
    let churning = async {
        while started.elapsed() < long {
            churn(site).await;
        }
    };
    let measuring = async {
        loop {
            sizes.push(operator.resident());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        () = churning => {}
        () = measuring => {}
    }
    let (early, late) = (median(&sizes, 1), median(&sizes, 4));
    assert!((late as f64) < early as f64 * TOLERANCE, "grown from {early} to {late} KiB: {sizes:?}");

    eventually("the series of deleted services to go", || async {
        let metrics = operator.metrics().await;
        let left = metrics.lines().filter(|line| line.starts_with("visiobook_service_condition{")).count();
        // Calls and reasons that a first round did not see may have been added; names may not.
        if left == 0 && metrics.lines().count() <= series + 40 { Ok(()) } else { Err((left, metrics)) }
    })
    .await;
    let metrics = operator.metrics().await;
    assert!(!metrics.contains("churn-"), "a name is left in a label: {metrics}");
}

/// Make services, change them, delete them, and wait until their children are gone.
async fn churn(site: &Site) {
    let names: Vec<String> = (0..SERVICES).map(|index| format!("churn-{index:02}")).collect();
    stream::iter(&names)
        .for_each_concurrent(8, |name| async move { drop(site.apply(name, state::first_spec()).await) })
        .await;
    for name in &names {
        state::settled(site, name).await;
    }
    stream::iter(&names)
        .for_each_concurrent(8, |name| async move { drop(site.apply(name, state::second_spec()).await) })
        .await;
    for name in &names {
        state::settled(site, name).await;
    }
    site.services()
        .delete_collection(&DeleteParams::background(), &Default::default())
        .await
        .expect("deleted");
    eventually("the children to go", || async {
        let mut left = 0;
        for kind in [Kind::Deployment, Kind::ConfigMap] {
            let all = site.children(kind).list(&Default::default()).await?;
            // Every namespace has one ConfigMap of Kubernetes' own.
            left += all.items.iter().filter(|child| child.metadata.owner_references.is_some()).count();
        }
        if left == 0 { Ok(()) } else { Err(kube::Error::Service(format!("{left} are left").into())) }
    })
    .await;
}

/// Median of one fifth of the samples.
fn median(samples: &[u64], fifth: usize) -> u64 {
    let length = samples.len() / 5;
    assert!(length >= 5, "only {} samples", samples.len());
    let mut part = samples[fifth * length..(fifth + 1) * length].to_vec();
    part.sort_unstable();
    part[length / 2]
}

#[tokio::test(flavor = "multi_thread")]
async fn t25_a_service_that_cannot_work_is_looked_at_ever_less_and_a_refused_one_not_at_all() {
    let stage = Stage::new("backoff").await;
    let site = &stage.site;
    let proxy = Proxy::start().await;
    let operator = stage.operator(&proxy);
    operator.leads().await;
    // A name that somebody else holds: tried again, for it may be given up.
    site.apply_object(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "taken" },
        "spec": { "ports": [{ "port": 1 }] },
    }))
    .await;
    site.apply("taken", json!({ "image": STANDIN })).await;
    // A rule that no waiting helps against.
    site.apply("refused", json!({ "image": STANDIN, "env": { "PORT": "1" } })).await;
    site.condition("taken", "Stalled", "True", "NameTaken").await;
    site.condition("refused", "Accepted", "False", "Refused").await;

    let passes = |metrics: &str, outcome: &str| {
        sum(metrics, "visiobook_reconcile_total", &format!("outcome=\"{outcome}\""))
    };
    let (before, mark) = (operator.metrics().await, proxy.mark());
    tokio::time::sleep(Duration::from_secs(12)).await;
    let after = operator.metrics().await;
    let failed = passes(&after, "error") - passes(&before, "error");
    // 250 ms, doubled each time: six tries in sixteen seconds. Pods of the neighbour may cause a pass of their own.
    assert!((1.0..=8.0).contains(&failed), "{failed} tries in 12 s");
    let refused = passes(&after, "refused") - passes(&before, "refused");
    assert!(refused <= 1.0, "{refused} passes over what is refused");
    let asked =
        proxy.since(mark).into_iter().filter(|call| !call.is_upkeep() && call.concerns("refused")).count();
    assert_eq!(asked, 0, "requests for what is refused");
    // Each try asks who holds the name, and writes nothing that changes.
    let writes = proxy.writes(mark);
    assert!(writes.len() as f64 <= failed * 3.0, "{} writes in {failed} tries", writes.len());
}
