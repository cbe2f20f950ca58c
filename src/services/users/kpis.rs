//! What business looks at (E36), as metrics of the same names.

use prometheus::{IntCounter, IntGauge, Registry};

/// The KPIs of users.
pub struct Kpis {
    active: IntGauge,
    registrations: IntCounter,
    logins: IntCounter,
}

impl Kpis {
    /// KPIs that show zero.
    pub fn new(registry: &Registry) -> Result<Kpis, prometheus::Error> {
        let kpis = Kpis {
            active: IntGauge::new("active_users", "Users who were logged in within the last 15 minutes")?,
            registrations: IntCounter::new("new_registrations", "Registrations since the process started")?,
            logins: IntCounter::new("login_attempts", "Attempts to log in since the process started")?,
        };
        registry.register(Box::new(kpis.active.clone()))?;
        registry.register(Box::new(kpis.registrations.clone()))?;
        registry.register(Box::new(kpis.logins.clone()))?;
        Ok(kpis)
    }

    /// How many users are there.
    pub fn set_active(&self, users: i64) {
        self.active.set(users);
    }

    /// Somebody registered.
    pub fn registered(&self) {
        self.registrations.inc();
    }

    /// Somebody tries to log in.
    pub fn tries_login(&self) {
        self.logins.inc();
    }

    /// Names as `/kpis` has them, and values.
    pub fn values(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("activeUsers", self.active.get() as f64),
            ("newRegistrations", self.registrations.get() as f64),
            ("loginAttempts", self.logins.get() as f64),
        ]
    }
}
