//! How long a service that failed has to wait: longer each time, so that a broken one costs nothing.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(300);

/// Failures in a row, by uid.
#[derive(Default)]
pub(super) struct Backoff(Mutex<HashMap<String, u32>>);

impl Backoff {
    /// One more failure: wait so long.
    pub(super) fn next(&self, uid: &str) -> Duration {
        let mut tries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = tries.entry(uid.to_string()).or_insert(0);
        *failures = failures.saturating_add(1);
        FIRST.saturating_mul(1 << (*failures - 1).min(16)).min(LONGEST)
    }

    /// It went well, or it is gone.
    pub(super) fn clear(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_wait_longer_and_success_starts_over() {
        let backoff = Backoff::default();
        let waits: Vec<u128> = (0..14).map(|_| backoff.next("a").as_millis()).collect();
        assert_eq!(&waits[..4], &[250, 500, 1000, 2000]);
        assert_eq!(waits[13], 300_000);
        assert_eq!(backoff.next("b").as_millis(), 250);
        backoff.clear("a");
        assert_eq!(backoff.next("a").as_millis(), 250);
    }
}
