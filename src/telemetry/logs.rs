//! Log lines on stdout, and traces where a collector is configured.

use std::{future::Future, str::FromStr, sync::Arc, time::Duration};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{SdkTracerProvider, SpanData, SpanExporter},
};
use tokio::runtime::Handle;
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{LevelFilter, Targets},
    fmt::MakeWriter,
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

/// Where a collector takes traces over HTTP.
const TRACES_PATH: &str = "/v1/traces";

/// Crates that the exporter works with: their spans are never traced, or each export would cause the next.
const EXPORTER_CRATES: [&str; 5] = ["h2", "hyper", "hyper_util", "opentelemetry", "tower"];

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line, its fields at the top level.
    #[default]
    Json,
    /// For people.
    Text,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(format: &str) -> Result<Self, String> {
        match format {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            other => Err(format!("unknown log format {other:?}: json or text")),
        }
    }
}

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter is not one of tracing's `target=level,...`.
    #[error("invalid log filter {0:?}: {1}")]
    Filter(String, tracing_subscriber::filter::ParseError),
    /// The collector's address cannot be used.
    #[error("invalid trace endpoint {0:?}: {1}")]
    Endpoint(String, &'static str),
    /// The exporter refused its configuration.
    #[error("failed to build the trace exporter: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// Traces are sent by the tokio runtime, and there is none here.
    #[error("traces need a tokio runtime")]
    Runtime,
    /// Something else logs already.
    #[error("logging was started before: {0}")]
    Started(#[from] tracing_subscriber::util::TryInitError),
}

/// Keep it until the end of `main`: dropping it sends the traces that are still waiting.
#[must_use = "traces are sent at its drop"]
pub struct Guard(Option<SdkTracerProvider>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = self.0.take()
            && let Err(error) = provider.shutdown()
        {
            tracing::warn!(%error, "traces lost at shutdown");
        }
    }
}

/// Starts logging as `service`; traces go to `otlp_endpoint` (such as `http://collector:4318`) if there is one.
pub fn init(
    service: &'static str,
    format: LogFormat,
    filter: &str,
    otlp_endpoint: Option<&str>,
) -> Result<Guard, Error> {
    let filter = EnvFilter::builder().parse(filter).map_err(|error| Error::Filter(filter.into(), error))?;
    let provider = otlp_endpoint.map(|endpoint| export(service, endpoint)).transpose()?;
    let traces = provider.as_ref().map(|provider| {
        let quiet = EXPORTER_CRATES.map(|name| (name, LevelFilter::OFF));
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer(service))
            .with_filter(Targets::new().with_default(LevelFilter::TRACE).with_targets(quiet))
    });
    tracing_subscriber::registry()
        .with(filter)
        .with(lines(format, std::io::stdout))
        .with(traces)
        .try_init()?;
    Ok(Guard(provider))
}

/// The layer that writes lines; times are UTC in RFC 3339.
fn lines<S, W>(format: LogFormat, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
    match format {
        LogFormat::Json => layer.json().flatten_event(true).with_span_list(false).boxed(),
        LogFormat::Text => layer.boxed(),
    }
}

fn export(service: &'static str, endpoint: &str) -> Result<SdkTracerProvider, Error> {
    let exporter = OtlpExporter::builder().with_http().with_endpoint(traces_url(endpoint)?).build()?;
    let runtime = Handle::try_current().map_err(|_| Error::Runtime)?;
    let resource = Resource::builder().with_service_name(service).build();
    let exporter = OnRuntime { exporter: Arc::new(exporter), runtime };
    Ok(SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build())
}

fn traces_url(endpoint: &str) -> Result<String, Error> {
    // The exporter's connector speaks no TLS: a collector is a neighbour (a node agent or a sidecar).
    if !endpoint.starts_with("http://") {
        return Err(Error::Endpoint(endpoint.into(), "it must start with http://"));
    }
    let base = endpoint.trim_end_matches('/');
    Ok(if base.ends_with(TRACES_PATH) { base.into() } else { format!("{base}{TRACES_PATH}") })
}

/// The SDK exports from a thread of its own, where the HTTP client finds no runtime: this hands it one.
#[derive(Debug)]
struct OnRuntime {
    exporter: Arc<OtlpExporter>,
    runtime: Handle,
}

impl SpanExporter for OnRuntime {
    fn export(&self, batch: Vec<SpanData>) -> impl Future<Output = OTelSdkResult> + Send {
        let exporter = self.exporter.clone();
        let sent = self.runtime.spawn(async move { exporter.export(batch).await });
        async move { sent.await.unwrap_or_else(|error| Err(OTelSdkError::InternalFailure(error.to_string()))) }
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        // Before the first export nobody else holds it.
        if let Some(exporter) = Arc::get_mut(&mut self.exporter) {
            exporter.set_resource(resource);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::Mutex,
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(format: LogFormat, log: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = tracing_subscriber::registry().with(lines(format, move || writer.clone()));
        tracing::subscriber::with_default(subscriber, log);
        String::from_utf8(sink.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_json_line_has_its_fields_at_the_top_and_its_time_in_utc() {
        let text = written(LogFormat::Json, || tracing::info!(namespace = "shop", pods = 3, "released"));
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(line["message"], "released");
        assert_eq!(line["namespace"], "shop");
        assert_eq!(line["pods"], 3);
        assert_eq!(line["level"], "INFO");
        let time = line["timestamp"].as_str().unwrap();
        assert!(time.ends_with('Z') && time.parse::<jiff::Timestamp>().is_ok(), "{time}");
    }

    #[test]
    fn a_text_line_has_no_colour_codes() {
        let text = written(LogFormat::Text, || tracing::warn!("careful"));
        assert!(text.contains("WARN") && text.contains("careful") && !text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn the_trace_endpoint_is_completed_or_refused() {
        for base in ["http://collector:4318", "http://collector:4318/", "http://collector:4318/v1/traces"] {
            assert_eq!(traces_url(base).unwrap(), "http://collector:4318/v1/traces");
        }
        assert!(traces_url("https://collector:4318").is_err());
        assert!(traces_url("collector:4318").is_err());
    }

    #[test]
    fn a_wrong_filter_is_named() {
        let Err(error) = init("test", LogFormat::Json, "visiobook=loud", None) else { panic!("accepted") };
        assert!(error.to_string().contains("visiobook=loud"), "{error}");
    }
}
