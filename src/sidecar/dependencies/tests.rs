use serde_json::json;

use super::*;

fn dependencies(list: serde_json::Value, at: &'static str) -> Dependencies {
    let settings = json!({ "service": "books", "dependencies": list });
    Dependencies::new(&serde_json::from_value(settings).unwrap(), &|name| {
        (name == "AT").then(|| at.to_owned())
    })
}

#[test]
fn times_are_those_of_the_contract_unless_told_otherwise() {
    let found = dependencies(
        json!([
            { "name": "a", "kind": "Redis", "variable": "AT" },
            { "name": "b", "kind": "Redis", "variable": "AT", "critical": true },
            { "name": "c", "kind": "Redis", "variable": "AT", "timeoutSeconds": 1.5, "intervalSeconds": 2 },
            { "name": "d", "kind": "Redis", "variable": "UNSET" },
        ]),
        "redis://nowhere",
    );
    let times: Vec<_> =
        found.iter().map(|one| (one.name(), one.within.as_secs_f64(), one.interval.as_secs_f64())).collect();
    assert_eq!(times, [("a", 5.0, 30.0), ("b", 3.0, 30.0), ("c", 1.5, 2.0)]);
}

#[test]
fn the_last_answer_is_kept_with_its_time_and_without_passwords() {
    let found = dependencies(
        json!([{ "name": "redis", "kind": "Redis", "variable": "AT" }]),
        "redis://:hush@nowhere",
    );
    let watched = found.iter().next().unwrap();
    assert_eq!(watched.state().error.as_deref(), Some(UNASKED));
    watched.note(Ok(None), Duration::ZERO);
    let healthy = watched.state();
    assert!(healthy.healthy && healthy.error.is_none());
    watched.note(Ok(None), Duration::ZERO);
    assert_eq!(watched.state(), healthy);
    watched.note(Err("refused hush".into()), Duration::ZERO);
    let failed = watched.state();
    assert_eq!((failed.healthy, failed.error.as_deref()), (false, Some("refused ***")));
    watched.note(Err("other".into()), Duration::ZERO);
    assert_eq!((watched.state().since, watched.state().error.as_deref()), (failed.since, Some("other")));
}

#[test]
fn a_pause_is_a_tenth_longer_or_shorter_at_most() {
    let pause = Duration::from_secs(30);
    let pauses: Vec<f64> = (0..2001).map(|random| jittered(pause, random).as_secs_f64()).collect();
    assert!(pauses.iter().all(|pause| (27.0..=33.001).contains(pause)));
    assert!(pauses[0] < 27.01 && pauses[2000] > 32.99);
    assert_ne!(random(), random());
}

/// Log lines, as they are written.
#[derive(Clone, Default)]
struct Lines(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_change_is_one_log_line_with_the_fields_of_the_contract() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber =
        tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        let found = dependencies(
            json!([{ "name": "projects", "kind": "Service", "variable": "AT" }]),
            "http://u:hush@projects:80/x",
        );
        let watched = found.iter().next().unwrap();
        watched.note(Ok(Some(200)), Duration::from_millis(5));
        watched.note(Ok(Some(200)), Duration::from_millis(5));
        watched.note(Err("GET /health answered 500".into()), Duration::from_millis(7));
        watched.note(Err("GET /health answered 500".into()), Duration::from_millis(7));
    });
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let told: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [well, ill] = told.as_slice() else { panic!("{text}") };
    for (line, level, success) in [(well, "INFO", true), (ill, "WARN", false)] {
        assert_eq!((&line["level"], &line["success"]), (&json!(level), &json!(success)));
        assert_eq!(line["message"], "External service call");
        assert_eq!(line["external_service"], "projects");
        assert_eq!(line["endpoint"], "http://projects/x");
        assert!(line["response_time"].as_f64().is_some_and(|time| time > 1.0));
    }
    assert_eq!(well["status_code"], 200);
    assert_eq!(ill["error"], "GET /health answered 500");
    assert!(!text.contains("hush"));
}
