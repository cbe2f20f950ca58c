//! The HTTP server around a service, from its start to the end of its last request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::configuration::Configuration;
use super::database::Database;
use super::failure::{Envelope, EnvelopeError, Failure};
use super::measures::Measures;
use super::registration::Registration;
use super::report::Report;
use super::{Parts, Service, migrations, openapi};
use crate::contract::settings::Environment;
use crate::contract::{HEALTH_PATH, KPIS_PATH, METRICS_PATH, METRICS_TYPE, READY_PATH};
use crate::sidecar::answer::unix_seconds;
use crate::sidecar::correlation::{Correlation, CorrelationId};
use crate::sidecar::logs::{Base, Lines, Sink};
use crate::sidecar::{headers, panics};

/// What a client reads of a failure in production (D44).
const MASKED: &str = "Une erreur interne s'est produite";

/// Why a service does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The environment says what cannot be.
    #[error("the configuration is wrong:\n  {}", .0.join("\n  "))]
    Configuration(Vec<String>),
    /// Its port is taken.
    #[error("{0} cannot be listened on: {1}")]
    Listen(std::net::SocketAddr, std::io::Error),
    /// Its schema could not be brought up.
    #[error("migrations: {0}")]
    Migrations(String),
    /// It cannot be put together.
    #[error("{0}")]
    Start(String),
    /// The process cannot have what it needs.
    #[error(transparent)]
    Process(#[from] std::io::Error),
    /// Metrics collide.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
}

/// The environment.
pub type Lookup<'a> = &'a (dyn Fn(&str) -> Option<String> + Sync);

/// Bring the schema of `service` up.
pub async fn migrate(service: &Service, lookup: Lookup<'_>) -> Result<(), Error> {
    let configuration = Configuration::read(service.name, &lookup).map_err(Error::Configuration)?;
    migrations::migrate(&configuration.database.client, service.migration_table, service.migrations)
        .await
        .map_err(|error| Error::Migrations(configuration.redact(&error.to_string())))
}

/// Log to stdout from here on, in the lines of the contract (D20).
pub fn log(configuration: &Configuration) -> Result<Sink, Error> {
    let sink = Sink::new(std::io::stdout())?;
    let settings = &configuration.settings;
    let lines = Lines { sink: sink.clone(), base: Base::new(settings), level: settings.logs.level };
    let _ = tracing_subscriber::registry().with(lines).try_init();
    panics::log();
    Ok(sink)
}

/// Run `service` until `stop` resolves, then let requests under way end (H03). `listening` is told the address.
pub async fn run(
    service: &'static Service,
    configuration: Configuration,
    lookup: Lookup<'_>,
    stop: impl Future<Output = ()> + Send + 'static,
    listening: impl FnOnce(std::net::SocketAddr),
) -> Result<(), Error> {
    let configuration = Arc::new(configuration);
    let measures = Arc::new(Measures::new()?);
    let database = Arc::new(Database::new(&configuration, measures.clone()));
    let parts = Parts { configuration: configuration.clone(), database: database.clone(), measures };
    let mut running = (service.start)(&parts).map_err(Error::Start)?;
    let report = Arc::new(Report::new(&parts, &mut running, &lookup));
    let registration = Registration::new(configuration.clone());
    let router = router(service, running.routes, report.clone(), &configuration);

    let address = std::net::SocketAddr::new(configuration.host, configuration.port);
    let listener = TcpListener::bind(address).await.map_err(|error| Error::Listen(address, error))?;
    let address = listener.local_addr()?;
    tracing::info!(%address, name = service.name, "service listens");
    listening(address);

    let (told, mut hear) = tokio::sync::watch::channel(false);
    let ended = async move {
        stop.await;
        let _ = told.send(true);
    };
    let serving = axum::serve(listener, router).with_graceful_shutdown(ended);
    let shutdown = configuration.shutdown;
    let too_long = async move {
        let _ = hear.wait_for(|stops| *stops).await;
        tokio::time::sleep(shutdown).await;
    };
    tokio::select! {
        served = serving.into_future() => served?,
        () = too_long => tracing::warn!("requests were still under way when the time to stop was over"),
        () = running.background => {}
        () = report.run(&parts, service) => {}
        () = registration.run(&database, service) => {}
        () = database.watch() => {}
    }
    // After the last request, and not for long: a frozen server must not hold the end up.
    let _ = tokio::time::timeout(Duration::from_secs(2), database.close()).await;
    tracing::info!("service stops");
    Ok(())
}

/// The routes of the service, its documents and the contract's, behind one layer.
fn router(
    service: &Service,
    routes: utoipa_axum::router::OpenApiRouter,
    report: Arc<Report>,
    configuration: &Configuration,
) -> Router {
    let (routes, api) = routes.split_for_parts();
    let documents = openapi::routes(service, api, &configuration.version);
    let contract = Router::new()
        .route(HEALTH_PATH, get(|State(report): State<Arc<Report>>| async move { state(report.health()) }))
        .route(READY_PATH, get(|State(report): State<Arc<Report>>| async move { state(report.ready()) }))
        .route(
            METRICS_PATH,
            get(|State(report): State<Arc<Report>>| async move {
                ([(CONTENT_TYPE, METRICS_TYPE)], report.metrics()).into_response()
            }),
        )
        .route(
            KPIS_PATH,
            get(|State(report): State<Arc<Report>>| async move { state((true, report.kpis())) }),
        )
        .with_state(report.clone());
    let layer = Layer { report, production: configuration.environment == Environment::Production };
    Router::new()
        .merge(routes)
        .merge(documents)
        .merge(contract)
        .fallback(|| async { Failure::not_found("RESOURCE_NOT_FOUND", "No such route") })
        .method_not_allowed_fallback(|| async {
            Failure::refused(StatusCode::METHOD_NOT_ALLOWED, "This route does not take this method")
        })
        .layer(from_fn_with_state(Arc::new(layer), pass))
}

fn state((well, body): (bool, Value)) -> Response {
    let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body.to_string())
        .into_response()
}

struct Layer {
    report: Arc<Report>,
    production: bool,
}

/// What every request passes: its id (D26), panics (H04), the envelope (D40), security headers (D60).
async fn pass(State(layer): State<Arc<Layer>>, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let correlation = Correlation::default();
    let id = correlation.resolve(request.headers());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    request.extensions_mut().insert(id.clone());
    let mut response = match panics::caught(next.run(request)).await {
        Ok(response) => response,
        Err(said) => Failure::internal("Internal server error", said).into_response(),
    };
    if let Some(failure) = response.extensions_mut().remove::<Failure>() {
        tell(&failure, &method, &path, &id);
        let allow = response.headers_mut().remove(http::header::ALLOW);
        response = envelope(failure, &id, layer.production);
        if let Some(allow) = allow {
            response.headers_mut().insert(http::header::ALLOW, allow);
        }
    }
    correlation.set(response.headers_mut(), &id);
    headers::secure(response.headers_mut());
    if !response.headers().contains_key(CACHE_CONTROL) {
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    let is_of_the_contract = [HEALTH_PATH, READY_PATH, METRICS_PATH, KPIS_PATH].contains(&path.as_str());
    if !is_of_the_contract {
        layer.report.record(begun.elapsed().as_secs_f64() * 1000.0, response.status().as_u16());
    }
    response
}

/// Log what nobody foresaw (D22); what a client did wrong is in the sidecar's line of the request.
fn tell(failure: &Failure, method: &Method, path: &str, id: &CorrelationId) {
    let Some(cause) = &failure.cause else { return };
    let (method, status_code) = (method.as_str(), failure.status.as_u16());
    tracing::error!(
        operation = %failure.message,
        error = cause.as_str(),
        method,
        path,
        status_code,
        correlation_id = id.as_str(),
        "Request failed: {}",
        failure.message
    );
}

fn envelope(failure: Failure, id: &CorrelationId, production: bool) -> Response {
    let masks = production && failure.status.is_server_error();
    let (kind, message) = match masks {
        true => ("INTERNAL_ERROR", MASKED.into()),
        false => (failure.kind, failure.message),
    };
    let body = Envelope {
        error: EnvelopeError {
            code: failure.status.as_u16(),
            kind: kind.to_owned(),
            message: message.into_owned(),
            correlation_id: id.as_str().to_owned(),
            timestamp: unix_seconds(),
            details: failure.details,
        },
    };
    let body = serde_json::to_vec(&body).unwrap_or_default();
    let mut response = (failure.status, [(CONTENT_TYPE, "application/json")], body).into_response();
    if let Some((name, value)) = failure.header.map(|header| *header) {
        response.headers_mut().insert(name, value);
    }
    response
}
