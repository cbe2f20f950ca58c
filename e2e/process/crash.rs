//! The operator is killed at each of its writes. Whoever comes after it finds the way to the same end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use serde_json::Value;

use super::state;
use crate::support::operator::{Calm, Stage, calm, signal};
use crate::support::proxy::{Proxy, Verdict};

/// Namespaces that are worked in side by side.
const LANES: usize = 4;
/// Long enough for the last status, which waits for two seconds after the one before it.
const SETTLED: Duration = Duration::from_millis(2500);

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

async fn crash_everywhere(what: &str, before: Option<Value>, after: Value) {
    let calm = calm().await;
    let lanes = join_all((0..LANES).map(|lane| Lane::new(&calm, what, lane))).await;
    let clean = lanes[0].run("clean-run", before.as_ref(), &after).await;
    assert!(clean.writes >= 8, "a {what} is more than {} writes", clean.writes);

    let moments = [Moment::BeforeTheWrite, Moment::AfterTheWrite];
    let cases: Vec<(usize, Moment)> = (1..=clean.writes).flat_map(|write| moments.map(|moment| (write, moment))).collect();
    let clean = &clean;
    let crashes = lanes.iter().enumerate().map(|(index, lane)| {
        let (cases, before, after) = (&cases, &before, &after);
        async move {
            let mine = cases.iter().skip(index).step_by(LANES);
            for (write, moment) in mine.clone() {
                lane.crash(*write, *moment, before.as_ref().zip(clean.before.as_ref()), after, &clean.after).await;
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
    async fn new(calm: &Calm, what: &str, lane: usize) -> Lane {
        let stage = Stage::new(calm, &format!("crash-{what}-{lane}")).await;
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
        self.stage.site.ready(name).await;
        self.proxy.quiet(SETTLED).await;
        state::of(&self.stage.site, name).await
    }

    async fn crash(&self, write: usize, moment: Moment, before: Option<(&Value, &Value)>, after: &Value, end: &Value) {
        let (site, name) = (&self.stage.site, name(write, moment));
        let when = format!("killed at write {write}, {moment:?}");
        let mut operator = self.stage.operator(&self.proxy);
        operator.leads().await;
        if let Some((spec, settled)) = before {
            site.apply(&name, spec.clone()).await;
            state::until(site, &name, settled, "before the change").await;
            self.proxy.quiet(SETTLED).await;
        }
        let (pid, fired) = (operator.pid(), Arc::new(AtomicBool::new(false)));
        let firing = fired.clone();
        self.proxy.rule(move |call| {
            if call.write != write || firing.swap(true, Ordering::SeqCst) {
                return Verdict::Forward;
            }
            match moment {
                Moment::BeforeTheWrite => {
                    signal(pid, "KILL");
                    Verdict::CutBefore
                }
                Moment::AfterTheWrite => Verdict::CutAfter(Box::new(move || signal(pid, "KILL"))),
            }
        });
        site.apply(&name, after.clone()).await;
        let status = operator.ended().await;
        assert_eq!(status.code(), None, "{when}: it was not killed but ended by itself");
        assert!(fired.load(Ordering::SeqCst));

        // The same name, as a container has that is started again: it need not wait for its own lease to run out.
        self.proxy.forward();
        let operator = self.stage.operator(&self.proxy);
        operator.leads().await;
        state::until(site, &name, end, &when).await;
        self.proxy.quiet(SETTLED).await;
        state::expect(site, &name, end, &when).await;
    }
}
