//! What people are told goes over real connections: somebody takes it, turns it away, breaks off, is silent, or is not
//! there.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::{HeaderMap, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use visiobook::api::NotificationEvent;
use visiobook::notify::{Address, Failure, send};
use visiobook::status::Notice;

fn notice() -> Notice {
    Notice {
        namespace: "shop".into(),
        service: "users".into(),
        environment: "production".into(),
        event: NotificationEvent::Promoted,
        attempt: "bbbbbbbbbb-7".into(),
        reason: String::new(),
        approved_by: Some("ada".into()),
        at: "2026-11-21T10:00:00Z".into(),
    }
}

type Taken = Arc<Mutex<Vec<(String, String, Value)>>>;

/// A server that takes what comes and answers with the status that the path names.
async fn server() -> (String, Taken) {
    let taken = Taken::default();
    let keep = taken.clone();
    let answer = move |uri: Uri, headers: HeaderMap, body: String| {
        let status = uri.path().trim_start_matches('/').parse().unwrap_or(200);
        let type_ = headers["content-type"].to_str().unwrap().to_string();
        keep.lock().unwrap().push((uri.path().into(), type_, serde_json::from_str(&body).unwrap()));
        async move { (StatusCode::from_u16(status).unwrap(), "no_service") }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    (url, taken)
}

async fn webhook(url: &str) -> Result<(), Failure> {
    send(&Address::Webhook { url: url.into() }, &notice()).await
}

#[tokio::test]
async fn slack_and_webhooks_get_their_message_once() {
    let (url, taken) = server().await;
    send(&Address::Slack { url: format!("{url}/200") }, &notice()).await.expect("taken");
    // A line that somebody pasted into a Secret ends in a new line.
    webhook(&format!("{url}/204\n")).await.expect("taken");
    let taken = taken.lock().unwrap().clone();
    assert_eq!(taken.len(), 2);
    assert!(taken.iter().all(|(_, type_, _)| type_ == "application/json"));
    let message = "release bbbbbbbbbb-7 of shop/users in production serves, approved by ada";
    assert_eq!(taken[0].2, json!({ "text": format!("[users] SUCCESS: {message}") }));
    assert_eq!(
        taken[1].2,
        json!({
            "id": "shop/users/bbbbbbbbbb-7/Promoted", "event": "Promoted", "status": "SUCCESS", "namespace": "shop",
            "service": "users", "environment": "production", "attempt": "bbbbbbbbbb-7", "message": message,
            "reason": "", "approvedBy": "ada", "at": "2026-11-21T10:00:00Z",
        })
    );
}

#[tokio::test]
async fn only_what_certainly_did_not_arrive_may_be_sent_again() {
    let (url, taken) = server().await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let breaks = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let breaking = format!("http://{}", breaks.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = breaks.accept().await {
            let _ = stream.read(&mut [0; 64]).await;
        }
    });
    for (url, expected) in [
        (format!("http://{nobody}/secret"), "NotSent"),
        (format!("{url}/429"), "NotSent"),
        (format!("{url}/404"), "Refused"),
        (format!("{url}/302"), "Refused"),
        (format!("{url}/500"), "Unknown"),
        (format!("{url}/503"), "Unknown"),
        (breaking, "Unknown"),
        ("ftp://example.com/secret".into(), "Refused"),
        ("secret".into(), "Refused"),
        ("https:///secret".into(), "Refused"),
    ] {
        let failure = webhook(&url).await.expect_err(&url);
        assert!(format!("{failure:?}").starts_with(expected), "{url}: {failure:?}");
        assert!(!failure.to_string().contains("secret"), "a secret is told: {failure}");
    }
    // Each was sent once: whether again is another's decision.
    assert_eq!(taken.lock().unwrap().len(), 5);
    let said = webhook(&format!("{url}/410")).await.expect_err("gone").to_string();
    assert_eq!(said, "answered 410 Gone no_service");
}

#[tokio::test]
async fn somebody_who_takes_a_message_and_says_nothing_is_not_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let failure = webhook(&url).await.expect_err("silent");
    assert!(matches!(&failure, Failure::Unknown(why) if why == "no answer within 10 s"), "{failure:?}");
}
