//! Leaves an application alone that cannot be reached (G26). Pure: the clock is given.
//!
//! Failed connections and time-outs count, answers never do, whatever their status: an application that answers 500
//! is there.

use std::time::{Duration, Instant};

use crate::contract::settings;

/// Closed, open or half open, for one application.
#[derive(Debug)]
pub struct Breaker {
    limit: u32,
    open_for: Duration,
    failures: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Closed,
    Open {
        until: Instant,
    },
    /// One request tries; if nothing is heard of it by then, another one may.
    HalfOpen {
        until: Instant,
    },
}

impl Breaker {
    /// A closed one. Zero failures: it never opens.
    pub fn new(settings: &settings::Breaker) -> Breaker {
        let open_for = Duration::try_from_secs_f64(settings.open_seconds).unwrap_or(Duration::MAX);
        Breaker { limit: settings.failures, open_for, failures: 0, state: State::Closed }
    }

    /// May a request go through? If not: for how long not.
    pub fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        match self.state {
            State::Closed => Ok(()),
            State::Open { until } | State::HalfOpen { until } if now < until => Err(until - now),
            State::Open { .. } | State::HalfOpen { .. } => {
                self.state = State::HalfOpen { until: now + self.open_for };
                Ok(())
            }
        }
    }

    /// The application answered. Tells whether that closed it.
    pub fn succeed(&mut self) -> bool {
        self.failures = 0;
        std::mem::replace(&mut self.state, State::Closed) != State::Closed
    }

    /// The application could not be reached. Tells whether that opened it.
    pub fn fail(&mut self, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        let opens = match self.state {
            State::Closed => self.limit > 0 && self.failures >= self.limit,
            State::HalfOpen { .. } => true,
            // A request that went out before it opened.
            State::Open { .. } => false,
        };
        if opens {
            self.state = State::Open { until: now + self.open_for };
        }
        opens
    }

    /// Whether requests are turned away.
    pub fn is_open(&self) -> bool {
        self.state != State::Closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker(failures: u32) -> Breaker {
        Breaker::new(&settings::Breaker { failures, open_seconds: 30.0 })
    }

    #[test]
    fn it_opens_after_five_failures_in_a_row_and_tells_for_how_long() {
        let (mut breaker, now) = (Breaker::new(&settings::Breaker::default()), Instant::now());
        for _ in 0..4 {
            assert!(!breaker.fail(now));
        }
        breaker.succeed();
        for _ in 0..4 {
            assert!(!breaker.fail(now));
        }
        assert_eq!(breaker.admit(now), Ok(()));
        assert!(breaker.fail(now));
        assert_eq!(breaker.admit(now + Duration::from_secs(10)), Err(Duration::from_secs(20)));
    }

    #[test]
    fn one_request_tries_when_the_time_is_over() {
        let (mut breaker, now) = (breaker(1), Instant::now());
        breaker.fail(now);
        let later = now + Duration::from_secs(30);
        assert_eq!(breaker.admit(later), Ok(()));
        assert_eq!(breaker.admit(later), Err(Duration::from_secs(30)), "only one");
        assert!(breaker.fail(later), "it opens again at the first failure");
        let later = later + Duration::from_secs(30);
        assert_eq!(breaker.admit(later), Ok(()));
        assert!(breaker.succeed());
        assert_eq!(breaker.admit(later), Ok(()));
        assert!(!breaker.is_open());
    }

    #[test]
    fn a_try_that_is_never_heard_of_does_not_keep_it_open_for_ever() {
        let (mut breaker, now) = (breaker(1), Instant::now());
        breaker.fail(now);
        assert_eq!(breaker.admit(now + Duration::from_secs(30)), Ok(()));
        assert_eq!(breaker.admit(now + Duration::from_secs(61)), Ok(()));
    }

    #[test]
    fn zero_failures_never_open_it() {
        let (mut breaker, now) = (breaker(0), Instant::now());
        for _ in 0..1000 {
            assert!(!breaker.fail(now));
        }
        assert_eq!(breaker.admit(now), Ok(()));
    }
}
