//! The operator is killed at each of its writes. Whoever comes after it finds the way to the same end.

use std::time::Duration;

use futures::future::join_all;
use serde_json::Value;
use visiobook::api::kinds::Kind;

use super::state;
use crate::support::operator::{Operator, Stage};
use crate::support::proxy::Proxy;

/// Namespaces that are worked in side by side.
const LANES: usize = 4;
/// Long enough for the last status, which waits for two seconds after the one before it.
const SETTLED: Duration = Duration::from_millis(2500);
/// Long enough for a write that follows another.
const BREATH: Duration = Duration::from_millis(500);
/// How many statuses a run takes depends on how fast others are: so many of its last writes may not come.
const SPARE: usize = 2;

#[derive(Clone, Copy, Debug)]
enum Moment {
    /// The write never reaches the API server.
    BeforeTheWrite,
    /// The write is done, but nobody lives to hear the answer.
    AfterTheWrite,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_write_of_a_create_leads_to_the_same_end() {
    crash_everywhere("create", None, state::first_spec()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_write_of_an_update_leads_to_the_same_end() {
    crash_everywhere("update", Some(state::first_spec()), state::second_spec()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_changes_while_its_operator_is_dead_ends_as_its_new_spec_says() {
    let lanes = join_all((0..LANES).map(|lane| Lane::new("meanwhile", lane))).await;
    let clean = &lanes[0].run("clean-run", None, &state::first_spec()).await;
    let cases = lanes.iter().enumerate().map(|(index, lane)| async move {
        for write in (1..=clean.writes).skip(index).step_by(LANES) {
            let (site, name) = (&lane.stage.site, name(write, Moment::AfterTheWrite));
            let operator = lane.stage.operator(&lane.proxy);
            operator.leads().await;
            lane.kill(operator, (write, Moment::AfterTheWrite), &name, &state::first_spec(), clean).await;
            site.apply(&name, state::second_spec()).await;

            lane.proxy.forward();
            let operator = lane.stage.operator(&lane.proxy);
            operator.leads().await;
            state::settled(site, &name).await;
            let service = site.existing(Kind::Service, &name).await;
            let deployment = site.existing(Kind::Deployment, &format!("{name}-blue")).await;
            let ports: Vec<_> = service["spec"]["ports"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|port| port["port"].clone())
                .collect();
            assert_eq!(ports, [8000, 9090], "killed after write {write}");
            let container = &deployment["spec"]["template"]["spec"]["containers"][0];
            assert_eq!(container["image"], state::second_spec()["image"], "killed after write {write}");
            assert_eq!(
                site.child(Kind::HorizontalPodAutoscaler, &name).await,
                None,
                "killed after write {write}"
            );
        }
    });
    join_all(cases).await;
}

async fn crash_everywhere(what: &str, before: Option<Value>, after: Value) {
    let lanes = join_all((0..LANES).map(|lane| Lane::new(what, lane))).await;
    let clean = lanes[0].run("clean-run", before.as_ref(), &after).await;
    assert!(clean.writes >= 8, "a {what} is more than {} writes", clean.writes);

    let moments = [Moment::BeforeTheWrite, Moment::AfterTheWrite];
    let cases: Vec<(usize, Moment)> =
        (1..=clean.writes).flat_map(|write| moments.map(|moment| (write, moment))).collect();
    let clean = &clean;
    let crashes = lanes.iter().enumerate().map(|(index, lane)| {
        let (cases, before, after) = (&cases, &before, &after);
        async move {
            let mine = cases.iter().skip(index).step_by(LANES);
            for (write, moment) in mine.clone() {
                lane.crash((*write, *moment), before.as_ref(), after, clean).await;
            }
            // A crash beside them was nothing to those that had settled.
            for (write, moment) in mine {
                state::expect(&lane.stage.site, &name(*write, *moment), &clean.after, "at the end").await;
            }
        }
    });
    join_all(crashes).await;
}

fn name(write: usize, moment: Moment) -> String {
    let moment = match moment {
        Moment::BeforeTheWrite => "unsent",
        Moment::AfterTheWrite => "unheard",
    };
    format!("{moment}-{write:02}")
}

struct Lane {
    stage: Stage,
    proxy: Proxy,
}

struct Clean {
    before: Option<Value>,
    after: Value,
    writes: usize,
}

impl Lane {
    async fn new(what: &str, lane: usize) -> Lane {
        let stage = Stage::new(&format!("crash-{what}-{lane}")).await;
        state::secret(&stage.site).await;
        Lane { stage, proxy: Proxy::start().await }
    }

    /// The end without a crash, and the number of writes that led to it.
    async fn run(&self, name: &str, before: Option<&Value>, after: &Value) -> Clean {
        let operator = self.stage.operator(&self.proxy);
        operator.leads().await;
        let mut settled = None;
        if let Some(spec) = before {
            self.stage.site.apply(name, spec.clone()).await;
            settled = Some(self.settle(name).await);
        }
        let mark = self.proxy.mark();
        self.stage.site.apply(name, after.clone()).await;
        let after = self.settle(name).await;
        Clean { before: settled, after, writes: self.proxy.writes(mark).len() }
    }

    async fn settle(&self, name: &str) -> Value {
        state::settled(&self.stage.site, name).await;
        self.proxy.quiet(SETTLED).await;
        state::of(&self.stage.site, name).await
    }

    async fn crash(
        &self,
        (write, moment): (usize, Moment),
        before: Option<&Value>,
        after: &Value,
        clean: &Clean,
    ) {
        let end = &clean.after;
        let (site, name) = (&self.stage.site, name(write, moment));
        let when = format!("killed at write {write}, {moment:?}");
        let operator = self.stage.operator(&self.proxy);
        operator.leads().await;
        if let Some((spec, settled)) = before.zip(clean.before.as_ref()) {
            site.apply(&name, spec.clone()).await;
            state::until(site, &name, settled, "before the change").await;
            self.proxy.quiet(BREATH).await;
        }
        self.kill(operator, (write, moment), &name, after, clean).await;

        // The same name, as a container has that is started again: it need not wait for its own lease to run out.
        self.proxy.forward();
        let operator = self.stage.operator(&self.proxy);
        operator.leads().await;
        state::until(site, &name, end, &when).await;
        self.proxy.quiet(BREATH).await;
        state::expect(site, &name, end, &when).await;
    }

    /// Apply a spec, and kill the operator at one of the writes that it leads to.
    async fn kill(
        &self,
        mut operator: Operator,
        (write, moment): (usize, Moment),
        name: &str,
        spec: &Value,
        clean: &Clean,
    ) {
        let when = format!("killed at write {write}, {moment:?}");
        self.proxy.kill_at(write, operator.pid(), matches!(moment, Moment::BeforeTheWrite));
        self.stage.site.apply(name, spec.clone()).await;
        let went_through = async {
            state::until(&self.stage.site, name, &clean.after, &when).await;
            self.proxy.quiet(SETTLED).await;
        };
        tokio::select! {
            status = operator.ended() => assert_eq!(status.code(), None, "{when}: it was not killed but ended by itself"),
            () = went_through => assert!(write + SPARE > clean.writes, "{when}: the write never came"),
        }
    }
}
