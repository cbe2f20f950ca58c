//! The API server refuses writes, loses them, or is too busy for a while: all of it passes, and costs little.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use std::{collections::HashMap, sync::Mutex};

use super::state;
use crate::support::operator::Stage;
use crate::support::proxy::{Proxy, Verdict, tail};

/// Long enough for the last status, which waits for two seconds after the one before it.
const SETTLED: Duration = Duration::from_millis(2500);
/// Children, size, status: what may be written for one service, events apart.
const STEPS: usize = 11;

/// What becomes of one write.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Answered(u16),
    Unsent,
    Unheard,
}

const FAULTS: [(&str, Fault); 5] = [
    ("conflict", Fault::Answered(409)),
    ("busy", Fault::Answered(429)),
    ("broken", Fault::Answered(500)),
    ("unsent", Fault::Unsent),
    ("unheard", Fault::Unheard),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_fails_at_any_step_leads_to_the_same_end_with_few_more_writes() {
    let stage = Stage::new("answers").await;
    let site = &stage.site;
    state::secret(site).await;
    let proxy = Proxy::start().await;
    let operator = stage.operator(&proxy);
    operator.leads().await;
    site.apply("clean", state::first_spec()).await;
    state::settled(site, "clean").await;
    proxy.quiet(SETTLED).await;
    let created = state::of(site, "clean").await;
    site.apply("clean", state::second_spec()).await;
    state::settled(site, "clean").await;
    proxy.quiet(SETTLED).await;
    let updated = state::of(site, "clean").await;
    let clean = proxy.writes(0).iter().filter(|call| call.concerns("clean")).count();

    // One service for each fault at each step, all at once.
    let cases: Vec<(String, usize, Fault)> = FAULTS
        .iter()
        .flat_map(|(word, fault)| (1..=STEPS).map(move |step| (format!("{word}-at-{step:02}"), step, *fault)))
        .collect();
    for (spec, end, when) in
        [(state::first_spec(), &created, "created"), (state::second_spec(), &updated, "updated")]
    {
        let met = break_once(&proxy, &cases);
        for (name, ..) in &cases {
            site.apply(name, spec.clone()).await;
        }
        for (name, ..) in &cases {
            state::until(site, name, end, when).await;
        }
        proxy.quiet(SETTLED).await;
        for (name, ..) in &cases {
            state::expect(site, name, end, when).await;
        }
        // An update takes fewer writes than there are steps.
        let met = *met.lock().expect("count");
        assert!(
            met >= FAULTS.len() * 6,
            "only {met} of {} faults were met while they were {when}",
            cases.len()
        );
    }
    for (name, step, fault) in &cases {
        let calls = proxy.since(0);
        let writes: Vec<_> = calls.into_iter().filter(|call| call.writes() && call.concerns(name)).collect();
        // Each of two faults costs its write once more, the statuses that tell of it, and statuses that come sooner.
        assert!(
            writes.len() <= clean + 14,
            "{fault:?} at {step}: {} writes, {clean} without: {:#?}",
            writes.len(),
            tail(&writes)
        );
    }
}

/// Break the write of each service that its case names, once. Counts those that were met.
fn break_once(proxy: &Proxy, cases: &[(String, usize, Fault)]) -> Arc<Mutex<usize>> {
    let cases = cases.to_vec();
    let (met, writes) = (Arc::new(Mutex::new(0)), Mutex::new(HashMap::<String, usize>::new()));
    let counting = met.clone();
    proxy.rule(move |call| {
        let Some((name, step, fault)) = cases.iter().find(|(name, ..)| call.writes() && call.concerns(name))
        else {
            return Verdict::Forward;
        };
        let mut writes = writes.lock().expect("writes");
        let write = writes.entry(name.clone()).or_default();
        *write += 1;
        if *write != *step {
            return Verdict::Forward;
        }
        *counting.lock().expect("count") += 1;
        match fault {
            Fault::Answered(status) => Verdict::Answer(*status),
            Fault::Unsent => Verdict::CutBefore,
            Fault::Unheard => Verdict::CutAfter(Box::new(|| ())),
        }
    });
    met
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_refuses_everything_for_a_while_is_not_stormed() {
    const SERVICES: usize = 10;
    let stage = Stage::new("storm").await;
    let site = &stage.site;
    state::secret(site).await;
    let proxy = Proxy::start().await;
    let operator = stage.operator(&proxy);
    operator.leads().await;
    site.apply("clean", state::first_spec()).await;
    state::settled(site, "clean").await;
    proxy.quiet(SETTLED).await;
    let end = state::of(site, "clean").await;

    for status in [429, 500, 403] {
        let refuses = Arc::new(AtomicU16::new(status));
        let refusing = refuses.clone();
        proxy.rule(move |call| match refusing.load(Ordering::SeqCst) {
            0 => Verdict::Forward,
            status if call.writes() || call.kind == "leases" => Verdict::Answer(status),
            _ => Verdict::Forward,
        });
        let mark = proxy.mark();
        let names: Vec<String> = (0..SERVICES).map(|index| format!("storm-{status}-{index}")).collect();
        for name in &names {
            site.apply(name, state::first_spec()).await;
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        refuses.store(0, Ordering::SeqCst);
        let during = proxy.writes(mark);
        for name in &names {
            state::until(site, name, &end, &format!("after {status}")).await;
        }
        // Five passes fit into five seconds of back-off, and a pass tries each child once. A client that is told to
        // slow down tries three times more by itself, but then there are fewer passes.
        let most = SERVICES * STEPS * 6;
        assert!(during.len() <= most, "{status}: {} writes in 5 s: {:#?}", during.len(), tail(&during));
        assert!(during.iter().all(|call| call.status == status), "a write went through");
    }
}
