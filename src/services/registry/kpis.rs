//! What business looks at (E40), as metrics of the same names.

use prometheus::{IntCounter, IntGauge, Registry};

/// The KPIs of the registry.
pub struct Kpis {
    services: IntGauge,
    syncs: IntCounter,
    changes: IntCounter,
    findings: IntCounter,
}

impl Kpis {
    /// KPIs that show zero.
    pub fn new(registry: &Registry) -> Result<Kpis, prometheus::Error> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let services = IntGauge::new("registered_services", "Services that have told their schema")?;
        registry.register(Box::new(services.clone()))?;
        Ok(Kpis {
            services,
            syncs: counter("schema_syncs", "Schemas told since the process started")?,
            changes: counter("schema_changes", "Schemas told that were another than the one before")?,
            findings: counter(
                "schema_findings",
                "What was not as the guidelines want it, in changed schemas",
            )?,
        })
    }

    /// How many services there are.
    pub fn set_services(&self, services: i64) {
        self.services.set(services);
    }

    /// A schema was told; of one that changed, with so many findings.
    pub fn synced(&self, changed: bool, findings: usize) {
        self.syncs.inc();
        if changed {
            self.changes.inc();
            self.findings.inc_by(findings as u64);
        }
    }

    /// Names as `/kpis` has them, and values.
    pub fn values(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("registeredServices", self.services.get() as f64),
            ("schemaSyncs", self.syncs.get() as f64),
            ("schemaChanges", self.changes.get() as f64),
            ("schemaFindings", self.findings.get() as f64),
        ]
    }
}
