//! T22: watches that tell everything five seconds late. What the operator wrote itself it knows at once.

use std::time::Duration;

use serde_json::{Value, json};
use visiobook::api::kinds::Kind;

use super::state;
use crate::support::operator::Stage;
use crate::support::proxy::{Call, Proxy, tail};
use crate::support::{eventually, kubectl};

const LAG: Duration = Duration::from_secs(5);
/// Whatever a late watch still causes has happened by then.
const SETTLED: Duration = Duration::from_secs(7);

#[tokio::test(flavor = "multi_thread")]
async fn t22_a_watch_that_lags_doubles_nothing_and_storms_nobody() {
    let stage = Stage::new("lag").await;
    let site = &stage.site;
    state::secret(site).await;
    // The same without a lag, to compare with.
    let prompt = Proxy::start().await;
    let mut operator = stage.operator(&prompt);
    operator.leads().await;
    site.apply("prompt", state::first_spec()).await;
    state::settled(site, "prompt").await;
    prompt.quiet(Duration::from_secs(3)).await;
    let created = state::of(site, "prompt").await;
    let creating = prompt.writes(0).len();
    let mark = prompt.mark();
    site.apply("prompt", state::second_spec()).await;
    state::settled(site, "prompt").await;
    prompt.quiet(Duration::from_secs(3)).await;
    let updated = state::of(site, "prompt").await;
    let updating = prompt.writes(mark).len();
    operator.kill();

    let proxy = Proxy::lagging(LAG).await;
    let operator = stage.operator(&proxy);
    operator.leads().await;
    proxy.quiet(SETTLED).await;

    let mark = proxy.mark();
    site.apply("delayed", state::first_spec()).await;
    state::until(site, "delayed", &created, "created").await;
    proxy.quiet(SETTLED).await;
    state::expect(site, "delayed", &created, "created").await;
    // A status more, for what others did is heard of later.
    few(&proxy.writes(mark), creating + 2, "a create");

    let mark = proxy.mark();
    site.apply("delayed", state::second_spec()).await;
    state::until(site, "delayed", &updated, "updated").await;
    proxy.quiet(SETTLED).await;
    state::expect(site, "delayed", &updated, "updated").await;
    few(&proxy.writes(mark), updating + 2, "an update");

    let mark = proxy.mark();
    kubectl(&["scale", "vbs/delayed", "--replicas=2", "-n", &site.namespace], None);
    kubectl(&["scale", "vbs/delayed", "--replicas=3", "-n", &site.namespace], None);
    eventually("three pods to be wanted", || async {
        let deployment = site.existing(Kind::Deployment, "delayed-blue").await;
        if deployment["spec"]["replicas"] == 3 { Ok(()) } else { Err(deployment["spec"]["replicas"].clone()) }
    })
    .await;
    kubectl(&["scale", "vbs/delayed", "--replicas=0", "-n", &site.namespace], None);
    eventually("no pod to be wanted", || async {
        let deployment = site.existing(Kind::Deployment, "delayed-blue").await;
        if deployment["spec"]["replicas"] == 0 { Ok(()) } else { Err(deployment["spec"]["replicas"].clone()) }
    })
    .await;
    proxy.quiet(SETTLED).await;
    let deployment = site.existing(Kind::Deployment, "delayed-blue").await;
    // Created, a new template, two or three sizes: each written once.
    let generation = deployment["metadata"]["generation"].as_i64().unwrap_or_default();
    assert!((4..=5).contains(&generation), "generation {generation}");
    // Three sizes, and what waiting for the watch tried in vain meanwhile.
    few(&proxy.writes(mark), 16, "a scale");

    let mark = proxy.mark();
    site.children(Kind::Deployment).delete("delayed-blue", &Default::default()).await.expect("deleted");
    let (gone, config) = (deployment["metadata"]["uid"].clone(), Kind::ConfigMap);
    eventually("the Deployment to come back", || async {
        match site.child(Kind::Deployment, "delayed-blue").await {
            Some(deployment) if deployment["metadata"]["uid"] != gone => Ok(()),
            other => Err(other),
        }
    })
    .await;
    proxy.quiet(SETTLED).await;
    let writes = proxy.writes(mark);
    few(&writes, 6, "a repair");
    let creates = writes.iter().filter(|call| call.kind == "deployments" && call.status == 201).count();
    assert_eq!(creates, 1, "{:#?}", tail(&writes));
    let configs: Vec<Value> = site
        .all_children("delayed")
        .await
        .into_iter()
        .filter(|(kind, _)| *kind == config)
        .map(|(_, child)| child)
        .collect();
    // The one that runs, the one of the revision before it, and the dashboard.
    assert_eq!(configs.len(), 3, "{}", json!(configs));
}

fn few(writes: &[Call], most: usize, what: &str) {
    assert!(writes.len() <= most, "{what} took {} writes, at most {most}: {:#?}", writes.len(), tail(writes));
    let conflicts = writes.iter().filter(|call| call.status == 409).count();
    assert!(conflicts <= 6, "{what} ran into {conflicts} conflicts: {:#?}", tail(writes));
}
