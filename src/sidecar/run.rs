//! Puts the parts together and runs them until the end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::access_log::AccessLog;
use super::auth::Authentication;
use super::auth::csrf::Csrf;
use super::client::TrustedProxies;
use super::compression::Places;
use super::contract_port;
use super::correlation::Correlation;
use super::cors::Cors;
use super::drain::{Drain, Phase};
use super::exchange::Account;
use super::fetch::Fetch;
use super::hosts::Hosts;
use super::http_metrics::HttpMetrics;
use super::leave::Leave;
use super::logs::{Base, Lines, Sink};
use super::panics;
use super::rate_limit::{FORGET_EVERY, RateLimits};
use super::report::Report;
use super::report::kpis::Collector;
use super::route::Routes;
use super::server::{self, Server};
use super::stack::Stack;
use super::upstream::Upstream;
use crate::contract::leave::Operator;
use crate::contract::settings::{Mode, Settings};

/// How long the process stays after it is drained.
const LINGER: Duration = Duration::from_millis(500);

/// Why a sidecar does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A port is taken.
    #[error(
        "port {0} cannot be listened on: {1}; it is the sidecar's, so let the application listen on another, or leave the sidecar out"
    )]
    Listen(u16, io::Error),
    /// Something that the settings ask for cannot be had.
    #[error("{0}")]
    Settings(String),
    /// The process cannot have what it needs.
    #[error(transparent)]
    Process(#[from] io::Error),
    /// Metrics collide.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
}

/// Run until `stop` resolves, then drain. `operator` may send clients away, where it is known.
pub async fn run(
    settings: Settings,
    operator: Option<Operator>,
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    let sink = Sink::new(io::stdout())?;
    let base = Base::new(&settings);
    let lines = Lines { sink: sink.clone(), base: base.clone(), level: settings.logs.level };
    let _ = tracing_subscriber::registry().with(lines).try_init();

    panics::log();

    let registry = Registry::new();
    sink.register(&registry)?;
    let routes = Arc::new(Routes::new(&settings.routes).map_err(Error::Settings)?);
    let drain = Drain::default();
    let kpis = Arc::new(Collector::default());
    let account = Arc::new(Account {
        metrics: HttpMetrics::new(routes.clone(), &registry)?,
        kpis: kpis.clone(),
        log: AccessLog::new(&settings, routes.clone(), sink.clone(), base),
    });
    let lookup = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let report = Arc::new(Report::new(&settings, registry, kpis, drain.begun.clone(), &lookup)?);
    let stack = Arc::new(Stack {
        proxies: TrustedProxies::new(&settings.trusted_proxies),
        correlation: correlation(&settings)?,
        hosts: Hosts::new(&settings.hosts).map_err(Error::Settings)?,
        cors: Cors::new(&settings.cors_origins).map_err(Error::Settings)?,
        limits: settings.rate_limit.as_ref().map(RateLimits::new).transpose().map_err(Error::Settings)?,
        authentication: Authentication::new(
            &settings,
            Fetch::trusting(settings.trusted_certificates.as_deref()),
        )
        .map_err(Error::Settings)?,
        csrf: settings
            .csrf
            .as_ref()
            .map(|csrf| Csrf::new(csrf, settings.environment))
            .transpose()
            .map_err(Error::Settings)?,
        encoders: Places::default(),
        upstream: Upstream::new(&settings),
        report: report.clone(),
        routes,
        account,
        draining: drain.begun.clone(),
        settings: settings.clone(),
    });
    let server = Server::new(stack.clone());
    let leave = operator.map(|operator| Leave::new(&operator, server.clone()).map(Arc::new));
    let leave = leave.transpose().map_err(Error::Settings)?;

    let listen = |port| async move { server::listen(port).await.map_err(|error| Error::Listen(port, error)) };
    let proxy = match settings.mode {
        Mode::Proxy => Some(listen(settings.port).await?),
        Mode::Observe => None,
    };
    let contract = listen(settings.contract_port).await?;
    tracing::info!(
        mode = ?settings.mode,
        port = settings.port,
        contract_port = settings.contract_port,
        application_port = settings.application.port,
        "sidecar listens"
    );
    let serving = async {
        if let Some(listener) = proxy {
            server.accept(listener, drain.reached(Phase::Closing)).await;
        }
    };
    let draining = drain.carry_out(&server, &settings.drain);
    let stopping = async {
        stop.await;
        drain.begin();
        std::future::pending::<()>().await;
    };
    let lingering = async {
        tokio::join!(serving, draining);
        // Those who waited for the drain hear of it before the process is gone.
        tokio::time::sleep(LINGER).await;
    };
    tokio::select! {
        // A drained sidecar ends, whoever drained it: without a pod that ends too, it is started anew.
        () = lingering => {}
        () = stopping => {}
        () = server.sweep() => {}
        () = contract_port::serve(contract, report.clone(), drain.clone(), leave.clone()) => {}
        () = report.run() => {}
        () = follow(&stack, leave.as_deref()) => {}
    }
    tracing::info!("sidecar stops");
    sink.flush();
    Ok(())
}

fn correlation(settings: &Settings) -> Result<Correlation, Error> {
    let Some(header) = &settings.correlation_header else { return Ok(Correlation::default()) };
    Correlation::new(header)
        .map_err(|_| Error::Settings(format!("correlationHeader: {header:?} is no name of a header")))
}

/// Keep what changes while the process runs: keys, and the memory of limits.
async fn follow(stack: &Stack, leave: Option<&Leave>) {
    let keys = async {
        if let Some(authentication) = &stack.authentication {
            authentication.follow().await;
        }
    };
    let csrf = async {
        if let Some(csrf) = &stack.csrf {
            csrf.follow().await;
        }
    };
    let limits = async {
        if let Some(limits) = &stack.limits {
            let mut interval = tokio::time::interval(FORGET_EVERY);
            loop {
                interval.tick().await;
                limits.forget();
            }
        }
    };
    let operator = async {
        if let Some(leave) = leave {
            leave.follow().await;
        }
    };
    tokio::join!(keys, csrf, limits, operator);
    std::future::pending().await
}
