//! The HTTP metrics of the contract (E01-E03, E12).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

use super::exchange::Exchange;
use super::route::{Route, Routes};

/// Bounds of `http_request_duration_seconds` (E01).
pub const BUCKETS: [f64; 5] = [0.1, 0.5, 1.0, 2.0, 5.0];

/// Counts requests.
pub struct HttpMetrics {
    routes: Arc<Routes>,
    duration: HistogramVec,
    total: IntCounterVec,
    errors: IntCounterVec,
    /// Requests under way (E12).
    pub in_flight: IntGauge,
    /// Connections whose clients were told to come back over another one.
    pub told_to_leave: IntCounter,
    /// The series in use: looking one up by its labels costs more than counting.
    series: Mutex<HashMap<(u8, Route, u16), Series>>,
}

#[derive(Clone)]
struct Series {
    duration: Histogram,
    total: IntCounter,
    errors: Option<IntCounter>,
}

impl HttpMetrics {
    /// Metrics in a registry.
    pub fn new(routes: Arc<Routes>, registry: &Registry) -> Result<HttpMetrics, prometheus::Error> {
        let labels = ["method", "route", "status_code"];
        let duration = HistogramVec::new(
            HistogramOpts::new("http_request_duration_seconds", "Duration of HTTP requests in seconds")
                .buckets(BUCKETS.to_vec()),
            &labels,
        )?;
        let total =
            IntCounterVec::new(Opts::new("http_requests_total", "Total number of HTTP requests"), &labels)?;
        let errors = IntCounterVec::new(
            Opts::new("http_request_errors_total", "Total number of HTTP request errors"),
            &["method", "route", "error_type"],
        )?;
        let in_flight = IntGauge::new("http_requests_in_flight", "HTTP requests that are being answered")?;
        let told_to_leave = IntCounter::new(
            "visiobook_sidecar_connections_told_to_leave_total",
            "Connections whose clients were told to come back over another one, for traffic has moved to the other colour",
        )?;
        registry.register(Box::new(told_to_leave.clone()))?;
        registry.register(Box::new(duration.clone()))?;
        registry.register(Box::new(total.clone()))?;
        registry.register(Box::new(errors.clone()))?;
        registry.register(Box::new(in_flight.clone()))?;
        Ok(HttpMetrics {
            routes,
            duration,
            total,
            errors,
            in_flight,
            told_to_leave,
            series: Mutex::default(),
        })
    }

    /// A request is finished.
    pub fn finish(&self, exchange: &Exchange, elapsed: Duration) {
        self.count(&exchange.method, exchange.route, exchange.outcome(), elapsed);
    }

    /// Count one request.
    pub fn count(&self, method: &Method, route: Route, status: u16, elapsed: Duration) {
        let (number, name) = known(method);
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let series =
            series.entry((number, route, status)).or_insert_with(|| self.series_of(name, route, status));
        series.duration.observe(elapsed.as_secs_f64());
        series.total.inc();
        if let Some(errors) = &series.errors {
            errors.inc();
        }
    }

    fn series_of(&self, method: &str, route: Route, status: u16) -> Series {
        let (route, code) = (self.routes.name(route), status.to_string());
        let labels = [method, route, &code];
        let kind = match status {
            500.. => Some("server_error"),
            400..=499 => Some("client_error"),
            _ => None,
        };
        Series {
            duration: self.duration.with_label_values(&labels),
            total: self.total.with_label_values(&labels),
            errors: kind.map(|kind| self.errors.with_label_values(&[method, route, kind])),
        }
    }
}

/// A method as a label: those of HTTP, else `OTHER`, so that clients cannot make series.
fn known(method: &Method) -> (u8, &'static str) {
    match *method {
        Method::GET => (0, "GET"),
        Method::POST => (1, "POST"),
        Method::PUT => (2, "PUT"),
        Method::PATCH => (3, "PATCH"),
        Method::DELETE => (4, "DELETE"),
        Method::HEAD => (5, "HEAD"),
        Method::OPTIONS => (6, "OPTIONS"),
        Method::CONNECT => (7, "CONNECT"),
        Method::TRACE => (8, "TRACE"),
        _ => (9, "OTHER"),
    }
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    fn text(of: impl Fn(&HttpMetrics, &Routes)) -> String {
        let registry = Registry::new();
        let routes = Arc::new(Routes::new(&["/api/v1/users/{id}".to_string()]).unwrap());
        let metrics = HttpMetrics::new(routes.clone(), &registry).unwrap();
        of(&metrics, &routes);
        TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
    }

    /// E01, E02, E03, E12, X26.
    #[test]
    fn names_labels_and_buckets_are_those_of_the_contract() {
        let text = text(|metrics, routes| {
            let route = routes.find(&Method::GET, "/api/v1/users/7");
            metrics.count(&Method::GET, route, 200, Duration::from_millis(300));
            metrics.count(&Method::GET, route, 404, Duration::from_millis(1));
            metrics.count(&Method::GET, route, 503, Duration::from_millis(1));
        });
        for (id, line) in [
            ("E01", "# HELP http_request_duration_seconds Duration of HTTP requests in seconds"),
            ("E01", "# TYPE http_request_duration_seconds histogram"),
            ("E02", "# TYPE http_requests_total counter"),
            ("E12", "# TYPE http_requests_in_flight gauge"),
            ("E02", r#"http_requests_total{method="GET",route="/api/v1/users/{id}",status_code="200"} 1"#),
            (
                "E03",
                r#"http_request_errors_total{error_type="client_error",method="GET",route="/api/v1/users/{id}"} 1"#,
            ),
            (
                "E03",
                r#"http_request_errors_total{error_type="server_error",method="GET",route="/api/v1/users/{id}"} 1"#,
            ),
        ] {
            assert!(text.contains(line), "{id}: {line}\n{text}");
        }
        for (bound, count) in [("0.1", 0), ("0.5", 1), ("1", 1), ("2", 1), ("5", 1), ("+Inf", 1)] {
            let line = format!(
                r#"http_request_duration_seconds_bucket{{method="GET",route="/api/v1/users/{{id}}",status_code="200",le="{bound}"}} {count}"#
            );
            assert!(text.contains(&line), "E01: {line}\n{text}");
        }
    }

    #[test]
    fn clients_cannot_make_series() {
        let text = text(|metrics, routes| {
            for number in 0..1000 {
                let method = Method::from_bytes(format!("M{number}").as_bytes()).unwrap();
                let route = routes.find(&method, &format!("/{number}"));
                metrics.count(&method, route, 200, Duration::ZERO);
            }
        });
        let line = r#"http_requests_total{method="OTHER",route="unmatched",status_code="200"} 1000"#;
        assert!(text.contains(line), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("http_requests_total")).count(), 1);
    }
}
