//! Requests per minute of an address or a subject (D71, X46, G33): one token bucket each, in bounded memory.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::{DashMapStateStore, ShrinkableKeyedStateStore};
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{NotUntil, Quota, RateLimiter};
use http::StatusCode;
use http::header::{HeaderValue, RETRY_AFTER};

use super::answer::Answer;
use super::client::Client;
use crate::contract::settings;

/// Clients with a bucket of their own: about 10 MiB. Those after them share buckets until some are forgotten.
const MOST_CLIENTS: usize = 100_000;
/// Buckets that are shared.
const SHARED_BUCKETS: usize = 4096;
/// Requests at once, where nothing is said: a tenth of a minute's, and at least these.
const LEAST_BURST: u32 = 10;

/// How often [`RateLimits::forget`] is to be called.
pub const FORGET_EVERY: Duration = Duration::from_secs(10);

/// The limits of addresses, before authentication, and of subjects, after it (L09).
pub struct RateLimits<C: Clock = DefaultClock> {
    addresses: Limiter<C>,
    subjects: Limiter<C>,
    exempt: HashSet<String>,
    hasher: RandomState,
}

type Limiter<C> = RateLimiter<u64, Buckets, C, NoOpMiddleware<<C as Clock>::Instant>>;

impl RateLimits {
    /// With the numbers of the settings.
    pub fn new(settings: &settings::RateLimit) -> Result<RateLimits, String> {
        RateLimits::with_clock(settings, DefaultClock::default())
    }
}

impl<C: Clock + Clone> RateLimits<C> {
    fn with_clock(settings: &settings::RateLimit, clock: C) -> Result<RateLimits<C>, String> {
        let at_least_one = |name: &str, number: u32| {
            NonZeroU32::new(number).ok_or_else(|| {
                format!("rateLimit.{name} is 0: nobody could call; give at least 1, or leave rateLimit out")
            })
        };
        let burst = settings.burst.unwrap_or((settings.requests_per_minute / 10).max(LEAST_BURST));
        let quota = Quota::per_minute(at_least_one("requestsPerMinute", settings.requests_per_minute)?)
            .allow_burst(at_least_one("burst", burst)?);
        Ok(RateLimits {
            addresses: RateLimiter::new(quota, Buckets::default(), clock.clone()),
            subjects: RateLimiter::new(quota, Buckets::default(), clock),
            exempt: settings.exempt_subjects.iter().cloned().collect(),
            hasher: RandomState::new(),
        })
    }

    /// Count a request of an address, before it is known whose it is. IPv6 counts by /64, internal callers do not.
    pub fn check_address(&self, client: &Client) -> Result<(), Answer> {
        if client.is_internal {
            return Ok(());
        }
        self.check(&self.addresses, self.hasher.hash_one(network(client.address)))
    }

    /// Count a request of a subject, unless it is exempt (X46).
    pub fn check_subject(&self, subject: &str) -> Result<(), Answer> {
        if self.exempt.contains(subject) {
            return Ok(());
        }
        self.check(&self.subjects, self.hasher.hash_one(subject))
    }

    /// Forget the clients whose buckets are full again; to be called every [`FORGET_EVERY`].
    pub fn forget(&self) {
        for limiter in [&self.addresses, &self.subjects] {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }

    fn check(&self, limiter: &Limiter<C>, key: u64) -> Result<(), Answer> {
        limiter.check_key(&key).map_err(|until| refuse(&until, limiter.clock().now()))
    }
}

fn refuse<I: governor::clock::Reference>(until: &NotUntil<I>, now: I) -> Answer {
    let wait = until.wait_time_from(now);
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    Answer::new(
        StatusCode::TOO_MANY_REQUESTS,
        "RATE_LIMITED",
        "Too many requests: try again after Retry-After seconds",
    )
    .with(RETRY_AFTER, HeaderValue::from(seconds.max(1)))
}

/// What an address is counted by: whoever has an IPv6 address has its /64.
fn network(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => Ipv6Addr::to_bits(address) & (!0 << 64),
    }
}

/// A bucket for each of the first clients, and a fixed number of buckets for all the others.
///
/// Keys are keyed hashes: nobody can aim at the bucket of somebody else.
struct Buckets {
    own: DashMapStateStore<u64>,
    count: AtomicUsize,
    shared: Vec<InMemoryState>,
}

impl Default for Buckets {
    fn default() -> Self {
        let shared = (0..SHARED_BUCKETS).map(|_| InMemoryState::default()).collect();
        Buckets { own: DashMapStateStore::default(), count: AtomicUsize::new(0), shared }
    }
}

impl StateStore for Buckets {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        if let Some(state) = self.own.get(key) {
            return state.measure_and_replace(&NotKeyed::NonKey, f);
        }
        if self.count.load(Ordering::Relaxed) >= MOST_CLIENTS {
            let index = usize::try_from(key % SHARED_BUCKETS as u64).unwrap_or_default();
            return self.shared[index].measure_and_replace(&NotKeyed::NonKey, f);
        }
        let state = self.own.entry(*key).or_insert_with(|| {
            self.count.fetch_add(1, Ordering::Relaxed);
            InMemoryState::default()
        });
        state.measure_and_replace(&NotKeyed::NonKey, f)
    }
}

impl ShrinkableKeyedStateStore<u64> for Buckets {
    fn retain_recent(&self, drop_below: Nanos) {
        self.own.retain_recent(drop_below);
        self.count.store(self.own.len(), Ordering::Relaxed);
    }

    fn shrink_to_fit(&self) {
        // Only what a flood left behind: shrinking is not free.
        if self.own.capacity() > 4 * self.own.len().max(1024) {
            self.own.shrink_to_fit();
        }
    }

    fn len(&self) -> usize {
        self.own.len()
    }

    fn is_empty(&self) -> bool {
        self.own.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;
    use proptest::prelude::*;

    use super::*;

    fn settings(requests_per_minute: u32, burst: Option<u32>) -> settings::RateLimit {
        settings::RateLimit { requests_per_minute, burst, exempt_subjects: vec!["load-test".into()] }
    }

    fn limits(
        requests_per_minute: u32,
        burst: Option<u32>,
    ) -> (RateLimits<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (RateLimits::with_clock(&settings(requests_per_minute, burst), clock.clone()).unwrap(), clock)
    }

    fn client(address: &str) -> Client {
        Client { address: address.parse().unwrap(), is_internal: false }
    }

    #[test]
    fn a_client_has_its_burst_then_its_rate_and_is_told_when() {
        let (limits, clock) = limits(60, Some(3));
        let one = client("203.0.113.1");
        for _ in 0..3 {
            limits.check_address(&one).unwrap();
        }
        let answer = limits.check_address(&one).unwrap_err();
        assert_eq!((answer.status.as_u16(), answer.kind), (429, "RATE_LIMITED"));
        assert_eq!(answer.headers, [(RETRY_AFTER, HeaderValue::from(1))]);
        limits.check_address(&client("203.0.113.2")).unwrap();
        clock.advance(Duration::from_millis(1001));
        limits.check_address(&one).unwrap();
        limits.check_address(&one).unwrap_err();
    }

    #[test]
    fn retry_after_is_in_whole_seconds_rounded_up() {
        for (rate, seconds) in [(1, 60), (7, 9), (60, 1), (60_000, 1)] {
            let (limits, _clock) = limits(rate, Some(1));
            limits.check_subject("u").unwrap();
            let answer = limits.check_subject("u").unwrap_err();
            assert_eq!(answer.headers, [(RETRY_AFTER, HeaderValue::from(seconds))], "{rate}");
        }
    }

    #[test]
    fn the_burst_is_a_tenth_of_a_minute_and_at_least_ten() {
        for (rate, burst) in [(100, 10), (200, 20), (1000, 100), (5, 10)] {
            let (limits, _clock) = limits(rate, None);
            assert_eq!((0..rate + 10).filter(|_| limits.check_subject("u").is_ok()).count(), burst);
        }
    }

    #[test]
    fn ipv6_counts_by_its_network_and_ipv4_alone() {
        let (limits, _clock) = limits(1, Some(1));
        for (address, passes) in [
            ("2001:db8::1", true),
            ("2001:db8::ffff:1", false),
            ("2001:db8:0:1::1", true),
            ("10.0.0.1", true),
            ("10.0.0.2", true),
            ("::ffff:10.0.0.2", false),
        ] {
            assert_eq!(limits.check_address(&client(address)).is_ok(), passes, "{address}");
        }
    }

    #[test]
    fn internal_callers_and_exempt_subjects_are_not_limited() {
        let (limits, _clock) = limits(1, Some(1));
        let internal = Client { is_internal: true, ..client("10.0.0.1") };
        for _ in 0..100 {
            limits.check_address(&internal).unwrap();
            limits.check_subject("load-test").unwrap();
        }
    }

    #[test]
    fn a_flood_of_a_million_clients_stays_bounded_and_is_forgotten() {
        let (limits, clock) = limits(60, Some(1));
        let known = client("203.0.113.1");
        limits.check_address(&known).unwrap();
        let mut passed = 0;
        for number in 0..1_000_000_u32 {
            let flooding = Client { address: IpAddr::from(number.to_be_bytes()), is_internal: false };
            passed += usize::from(limits.check_address(&flooding).is_ok());
        }
        assert_eq!(limits.addresses.len(), MOST_CLIENTS);
        assert!(passed <= MOST_CLIENTS + SHARED_BUCKETS, "{passed}");
        // Whoever was there before keeps a bucket of its own.
        clock.advance(Duration::from_millis(1001));
        limits.check_address(&known).unwrap();
        clock.advance(Duration::from_secs(60));
        limits.forget();
        assert!(limits.addresses.is_empty());
        limits.check_address(&client("198.51.100.7")).unwrap();
        assert_eq!(limits.addresses.len(), 1);
    }

    #[test]
    fn a_limit_of_nothing_is_refused_at_start() {
        for (rate, burst, field) in [(0, None, "requestsPerMinute"), (1, Some(0), "burst")] {
            let error = RateLimits::new(&settings(rate, burst)).err().unwrap();
            assert!(error.starts_with(&format!("rateLimit.{field} ")), "{error}");
        }
    }

    proptest! {
        #[test]
        fn a_minute_lets_through_the_rate_and_the_burst(rate in 1_u32..300, burst in 1_u32..50, gaps in proptest::collection::vec(0_u64..2000, 0..400)) {
            let (limits, clock) = limits(rate, Some(burst));
            let mut elapsed = 0;
            let mut passed = 0_u64;
            for gap in gaps {
                clock.advance(Duration::from_millis(gap));
                elapsed += gap;
                passed += u64::from(limits.check_subject("u").is_ok());
            }
            prop_assert!(passed <= u64::from(burst) + elapsed * u64::from(rate) / 60_000 + 1);
        }
    }
}
