//! What every answer has, whoever gave it: ids, headers, the contract's paths, and who is let through.

use std::io::{Read, Write};

use base64::Engine;
use serde_json::{Value, json};

use crate::support::{Answer, Application, Sidecar, free_port, wait};

#[test]
fn health_and_ready_are_served_on_both_ports_and_metrics_on_one() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, json!({}));
    wait("a living application", || (sidecar.contract("/alive").status == 200).then_some(()));
    for path in ["/health", "/ready"] {
        for answer in [sidecar.get(path), sidecar.contract(path)] {
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
        }
    }
    let health = sidecar.get("/health").json();
    assert_eq!(
        (&health["status"], &health["service"], &health["version"]),
        (&json!("healthy"), &json!("users"), &json!("1.2.3"))
    );
    assert!(health["uptime"].as_f64().unwrap() > 0.0);
    assert_eq!(sidecar.get("/ready").json()["status"], "ready");
    for path in ["/metrics", "/kpis"] {
        assert_eq!(sidecar.contract(path).status, 200, "{path}");
        let answer = sidecar.get(path);
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (404, &json!(404)), "{path}");
    }
    assert_eq!(application.count(), 0, "the application was not asked");
    // D16: such requests are neither logged nor counted.
    sidecar.get("/hello");
    sidecar.wait_for_request("/hello");
    assert!(sidecar.requests("/health").is_empty() && sidecar.requests("/metrics").is_empty());
    let metrics = sidecar.contract("/metrics").body;
    let counts: Vec<&str> = metrics.lines().filter(|line| line.starts_with("http_requests_total")).collect();
    assert_eq!(counts, [r#"http_requests_total{method="GET",route="unmatched",status_code="200"} 1"#]);
    assert!(metrics.lines().any(|line| line == "visiobook_sidecar_log_lines_dropped_total 0"), "{metrics}");
}

#[test]
fn a_dead_application_is_unhealthy_and_says_why() {
    let sidecar = Sidecar::before(free_port(), json!({}));
    wait("an unhealthy answer", || (sidecar.contract("/health").status == 503).then_some(()));
    let health = sidecar.contract("/health").json();
    assert_eq!(health["status"], "unhealthy", "{health}");
    assert!(health["error"].as_str().unwrap().contains("application"), "{health}");
    assert_eq!(sidecar.contract("/alive").status, 503);
}

#[test]
fn a_worker_is_alive_without_being_asked_and_shows_its_metrics_where_it_says() {
    let metrics = Application::start();
    let settings = json!({
        "mode": "Observe",
        "application": { "worker": true, "metricsPath": "/metrics", "metricsPort": metrics.port },
    });
    let sidecar = Sidecar::before(free_port(), settings);
    for path in ["/alive", "/health", "/ready"] {
        assert_eq!(sidecar.contract(path).status, 200, "{path}");
    }
    let before = metrics.count();
    assert_eq!(sidecar.contract("/metrics").status, 200);
    assert!(metrics.count() > before, "its metrics were not asked for");
}

#[test]
fn ids_are_taken_over_or_made_and_reach_both_sides() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, json!({}));
    let ask = |header: &str| {
        sidecar.ask(&format!("GET /headers HTTP/1.1\r\nhost: a\r\n{header}connection: close\r\n\r\n"))
    };
    let seen = |answer: &Answer, name: &str| -> Vec<String> {
        let json = answer.json();
        let headers = json["headers"].as_array().unwrap().clone();
        headers
            .iter()
            .filter(|pair| pair[0] == name)
            .map(|pair| pair[1].as_str().unwrap().to_string())
            .collect()
    };
    for header in [
        "x-correlation-id: one\r\n",
        "x-request-id: one\r\n",
        "X-Correlation-ID: one\r\nx-request-id: two\r\n",
    ] {
        let answer = ask(header);
        for name in ["x-correlation-id", "x-request-id"] {
            assert_eq!(answer.header(name), Some("one"), "{header}");
            assert_eq!(seen(&answer, name), ["one"], "{header}");
        }
    }
    let made = ask("");
    let id = made.header("x-correlation-id").unwrap();
    assert_eq!(id.len(), 36, "{id}");
    assert_eq!(seen(&made, "x-correlation-id"), [id]);
    assert_eq!(seen(&made, "traceparent")[0].len(), 55);
    let line = sidecar.wait_for_request("/headers");
    assert!(line["trace_id"].as_str().unwrap().len() == 32, "{line}");
}

#[test]
fn a_header_of_ones_own_carries_the_id_where_the_settings_name_it() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, json!({ "correlationHeader": "x-book-id" }));
    let answer =
        sidecar.ask("GET /headers HTTP/1.1\r\nhost: a\r\nX-Book-Id: seven\r\nconnection: close\r\n\r\n");
    assert_eq!(answer.header("x-book-id"), Some("seven"), "{answer:?}");
    let json = answer.json();
    let seen = json["headers"].as_array().unwrap().iter().any(|pair| *pair == json!(["x-book-id", "seven"]));
    assert!(seen, "{json}");
    assert_eq!(sidecar.wait_for_request("/headers")["correlation_id"], "seven");
}

#[test]
fn every_answer_has_the_security_headers_and_its_time() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, json!({}));
    // D60, on answers of the application, of the sidecar, and of the contract.
    for path in ["/hello", "/status/404", "/metrics", "/health"] {
        let answer = sidecar.get(path);
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("x-xss-protection", "1; mode=block"),
            ("strict-transport-security", "max-age=31536000; includeSubDomains"),
            ("content-security-policy", "default-src 'self'"),
            ("referrer-policy", "strict-origin-when-cross-origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path} {name}");
        }
        assert!(answer.header("x-process-time").unwrap().parse::<f64>().is_ok(), "{path}");
    }
    let own = sidecar.get("/cookies");
    let frames: Vec<_> = own.headers.iter().filter(|(name, _)| name == "x-frame-options").collect();
    assert_eq!(
        frames,
        [&("x-frame-options".to_string(), "SAMEORIGIN".to_string())],
        "the application's own stays"
    );
}

/// A token of HS256, made by hand.
fn token(secret: &str, claims: Value) -> String {
    let encode = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let head = encode(br#"{"alg":"HS256","typ":"JWT"}"#);
    let text = format!("{head}.{}", encode(claims.to_string().as_bytes()));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
    let signature = encode(aws_lc_rs::hmac::sign(&key, text.as_bytes()).as_ref());
    format!("{text}.{signature}")
}

#[test]
fn tokens_are_checked_identities_passed_on_and_keys_followed_live() {
    let keys = tempfile::tempdir().unwrap();
    let (old, new) = ("the first secret of at least thirty-two", "the second secret of at least thirty-two");
    std::fs::write(keys.path().join("current"), old).unwrap();
    let application = Application::start();
    let sidecar = Sidecar::before(
        application.port,
        json!({ "environment": "production", "auth": { "keysFolder": keys.path(), "publicRoutes": ["GET /hello"] } }),
    );
    let ask = |token: Option<&str>, more: &str| {
        let authorization = token.map(|token| format!("authorization: {token}\r\n")).unwrap_or_default();
        sidecar.ask(&format!(
            "GET /headers HTTP/1.1\r\nhost: a\r\n{authorization}{more}connection: close\r\n\r\n"
        ))
    };
    let claims = json!({ "user_id": "42", "role": "admin", "exp": 4_102_444_800_u64 });
    let good = format!("Bearer {}", token(old, claims.clone()));
    for (given, message) in [
        (None, "Authorization header required"),
        (Some("Basic abc"), "Invalid authorization format"),
        (Some("Bearer abc"), "Invalid token"),
    ] {
        let answer = ask(given, "");
        assert_eq!(answer.status, 401);
        let error = &answer.json()["error"];
        assert_eq!((&error["code"], &error["message"]), (&json!(401), &json!(message)));
        assert_eq!(error["correlationId"], answer.header("x-correlation-id").unwrap());
        assert!(error["timestamp"].is_number());
    }
    assert_eq!(sidecar.get("/hello").status, 200, "a public route");
    assert_ne!(sidecar.get("/health").status, 401, "probes need no token (D16)");
    let preflight = |more: &str| {
        let asked = "OPTIONS /hello HTTP/1.1\r\nhost: a\r\norigin: http://b\r\naccess-control-request-method: GET\r\n";
        sidecar.ask(&format!("{asked}{more}connection: close\r\n\r\n")).status
    };
    assert_ne!(preflight(""), 401, "a browser has no token yet");
    for more in ["x-http-method-override: DELETE\r\n", "content-length: 0\r\n", "upgrade: x\r\n"] {
        assert_eq!(preflight(more), 401, "{more}");
    }
    let forged = "x-user-id: 1\r\nX-User-Role: root\r\nx_user_id: 1\r\nX-Auth-User: 1\r\n";
    let seen = ask(Some(&good), forged).json();
    let identity: Vec<&Value> = seen["headers"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|pair| ["user", "auth-"].iter().any(|part| pair[0].as_str().unwrap().contains(part)))
        .filter(|pair| pair[0] != "user-agent")
        .collect();
    assert_eq!(identity, [&json!(["x-user-id", "42"]), &json!(["x-user-role", "admin"])], "{seen}");
    wait("the line of the user", || {
        sidecar.requests("/headers").into_iter().find(|line| line["user_id"] == "42")
    });

    // A rotation: the new one is there within seconds, the old one still holds.
    std::fs::write(keys.path().join("previous"), old).unwrap();
    std::fs::write(keys.path().join("current"), new).unwrap();
    let next = format!("Bearer {}", token(new, claims));
    wait("the new key", || (ask(Some(&next), "").status == 200).then_some(()));
    assert_eq!(ask(Some(&good), "").status, 200, "the old key still holds (X49)");
}

#[test]
fn clients_are_limited_and_told_when_to_come_back() {
    let application = Application::start();
    let limit = json!({ "rateLimit": { "requestsPerMinute": 60, "burst": 3 } });
    let sidecar = Sidecar::before(application.port, limit);
    let statuses: Vec<u16> = (0..5).map(|_| sidecar.get("/hello").status).collect();
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    let answer = sidecar.get("/hello");
    assert_eq!(answer.json()["error"]["type"], "RATE_LIMITED");
    assert_eq!(answer.header("retry-after"), Some("1"));
    for path in ["/health", "/ready"] {
        assert_eq!(sidecar.get(path).status, 200, "probes are exempt (G36): {path}");
    }
}

#[test]
fn browsers_of_listed_origins_may_call() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, json!({ "corsOrigins": ["https://www.visiobook.com"] }));
    let ask = |method: &str, origin: &str, more: &str| {
        sidecar.ask(&format!(
            "{method} /hello HTTP/1.1\r\nhost: a\r\norigin: {origin}\r\n{more}connection: close\r\n\r\n"
        ))
    };
    let preflight = ask("OPTIONS", "https://www.visiobook.com", "access-control-request-method: PATCH\r\n");
    assert_eq!(preflight.status, 204);
    assert!(preflight.header("access-control-allow-methods").unwrap().contains("PATCH"));
    assert_eq!(application.count(), 0);
    let answer = ask("GET", "https://www.visiobook.com", "");
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://www.visiobook.com"));
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
    assert_eq!(ask("GET", "https://evil.example", "").header("access-control-allow-origin"), None);
}

#[test]
fn layers_stand_in_their_order() {
    let keys = tempfile::tempdir().unwrap();
    let secret = "a secret of at least thirty-two bytes";
    std::fs::write(keys.path().join("current"), secret).unwrap();
    let application = Application::start();
    let before = |proxies: Value| {
        let settings = json!({
            "auth": { "keysFolder": keys.path() }, "corsOrigins": ["https://www.visiobook.com"],
            "rateLimit": { "requestsPerMinute": 1, "burst": 2 }, "trustedProxies": proxies,
        });
        Sidecar::before(application.port, settings)
    };
    let ask = |sidecar: &Sidecar, head: &str| {
        sidecar.ask(&format!(
            "{head}\r\nhost: a\r\norigin: https://www.visiobook.com\r\nconnection: close\r\n\r\n"
        ))
    };

    // An address is limited before its token is looked at, and a preflight is answered before that.
    let sidecar = before(json!([]));
    let statuses = [(); 3].map(|()| ask(&sidecar, "GET /hello HTTP/1.1").status);
    assert_eq!(statuses, [401, 401, 429]);
    let preflight = ask(&sidecar, "OPTIONS /hello HTTP/1.1\r\naccess-control-request-method: GET");
    assert_eq!(preflight.status, 204);
    // What refuses stands within log, metrics, ids, CORS and security headers.
    let refused = ask(&sidecar, "GET /hello HTTP/1.1");
    for name in ["x-correlation-id", "x-process-time", "x-frame-options", "access-control-allow-origin"] {
        assert!(refused.header(name).is_some(), "{name}: {refused:?}");
    }
    wait("the line of a refusal", || {
        sidecar.requests("/hello").into_iter().find(|line| line["status_code"] == 429)
    });
    assert!(sidecar.contract("/metrics").body.contains(r#"status_code="429"} 2"#));

    // A subject is limited after its token is known: here no address is.
    let sidecar = before(json!(["127.0.0.0/8"]));
    let token = token(secret, json!({ "user_id": "42", "exp": 4_102_444_800_u64 }));
    let known = format!("GET /hello HTTP/1.1\r\nauthorization: Bearer {token}");
    let statuses = [(); 3].map(|()| ask(&sidecar, &known).status);
    assert_eq!(statuses, [200, 200, 429]);
    assert_eq!(ask(&sidecar, "GET /hello HTTP/1.1").status, 401);
}

#[test]
fn answers_are_compressed_where_asked() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, json!({ "compression": true }));
    let mut client = sidecar.connect();
    client
        .write_all(b"GET /text HTTP/1.1\r\nhost: a\r\naccept-encoding: gzip\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).unwrap();
    let answer = Answer::parse(&bytes);
    assert_eq!(
        (answer.header("content-encoding"), answer.header("vary")),
        (Some("gzip"), Some("Accept-Encoding")),
        "{answer:?}"
    );
    assert!(bytes.len() < 10_000, "{} bytes for 100,000", bytes.len());
    let plain = sidecar.get("/text");
    assert_eq!((plain.header("content-encoding"), plain.body.len()), (None, 100_000));
}

#[test]
fn bare_errors_get_the_envelope_and_failures_a_mask() {
    let application = Application::start();
    let settings = json!({ "environment": "production", "errors": { "envelope": true, "mask": true } });
    let sidecar = Sidecar::before(application.port, settings);
    let missing = sidecar.get("/status/404");
    assert_eq!(missing.status, 404);
    assert_eq!(missing.json()["error"]["type"], "RESOURCE_NOT_FOUND");
    let failed = sidecar.get("/status/500");
    let error = &failed.json()["error"];
    assert_eq!((failed.status, &error["type"]), (500, &json!("INTERNAL_ERROR")));
    assert_eq!(error["message"], "Une erreur interne s'est produite");
    // Whoever asks for another protocol reads no more of it.
    let asked = "GET /status/500 HTTP/1.1\r\nhost: a\r\nconnection: upgrade, close\r\nupgrade: x\r\n\r\n";
    assert_eq!(sidecar.ask(asked).json()["error"]["message"], error["message"]);
    assert_eq!(
        sidecar.get("/envelope").json()["error"]["message"],
        "mine",
        "an envelope of the application's stays"
    );
}

#[test]
fn unknown_hosts_are_turned_away() {
    let application = Application::start();
    let sidecar = Sidecar::before(application.port, json!({ "hosts": ["users.visiobook.com"] }));
    let ask = |host: &str| {
        sidecar.ask(&format!("GET /hello HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"))
    };
    assert_eq!(ask("users.visiobook.com:443").status, 200);
    assert_eq!(ask("evil.example").status, 421);
}

#[test]
fn settings_that_are_wrong_stop_it_at_once_and_name_the_field() {
    let run = |settings: &str| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_visiobook"))
            .arg("sidecar")
            .env("VISIOBOOK_SIDECAR", settings)
            .output()
            .unwrap();
        assert!(!output.status.success(), "{settings}");
        String::from_utf8(output.stderr).unwrap()
    };
    for (settings, field) in [
        (r#"{"service": "a", "colour": 1}"#, "colour"),
        (r#"{"service": "a", "port": 0}"#, "port"),
        (r#"{"service": "a", "version": 2}"#, "version 2"),
        (r#"{"service": "a", "corsOrigins": ["visiobook.com"]}"#, "corsOrigins"),
        (r#"{"service": "a", "trustedProxies": ["10.0.0.0/99"]}"#, "trustedProxies[0]"),
        (r#"{"service": "a", "auth": {"keysFolder": "/nowhere"}}"#, "auth.keysFolder"),
        (r#"{"service": "a", "routes": ["users"]}"#, "routes"),
        ("", "VISIOBOOK_SIDECAR"),
    ] {
        let told = run(settings);
        assert!(told.contains(field), "{settings}: {told}");
    }
}
