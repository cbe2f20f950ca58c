//! Settled services cost nothing: no request while nothing happens, no write when the operator starts anew.

use std::path::PathBuf;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use serde_json::{Value, json};

use super::soak;
use crate::support::operator::Stage;
use crate::support::proxy::{Call, Proxy, tail};
use crate::support::{STANDIN, audit};

const SERVICES: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_settled_services_cost_no_request_and_a_restart_costs_no_write() {
    let stage = Stage::new("idle").await;
    let site = &stage.site;
    site.secret("shared", &[("token", "a value")]).await;
    let proxy = Proxy::start().await;
    let mut operator = stage.operator(&proxy);
    operator.leads().await;
    let names: Vec<String> = (0..SERVICES).map(|index| format!("idle-{index:03}")).collect();
    stream::iter(&names)
        .for_each_concurrent(8, |name| async move {
            // Some have an autoscaler, whose status goes on to change.
            let autoscaling = name.ends_with('0');
            let spec = json!({
                "image": STANDIN, "config": { "A": "1" }, "autoscaling": { "enabled": autoscaling },
                "secrets": { "TOKEN": { "name": "shared", "key": "token" } },
            });
            site.apply(name, spec).await;
        })
        .await;
    for name in &names {
        super::state::settled(site, name).await;
    }
    // Autoscalers tell their first status within this time.
    proxy.quiet(Duration::from_secs(10)).await;

    let audit = Audit::begin();
    let mark = proxy.mark();
    tokio::time::sleep(Duration::from_secs(if soak() { 120 } else { 30 })).await;
    let asked: Vec<Call> = proxy.since(mark).into_iter().filter(|call| !call.is_upkeep()).collect();
    assert!(
        asked.is_empty(),
        "{SERVICES} settled services cost {} requests: {:#?}",
        asked.len(),
        tail(&asked)
    );
    assert!(proxy.since(mark).iter().any(|call| call.kind == "leases"), "the operator no longer lives");

    // So says the API server's own record, where it can be read: nobody else has this account.
    if let Some(audit) = &audit {
        let told = audit.asked_by(&stage.user());
        assert!(told.is_empty(), "the audit log tells of {told:#?}");
    }

    operator.kill();
    let mark = proxy.mark();
    let operator = stage.operator(&proxy);
    operator.leads().await;
    proxy.quiet(Duration::from_secs(5)).await;
    let lists = proxy.since(mark).iter().filter(|call| call.verb == "list").count();
    assert!(lists >= 10, "a restart lists everything anew, not {lists} kinds");
    let writes = proxy.writes(mark);
    assert!(writes.is_empty(), "a restart cost {} writes: {:#?}", writes.len(), tail(&writes));
    // The record says the same.
    if let Some(audit) = audit {
        let mut told = audit.asked_by(&stage.user());
        told.retain(|(verb, _)| !["get", "list"].contains(&verb.as_str()));
        assert!(told.is_empty(), "the audit log tells of {told:#?}");
    }
}

/// The audit log of the API server, from one moment on.
struct Audit {
    file: PathBuf,
    from: usize,
}

impl Audit {
    /// From now on; none where this cluster keeps none that can be read.
    fn begin() -> Option<Audit> {
        let file = audit::log()?;
        let from = std::fs::metadata(&file).expect("audit log").len() as usize;
        Some(Audit { file, from })
    }

    /// What a user asked for since, as verb and address; the lease, and watches that begin anew, apart.
    fn asked_by(&self, user: &str) -> Vec<(String, String)> {
        let log = std::fs::read(&self.file).expect("audit log");
        // A log that was rotated starts anew.
        let log = String::from_utf8_lossy(log.get(self.from..).unwrap_or(&log)).into_owned();
        let events =
            log.lines().filter(|line| line.contains(user)).filter_map(|line| serde_json::from_str(line).ok());
        let mut seen = 0;
        let asked: Vec<(String, String)> = events
            .filter(|event: &Value| event["user"]["username"] == user)
            .inspect(|_| seen += 1)
            .filter(|event| event["verb"] != "watch" && event["objectRef"]["resource"] != "leases")
            .map(|event| (text(&event["verb"]), text(&event["requestURI"])))
            .collect();
        assert!(seen > 0, "the audit log knows nothing of {user}");
        asked
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_string()
}
