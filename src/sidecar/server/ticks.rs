//! The clock of a server: moved by its sweep, read by every hook.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How often the clock is moved and the connections are judged.
pub const SWEEP: Duration = Duration::from_millis(500);
/// Ticks of the clock in a second.
pub const TICKS_A_SECOND: u32 = 10;

/// A clock in tenths of a second. Zero is never shown: it means "not since any time".
#[derive(Debug)]
pub struct Ticks {
    start: Instant,
    now: AtomicU32,
}

impl Default for Ticks {
    fn default() -> Self {
        Ticks { start: Instant::now(), now: AtomicU32::new(1) }
    }
}

impl Ticks {
    /// The time, as of the last turn.
    pub fn now(&self) -> u32 {
        self.now.load(Relaxed)
    }

    /// Move the clock to the present.
    pub fn turn(&self) {
        let tenths = self.start.elapsed().as_millis() / 100 + 1;
        self.now.store(u32::try_from(tenths).unwrap_or(u32::MAX), Relaxed);
    }
}

/// Since when something is waited for, if it is.
#[derive(Debug, Default)]
pub struct Since(AtomicU32);

impl Since {
    /// It is waited for from now on, unless it is already; or no longer.
    pub fn note(&self, ticks: &Ticks, waits: bool) {
        match (waits, self.0.load(Relaxed)) {
            (true, 0) => self.restart(ticks),
            (true, _) => {}
            (false, _) => self.clear(),
        }
    }

    /// It is waited for from now on.
    pub fn restart(&self, ticks: &Ticks) {
        self.0.store(ticks.now(), Relaxed);
    }

    /// It is not waited for.
    pub fn clear(&self) {
        self.0.store(0, Relaxed);
    }

    /// Whether it is waited for.
    pub fn is_set(&self) -> bool {
        self.0.load(Relaxed) != 0
    }

    /// Whether it has been waited for longer than that.
    pub fn exceeds(&self, ticks: &Ticks, seconds: f64) -> bool {
        let since = self.0.load(Relaxed);
        let waited = f64::from(ticks.now().saturating_sub(since));
        since != 0 && waited > seconds * f64::from(TICKS_A_SECOND)
    }
}
