//! The KPIs of the last 300 s (E30-E35), in slots of 10 s: what is older is forgotten with its slot.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

/// Seconds of a slot.
const SLOT: f64 = 10.0;
/// Slots of the window: 300 s (E31, G18).
const SLOTS: u64 = 30;
/// Parts of a millisecond that times are counted in: fine enough to err by 1 % at most from 10 µs on.
const PARTS: f64 = 10_000.0;
/// Milliseconds that a request takes at most, here: a day.
const LONGEST: f64 = 86_400_000.0;
/// Two significant digits: buckets are narrower than 1 % of their values.
const DIGITS: u8 = 2;

/// What `/kpis` answers (E30).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Kpis {
    /// Milliseconds.
    pub average_response_time: f64,
    /// Milliseconds, by nearest rank (E32).
    #[serde(rename = "p95ResponseTime")]
    pub p95_response_time: f64,
    /// Milliseconds, by nearest rank (E32).
    #[serde(rename = "p99ResponseTime")]
    pub p99_response_time: f64,
    /// Requests per second (X59).
    pub throughput: f64,
    /// Per cent of the window in which the application was found alive; 100 before it was looked at (E34).
    pub uptime: f64,
    /// Per cent of the requests that were answered with 400 and above (E35, X27).
    pub error_rate: f64,
    /// The others.
    pub success_rate: f64,
    /// Per cent of the requests that were answered with 500 and above: what alerts look at (X27).
    pub server_error_rate: f64,
    /// Per cent of one core, from the application's own metrics; unknown without.
    pub cpu_usage: Option<f64>,
    /// Per cent of the application's memory limit; unknown without its metrics or its limit.
    pub memory_usage: Option<f64>,
    /// Per cent of the file system of /tmp.
    pub disk_usage: Option<f64>,
    /// The service's own (E36-E40); null where the application does not show the metric.
    pub business_metrics: BTreeMap<String, Option<f64>>,
}

/// Gathers what the KPIs are computed from. Share it in an `Arc`.
pub struct Collector {
    started: Instant,
    window: Mutex<Window>,
}

impl Default for Collector {
    fn default() -> Self {
        Collector { started: Instant::now(), window: Mutex::default() }
    }
}

impl Collector {
    /// Count a request that took `milliseconds` and was answered with `status`.
    pub fn record(&self, milliseconds: f64, status: u16) {
        let now = self.now();
        self.window().record(now, milliseconds, status);
    }

    /// Count a look at the application, which stands for the time since the one before.
    pub fn record_liveness(&self, alive: bool, stands_for: Duration) {
        let now = self.now();
        self.window().record_liveness(now, alive, stands_for);
    }

    /// What the last 300 s were like: everything but usage and business.
    pub fn kpis(&self) -> Kpis {
        let now = self.now();
        self.window().kpis(now)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pure part: time is given, as what has passed since the start.
#[derive(Default)]
struct Window {
    /// Oldest first; a time without anything has none.
    slots: VecDeque<Slot>,
}

#[derive(Default)]
struct Slot {
    number: u64,
    /// Made with the first request.
    times: Option<Histogram<u32>>,
    milliseconds: f64,
    requests: u64,
    errors: u64,
    server_errors: u64,
    seconds_alive: f64,
    seconds_watched: f64,
}

fn slot_number(now: Duration) -> u64 {
    (now.as_secs_f64() / SLOT) as u64
}

impl Window {
    fn record(&mut self, now: Duration, milliseconds: f64, status: u16) {
        // What is no time counts as none.
        let milliseconds = milliseconds.max(0.0).min(LONGEST);
        let slot = self.slot(now);
        slot.requests += 1;
        slot.milliseconds += milliseconds;
        slot.errors += u64::from(status >= 400);
        slot.server_errors += u64::from(status >= 500);
        if slot.times.is_none() {
            slot.times = new_histogram();
        }
        if let Some(times) = &mut slot.times {
            // It grows as needed, so that it cannot be out of its range.
            let _ = times.record((milliseconds * PARTS).round() as u64);
        }
    }

    fn record_liveness(&mut self, now: Duration, alive: bool, stands_for: Duration) {
        let slot = self.slot(now);
        let seconds = stands_for.as_secs_f64();
        slot.seconds_watched += seconds;
        slot.seconds_alive += if alive { seconds } else { 0.0 };
    }

    fn kpis(&mut self, now: Duration) -> Kpis {
        self.forget(slot_number(now));
        let sum = |of: fn(&Slot) -> f64| self.slots.iter().map(of).sum::<f64>();
        let requests = sum(|slot| slot.requests as f64);
        let watched = sum(|slot| slot.seconds_watched);
        let per_cent = |part: f64, of: f64, none: f64| if of > 0.0 { part / of * 100.0 } else { none };
        let error_rate = per_cent(sum(|slot| slot.errors as f64), requests, 0.0);
        let [p95, p99] = self.percentiles([95, 99]);
        // The last slot is under way: the window is what it covers so far, and the 29 before it.
        let first = slot_number(now).saturating_sub(SLOTS - 1) as f64 * SLOT;
        let covered = (now.as_secs_f64() - first).max(1.0);
        Kpis {
            average_response_time: if requests > 0.0 {
                sum(|slot| slot.milliseconds) / requests
            } else {
                0.0
            },
            p95_response_time: p95,
            p99_response_time: p99,
            throughput: requests / covered,
            uptime: per_cent(sum(|slot| slot.seconds_alive), watched, 100.0),
            error_rate,
            success_rate: 100.0 - error_rate,
            server_error_rate: per_cent(sum(|slot| slot.server_errors as f64), requests, 0.0),
            ..Kpis::default()
        }
    }

    /// The value at rank ⌈p/100 · n⌉ (E32), in milliseconds; 0 without any.
    fn percentiles<const N: usize>(&self, wanted: [u64; N]) -> [f64; N] {
        let Some(mut all) = new_histogram() else { return [0.0; N] };
        for times in self.slots.iter().filter_map(|slot| slot.times.as_ref()) {
            let _ = all.add(times);
        }
        wanted.map(|percent| {
            // In whole numbers: 0.95 is none.
            let rank = (all.len() * percent).div_ceil(100);
            let mut below = 0;
            for value in all.iter_recorded() {
                below += value.count_since_last_iteration();
                if below >= rank {
                    return all.median_equivalent(value.value_iterated_to()) as f64 / PARTS;
                }
            }
            0.0
        })
    }

    fn slot(&mut self, now: Duration) -> &mut Slot {
        let number = slot_number(now);
        // Two threads may come with their times in either order: the later slot takes both.
        if self.slots.back().is_none_or(|last| last.number < number) {
            self.forget(number);
            self.slots.push_back(Slot { number, ..Slot::default() });
        }
        let last = self.slots.len() - 1;
        &mut self.slots[last]
    }

    fn forget(&mut self, number: u64) {
        while self.slots.front().is_some_and(|first| first.number + SLOTS <= number) {
            self.slots.pop_front();
        }
    }
}

/// It holds a kilobyte or ten, by the longest time in it.
fn new_histogram() -> Option<Histogram<u32>> {
    Histogram::new(DIGITS).ok()
}

#[cfg(test)]
mod tests;
