//! The conductor: it watches, keeps the caches, and reconciles each service while it leads.

mod backoff;
mod context;
mod events;
mod gates;
mod governance;
mod image;
mod key_ring;
mod kinds;
pub mod leader;
mod leaving;
mod notifier;
mod observing;
mod reconcile;
mod replicas;
mod unready;
mod watched;
mod watches;
mod waves;

pub use image::OF_RELEASE as IMAGE_OF_RELEASE;

/// Domain of a cluster's own names unless somebody says otherwise.
pub const CLUSTER_DOMAIN: &str = "cluster.local";
/// Where it is installed unless somebody says otherwise.
pub const NAMESPACE: &str = "visiobook-system";

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::runtime::Controller;
use kube::runtime::controller::{Config as ControllerConfig, Error as ControllerError};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::scheduler::{ScheduleRequest, debounced_scheduler};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::apply::{Cache, DigestKey, KeyRing, Leads, SecretIndex, Secrets, Writer};
use crate::facts::Installation;
use crate::rollout::key_ring::Pace;
use crate::telemetry::{Admin, Heartbeat, Latch, Metrics, Readiness, calls, memory};
use context::{Context, Lane};
use kube::Client;
use watched::Watched;
use watches::Watching;

/// Between two times at which free memory is given back.
const GIVE_BACK: Duration = Duration::from_secs(2);
/// `/livez` fails when the task that reconciles was silent for so long. It beats whatever it waits for: work, the lease,
/// or the API server.
const SILENCE: Duration = Duration::from_secs(60);

/// How an operator runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Namespaces it looks after; empty for all.
    pub namespaces: Vec<String>,
    /// Where health and metrics are served.
    pub admin_address: SocketAddr,
    /// Services reconciled at the same time.
    pub concurrency: u16,
    /// How long what happens around a service is gathered before the service is looked at. What its own resource says
    /// waits for nothing.
    pub debounce: Duration,
    /// Services with condition gauges of their own.
    pub metric_services: usize,
    /// Whether it only tells what it would do: nothing is written, and no lease is taken.
    pub observe_only: bool,
    /// Domain of the cluster's own names, such as cluster.local.
    pub cluster_domain: String,
    /// How long tokens of services hold, and the keys that sign them are used.
    pub tokens: Pace,
    /// Image of sidecars; `None` for that of the pod the operator runs in.
    pub sidecar_image: Option<String>,
    /// The election it takes part in; it names the operator's own namespace and its identity.
    pub election: leader::Config,
}

/// Why an operator ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no cluster to speak to.
    #[error("cannot reach a cluster: {0}")]
    Client(String),
    /// The admin server could not start, or broke.
    #[error("admin server: {0}")]
    Admin(String),
    /// Another instance leads now.
    #[error("the lease is lost: {0}")]
    Lease(String),
    /// The digest key cannot be read or made.
    #[error("the Secret that keys the digests of secrets cannot be read or made: {0}")]
    DigestKey(#[source] Box<kube::Error>),
    /// The keys that tokens of services are signed with cannot be read or made.
    #[error("the Secret with the keys that sign tokens of services cannot be read or made: {0}")]
    SigningKeys(#[source] Box<kube::Error>),
    /// The operator's own pod cannot be read.
    #[error(
        "cannot read the operator's own pod, whose image the sidecars run: grant get on pods, or set VISIOBOOK_IMAGE: {0}"
    )]
    Image(#[source] Box<kube::Error>),
}

/// Run until `stop` fires. The lease is released on the way out.
pub async fn run(config: Config, kubeconfig: kube::Config, stop: CancellationToken) -> Result<(), Error> {
    let heartbeat = Heartbeat::new(SILENCE);
    tokio::select! {
        outcome = conduct(config, kubeconfig, stop, heartbeat.clone()) => outcome,
        // In the task of the passes, which falls silent with them.
        never = heartbeat.keep() => match never {},
    }
}

async fn conduct(
    config: Config,
    kubeconfig: kube::Config,
    stop: CancellationToken,
    heartbeat: Heartbeat,
) -> Result<(), Error> {
    let metrics =
        Arc::new(Metrics::new(config.metric_services).map_err(|error| Error::Admin(error.to_string()))?);
    let readiness = Readiness::default();
    let client = calls::client(kubeconfig.clone(), metrics.clone())
        .map_err(|error| Error::Client(error.to_string()))?;
    let caches = readiness.latch("caches");
    let admin = Admin { metrics: metrics.clone(), readiness, heartbeat: Some(heartbeat) };
    // Election and admin server end after everything else: the last writes are still ours, and still seen.
    let end = CancellationToken::new();
    let serving = tokio::spawn(admin.serve(config.admin_address, end.clone()));

    let sidecar_image = match &config.sidecar_image {
        Some(image) => image.clone(),
        None => keep_asking("image of its own pod", &stop, || image::of_pod(&client, &config.election))
            .await
            .map_err(Error::Image)?,
    };
    tracing::info!(sidecar_image, "sidecars run this image");
    let index = Arc::new(SecretIndex::default());
    let cache = Arc::new(Cache::default());

    let impatient = calls::client(leader::tune_client(kubeconfig, &config.election), metrics.clone());
    let impatient = impatient.map_err(|error| Error::Client(error.to_string()))?;
    let (election, claim) = leader::Election::new(impatient, config.election.clone());
    let (mut election, fence) = match config.observe_only {
        // Beside others that may well lead.
        true => {
            let end = end.clone();
            let waiting = tokio::spawn(async move {
                end.cancelled().await;
                Ok(())
            });
            (waiting, leader::Fence::alone())
        }
        false => (tokio::spawn(election.run(end.clone())), claim),
    };
    let leads: Leads = {
        let (fence, writes) = (fence.clone(), !config.observe_only);
        Arc::new(move || writes && fence.holds())
    };
    let reporter = Reporter {
        controller: "visiobook-operator".into(),
        instance: Some(config.election.identity.clone()),
    };
    let own = &config.election.namespace;
    let ring = Arc::new(KeyRing::new(client.clone(), leads.clone(), own, config.tokens.lifetime));
    let operator = Installation {
        image: sidecar_image,
        namespace: config.election.namespace.clone(),
        cluster_domain: config.cluster_domain.clone(),
    };
    let context = Context::new(
        Writer::new(client.clone(), leads, ring.clone(), &operator.namespace),
        cache.clone(),
        Secrets::new(client.clone(), index.clone()),
        Recorder::new(client.clone(), reporter),
        metrics.clone(),
        ring,
        operator,
    );
    let observing = config.observe_only.then(|| observing::Observing::new(client.clone()));
    let context = Arc::new(context.observing(observing));
    let watching = watches::start(&client, &config, &context, &index, &stop);

    let outcome = tokio::select! {
        lost = &mut election => Err(Error::Lease(ended(lost))),
        served = serving => Err(Error::Admin(ended(served))),
        done = lead(&config, context, client, fence, watching, caches, stop.clone()) => done,
    };
    stop.cancel();
    end.cancel();
    if outcome.is_ok() {
        // Released, so that the next one need not wait for the lease to run out.
        let _ = tokio::time::timeout(Duration::from_secs(5), election).await;
    }
    outcome
}

/// Wait for caches and claim, then reconcile until told to stop.
async fn lead(
    config: &Config,
    context: Arc<Context>,
    client: Client,
    mut fence: leader::Fence,
    watching: Watching,
    caches: Latch,
    stop: CancellationToken,
) -> Result<(), Error> {
    tokio::select! {
        () = watching.synced() => caches.open(),
        () = stop.cancelled() => return Ok(()),
    }
    tracing::info!("caches are filled; waiting for the lease");
    tokio::select! {
        () = fence.acquired() => context.metrics.set_leader(!config.observe_only),
        () = stop.cancelled() => return Ok(()),
    }
    let own = &config.election.namespace;
    let key = match config.observe_only {
        true => keep_asking("digest key", &stop, || DigestKey::borrow(client.clone(), own)).await,
        false => keep_asking("digest key", &stop, || DigestKey::ensure(&context.writer, own)).await,
    };
    context.secrets.digest_with(key.map_err(Error::DigestKey)?);
    if config.observe_only {
        tracing::info!("observing only: nothing is written");
    } else {
        // After the claim: whoever led before may have changed the keys until then.
        keep_asking("signing keys", &stop, || key_ring::begin(&context, &config.tokens))
            .await
            .map_err(Error::SigningKeys)?;
        tracing::info!(identity = config.election.identity, "leading");
    }
    let mut lanes = Vec::new();
    let mut controllers = Vec::new();
    for scope in watches::scopes(config) {
        let (triggers, triggered) = futures::channel::mpsc::unbounded();
        let (services, store) = watches::services(&client, &scope, &context);
        lanes.push(Lane { scope, store: store.clone(), triggers });
        let stop = stop.clone();
        let settings = ControllerConfig::default().concurrency(config.concurrency);
        let controller = Controller::for_stream(services, store)
            .with_config(settings)
            .reconcile_on(gather(triggered, config.debounce))
            .graceful_shutdown_on(async move { stop.cancelled().await })
            .run(reconcile::reconcile, reconcile::on_error, context.clone())
            .for_each({
                let context = context.clone();
                move |outcome| {
                    if let Err(ControllerError::ObjectNotFound(gone)) = outcome {
                        context.missed(gone.namespace.as_deref().unwrap_or_default(), &gone.name);
                    }
                    futures::future::ready(())
                }
            });
        controllers.push(controller);
    }
    context.lead(lanes);
    let whole = config.namespaces.is_empty();
    let around = async {
        // Of what stands around services nothing is foretold: it restarts nothing.
        if config.observe_only {
            std::future::pending().await
        }
        tokio::join!(
            governance::govern(context.clone(), whole, stop),
            key_ring::keep(&context, &config.tokens),
        );
    };
    let delivery = tokio::spawn(notifier::deliver(context.clone()));
    tokio::select! {
        _ = futures::future::join_all(controllers) => {}
        () = around => {}
        () = give_memory_back() => {}
    }
    context.notifier.finish(delivery).await;
    Ok(())
}

/// What a burst has freed goes back though nothing follows it.
async fn give_memory_back() {
    loop {
        tokio::time::sleep(GIVE_BACK).await;
        memory::give_back();
    }
}

/// Each service once it has been quiet for as long as `window`, however often it was told before.
fn gather(
    told: impl Stream<Item = ObjectRef<Watched>>,
    window: Duration,
) -> impl Stream<Item = ObjectRef<Watched>> {
    let requests = told.map(|message| ScheduleRequest { message, run_at: Instant::now() });
    debounced_scheduler(requests, window)
}

/// Ask the API server until it answers, for a while.
async fn keep_asking<T, A: Future<Output = Result<T, kube::Error>>>(
    what: &str,
    stop: &CancellationToken,
    ask: impl Fn() -> A,
) -> Result<T, Box<kube::Error>> {
    let mut tries = 0;
    loop {
        let error = match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        tries += 1;
        if tries >= 10 || stop.is_cancelled() {
            return Err(Box::new(error));
        }
        tracing::warn!(%error, what, "cannot be read yet");
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

fn ended<E: std::fmt::Display>(outcome: Result<Result<(), E>, tokio::task::JoinError>) -> String {
    match outcome {
        Ok(Ok(())) => "ended".into(),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    }
}
