//! What becomes of a panic of our own: a line with its stack (D35), and an answer (H04).

use std::any::Any;
use std::backtrace::Backtrace;
use std::panic::{AssertUnwindSafe, PanicHookInfo};

use futures::FutureExt;

/// Bytes of the stack that a line has at most (D35).
const STACK_BYTES: usize = 4096;

/// Tell of every panic from here on.
pub fn log() {
    std::panic::set_hook(Box::new(tell));
}

fn tell(panic: &PanicHookInfo<'_>) {
    let mut stack = Backtrace::force_capture().to_string();
    stack.truncate(stack.floor_char_boundary(STACK_BYTES));
    tracing::error!(error = %panic, stack, "Panic");
}

/// What `work` comes to, or what it said as it panicked: the line of its request tells that, beside path and id.
/// No `async fn`: that would hold the place of `work` twice.
pub fn caught<T>(work: impl Future<Output = T>) -> impl Future<Output = Result<T, String>> {
    let caught = AssertUnwindSafe(work).catch_unwind();
    caught.map(|outcome| outcome.map_err(|panic| format!("panic: {}", said(panic.as_ref()))))
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("of an unknown kind")
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::contract::settings::Level;
    use crate::sidecar::logs::{Base, Lines, Sink};

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_is_caught_with_its_words_and_logged_with_its_stack() {
        let memory = Memory::default();
        let sink = Sink::new(memory.clone()).unwrap();
        let settings = serde_json::from_value(serde_json::json!({ "service": "users" })).unwrap();
        let lines = Lines { sink: sink.clone(), base: Base::new(&settings), level: Level::Info };
        let number = 7;
        let caught = tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            log();
            let caught = caught(async { panic!("no chapter {number}") }).now_or_never().unwrap();
            let _ = std::panic::take_hook();
            caught
        });
        sink.flush();
        let caught: Result<(), String> = caught;
        assert_eq!(caught, Err("panic: no chapter 7".to_string()));
        let text = String::from_utf8(memory.0.lock().unwrap().clone()).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!((&line["level"], &line["message"]), (&"error".into(), &"Panic".into()), "{line}");
        assert!(line["error"].as_str().unwrap().contains("no chapter 7"), "{line}");
        let stack = line["stack"].as_str().unwrap();
        assert!(stack.contains("panics") && stack.len() <= STACK_BYTES, "{stack}");
    }

    #[tokio::test]
    async fn what_does_not_panic_is_passed_on() {
        assert_eq!(caught(async { 3 }).await, Ok(3));
    }
}
