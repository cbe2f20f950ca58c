//! E-mail of releases, taken by a real server: `make stores` installs it and names it in VISIOBOOK_AIOSMTPD.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use visiobook::api::{Email, NotificationEvent};
use visiobook::notify::{Address, Failure, send};
use visiobook::status::Notice;

/// A server that prints what it takes.
struct Server {
    process: Child,
    port: u16,
    printed: tempfile::NamedTempFile,
}

impl Server {
    async fn start() -> Server {
        let program = std::env::var("VISIOBOOK_AIOSMTPD").expect("VISIOBOOK_AIOSMTPD: `make stores` sets it");
        let port = free();
        let printed = tempfile::NamedTempFile::new().unwrap();
        let process = Command::new(program)
            .args(["-n", "-l", &format!("127.0.0.1:{port}")])
            .env("PYTHONUNBUFFERED", "1")
            .stdout(Stdio::from(printed.reopen().unwrap()))
            .spawn()
            .unwrap();
        let server = Server { process, port, printed };
        for _ in 0..100 {
            if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return server;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the mail server does not listen");
    }

    fn printed(&self) -> String {
        std::fs::read_to_string(self.printed.path()).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap().port()
}

fn notice() -> Notice {
    Notice {
        namespace: "shop".into(),
        service: "users".into(),
        environment: "production".into(),
        event: NotificationEvent::RolledBack,
        attempt: "bbbbbbbbbb-7".into(),
        reason: "0 of 2 pods were ready".into(),
        approved_by: Some("ada".into()),
        at: "2026-11-21T10:00:00Z".into(),
    }
}

fn to(port: u16, more: serde_json::Value) -> Address {
    let mut email = json!({
        "host": "127.0.0.1", "port": port, "encryption": "None",
        "from": "Visiobook <releases@visiobook.com>", "to": ["on-call@visiobook.com", "ops@visiobook.com"],
    });
    visiobook::plan::merge(&mut email, more);
    let email: Email = serde_json::from_value(email).unwrap();
    Address::Mail { email: Box::new(email), credentials: None }
}

#[tokio::test]
async fn a_real_server_takes_the_message_once_with_its_subject_and_every_receiver() {
    let server = Server::start().await;
    send(&to(server.port, json!({})), &notice()).await.expect("taken");
    let printed = server.printed();
    assert_eq!(printed.matches("MESSAGE FOLLOWS").count(), 1, "{printed}");
    for line in [
        "From: Visiobook <releases@visiobook.com>",
        "To: on-call@visiobook.com, ops@visiobook.com",
        // [users] Déploiement FAILED, as RFC 2047 writes it.
        "Subject: [users] =?utf-8?b?RMOpcGxvaWVtZW50?= FAILED",
        "release bbbbbbbbbb-7 of shop/users in production was taken back, approved by ada: 0 of 2 pods were ready.",
    ] {
        let whole = printed.replace("=\n", "").replace("=\r\n", "");
        assert!(whole.contains(line), "no {line:?} in\n{whole}");
    }
}

#[tokio::test]
async fn nothing_goes_to_a_server_without_the_encryption_that_is_asked_for_nor_to_an_address_that_is_none() {
    let server = Server::start().await;
    for more in
        [json!({ "encryption": "StartTLS" }), json!({ "to": ["nobody at all"] }), json!({ "from": "" })]
    {
        let failed = send(&to(server.port, more.clone()), &notice()).await.expect_err("refused");
        assert!(matches!(failed, Failure::Refused(_)), "{more}: {failed:?}");
    }
    assert!(!server.printed().contains("MESSAGE FOLLOWS"));
}

#[tokio::test]
async fn a_server_that_is_not_there_can_be_tried_again() {
    let failed = send(&to(free(), json!({})), &notice()).await.expect_err("nobody listens");
    assert!(matches!(failed, Failure::NotSent(_)), "{failed:?}");
}
