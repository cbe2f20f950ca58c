use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use prometheus::IntCounter;

use super::*;
use crate::sidecar::report::exposition::{Line, read};

/// An application that shows `body`, and how often it was asked.
async fn serve(status: u16, body: &'static str, delay: Duration) -> (u16, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = async move |State(asked): State<Arc<AtomicUsize>>| {
        asked.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(delay).await;
        (StatusCode::from_u16(status).unwrap(), body)
    };
    let application = Router::new().route("/metrics", get(answer)).with_state(asked.clone());
    tokio::spawn(async move { axum::serve(listener, application).await });
    (port, asked)
}

fn metrics(settings: serde_json::Value) -> Metrics {
    let mut with = serde_json::json!({ "service": "books" });
    with.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    let registry = Registry::new();
    let ours = IntCounter::new("ours_total", "Ours.").unwrap();
    ours.inc();
    registry.register(Box::new(ours)).unwrap();
    Metrics::new(&serde_json::from_value(with).unwrap(), registry).unwrap()
}

fn beside(port: u16) -> Metrics {
    metrics(serde_json::json!({ "application": { "port": port } }))
}

fn lines<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.starts_with(name)).collect()
}

#[track_caller]
fn assert_reads(text: &str) {
    let mut families = HashSet::new();
    for line in text.lines() {
        match read(line.as_bytes()) {
            Line::Malformed => panic!("{line}"),
            Line::Type(name, _) => assert!(families.insert(name), "{name} twice"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn ours_and_the_applications_are_one_text() {
    let body = "# TYPE books gauge\nbooks 3\nours_total 7\nhttp_requests_total{code=\"200\"} 9\nno number\nbooks 4\n";
    let (port, _) = serve(200, body, Duration::ZERO).await;
    let metrics = beside(port);
    let text = metrics.text().await;
    assert_reads(&text);
    assert_eq!(lines(&text, "books"), ["books 3"]);
    assert_eq!(lines(&text, "ours_total"), ["ours_total 1"]);
    assert_eq!(lines(&text, "http_requests_total"), [""; 0]);
    assert_eq!(lines(&text, "visiobook_sidecar_process_resident_memory_bytes").len(), 1);
    assert_eq!((lines(&text, "disk_free_bytes").len(), lines(&text, "disk_total_bytes").len()), (1, 1));
    let text = metrics.text().await;
    assert_eq!(
        lines(&text, "visiobook_sidecar_metrics_dropped_total"),
        [
            "visiobook_sidecar_metrics_dropped_total{reason=\"collision\"} 2",
            "visiobook_sidecar_metrics_dropped_total{reason=\"duplicate\"} 1",
            "visiobook_sidecar_metrics_dropped_total{reason=\"malformed\"} 1",
        ]
    );
}

#[tokio::test]
async fn beside_an_application_without_metrics_ours_stand_alone() {
    let (missing, _) = serve(404, "a 1", Duration::ZERO).await;
    let (page, _) = serve(200, "<!doctype html>\n<p>a 1</p>", Duration::ZERO).await;
    for port in [missing, page, 1] {
        let text = beside(port).text().await;
        assert_reads(&text);
        assert_eq!(lines(&text, "ours_total"), ["ours_total 1"]);
        assert_eq!(lines(&text, "a "), [""; 0]);
    }
    let alone = metrics(serde_json::json!({ "application": { "metricsPath": null } }));
    assert_eq!(lines(&alone.text().await, "ours_total"), ["ours_total 1"]);
    // The sidecar does not ask itself.
    let itself = metrics(serde_json::json!({ "application": { "metricsPort": 9090 } }));
    assert_eq!(itself.url, None);
}

#[tokio::test]
async fn a_slow_or_endless_application_costs_two_seconds_at_most() {
    let (port, _) = serve(200, "a 1\n", Duration::from_secs(30)).await;
    let metrics = beside(port);
    let started = Instant::now();
    let text = metrics.text().await;
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_eq!(
        lines(&text, "visiobook_sidecar_metrics_dropped_total"),
        ["visiobook_sidecar_metrics_dropped_total{reason=\"unanswered\"} 1"]
    );
    let endless: &'static str = Box::leak("a 1\n".repeat(MOST_BYTES / 4 + 1).into_boxed_str());
    let (port, _) = serve(200, endless, Duration::ZERO).await;
    let text = beside(port).text().await;
    assert_eq!(
        lines(&text, "visiobook_sidecar_metrics_dropped_total"),
        ["visiobook_sidecar_metrics_dropped_total{reason=\"too_large\"} 1"]
    );
}

#[tokio::test]
async fn scrapes_at_a_time_share_one_answer() {
    let (port, asked) = serve(200, "a 1\n", Duration::from_millis(300)).await;
    let metrics = beside(port);
    let texts = futures::future::join_all((0..20).map(|_| metrics.text())).await;
    assert!(texts.iter().all(|text| lines(text, "a ") == ["a 1"]));
    assert!(asked.load(Ordering::Relaxed) <= 2, "{asked:?}");
    metrics.text().await;
    assert!(asked.load(Ordering::Relaxed) <= 3, "{asked:?}");
}

#[tokio::test]
async fn usage_and_business_come_from_the_applications_metrics() {
    let body = "process_resident_memory_bytes 5e8\nactive_users{a=\"1\"} 2\nactive_users{a=\"2\"} 3\n";
    let (port, _) = serve(200, body, Duration::ZERO).await;
    let metrics = metrics(serde_json::json!({
        "application": { "port": port, "memoryBytes": 1_000_000_000 },
        "kpis": { "activeUsers": "active_users", "unseen": "unseen" },
    }));
    assert_eq!((metrics.memory_usage(), metrics.cpu_usage()), (None, None));
    let text = metrics.text().await;
    assert_eq!(lines(&text, "system_memory_usage_bytes"), ["system_memory_usage_bytes 500000000"]);
    assert_eq!(lines(&text, "system_cpu_usage_percent"), [""; 0]);
    assert_eq!(metrics.memory_usage(), Some(50.0));
    assert_eq!(
        metrics.business(),
        BTreeMap::from([("activeUsers".to_owned(), Some(5.0)), ("unseen".to_owned(), None)])
    );
    let disk = metrics.disk_usage().unwrap();
    assert!((0.0..=100.0).contains(&disk), "{disk}");
}

#[tokio::test]
async fn an_application_that_tells_its_usage_itself_is_not_contradicted() {
    let body = "system_memory_usage_bytes 7\nprocess_resident_memory_bytes 5e8\n";
    let (port, _) = serve(200, body, Duration::ZERO).await;
    let metrics = beside(port);
    for _ in 0..2 {
        assert_eq!(
            lines(&metrics.text().await, "system_memory_usage_bytes"),
            ["system_memory_usage_bytes 7"]
        );
    }
}

#[tokio::test]
async fn a_sidecar_without_traffic_leaves_the_applications_http_metrics() {
    let (port, _) = serve(200, "http_requests_total{code=\"200\"} 9\n", Duration::ZERO).await;
    let metrics = metrics(serde_json::json!({ "mode": "Observe", "application": { "port": port } }));
    assert_eq!(lines(&metrics.text().await, "http_requests_total"), ["http_requests_total{code=\"200\"} 9"]);
}
