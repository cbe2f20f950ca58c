//! Who may call by the token of a service, and whom the sidecar itself trusts.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, Stream};
use serde_json::{Value, json};
use visiobook::contract::service_token::{Grant, mint};

use crate::support::{Answer, Application, Sidecar, wait};

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

fn now() -> u64 {
    jiff::Timestamp::now().as_second().unsigned_abs()
}

/// A token as the operator mints it.
fn token(key: &KeyPair, kid: &str, service: (&str, &str), calls: &[&str], expires: u64) -> String {
    let calls: Vec<String> = calls.iter().map(ToString::to_string).collect();
    let (namespace, name) = service;
    mint(&key.serialize_pem(), kid, &Grant { namespace, name, calls: &calls, issued: now(), expires })
        .unwrap()
}

fn ask(sidecar: &Sidecar, token: Option<&str>) -> Answer {
    let authorization = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    sidecar.ask(&format!("GET /headers HTTP/1.1\r\nhost: users\r\n{authorization}connection: close\r\n\r\n"))
}

#[test]
fn a_service_calls_with_its_token_and_a_foreign_forged_or_undeclared_one_is_refused_with_the_reason() {
    let (current, next, stranger) = (key(), key(), key());
    let keys = tempfile::tempdir().unwrap();
    std::fs::write(keys.path().join("k1"), current.public_key_pem()).unwrap();
    let application = Application::start();
    let sidecar = Sidecar::before(
        application.port,
        json!({ "serviceTokens": { "keysFolder": keys.path(), "namespace": "shop", "required": true } }),
    );
    let later = now() + 600;
    let orders = ("shop", "orders");
    let admitted = ask(&sidecar, Some(&token(&current, "k1", orders, &["shop/users"], later)));
    assert_eq!(admitted.status, 200);
    let seen = admitted.json()["headers"].to_string();
    assert!(seen.contains(r#"["x-user-id","service/shop/orders"],["x-user-role","service"]"#), "{seen}");

    let cases = [
        (None, 401, "Authorization header required"),
        (Some("opaque".to_string()), 401, "Invalid token"),
        (Some(token(&stranger, "k1", orders, &["shop/users"], later)), 401, "Invalid token"),
        (Some(token(&current, "k1", orders, &["shop/users"], now() - 1)), 401, "Invalid token"),
        (
            Some(token(&current, "k1", orders, &["shop/media"], later)),
            403,
            "name the service it calls in its spec.dependsOn",
        ),
        (
            Some(token(&current, "k1", ("tools", "orders"), &["shop/users"], later)),
            403,
            "A service of another namespace may not call: name it in spec.sidecar.serviceTokens.allow",
        ),
    ];
    let calls = application.count();
    for (token, status, message) in cases {
        let answer = ask(&sidecar, token.as_deref());
        assert_eq!(answer.status, status, "{message}: {answer:?}");
        let told = answer.json()["error"]["message"].as_str().unwrap().to_string();
        assert!(told.contains(message), "{told}");
    }
    assert_eq!(application.count(), calls, "a refused call reached the application");
    assert_eq!(sidecar.get("/health").status, 200, "probes need no token (D16)");

    // Verifiers have a new key before anybody signs with it, and the old one goes when its tokens have.
    let signed = token(&next, "k2", orders, &["shop/users"], later);
    assert_eq!(ask(&sidecar, Some(&signed)).status, 401);
    std::fs::write(keys.path().join("k2"), next.public_key_pem()).unwrap();
    wait("the new key", || (ask(&sidecar, Some(&signed)).status == 200).then_some(()));
    let before = token(&current, "k1", orders, &["shop/users"], later);
    assert_eq!(ask(&sidecar, Some(&before)).status, 200);
    std::fs::remove_file(keys.path().join("k1")).unwrap();
    wait("the old key to go", || (ask(&sidecar, Some(&before)).status == 401).then_some(()));
}

/// An authority of one's own, and a server with a certificate of it that answers everything with one text.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority { issuer: CertifiedIssuer::self_signed(params, key()).unwrap() }
    }

    fn write(&self, file: &Path) {
        std::fs::write(file, self.issuer.pem()).unwrap();
    }

    /// Serves `body` at `https://localhost:<port>`; tells the port.
    fn serve(&self, body: String) -> u16 {
        let key = key();
        let certificate =
            CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .unwrap();
        let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for mut socket in listener.incoming().map_while(Result::ok) {
                let mut connection = ServerConnection::new(config.clone()).unwrap();
                let mut stream = Stream::new(&mut connection, &mut socket);
                // Who does not trust us hangs up.
                if !matches!(stream.read(&mut [0; 4096]), Ok(1..)) {
                    continue;
                }
                let head =
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                let _ = stream.write_all(format!("{head}{body}").as_bytes());
                connection.send_close_notify();
                let _ = connection.write_tls(&mut socket);
            }
        });
        port
    }
}

#[test]
fn checks_and_key_sets_trust_an_authority_of_ones_own_and_follow_it() {
    let signing = key();
    let private = EncodingKey::from_ec_pem(signing.serialize_pem().as_bytes()).unwrap();
    let mut jwk = Jwk::from_encoding_key(&private, Algorithm::ES256).unwrap();
    jwk.common.key_id = Some("e-1".into());
    let authority = Authority::new();
    let port = authority.serve(json!({ "keys": [jwk] }).to_string());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    // Another authority at first.
    Authority::new().write(&file);
    let application = Application::start();
    let sidecar = Sidecar::with(
        application.port,
        json!({
            "trustedCertificates": file,
            "auth": { "jwks": format!("https://localhost:{port}/jwks.json") },
            "dependencies": [{ "name": "books", "kind": "Service", "variable": "BOOKS_URL" }],
        }),
        &[("BOOKS_URL", &format!("https://localhost:{port}"))],
    );
    let health = || sidecar.contract("/health").json()["dependencies"]["external_services"]["books"].clone();
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some("e-1".into());
    let claims = json!({ "user_id": "42", "exp": now() + 600 });
    let user = jsonwebtoken::encode(&header, &claims, &private).unwrap();
    let told = sidecar.wait_for_line("the key set cannot be read").to_string();
    assert!(told.contains("certificate"), "{told}");
    assert_eq!((health(), ask(&sidecar, Some(&user)).status), (Value::from("unhealthy"), 401));

    authority.write(&file);
    wait("the check to succeed", || (health() == "healthy").then_some(()));
    wait("the key set", || (ask(&sidecar, Some(&user)).status == 200).then_some(()));
}
