//! `visiobook operator`: arguments, logs and signals around the conductor.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use tokio_util::sync::CancellationToken;

use crate::operator::{self, CLUSTER_DOMAIN, Config, NAMESPACE, leader};
use crate::rollout::key_ring::Pace;
use crate::telemetry::{self, LogFormat};

/// Seconds until every pod has read a changed ConfigMap.
const LONGEST_PROPAGATION: i64 = 600;

/// Arguments of `visiobook operator`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  visiobook operator\n  visiobook operator --namespace team-a --namespace team-b --log-format text\n  visiobook operator --observe-only --log-format text"
)]
pub struct Args {
    /// Look after these namespaces only (repeat it, or separate them by commas). Default: all.
    #[arg(long, env = "VISIOBOOK_NAMESPACES", value_delimiter = ',', help_heading = "Scope")]
    namespace: Vec<String>,
    /// Write nothing, and log what would be written: before an operator is let loose on a cluster, or beside the one
    /// that leads.
    #[arg(long, env = "VISIOBOOK_OBSERVE_ONLY", help_heading = "Scope")]
    observe_only: bool,
    /// Namespace of the operator itself: its lease and its digest key.
    #[arg(long, env = "POD_NAMESPACE", default_value = NAMESPACE, help_heading = "Scope")]
    own_namespace: String,
    /// Name among its peers. Default: the name of the pod, or of the host.
    #[arg(long, env = "POD_NAME", help_heading = "Leadership")]
    identity: Option<String>,
    /// Seconds after which a silent leader is replaced.
    #[arg(long, env = "VISIOBOOK_LEASE_SECONDS", default_value_t = 15.0, help_heading = "Leadership")]
    lease_seconds: f64,
    /// Seconds within which the leader must renew; shorter than the lease.
    #[arg(long, env = "VISIOBOOK_RENEW_SECONDS", default_value_t = 10.0, help_heading = "Leadership")]
    renew_seconds: f64,
    /// Seconds between two tries.
    #[arg(long, env = "VISIOBOOK_RETRY_SECONDS", default_value_t = 2.0, help_heading = "Leadership")]
    retry_seconds: f64,
    /// Services that are reconciled at the same time.
    #[arg(long, env = "VISIOBOOK_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..), help_heading = "Work")]
    concurrency: u16,
    /// Milliseconds for which what happens around a service is gathered; what its own resource says waits for nothing.
    #[arg(long, env = "VISIOBOOK_DEBOUNCE_MS", default_value_t = 100, help_heading = "Work")]
    debounce_ms: u64,
    /// Image of the sidecars, where the environment names no other. Default: that of the pod the operator runs in, or
    /// outside of a cluster that of its release.
    #[arg(long, env = "VISIOBOOK_IMAGE", value_parser = clap::builder::NonEmptyStringValueParser::new(), help_heading = "Work")]
    sidecar_image: Option<String>,
    /// Seconds for which the token of a service holds. It is made anew after a quarter of them, without a restart.
    #[arg(long, env = "VISIOBOOK_SERVICE_TOKEN_SECONDS", default_value_t = 345_600, value_parser = clap::value_parser!(u32).range(60..=2_592_000), help_heading = "Keys")]
    service_token_seconds: u32,
    /// Seconds for which one key signs the tokens of services. Verifiers have the next one before it does.
    #[arg(long, env = "VISIOBOOK_SIGNING_KEY_SECONDS", default_value_t = 2_592_000, value_parser = clap::value_parser!(u32).range(60..=31_536_000), help_heading = "Keys")]
    signing_key_seconds: u32,
    /// Domain of the cluster's own names, by which services call each other.
    #[arg(long, env = "VISIOBOOK_CLUSTER_DOMAIN", default_value = CLUSTER_DOMAIN, value_parser = clap::builder::NonEmptyStringValueParser::new(), help_heading = "Work")]
    cluster_domain: String,
    /// Address of /livez, /readyz and /metrics.
    #[arg(long, env = "VISIOBOOK_ADMIN_ADDRESS", default_value = "0.0.0.0:8080", help_heading = "Telemetry")]
    admin_address: SocketAddr,
    /// Services that have condition gauges of their own in /metrics.
    #[arg(long, env = "VISIOBOOK_METRIC_SERVICES", default_value_t = 2000, help_heading = "Telemetry")]
    metric_services: usize,
    /// How logs are written.
    #[arg(long, env = "VISIOBOOK_LOG_FORMAT", value_enum, default_value_t = Format::Json, help_heading = "Telemetry")]
    log_format: Format,
    /// What is logged, such as `info` or `info,visiobook=debug`.
    #[arg(long, env = "VISIOBOOK_LOG", default_value = "info", help_heading = "Telemetry")]
    log: String,
    /// Send traces to this OTLP endpoint (HTTP), such as http://collector:4318. Default: none.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", help_heading = "Telemetry")]
    otlp_endpoint: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Json,
    Text,
}

/// Run the operator until it is asked to stop.
pub fn run(args: Args) -> anyhow::Result<()> {
    let seconds = |value: f64, name: &str| {
        Duration::try_from_secs_f64(value).with_context(|| format!("--{name}: write a number of seconds"))
    };
    let identity =
        args.identity.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_else(|| "visiobook".into());
    let election = leader::Config {
        lease_duration: seconds(args.lease_seconds, "lease-seconds")?,
        renew_deadline: seconds(args.renew_seconds, "renew-seconds")?,
        retry_period: seconds(args.retry_seconds, "retry-seconds")?,
        ..leader::Config::new(args.own_namespace, "visiobook-operator", identity)
    };
    let config = Config {
        namespaces: args.namespace,
        admin_address: args.admin_address,
        concurrency: args.concurrency,
        debounce: Duration::from_millis(args.debounce_ms),
        metric_services: args.metric_services,
        observe_only: args.observe_only,
        sidecar_image: args.sidecar_image,
        cluster_domain: args.cluster_domain,
        tokens: pace(args.service_token_seconds, args.signing_key_seconds),
        election,
    };
    // Two threads: the work is waiting for the API server.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let format = match args.log_format {
            Format::Json => LogFormat::Json,
            Format::Text => LogFormat::Text,
        };
        let _logs = telemetry::init("visiobook-operator", format, &args.log, args.otlp_endpoint.as_deref())?;
        let kubeconfig =
            kube::Config::infer().await.context("no cluster: run in a pod, or set KUBECONFIG")?;
        let stop = CancellationToken::new();
        tokio::spawn(stop_on_signal(stop.clone()));
        operator::run(config, kubeconfig, stop).await.context("the operator ended")
    })
}

/// A mounted file follows its ConfigMap within a minute or two; where tokens are short, as in tests, less is waited.
fn pace(lifetime: u32, period: u32) -> Pace {
    Pace {
        period: i64::from(period),
        lifetime: i64::from(lifetime),
        propagation: LONGEST_PROPAGATION.min(i64::from(lifetime) / 4),
    }
}

async fn stop_on_signal(stop: CancellationToken) {
    super::stopped().await;
    stop.cancel();
}
