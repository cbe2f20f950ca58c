//! Where lines go: a buffer that a thread of its own empties, so that a slow reader of stdout holds no request.

use std::fmt::Write as _;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus::{IntCounter, Registry};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::contract::settings::{Format, Level, Settings};

/// How long lines are gathered before they are written.
const GATHER: Duration = Duration::from_millis(50);
/// Bytes that wait at most; what comes on top is dropped and counted.
const MOST_BYTES: usize = 4 << 20;

/// A place for lines. Cheap to clone.
#[derive(Clone)]
pub struct Sink(Arc<Inner>);

struct Inner {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    written: Condvar,
    dropped: IntCounter,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Whether the thread is writing what it took.
    writes: bool,
}

impl Sink {
    /// A sink that writes to `out` from a thread of its own.
    pub fn new(mut out: impl Write + Send + 'static) -> std::io::Result<Sink> {
        let dropped = IntCounter::new(
            "visiobook_sidecar_log_lines_dropped_total",
            "Lines that were not logged, for nobody reads stdout as fast as they come",
        );
        let inner = Arc::new(Inner {
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            written: Condvar::new(),
            dropped: dropped.map_err(std::io::Error::other)?,
        });
        let sink = Sink(inner.clone());
        std::thread::Builder::new().name("logs".into()).spawn(move || {
            let mut taken = Vec::new();
            loop {
                {
                    let mut waiting = inner.lock();
                    waiting.writes = false;
                    inner.written.notify_all();
                    while waiting.lines.is_empty() {
                        waiting = inner.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                    }
                }
                std::thread::sleep(GATHER);
                {
                    let mut waiting = inner.lock();
                    waiting.writes = true;
                    std::mem::swap(&mut taken, &mut waiting.lines);
                }
                // A closed stdout is nothing that can be told anywhere.
                let _ = out.write_all(&taken).and_then(|()| out.flush());
                taken.clear();
                taken.shrink_to(1 << 18);
            }
        })?;
        Ok(sink)
    }

    /// Add a line: `write` appends it, with its line break.
    pub fn line(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut waiting = self.0.lock();
        if waiting.lines.len() > MOST_BYTES {
            self.0.dropped.inc();
            return;
        }
        let first = waiting.lines.is_empty();
        write(&mut waiting.lines);
        if first {
            self.0.arrived.notify_one();
        }
    }

    /// Tell in `registry` how many lines were dropped because nobody took them.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.0.dropped.clone()))
    }

    /// Wait until everything is written, for at most a second.
    pub fn flush(&self) {
        let waiting = self.0.lock();
        let unwritten = |waiting: &mut Waiting| waiting.writes || !waiting.lines.is_empty();
        let _ = self.0.written.wait_timeout_while(waiting, Duration::from_secs(1), unwritten);
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The fields that every line has (D20), ready to be written.
#[derive(Clone)]
pub struct Base {
    format: Format,
    /// `"service":...,"version":...,"environment":...` of a JSON line.
    fields: String,
}

impl Base {
    /// Of a service.
    pub fn new(settings: &Settings) -> Base {
        let mut fields = Vec::new();
        text(&mut fields, "service", &settings.service);
        text(&mut fields, "version", &settings.service_version);
        text(&mut fields, "environment", settings.environment.as_str());
        Base { format: settings.logs.format, fields: String::from_utf8_lossy(&fields).into_owned() }
    }

    /// Whether lines are JSON.
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Begin a line: everything up to its own fields.
    pub fn begin(&self, line: &mut Vec<u8>, level: Level, message: &str) {
        let level = word(level);
        if self.is_json() {
            line.extend_from_slice(b"{\"timestamp\":\"");
            timestamp(line);
            line.extend_from_slice(b"\",\"level\":\"");
            line.extend_from_slice(level.as_bytes());
            line.push(b'"');
            text(line, "message", message);
            line.extend_from_slice(self.fields.as_bytes());
        } else {
            timestamp(line);
            line.push(b' ');
            line.extend_from_slice(level.to_uppercase().as_bytes());
            line.push(b' ');
            line.extend_from_slice(message.as_bytes());
        }
    }

    /// A field with a text.
    pub fn text(&self, line: &mut Vec<u8>, name: &str, value: &str) {
        if self.is_json() {
            text(line, name, value);
        } else {
            let _ = Write::write_fmt(line, format_args!(" {name}={value:?}"));
        }
    }

    /// A field with something whose text needs no escape, such as an address.
    pub fn shown(&self, line: &mut Vec<u8>, name: &str, value: impl std::fmt::Display) {
        let _ = if self.is_json() {
            write!(line, ",\"{name}\":\"{value}\"")
        } else {
            write!(line, " {name}={value}")
        };
    }

    /// A field with a number.
    pub fn number(&self, line: &mut Vec<u8>, name: &str, value: impl std::fmt::Display) {
        let _ = if self.is_json() {
            write!(line, ",\"{name}\":{value}")
        } else {
            write!(line, " {name}={value}")
        };
    }

    /// End a line.
    pub fn end(&self, line: &mut Vec<u8>) {
        line.extend_from_slice(if self.is_json() { b"}\n" } else { b"\n" });
    }
}

/// The word of a level in a line.
pub fn word(level: Level) -> &'static str {
    match level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}

/// `,"name":"value"`, escaped.
fn text(line: &mut Vec<u8>, name: &str, value: &str) {
    line.extend_from_slice(b",\"");
    line.extend_from_slice(name.as_bytes());
    line.extend_from_slice(b"\":");
    // Writing into memory cannot fail.
    let _ = serde_json::to_writer(line, value);
}

/// Now, in RFC 3339 UTC with milliseconds (X56).
fn timestamp(line: &mut Vec<u8>) {
    let now = Timestamp::now();
    // Formatting a date costs more than the rest of a line, and it changes once a second.
    thread_local! {
        static SECOND: std::cell::RefCell<(i64, String)> = const { std::cell::RefCell::new((i64::MIN, String::new())) };
    }
    SECOND.with_borrow_mut(|(second, formatted)| {
        if *second != now.as_second() {
            *second = now.as_second();
            formatted.clear();
            let whole = Timestamp::from_second(now.as_second()).unwrap_or(now);
            let _ = write!(formatted, "{whole}");
            formatted.pop();
        }
        line.extend_from_slice(formatted.as_bytes());
    });
    let _ = write!(line, ".{:03}Z", now.subsec_millisecond());
}

/// Brings what `tracing` tells into the same lines.
pub struct Lines {
    /// Where they go.
    pub sink: Sink,
    /// What they begin with.
    pub base: Base,
    /// Least level.
    pub level: Level,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = match *event.metadata().level() {
            tracing::Level::ERROR => Level::Error,
            tracing::Level::WARN => Level::Warn,
            tracing::Level::INFO => Level::Info,
            tracing::Level::DEBUG | tracing::Level::TRACE => Level::Debug,
        };
        // Of libraries only what deserves a look.
        let ours = event.metadata().target().starts_with("visiobook");
        if level < self.level || !ours && level < Level::Warn {
            return;
        }
        let mut fields = Fields { base: &self.base, message: String::new(), line: Vec::new() };
        event.record(&mut fields);
        let Fields { message, line: own, .. } = fields;
        self.sink.line(|line| {
            self.base.begin(line, level, &message);
            line.extend_from_slice(&own);
            self.base.end(line);
        });
    }
}

struct Fields<'a> {
    base: &'a Base,
    message: String,
    line: Vec<u8>,
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message = value.to_string();
        } else {
            self.base.text(&mut self.line, field.name(), value);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.base.number(&mut self.line, field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.base.number(&mut self.line, field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.base.number(&mut self.line, field.name(), value);
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.base.number(&mut self.line, field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn settings(format: &str) -> Settings {
        serde_json::from_value(serde_json::json!({
            "service": "users", "serviceVersion": "1.2.3", "environment": "staging", "logs": { "format": format }
        }))
        .unwrap()
    }

    /// D20, and of its timestamp D14 and X56; D25: info is told, debug is not.
    #[test]
    fn a_line_has_the_fields_of_the_contract() {
        let memory = Memory::default();
        let sink = Sink::new(memory.clone()).unwrap();
        let lines = Lines { sink: sink.clone(), base: Base::new(&settings("json")), level: Level::Info };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            tracing::info!(port = 15080, "a \"quoted\" line\n");
            tracing::debug!("not this one");
        });
        sink.flush();
        let text = String::from_utf8(memory.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "D25: {text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        for (field, value) in [
            ("level", "info"),
            ("message", "a \"quoted\" line\n"),
            ("service", "users"),
            ("version", "1.2.3"),
            ("environment", "staging"),
        ] {
            assert_eq!(line[field], value, "D20, {field}: {text}");
        }
        assert_eq!(line["port"], 15080);
        let timestamp = line["timestamp"].as_str().unwrap();
        assert_eq!(timestamp.len(), "2026-11-21T08:00:00.000Z".len(), "{timestamp}");
        assert!(timestamp.ends_with('Z') && timestamp.parse::<Timestamp>().is_ok(), "D14, X56: {timestamp}");
    }

    #[test]
    fn a_reader_that_stands_still_costs_lines_and_no_memory() {
        struct Stuck;
        impl Write for Stuck {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                std::thread::sleep(Duration::from_secs(3600));
                Ok(0)
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let sink = Sink::new(Stuck).unwrap();
        for _ in 0..100 {
            sink.line(|line| line.resize(line.len() + 100_000, b'x'));
        }
        std::thread::sleep(Duration::from_millis(200));
        for _ in 0..100 {
            sink.line(|line| line.resize(line.len() + 100_000, b'x'));
        }
        let registry = Registry::new();
        sink.register(&registry).unwrap();
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        let line = text.lines().find(|line| line.starts_with("visiobook_sidecar_log_lines_dropped_total "));
        let dropped: u64 = line.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
        assert!(dropped > 0, "{text}");
    }
}
