//! One line for each request (D20, D21, D30, D31).

use std::time::Duration;

use super::exchange::Exchange;
use super::logs::{Base, Sink};
use super::route::Routes;
use crate::contract::settings::{Level, Logs, Settings};

/// Writes access lines.
pub struct AccessLog {
    sink: Sink,
    base: Base,
    least: Level,
    slow: Duration,
    sampling: Sampling,
    routes: std::sync::Arc<Routes>,
}

impl AccessLog {
    /// Lines of a service, into a sink.
    pub fn new(settings: &Settings, routes: std::sync::Arc<Routes>, sink: Sink, base: Base) -> AccessLog {
        let Logs { level, sample_rate, slow_milliseconds, .. } = settings.logs;
        AccessLog {
            sink,
            base,
            least: level,
            slow: Duration::from_millis(slow_milliseconds),
            sampling: Sampling::new(sample_rate),
            routes,
        }
    }

    /// Write the line of a finished request, if it deserves one.
    pub fn write(&self, exchange: &Exchange, elapsed: Duration) {
        let status = exchange.outcome();
        let slow = elapsed > self.slow;
        let level = level(status, slow);
        // Errors and slow requests are always told (D31).
        if level < self.least || level == Level::Info && !self.sampling.takes() {
            return;
        }
        let base = &self.base;
        self.sink.line(|line| {
            base.begin(line, level, "HTTP Request");
            base.text(line, "method", exchange.method.as_str());
            let url = exchange.uri.path_and_query().map_or("/", |url| url.as_str());
            base.text(line, "url", url);
            base.text(line, "route", self.routes.name(exchange.route));
            base.number(line, "status_code", exchange.status);
            base.number(line, "response_time", Milliseconds(elapsed));
            base.number(line, "bytes", exchange.bytes);
            base.shown(line, "ip", exchange.client);
            let optional = [
                ("user_agent", exchange.user_agent.as_ref()),
                ("correlation_id", Some(&exchange.correlation_id)),
                ("user_id", exchange.user_id.as_ref()),
            ];
            for (name, value) in optional {
                if let Some(value) = value {
                    base.text(line, name, &String::from_utf8_lossy(value.as_bytes()));
                }
            }
            if let Some(trace) = &exchange.trace {
                base.text(line, "trace_id", trace.id());
            }
            if let Some(error) = exchange.broken.or(exchange.failure.as_deref()) {
                base.text(line, "error", error);
            }
            base.end(line);
        });
    }
}

/// D30: failures are errors, the client's mistakes and slow requests are warnings.
fn level(status: u16, slow: bool) -> Level {
    match status {
        500.. => Level::Error,
        400..=499 => Level::Warn,
        _ if slow => Level::Warn,
        _ => Level::Info,
    }
}

/// Milliseconds with three decimals, as a JSON number.
pub(super) struct Milliseconds(pub(super) Duration);

impl std::fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let micros = self.0.as_micros();
        write!(f, "{}.{:03}", micros / 1000, micros % 1000)
    }
}

/// Takes an even part of the requests: every second for a half, without a random number for each.
struct Sampling {
    /// Part of 2^32 that each request adds.
    step: u64,
    sum: std::sync::atomic::AtomicU64,
}

impl Sampling {
    fn new(rate: f64) -> Sampling {
        // Rates are checked to lie between 0 and 1.
        let step = (rate * f64::from(u32::MAX)).ceil() as u64 + u64::from(rate >= 1.0);
        Sampling { step, sum: std::sync::atomic::AtomicU64::new(0) }
    }

    fn takes(&self) -> bool {
        let before = self.sum.fetch_add(self.step, std::sync::atomic::Ordering::Relaxed);
        (before.wrapping_add(self.step) >> 32) != (before >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_follows_the_status_and_the_time() {
        assert_eq!(level(200, false), Level::Info);
        assert_eq!(level(204, true), Level::Warn);
        assert_eq!(level(404, false), Level::Warn);
        assert_eq!(level(500, true), Level::Error);
    }

    #[test]
    fn sampling_takes_the_part_it_is_told() {
        for (rate, taken) in [(0.0, 0), (0.1, 1000), (0.5, 5000), (1.0, 10_000)] {
            let sampling = Sampling::new(rate);
            let count = (0..10_000).filter(|_| sampling.takes()).count();
            assert!(count.abs_diff(taken) <= 1, "{rate}: {count}");
        }
    }

    #[test]
    fn times_are_numbers_in_milliseconds() {
        assert_eq!(Milliseconds(Duration::from_micros(12_345)).to_string(), "12.345");
        assert_eq!(Milliseconds(Duration::from_micros(7)).to_string(), "0.007");
    }
}
