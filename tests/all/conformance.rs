//! The conformance suite against a service that keeps the contract, and against one for each way to break it.
//! Both speak over real sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use serde_json::{Value, json};
use visiobook::conformance::report::Outcome;
use visiobook::conformance::{self, Report, Spec, Target, catalog};

const ORIGIN: &str = "https://app.visiobook.com";
const SPEC: &str = "
service: books
version: 1.2.0
routes: [GET /api/v1/books, 'GET /api/v1/books/{id}']
protectedRoute: GET /api/v1/loans
corsOrigins: ['https://app.visiobook.com']
dependencies: [database, storage-service]
kpis: [activeUsers]
";

/// How the service is broken, and which checks fail for it: those, and no other.
const BREAKS: &[(&str, &[&str])] = &[
    ("health-unhealthy", &["health/status"]),
    ("health-absent", &["health/status"]),
    ("health-text", &["health/json"]),
    ("health-type", &["health/json"]),
    ("health-status-word", &["health/word"]),
    ("health-no-version", &["health/identity"]),
    ("health-other-service", &["health/identity"]),
    ("health-naive-time", &["health/timestamp"]),
    ("health-old-time", &["health/timestamp"]),
    ("health-uptime-text", &["health/uptime"]),
    ("health-uptime-falls", &["health/uptime"]),
    ("health-no-dependencies", &["health/dependencies"]),
    ("health-dependency-word", &["health/dependencies"]),
    ("health-external-text", &["health/dependencies"]),
    ("health-dependency-missing", &["health/dependencies"]),
    ("health-no-head", &["health/head"]),
    ("health-takes-post", &["health/method"]),
    ("health-not-for-peers", &["health/for-peers"]),
    ("ready-not", &["ready/status"]),
    ("ready-text", &["ready/json"]),
    ("ready-status-word", &["ready/word"]),
    ("ready-no-time", &["ready/timestamp"]),
    ("ready-check-missing", &["ready/checks"]),
    ("ready-check-false", &["ready/checks"]),
    ("ready-no-head", &["ready/head"]),
    ("ready-not-for-peers", &["ready/for-peers"]),
    ("metrics-absent", &["metrics/status"]),
    ("metrics-type", &["metrics/type"]),
    ("metrics-text", &["metrics/text"]),
    ("metrics-family-twice", &["metrics/families"]),
    ("metrics-series-twice", &["metrics/families"]),
    ("metrics-no-head", &["metrics/head"]),
    ("metrics-buckets", &["metrics/duration"]),
    ("metrics-duration-label", &["metrics/duration"]),
    ("metrics-duration-type", &["metrics/duration"]),
    ("metrics-requests-label", &["metrics/requests"]),
    ("metrics-requests-type", &["metrics/requests"]),
    ("metrics-errors-type", &["metrics/errors"]),
    ("metrics-errors-label", &["metrics/errors"]),
    ("metrics-error-kind", &["metrics/errors"]),
    ("metrics-no-in-flight", &["metrics/in-flight"]),
    ("metrics-in-flight-falls", &["metrics/in-flight"]),
    ("metrics-histogram-sums", &["metrics/histograms"]),
    ("metrics-counts-twice", &["metrics/counted"]),
    ("metrics-counts-no-404", &["metrics/counted"]),
    ("metrics-times-twice", &["metrics/timed"]),
    ("metrics-errors-uncounted", &["metrics/errors-counted"]),
    ("metrics-raw-route", &["metrics/route"]),
    ("metrics-unbounded", &["metrics/bounded"]),
    ("metrics-outside", &["metrics/hidden"]),
    ("kpis-absent", &["kpis/status"]),
    ("kpis-type", &["kpis/json"]),
    ("kpis-field-missing", &["kpis/fields"]),
    ("kpis-no-business", &["kpis/fields"]),
    ("kpis-percentage", &["kpis/ranges"]),
    ("kpis-negative", &["kpis/ranges"]),
    ("kpis-percentiles", &["kpis/percentiles"]),
    ("kpis-rates", &["kpis/rates"]),
    ("kpis-business-missing", &["kpis/business"]),
    ("kpis-outside", &["kpis/hidden"]),
    ("correlation-ignored", &["correlation/echo"]),
    ("correlation-request-id-first", &["correlation/echo"]),
    ("correlation-no-request-id", &["correlation/request-id"]),
    ("correlation-request-id-lost", &["correlation/request-id-echo"]),
    ("correlation-constant", &["correlation/generated"]),
    ("correlation-none", &["correlation/generated"]),
    ("process-time-absent", &["headers/process-time"]),
    ("process-time-unit", &["headers/process-time"]),
    ("process-time-microseconds", &["headers/process-time"]),
    ("security-absent", &["headers/security"]),
    ("security-short-hsts", &["headers/security"]),
    ("security-twice", &["headers/once"]),
    ("errors-page", &["errors/status"]),
    ("errors-html-type", &["errors/type"]),
    ("errors-detail", &["errors/envelope"]),
    ("errors-text-code", &["errors/envelope"]),
    ("errors-other-id", &["errors/correlation"]),
    ("errors-milliseconds", &["errors/timestamp"]),
    ("errors-contract-port", &["errors/contract-port"]),
    ("cors-preflight-200", &["cors/preflight"]),
    ("cors-no-patch", &["cors/methods"]),
    ("cors-no-headers", &["cors/headers"]),
    ("cors-any", &["cors/listed"]),
    ("cors-no-credentials", &["cors/listed"]),
    ("cors-stranger", &["cors/stranger"]),
    ("cors-no-vary", &["cors/vary"]),
    ("tokens-missing-403", &["tokens/missing"]),
    ("tokens-malformed", &["tokens/malformed"]),
    ("tokens-invalid", &["tokens/invalid"]),
];

/// Spellings of the minority that the contract accepts (X01, X18).
const ACCEPTED: [&str; 3] = ["accepted-snake-case", "accepted-fraction", "accepted-empty-kpis"];

/// A service that keeps the contract, but for one rule.
struct Service {
    broken: &'static str,
    started: Instant,
    healths: Mutex<u32>,
    /// Requests by method, route and status.
    counts: Mutex<BTreeMap<(String, String, u16), u64>>,
}

type Shared = State<Arc<Service>>;

impl Service {
    fn is(&self, name: &str) -> bool {
        self.broken == name
    }

    /// `name` where this is how it is broken, else `well`.
    fn or<'a>(&self, name: &str, ill: &'a str, well: &'a str) -> &'a str {
        if self.is(name) { ill } else { well }
    }

    fn health(&self) -> Response<Body> {
        if self.is("health-absent") {
            return envelope(404, "not found", "c");
        }
        if self.is("health-text") {
            return answer(200, "application/json", "OK");
        }
        let mut asked = self.healths.lock().unwrap();
        *asked += 1;
        let uptime = match self.broken {
            "health-uptime-text" => json!("12 s"),
            "health-uptime-falls" => json!(100 - *asked),
            _ => json!(self.started.elapsed().as_secs_f64()),
        };
        let external = if self.is("health-external-text") {
            json!("healthy")
        } else if self.is("health-dependency-missing") {
            json!({})
        } else {
            json!({ "storage-service": "unhealthy" })
        };
        let mut body = json!({
            "status": self.or("health-status-word", "ok", self.or("health-unhealthy", "unhealthy", "healthy")),
            "timestamp": match self.broken {
                "health-naive-time" => "2026-01-31 12:00:00".to_string(),
                "health-old-time" => "2020-01-31T12:00:00Z".to_string(),
                _ => jiff::Timestamp::now().to_string(),
            },
            "service": self.or("health-other-service", "unknown", "books"),
            "version": "1.2.0",
            "uptime": uptime,
            "dependencies": { "database": self.or("health-dependency-word", "up", "healthy"), "external_services": external },
        });
        if self.is("health-no-version") {
            body["version"] = Value::Null;
        }
        if self.is("health-no-dependencies") {
            body["dependencies"] = Value::Null;
        }
        let media = self.or("health-type", "text/html", "application/json");
        answer(if self.is("health-unhealthy") { 503 } else { 200 }, media, body.to_string())
    }

    fn ready(&self) -> Response<Body> {
        if self.is("ready-text") {
            return answer(200, "application/json", "READY");
        }
        let not = self.is("ready-not");
        let mut body = json!({
            "status": if not { "not_ready" } else { self.or("ready-status-word", "yes", "ready") },
            "timestamp": jiff::Timestamp::now().to_string(),
            "checks": { "database_migrations": true, "external_dependencies": !not && !self.is("ready-check-false"), "configuration": true },
        });
        if self.is("ready-no-time") {
            body.as_object_mut().unwrap().remove("timestamp");
        }
        if self.is("ready-check-missing") {
            body["checks"].as_object_mut().unwrap().remove("configuration");
        }
        answer(if not { 503 } else { 200 }, "application/json", body.to_string())
    }

    fn metrics(&self) -> Response<Body> {
        if self.is("metrics-absent") {
            return envelope(500, "no metrics", "c");
        }
        let media = self.or("metrics-type", "application/json", "text/plain; version=0.0.4; charset=utf-8");
        answer(200, media, self.exposition())
    }

    fn exposition(&self) -> String {
        let counts = self.counts.lock().unwrap();
        let bounds = self.or("metrics-buckets", "0.005 0.5 1 2 5 +Inf", "0.1 0.5 1 2 5 +Inf");
        let mut text = String::new();
        let mut say = |line: String| {
            text += &line;
            text += "\n";
        };
        let kind = self.or("metrics-requests-type", "gauge", "counter");
        say(format!("# HELP http_requests_total Requests\n# TYPE http_requests_total {kind}"));
        for ((method, route, status), count) in counts.iter() {
            let hidden = self.is("metrics-counts-no-404") && *status == 404 && method == "HEAD";
            let count = if hidden { 0 } else { count * if self.is("metrics-counts-twice") { 2 } else { 1 } };
            let extra = self.or("metrics-requests-label", ",path=\"x\"", "");
            say(format!(
                "http_requests_total{{method=\"{method}\",route=\"{route}\",status_code=\"{status}\"{extra}}} {count}"
            ));
        }
        let kind = self.or("metrics-errors-type", "gauge", "counter");
        say(format!("# TYPE http_request_errors_total {kind}"));
        let mut errors: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for ((method, route, status), count) in counts.iter() {
            if *status >= 400 && !self.is("metrics-errors-uncounted") {
                *errors.entry((method, route)).or_default() += count;
            }
        }
        let error_kind = self.or("metrics-error-kind", "oops", "client_error");
        let label = self.or("metrics-errors-label", "kind", "error_type");
        for ((method, route), count) in errors {
            say(format!(
                "http_request_errors_total{{method=\"{method}\",route=\"{route}\",{label}=\"{error_kind}\"}} {count}"
            ));
        }
        let kind = self.or("metrics-duration-type", "summary", "histogram");
        say(format!("# TYPE http_request_duration_seconds {kind}"));
        let status_label = self.or("metrics-duration-label", "status", "status_code");
        for ((method, route, status), count) in counts.iter() {
            let labels = format!("method=\"{method}\",route=\"{route}\",{status_label}=\"{status}\"");
            let count = count * if self.is("metrics-times-twice") { 2 } else { 1 };
            for bound in bounds.split(' ') {
                let inside = if bound == "0.5" && self.is("metrics-histogram-sums") { 0 } else { count };
                say(format!("http_request_duration_seconds_bucket{{{labels},le=\"{bound}\"}} {inside}"));
            }
            say(format!("http_request_duration_seconds_sum{{{labels}}} 0.01"));
            say(format!("http_request_duration_seconds_count{{{labels}}} {count}"));
        }
        if !self.is("metrics-no-in-flight") {
            let now = self.or("metrics-in-flight-falls", "-3", "0");
            say(format!("# TYPE http_requests_in_flight gauge\nhttp_requests_in_flight {now}"));
        }
        match self.broken {
            "metrics-family-twice" => say("# TYPE http_requests_in_flight gauge".into()),
            "metrics-series-twice" => say("http_requests_in_flight 0".into()),
            "metrics-text" => say("books_total{shelf=} many".into()),
            _ => {}
        }
        // What cannot be read is broken in the end only: the other checks judge what came before.
        text
    }

    fn kpis(&self) -> Response<Body> {
        if self.is("kpis-absent") {
            return envelope(500, "not yet", "c");
        }
        let mut body = json!({
            "averageResponseTime": 1.5,
            "p95ResponseTime": if self.is("kpis-percentiles") { 30 } else { 3 },
            "p99ResponseTime": 4,
            "throughput": if self.is("kpis-negative") { -0.1 } else { 0.1 },
            "uptime": if self.is("kpis-percentage") { 300 } else { 100 },
            "errorRate": 10,
            "successRate": if self.is("kpis-rates") { 0.9 } else { 90.0 },
            "cpuUsage": 3.5,
            "memoryUsage": null,
            "diskUsage": 1,
            "businessMetrics": { "activeUsers": 3 },
        });
        match self.broken {
            "kpis-field-missing" => body["p99ResponseTime"] = Value::Null,
            "kpis-no-business" => body["businessMetrics"] = json!([]),
            "kpis-business-missing" => body["businessMetrics"] = json!({}),
            "accepted-empty-kpis" => body["cpuUsage"] = Value::Null,
            _ => {}
        }
        answer(200, self.or("kpis-type", "text/plain", "application/json"), body.to_string())
    }

    /// What the application says, and the label of its route.
    fn application(&self, request: &Request, id: &str) -> (Response<Body>, String) {
        let path = request.uri().path();
        let header =
            |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_string());
        match path {
            "/api/v1/loans" => {
                let (status, message) = match header("authorization").as_deref() {
                    None if self.is("tokens-missing-403") => (403, "Authorization header required"),
                    None => (401, "Authorization header required"),
                    Some(value) if !value.starts_with("Bearer ") => {
                        (401, self.or("tokens-malformed", "Bad header", "Invalid authorization format"))
                    }
                    Some(_) => (401, self.or("tokens-invalid", "Token expired", "Invalid token")),
                };
                (envelope(status, message, id), path.into())
            }
            _ if path.starts_with("/api/v1/books/") => {
                let route = self.or("metrics-raw-route", path, "/api/v1/books/{id}").to_string();
                (answer(200, "application/json", "{}"), route)
            }
            "/metrics" if self.is("metrics-outside") => (self.metrics(), path.into()),
            "/kpis" if self.is("kpis-outside") => (self.kpis(), path.into()),
            "/metrics" | "/kpis" => (envelope(404, "not found", id), "unmatched".into()),
            _ => {
                let route = if self.is("metrics-unbounded") { path } else { "unmatched" };
                (self.lost(id), route.into())
            }
        }
    }

    /// The answer to a path that does not exist.
    fn lost(&self, id: &str) -> Response<Body> {
        let now = jiff::Timestamp::now();
        match self.broken {
            "errors-page" => answer(200, "text/html", "<h1>Books</h1>"),
            "errors-html-type" => answer(404, "text/html", text_of(404, "not found", id)),
            "errors-detail" => answer(404, "application/json", r#"{"detail":"Not Found"}"#),
            "errors-text-code" => {
                answer(404, "application/json", text_of(404, "not found", id).replace("404", "\"NOT_FOUND\""))
            }
            "errors-other-id" => envelope(404, "not found", "another"),
            "errors-milliseconds" => {
                let body = json!({ "error": { "code": 404, "message": "no", "correlationId": id, "timestamp": now.as_millisecond() } });
                answer(404, "application/json", body.to_string())
            }
            "accepted-snake-case" => answer(
                404,
                "application/json",
                text_of(404, "not found", id).replace("correlationId", "correlation_id"),
            ),
            "accepted-fraction" => {
                let body = json!({ "error": { "code": 404, "message": "no", "correlationId": id, "timestamp": now.as_millisecond() as f64 / 1000.0 } });
                answer(404, "application/json", body.to_string())
            }
            _ => envelope(404, "not found", id),
        }
    }
}

fn text_of(status: u16, message: &str, id: &str) -> String {
    let seconds = jiff::Timestamp::now().as_second();
    json!({ "error": { "code": status, "message": message, "correlationId": id, "timestamp": seconds } })
        .to_string()
}

fn envelope(status: u16, message: &str, id: &str) -> Response<Body> {
    answer(status, "application/json", text_of(status, message, id))
}

fn answer(status: u16, media: &str, body: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response.headers_mut().insert("content-type", HeaderValue::from_str(media).unwrap());
    response
}

fn set(response: &mut Response<Body>, name: &'static str, value: &str) {
    response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
}

/// The contract's own port.
async fn contract(State(service): Shared, request: Request) -> Response<Body> {
    let path = request.uri().path();
    let known = ["/health", "/ready", "/metrics", "/kpis"].contains(&path);
    let head_refused =
        [("health-no-head", "/health"), ("ready-no-head", "/ready"), ("metrics-no-head", "/metrics")];
    let refused = match *request.method() {
        Method::GET => false,
        Method::HEAD => head_refused.iter().any(|(name, of)| service.is(name) && path == *of),
        _ => !(service.is("health-takes-post") && path == "/health"),
    };
    if known && refused {
        return envelope(405, "method not allowed", "c");
    }
    match path {
        "/health" => service.health(),
        "/ready" => service.ready(),
        "/metrics" => service.metrics(),
        "/kpis" => service.kpis(),
        _ if service.is("errors-contract-port") => answer(404, "text/plain", "404 page not found"),
        _ => envelope(404, "not found", "c"),
    }
}

/// The port of traffic.
async fn traffic(State(service): Shared, request: Request) -> Response<Body> {
    let well =
        Service { broken: "", started: service.started, healths: Mutex::default(), counts: Mutex::default() };
    match request.uri().path() {
        "/health" if !service.is("health-not-for-peers") => return well.health(),
        "/ready" if !service.is("ready-not-for-peers") => return well.ready(),
        _ => {}
    }
    let header = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_string());
    let (correlation, request_id) = (header("x-correlation-id"), header("x-request-id"));
    let made =
        if service.is("correlation-constant") { "1".to_string() } else { uuid::Uuid::new_v4().to_string() };
    let made = if service.is("correlation-none") { String::new() } else { made };
    let id = match (correlation, &request_id) {
        (Some(_), _) if service.is("correlation-ignored") => made,
        (Some(_), Some(request_id)) if service.is("correlation-request-id-first") => request_id.clone(),
        (Some(correlation), _) => correlation,
        (None, Some(_)) if service.is("correlation-no-request-id") => made,
        (None, Some(request_id)) => request_id.clone(),
        (None, None) => made,
    };
    let origin = header("origin");
    let preflight = request.method() == Method::OPTIONS && header("access-control-request-method").is_some();
    let method = request.method().to_string();
    let (mut response, route) = if preflight {
        let mut response = answer(if service.is("cors-preflight-200") { 200 } else { 204 }, "text/plain", "");
        let methods = service.or(
            "cors-no-patch",
            "GET, POST, PUT, DELETE, OPTIONS",
            "GET, POST, PUT, PATCH, DELETE, OPTIONS",
        );
        set(&mut response, "access-control-allow-methods", methods);
        let headers = "Authorization, Content-Type, X-Correlation-ID, X-Request-ID";
        set(&mut response, "access-control-allow-headers", service.or("cors-no-headers", "*", headers));
        (response, "unmatched".into())
    } else {
        service.application(&request, &id)
    };
    if let Some(origin) = origin.filter(|origin| origin == ORIGIN || service.is("cors-stranger")) {
        let any = service.is("cors-any") && !preflight;
        set(&mut response, "access-control-allow-origin", if any { "*" } else { &origin });
        if !service.is("cors-no-credentials") || preflight {
            set(&mut response, "access-control-allow-credentials", "true");
        }
    }
    if !service.is("cors-no-vary") {
        set(&mut response, "vary", "Accept-Encoding, Origin");
    }
    if !id.is_empty() {
        set(&mut response, "x-correlation-id", &id);
    }
    if let Some(request_id) = request_id.filter(|_| !service.is("correlation-request-id-lost")) {
        set(&mut response, "x-request-id", &request_id);
    }
    match service.broken {
        "process-time-absent" => {}
        "process-time-unit" => set(&mut response, "x-process-time", "0.1ms"),
        "process-time-microseconds" => set(&mut response, "x-process-time", "100000"),
        _ => set(&mut response, "x-process-time", "0.1"),
    }
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("x-xss-protection", "1; mode=block"),
        (
            "strict-transport-security",
            service.or("security-short-hsts", "max-age=60", "max-age=31536000; includeSubDomains"),
        ),
        ("content-security-policy", "default-src 'self'"),
        ("referrer-policy", "strict-origin-when-cross-origin"),
    ] {
        if !(service.is("security-absent") && name == "x-frame-options") {
            set(&mut response, name, value);
        }
    }
    if service.is("security-twice") {
        response.headers_mut().append("x-frame-options", HeaderValue::from_static("DENY"));
    }
    *service.counts.lock().unwrap().entry((method, route, response.status().as_u16())).or_default() += 1;
    response
}

async fn listen(router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// A service of its own; its port of traffic, and its contract's.
async fn start(broken: &'static str) -> (SocketAddr, SocketAddr) {
    let service = Arc::new(Service {
        broken,
        started: Instant::now(),
        healths: Mutex::default(),
        counts: Mutex::default(),
    });
    let traffic = listen(Router::new().fallback(traffic).with_state(service.clone())).await;
    (traffic, listen(Router::new().fallback(contract).with_state(service)).await)
}

async fn examine(broken: &'static str, spec: &str) -> Report {
    let (traffic, contract) = start(broken).await;
    let target = Target {
        url: format!("http://{traffic}"),
        contract_url: Some(format!("http://{contract}/")),
        token: None,
        timeout: Duration::from_secs(10),
        wait: Duration::ZERO,
    };
    conformance::examine(&target, Spec::read(spec).unwrap()).await.unwrap()
}

fn failures(report: &Report) -> BTreeSet<&str> {
    report
        .checks
        .iter()
        .filter(|finding| finding.outcome == Outcome::Fail)
        .map(|finding| finding.id)
        .collect()
}

#[tokio::test]
async fn a_service_that_keeps_the_contract_passes_every_check() {
    let report = examine("", SPEC).await;
    assert_eq!((report.failed, report.skipped), (0, 0), "{}", report.text());
    assert_eq!(report.passed, catalog::all().count());
    for spelling in ACCEPTED {
        let report = examine(spelling, SPEC).await;
        assert_eq!((report.failed, report.skipped), (0, 0), "{spelling}: {}", report.text());
    }
}

#[tokio::test]
async fn each_broken_rule_fails_its_check_and_no_other() {
    let reports = futures::future::join_all(BREAKS.iter().map(|(broken, _)| examine(broken, SPEC))).await;
    let wrong: Vec<String> = BREAKS
        .iter()
        .zip(&reports)
        .filter(|((_, expected), report)| failures(report) != expected.iter().copied().collect())
        .map(|((broken, expected), report)| format!("{broken}: expected {expected:?}\n{}", report.text()))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_check_can_fail() {
    let held: BTreeSet<&str> = BREAKS.iter().flat_map(|(_, checks)| checks.iter().copied()).collect();
    let unheld: Vec<&str> = catalog::all().map(|check| check.id).filter(|id| !held.contains(id)).collect();
    assert_eq!(unheld, ["service/reachable"], "no service is broken so that these fail");
}

#[tokio::test]
async fn what_is_not_told_is_skipped_and_never_passed() {
    let report = examine("", "skip: [health/uptime]").await;
    assert_eq!(report.failed, 0, "{}", report.text());
    let skipped: BTreeSet<&str> = report
        .checks
        .iter()
        .filter(|finding| finding.outcome == Outcome::Skip)
        .map(|finding| finding.id)
        .collect();
    for id in ["health/uptime", "metrics/route", "kpis/business", "cors/preflight", "tokens/missing"] {
        assert!(skipped.contains(id), "{id}: {}", report.text());
    }
    let shared = examine("metrics-counts-twice", "shared: true").await;
    assert_eq!(shared.failed, 0, "{}", shared.text());
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_one_failure() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let target = Target {
        url: format!("http://{free}"),
        contract_url: None,
        token: None,
        timeout: Duration::from_secs(2),
        wait: Duration::ZERO,
    };
    let report = conformance::examine(&target, Spec::default()).await.unwrap();
    assert_eq!((report.checks.len(), report.failed), (1, 1));
    assert_eq!(report.checks[0].id, "service/reachable");
    assert!(report.checks[0].observed.contains("refused"), "{}", report.text());
}

#[tokio::test]
async fn a_way_to_a_service_may_be_there_a_moment_later() {
    let (traffic, contract) = start("").await;
    let address = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let target = Target {
        url: format!("http://{address}"),
        contract_url: Some(format!("http://{contract}")),
        token: None,
        timeout: Duration::from_secs(10),
        wait: Duration::from_secs(30),
    };
    let later = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut to = tokio::net::TcpStream::connect(traffic).await.unwrap();
                tokio::spawn(async move { tokio::io::copy_bidirectional(&mut stream, &mut to).await });
            }
        });
    };
    let (report, ()) = tokio::join!(conformance::examine(&target, Spec::default()), later);
    let report = report.unwrap();
    assert_eq!(report.failed, 0, "{}", report.text());
}

#[tokio::test]
async fn an_address_that_is_none_is_refused() {
    let target = Target {
        url: "books".into(),
        contract_url: None,
        token: None,
        timeout: Duration::from_secs(2),
        wait: Duration::from_secs(60),
    };
    let told = conformance::examine(&target, Spec::default()).await.unwrap_err().to_string();
    assert!(told.contains("write it as http://HOST:PORT"), "{told}");
}

/// Run the command line itself; its exit code, stdout and stderr.
async fn command(args: Vec<String>) -> (Option<i32>, String, String) {
    let run =
        move || Command::new(env!("CARGO_BIN_EXE_visiobook")).arg("conformance").args(args).output().unwrap();
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn the_exit_code_is_0_only_where_nothing_failed_and_the_outputs_are_well_formed() {
    let folder = tempfile::tempdir().unwrap();
    let (spec, junit) = (folder.path().join("books.yaml"), folder.path().join("junit.xml"));
    std::fs::write(&spec, SPEC).unwrap();
    for (broken, code) in [("", 0), ("health-status-word", 1)] {
        let (traffic, contract) = start(broken).await;
        let args = format!(
            "--url http://{traffic} --contract-url http://{contract} --output json --spec {} --junit {}",
            spec.display(),
            junit.display()
        );
        let (status, stdout, stderr) = command(args.split(' ').map(String::from).collect()).await;
        assert_eq!(status, Some(code), "{stdout}{stderr}");
        let read: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(read["failed"], code);
        let xml = std::fs::read_to_string(&junit).unwrap();
        let xml = roxmltree::Document::parse(&xml).unwrap();
        assert_eq!(xml.root_element().attribute("failures"), Some(code.to_string().as_str()));
    }
}

#[tokio::test]
async fn a_spec_that_says_what_nobody_knows_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let spec = folder.path().join("books.yaml");
    std::fs::write(&spec, "colour: blue\n").unwrap();
    let args = ["--url", "http://127.0.0.1:9", "--spec", &spec.display().to_string()].map(String::from);
    let (status, _, stderr) = command(args.to_vec()).await;
    assert!(status == Some(1) && stderr.contains("colour") && stderr.contains("books.yaml"), "{stderr}");
}
