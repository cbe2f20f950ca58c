//! Metrics of what a service does (E04-E08, E14); those of HTTP are the sidecar's.

use std::time::{Duration, Instant};

use prometheus::{Gauge, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

/// Seconds of a query (E05).
const QUERY_BUCKETS: [f64; 6] = [0.01, 0.05, 0.1, 0.5, 1.0, 2.0];
/// Seconds of an operation (E08).
const OPERATION_BUCKETS: [f64; 6] = [0.1, 0.5, 1.0, 5.0, 10.0, 30.0];

/// The metrics of a service.
pub struct Measures {
    registry: Registry,
    /// `db_connections_active` (E04, X58).
    pub connections_active: IntGauge,
    /// `db_pool_connections`: those that are open.
    pub connections_open: IntGauge,
    /// `db_pool_connections_max`: those that may be.
    pub connections_most: IntGauge,
    /// `db_pool_wait_seconds_total`: how long requests have waited for one (E19).
    pub connections_waited: Gauge,
    query_duration: HistogramVec,
    query_errors: IntCounterVec,
    operations: IntCounterVec,
    operation_duration: HistogramVec,
}

impl Measures {
    /// Metrics that show zero.
    pub fn new() -> Result<Measures, prometheus::Error> {
        let registry = Registry::new();
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let histograms = |name: &str, help: &str, labels: &[&str], buckets: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            let histograms = HistogramVec::new(options, labels)?;
            registry.register(Box::new(histograms.clone()))?;
            Ok::<_, prometheus::Error>(histograms)
        };
        let waited = Gauge::new("db_pool_wait_seconds_total", "Seconds waited for a database connection")?;
        registry.register(Box::new(waited.clone()))?;
        Ok(Measures {
            connections_active: gauge("db_connections_active", "Active database connections")?,
            connections_open: gauge("db_pool_connections", "Open database connections")?,
            connections_most: gauge("db_pool_connections_max", "Most database connections")?,
            connections_waited: waited,
            query_duration: histograms(
                "db_query_duration_seconds",
                "Duration of database queries in seconds",
                &["operation", "table"],
                &QUERY_BUCKETS,
            )?,
            query_errors: counters(
                "db_query_errors_total",
                "Database queries that failed",
                &["operation", "table", "error_type"],
            )?,
            operations: counters(
                "business_operations_total",
                "Business operations",
                &["operation", "status"],
            )?,
            operation_duration: histograms(
                "business_operation_duration_seconds",
                "Duration of business operations in seconds",
                &["operation"],
                &OPERATION_BUCKETS,
            )?,
            registry,
        })
    }

    /// Where a service puts metrics of its own.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Count a query: its time where it succeeded (E05), else the type of its error (E06).
    pub fn record_query(&self, operation: &str, table: &str, took: Duration, error_type: Option<&str>) {
        match error_type {
            None => self.query_duration.with_label_values(&[operation, table]).observe(took.as_secs_f64()),
            Some(error_type) => {
                self.query_errors.with_label_values(&[operation, table, error_type]).inc();
            }
        }
    }

    /// A piece of business: counted (E07) and timed (E08), whatever comes of it.
    pub async fn measure<T, E>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let begun = Instant::now();
        let outcome = work.await;
        let status = if outcome.is_ok() { "success" } else { "error" };
        self.operations.with_label_values(&[operation, status]).inc();
        self.operation_duration.with_label_values(&[operation]).observe(begun.elapsed().as_secs_f64());
        outcome
    }

    /// All of them, as 0.0.4 has it.
    pub fn text(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}
