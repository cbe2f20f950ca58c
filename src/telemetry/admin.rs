//! The admin server: `/livez`, `/readyz` and `/metrics`.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;

/// What the process still waits for before it is ready. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeSet<&'static str>>>);

impl Readiness {
    /// Adds something to wait for. A latch that is dropped without [`Latch::open`] stays closed: whoever was to open
    /// it has failed.
    pub fn latch(&self, name: &'static str) -> Latch {
        self.closed().insert(name);
        Latch { readiness: self.clone(), name }
    }

    /// What is still awaited, in alphabetical order.
    pub fn awaited(&self) -> Vec<&'static str> {
        self.closed().iter().copied().collect()
    }

    fn closed(&self) -> MutexGuard<'_, BTreeSet<&'static str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One thing that readiness waits for; opens once.
#[derive(Debug)]
#[must_use = "readiness waits until it is opened"]
pub struct Latch {
    readiness: Readiness,
    name: &'static str,
}

impl Latch {
    /// It has happened.
    pub fn open(self) {
        self.readiness.closed().remove(self.name);
    }
}

/// A sign of life of a loop that must not stall. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    last: Arc<Mutex<Instant>>,
    max_age: Duration,
}

impl Heartbeat {
    /// Starts with a beat; the process counts as dead once none came for `max_age`.
    pub fn new(max_age: Duration) -> Self {
        Self { last: Arc::new(Mutex::new(Instant::now())), max_age }
    }

    /// The loop turns.
    pub fn beat(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Beats for as long as it is polled. Beside the work in one `select!` it falls silent with the task of that work:
    /// when something blocks it, or nobody polls it any more.
    pub async fn keep(&self) -> Infallible {
        loop {
            self.beat();
            tokio::time::sleep(self.max_age / 10).await;
        }
    }

    /// How long the loop has been silent, if that is too long.
    fn stalled(&self) -> Option<Duration> {
        let age = self.last.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
        (age > self.max_age).then_some(age)
    }
}

/// The admin server's parts.
#[derive(Clone)]
pub struct Admin {
    /// What `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// What `/readyz` waits for.
    pub readiness: Readiness,
    /// What `/livez` checks besides answering at all.
    pub heartbeat: Option<Heartbeat>,
}

impl Admin {
    /// Serves on `address` until `cancel` fires.
    pub async fn serve(self, address: SocketAddr, cancel: CancellationToken) -> io::Result<()> {
        let listener = TcpListener::bind(address).await?;
        tracing::info!(address = %listener.local_addr()?, "admin server listens");
        axum::serve(listener, self.routes()).with_graceful_shutdown(cancel.cancelled_owned()).await
    }

    fn routes(self) -> Router {
        Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(self)
    }
}

async fn livez(State(admin): State<Admin>) -> (StatusCode, String) {
    match admin.heartbeat.and_then(|heartbeat| heartbeat.stalled()) {
        None => (StatusCode::OK, "ok\n".into()),
        Some(age) => (StatusCode::SERVICE_UNAVAILABLE, format!("no heartbeat for {} s\n", age.as_secs())),
    }
}

async fn readyz(State(admin): State<Admin>) -> (StatusCode, String) {
    match admin.readiness.awaited().as_slice() {
        [] => (StatusCode::OK, "ok\n".into()),
        awaited => (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for: {}\n", awaited.join(", "))),
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    match admin.metrics.encode() {
        Ok(text) => ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    fn admin() -> Admin {
        let metrics = Arc::new(Metrics::new(1).unwrap());
        Admin { metrics, readiness: Readiness::default(), heartbeat: None }
    }

    async fn ask(admin: &Admin, path: &str) -> (u16, String, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = admin.clone().routes().oneshot(request).await.unwrap();
        let kind = response.headers().get(CONTENT_TYPE).map(|v| v.to_str().unwrap().to_owned());
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.into()).unwrap(), kind.unwrap_or_default())
    }

    #[tokio::test]
    async fn readyz_names_what_it_waits_for_until_every_latch_is_open() {
        let admin = admin();
        let caches = admin.readiness.latch("watch caches");
        let crds = admin.readiness.latch("crds");
        let (status, body, _) = ask(&admin, "/readyz").await;
        assert_eq!((status, body.as_str()), (503, "waiting for: crds, watch caches\n"));

        crds.open();
        assert_eq!(ask(&admin, "/readyz").await.1, "waiting for: watch caches\n");

        caches.open();
        assert_eq!(ask(&admin, "/readyz").await.0, 200);
    }

    #[tokio::test]
    async fn a_latch_dropped_unopened_stays_closed() {
        let admin = admin();
        drop(admin.readiness.latch("crds"));
        assert_eq!(ask(&admin, "/readyz").await.0, 503);
    }

    #[tokio::test]
    async fn livez_fails_only_while_the_heart_stands_still() {
        assert_eq!(ask(&admin(), "/livez").await.0, 200, "no heartbeat to check");

        let heartbeat = Heartbeat::new(Duration::from_millis(200));
        let admin = Admin { heartbeat: Some(heartbeat.clone()), ..admin() };
        assert_eq!(ask(&admin, "/livez").await.0, 200);
        tokio::time::sleep(Duration::from_millis(250)).await;
        assert_eq!(ask(&admin, "/livez").await.0, 503);
        heartbeat.beat();
        assert_eq!(ask(&admin, "/livez").await.0, 200);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_heart_beats_while_its_task_waits_and_stops_when_the_task_is_blocked() {
        let heartbeat = Heartbeat::new(Duration::from_secs(4));
        let admin = Admin { heartbeat: Some(heartbeat.clone()), ..admin() };
        let (block, blocked) = tokio::sync::oneshot::channel::<std::sync::mpsc::Receiver<()>>();
        let (release, released) = std::sync::mpsc::channel();
        let task = tokio::spawn(async move {
            let work = async { blocked.await.unwrap().recv().unwrap() };
            tokio::select! {
                () = work => {}
                never = heartbeat.keep() => match never {},
            }
        });
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(ask(&admin, "/livez").await.0, 200, "it waits, and is well");
        block.send(released).unwrap();
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(ask(&admin, "/livez").await.0, 503);
        release.send(()).unwrap();
        task.await.unwrap();
    }

    #[tokio::test]
    async fn metrics_come_in_prometheus_text_format() {
        let (status, body, kind) = ask(&admin(), "/metrics").await;
        assert_eq!(status, 200);
        assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
        assert!(body.contains("# TYPE visiobook_leader gauge"), "{body}");
    }

    #[tokio::test]
    async fn the_server_stops_when_told() {
        let cancel = CancellationToken::new();
        let server = tokio::spawn(admin().serve(SocketAddr::from(([127, 0, 0, 1], 0)), cancel.clone()));
        cancel.cancel();
        tokio::time::timeout(Duration::from_secs(5), server).await.unwrap().unwrap().unwrap();
    }
}
