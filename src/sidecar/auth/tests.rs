//! Real tokens, real keys, a real issuer over HTTP.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex as Cell};

use http::Request;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use proptest::prelude::*;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use serde_json::{Value, json};

use super::*;
use crate::contract::service_token::{Grant, mint};

const NOW: u64 = 1_800_000_000;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const OLD_SECRET: &[u8] = b"fedcba9876543210fedcba9876543210";

static RSA: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap());
static EC: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap());

static OLD_EC: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap());

fn rsa() -> EncodingKey {
    EncodingKey::from_rsa_pem(RSA.serialize_pem().as_bytes()).unwrap()
}

fn ec() -> EncodingKey {
    EncodingKey::from_ec_pem(EC.serialize_pem().as_bytes()).unwrap()
}

fn jwk(key: &EncodingKey, algorithm: Algorithm, kid: &str) -> Value {
    let mut jwk = Jwk::from_encoding_key(key, algorithm).unwrap();
    jwk.common.key_id = Some(kid.into());
    serde_json::to_value(jwk).unwrap()
}

fn signed(algorithm: Algorithm, kid: Option<&str>, key: &EncodingKey, claims: &Value) -> String {
    let mut header = Header::new(algorithm);
    header.kid = kid.map(str::to_string);
    encode(&header, claims, key).unwrap()
}

fn hs256(secret: &[u8], claims: &Value) -> String {
    signed(Algorithm::HS256, None, &EncodingKey::from_secret(secret), claims)
}

fn claims() -> Value {
    json!({ "user_id": "u-1", "role": "admin", "exp": NOW + 60 })
}

/// A folder with these files, for the time of a test.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn settings(document: Value) -> Settings {
    serde_json::from_value(document).unwrap()
}

fn open(document: Value) -> Authentication {
    Authentication::new(&settings(document), Fetch::default()).unwrap().unwrap()
}

/// Checks HS256 with a secret of now and one of before, and ES256 and RS256 with a file of keys.
fn authentication() -> (Authentication, tempfile::TempDir) {
    let keys = folder(&[
        ("current", SECRET),
        ("previous", OLD_SECRET),
        ("k-7", b"a-secret-with-a-name-of-32-bytes"),
    ]);
    let sets = folder(&[]);
    let set = json!({ "keys": [jwk(&rsa(), Algorithm::RS256, "r-1"), jwk(&ec(), Algorithm::ES256, "e-1"),
        { "kty": "oct", "kid": "o-1", "k": "AAAA" }, { "kty": "new" }] });
    fs::write(sets.path().join("jwks.json"), set.to_string()).unwrap();
    let authentication = open(json!({ "service": "users", "auth": {
        "keysFolder": keys.path(), "jwks": sets.path().join("jwks.json"), "cookie": "session",
        "publicRoutes": ["POST /api/v1/users"],
    } }));
    (authentication, keys)
}

async fn call(
    authentication: &Authentication,
    target: &str,
    headers: &[(&str, &str)],
) -> Result<Caller, (u16, String, Option<HeaderValue>)> {
    let (method, path) = target.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    authentication.authenticate(&parts, NOW).await.map_err(|answer| {
        let challenge = answer.headers.iter().find(|(name, _)| *name == WWW_AUTHENTICATE);
        (answer.status.as_u16(), answer.message.to_string(), challenge.map(|(_, value)| value.clone()))
    })
}

async fn bearer_call(authentication: &Authentication, token: &str) -> Result<Caller, (u16, String)> {
    let outcome =
        call(authentication, "GET /api/v1/users", &[("authorization", &format!("Bearer {token}"))]).await;
    outcome.map_err(|(status, message, _)| (status, message))
}

fn invalid() -> Result<Caller, (u16, String)> {
    Err((401, INVALID.to_string()))
}

fn subject(caller: &Result<Caller, (u16, String)>) -> &str {
    caller.as_ref().unwrap().subject().unwrap()
}

#[tokio::test]
async fn each_error_has_its_message_and_a_challenge() {
    let (authentication, _keys) = authentication();
    let token = hs256(SECRET, &claims());
    let twice = format!("Bearer {token}");
    for (headers, message) in [
        (&[][..], "Authorization header required"),
        (&[("authorization", token.as_str())], "Invalid authorization format"),
        (&[("authorization", "Basic dTpw")], "Invalid authorization format"),
        (&[("authorization", "Bearer")], "Invalid authorization format"),
        (&[("authorization", "Bearer ")], "Invalid authorization format"),
        (&[("authorization", "Bearer a b")], "Invalid authorization format"),
        (&[("authorization", "Bearer é.é.é")], "Invalid authorization format"),
        (&[("authorization", ""), ("cookie", "session=x")], "Invalid authorization format"),
        (&[("authorization", &twice), ("authorization", &twice)], "Invalid authorization format"),
        (&[("authorization", "Bearer x")], "Invalid token"),
        (&[("cookie", "session=x")], "Invalid token"),
        (&[("cookie", "session=x; session=y")], "Invalid token"),
    ] {
        let refused = call(&authentication, "GET /api/v1/users", headers).await.unwrap_err();
        assert_eq!(
            refused,
            (401, message.to_string(), Some(HeaderValue::from_static("Bearer"))),
            "{headers:?}"
        );
    }
}

#[tokio::test]
async fn tokens_of_every_key_and_place_are_accepted() {
    let (authentication, _keys) = authentication();
    let named = EncodingKey::from_secret(b"a-secret-with-a-name-of-32-bytes");
    for token in [
        hs256(SECRET, &claims()),
        hs256(OLD_SECRET, &claims()),
        signed(Algorithm::HS256, Some("k-7"), &named, &claims()),
        signed(Algorithm::HS256, Some("issued-before-kids"), &EncodingKey::from_secret(SECRET), &claims()),
        signed(Algorithm::RS256, Some("r-1"), &rsa(), &claims()),
        signed(Algorithm::RS256, None, &rsa(), &claims()),
        signed(Algorithm::ES256, Some("e-1"), &ec(), &claims()),
    ] {
        assert_eq!(subject(&bearer_call(&authentication, &token).await), "u-1");
        let cookie = format!("a=1; session={token}");
        assert!(matches!(call(&authentication, "GET /", &[("cookie", &cookie)]).await, Ok(Caller::User(_))));
        let lower = format!("bearer {token}");
        assert!(call(&authentication, "GET /", &[("authorization", &lower)]).await.is_ok());
    }
}

#[tokio::test]
async fn times_are_honoured() {
    let (authentication, _keys) = authentication();
    for (times, holds) in [
        (json!({ "exp": NOW + 1 }), true),
        (json!({ "exp": NOW as f64 + 0.5 }), true),
        (json!({ "exp": NOW }), false),
        (json!({ "exp": NOW - 1 }), false),
        (json!({ "exp": 0 }), false),
        (json!({ "exp": -1 }), false),
        (json!({ "exp": u64::MAX }), true),
        (json!({ "exp": (NOW + 60).to_string() }), false),
        (json!({ "exp": null }), false),
        (json!({}), false),
        (json!({ "exp": NOW + 60, "nbf": NOW + 30, "iat": NOW + 30 }), true),
        (json!({ "exp": NOW + 60, "nbf": NOW + 31 }), false),
        (json!({ "exp": NOW + 60, "iat": NOW + 31 }), false),
        (json!({ "exp": NOW + 60, "nbf": "soon" }), false),
    ] {
        let mut claims = json!({ "user_id": "u-1" });
        claims.as_object_mut().unwrap().extend(times.as_object().unwrap().clone());
        let outcome = bearer_call(&authentication, &hs256(SECRET, &claims)).await;
        assert_eq!(outcome.is_ok(), holds, "{times}");
    }
}

#[tokio::test]
async fn forged_tokens_are_refused() {
    let (authentication, _keys) = authentication();
    let part = |value: &Value| {
        // The middle of a real token is that value, encoded.
        hs256(SECRET, value).split('.').nth(1).unwrap().to_string()
    };
    let payload = part(&claims());
    let good = hs256(SECRET, &claims());
    let (body, signature) = good.rsplit_once('.').unwrap();
    let header = |value: Value| part(&value);
    let rsa_signed = signed(Algorithm::RS256, Some("r-1"), &rsa(), &claims());
    let stolen = rsa_signed.rsplit_once('.').unwrap().1;
    let mut forged = vec![
        format!("{}.{payload}.", header(json!({ "alg": "none" }))),
        format!("{}.{payload}.", header(json!({ "alg": "None", "typ": "JWT" }))),
        format!("{}.{payload}.{signature}", header(json!({ "alg": "none" }))),
        format!("{}.{payload}.{stolen}", header(json!({ "alg": "HS256", "kid": "r-1" }))),
        format!("{body}."),
        format!("{body}.{}", &signature[..20]),
        body.to_string(),
        format!("{good}.{signature}"),
        format!(".{payload}.{signature}"),
        "..".into(),
        hs256(b"another-secret-of-thirty-two-byte", &claims()),
        hs256(b"", &claims()),
        signed(Algorithm::HS512, None, &EncodingKey::from_secret(SECRET), &claims()),
        signed(Algorithm::RS256, Some("e-1"), &rsa(), &claims()),
        signed(Algorithm::RS256, Some("r-2"), &rsa(), &claims()),
        signed(Algorithm::HS256, Some("k-7"), &EncodingKey::from_secret(SECRET), &claims()),
        hs256(SECRET, &json!({ "user_id": "a\r\nx-user-role: admin", "exp": NOW + 60 })),
        hs256(SECRET, &json!({ "user_id": "a".repeat(9000), "exp": NOW + 60 })),
        hs256(SECRET, &json!(["u-1"])),
        hs256(SECRET, &json!({ "role": "admin", "exp": NOW + 60 })),
    ];
    // Public keys are known to everybody: none is ever a secret.
    let public = RSA.public_key_pem();
    for secret in
        [public.as_bytes(), public.trim().as_bytes(), RSA.public_key_raw(), EC.public_key_raw(), &[0, 0, 0]]
    {
        forged.push(hs256(secret, &claims()));
        for kid in ["r-1", "e-1", "o-1"] {
            forged.push(signed(Algorithm::HS256, Some(kid), &EncodingKey::from_secret(secret), &claims()));
        }
    }
    let mut critical = Header::new(Algorithm::HS256);
    critical.crit = Some(vec!["exp".into()]);
    forged.push(encode(&critical, &claims(), &EncodingKey::from_secret(SECRET)).unwrap());
    for token in forged {
        if HeaderValue::from_str(&format!("Bearer {token}")).is_ok() {
            assert_eq!(bearer_call(&authentication, &token).await, invalid(), "{token}");
        }
    }
    let huge = format!("Bearer {}.{}.{}", "a".repeat(100), "b".repeat(8200), "c".repeat(43));
    assert_eq!(call(&authentication, "GET /", &[("authorization", &huge)]).await.unwrap_err().1, INVALID);
}

#[tokio::test]
async fn issuer_and_audience_must_be_ours() {
    let keys = folder(&[("current", SECRET)]);
    let authentication = open(json!({ "service": "users",
        "auth": { "keysFolder": keys.path(), "issuer": "https://id", "audience": "visiobook" } }));
    for (more, holds) in [
        (json!({ "iss": "https://id", "aud": "visiobook" }), true),
        (json!({ "iss": "https://id", "aud": ["other", "visiobook"] }), true),
        (json!({ "iss": "https://id", "aud": "other" }), false),
        (json!({ "iss": "https://id", "aud": [] }), false),
        (json!({ "iss": "https://id", "aud": 1 }), false),
        (json!({ "iss": "https://id" }), false),
        (json!({ "iss": "https://evil", "aud": "visiobook" }), false),
        (json!({ "iss": ["https://id"], "aud": "visiobook" }), false),
        (json!({ "aud": "visiobook" }), false),
    ] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(bearer_call(&authentication, &hs256(SECRET, &claims)).await.is_ok(), holds, "{more}");
    }
}

#[tokio::test]
async fn a_public_route_needs_no_token_and_takes_a_valid_one() {
    let (authentication, _keys) = authentication();
    let route = "POST /api/v1/users";
    let valid = format!("Bearer {}", hs256(SECRET, &claims()));
    let expired = hs256(SECRET, &json!({ "user_id": "u-1", "exp": NOW - 1 }));
    assert_eq!(call(&authentication, route, &[]).await, Ok(Caller::Anonymous));
    assert_eq!(
        call(&authentication, route, &[("authorization", &valid)]).await.unwrap().subject(),
        Some("u-1")
    );
    let bearer = format!("Bearer {expired}");
    assert_eq!(call(&authentication, route, &[("authorization", &bearer)]).await.unwrap_err().1, INVALID);
    // A browser sends an old cookie by itself.
    let cookie = format!("session={expired}");
    assert_eq!(call(&authentication, route, &[("cookie", &cookie)]).await, Ok(Caller::Anonymous));
    for other in ["POST /api/v1/users/", "POST //api/v1/users", "POST /api/v1/./users", "GET /api/v1/users"] {
        assert_eq!(call(&authentication, other, &[]).await.unwrap_err().1, MISSING, "{other}");
    }
}

#[tokio::test]
async fn a_rotated_secret_works_without_a_restart() {
    let (authentication, keys) = authentication();
    let new = b"the-secret-of-tomorrow-32-bytes!";
    assert_eq!(bearer_call(&authentication, &hs256(new, &claims())).await, invalid());
    fs::write(keys.path().join("previous"), SECRET).unwrap();
    fs::write(keys.path().join("current"), new).unwrap();
    let folder = authentication.users.as_ref().unwrap().secrets.as_ref().unwrap();
    assert_eq!(folder.reload(), Ok(true));
    for (secret, holds) in [(&new[..], true), (SECRET, true), (OLD_SECRET, false)] {
        assert_eq!(bearer_call(&authentication, &hs256(secret, &claims())).await.is_ok(), holds);
    }
}

/// An issuer that counts how often it is asked, and answers with the set of the moment.
async fn issuer(set: Arc<Cell<String>>) -> (String, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let answer = move || {
        count.fetch_add(1, Ordering::SeqCst);
        let set = set.lock().unwrap().clone();
        async move { set }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
    let routes = axum::Router::new().route("/jwks.json", axum::routing::get(answer));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (url, asked)
}

#[tokio::test]
async fn an_unknown_key_is_asked_for_once_in_a_while_and_old_keys_stay() {
    let of = |keys: &[Value]| json!({ "keys": keys }).to_string();
    let set = Arc::new(Cell::new(of(&[jwk(&rsa(), Algorithm::RS256, "r-1")])));
    let (url, asked) = issuer(Arc::clone(&set)).await;
    let authentication = open(json!({ "service": "users", "auth": { "jwks": url } }));
    let token = signed(Algorithm::RS256, Some("r-1"), &rsa(), &claims());
    let next = signed(Algorithm::ES256, Some("e-1"), &ec(), &claims());
    // Many at once make one question.
    let calls = futures::future::join_all((0..20).map(|_| bearer_call(&authentication, &token))).await;
    assert!(calls.iter().all(Result::is_ok));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    *set.lock().unwrap() = of(&[jwk(&ec(), Algorithm::ES256, "e-1")]);
    for _ in 0..20 {
        assert_eq!(bearer_call(&authentication, &next).await, invalid());
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1, "30 s have not passed");

    let jwks = authentication.users.as_ref().unwrap().jwks.as_ref().unwrap();
    *set.lock().unwrap() = "an outage".into();
    jwks.forget_refresh().await;
    jwks.refresh().await;
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    assert!(bearer_call(&authentication, &token).await.is_ok(), "the keys before stay");
    *set.lock().unwrap() = of(&[jwk(&ec(), Algorithm::ES256, "e-1")]);
    jwks.forget_refresh().await;
    assert_eq!(subject(&bearer_call(&authentication, &next).await), "u-1");
    // A secret that nobody has is no reason to ask the issuer.
    jwks.forget_refresh().await;
    assert_eq!(bearer_call(&authentication, &hs256(SECRET, &claims())).await, invalid());
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn keys_of_an_issuer_are_there_before_the_first_request() {
    let keys = json!({ "keys": [jwk(&ec(), Algorithm::ES256, "e-1")] }).to_string();
    let (url, _asked) = issuer(Arc::new(Cell::new(keys))).await;
    let authentication = Arc::new(open(json!({ "service": "users", "auth": { "jwks": url } })));
    let followed = Arc::clone(&authentication);
    let follow = tokio::spawn(async move { followed.follow().await });
    let jwks = authentication.users.as_ref().unwrap().jwks.as_ref().unwrap();
    while jwks.keys().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    follow.abort();
}

#[tokio::test]
async fn an_issuer_that_is_down_stops_no_start() {
    let authentication =
        open(json!({ "service": "users", "auth": { "jwks": "http://127.0.0.1:1/jwks.json" } }));
    let token = signed(Algorithm::RS256, Some("r-1"), &rsa(), &claims());
    assert_eq!(bearer_call(&authentication, &token).await, invalid());
}

#[test]
fn what_cannot_work_is_refused_at_start() {
    let short = folder(&[("current", b"short")]);
    let sets = folder(&[("none.json", b"{\"keys\":[]}"), ("text", b"text")]);
    let at = |name: &str| sets.path().join(name);
    for (document, word) in [
        (json!({ "auth": {} }), "auth: no keys"),
        (
            json!({ "environment": "production", "auth": { "keysFolder": short.path() } }),
            "auth.keysFolder: file \"current\"",
        ),
        (json!({ "auth": { "keysFolder": "/nowhere" } }), "auth.keysFolder: /nowhere cannot be read"),
        (json!({ "auth": { "jwks": at("missing") } }), "auth.jwks: "),
        (json!({ "auth": { "jwks": at("text") } }), "no JWKS"),
        (json!({ "auth": { "jwks": at("none.json") } }), "no key for RS256 or ES256"),
        (json!({ "auth": { "keysFolder": short.path(), "publicRoutes": ["users"] } }), "auth.publicRoutes"),
        (
            json!({ "serviceTokens": { "keysFolder": "/nowhere", "namespace": "prod" } }),
            "serviceTokens.keysFolder: /nowhere",
        ),
        (
            json!({ "serviceTokens": { "keysFolder": short.path(), "namespace": "prod" } }),
            "\"current\" is no public key",
        ),
    ] {
        let mut document = document;
        document["service"] = json!("users");
        let error = Authentication::new(&settings(document), Fetch::default()).err().unwrap();
        assert!(error.contains(word), "{error}");
    }
    assert!(
        Authentication::new(&settings(json!({ "service": "users" })), Fetch::default()).unwrap().is_none()
    );
}

/// A token of a service, signed with a private key, that says it calls the service of these tests.
fn token_of(key: &KeyPair, kid: &str, namespace: &str, name: &str, from: u64) -> String {
    let calls = ["prod/users".to_string()];
    let grant = Grant { namespace, name, calls: &calls, issued: from, expires: from + 3600 };
    mint(&key.serialize_pem(), kid, &grant).unwrap()
}

fn ec_token(namespace: &str, name: &str) -> String {
    token_of(&EC, "s-1", namespace, name, NOW)
}

fn services(more: Value) -> (Authentication, [tempfile::TempDir; 2]) {
    let (public, old) = (EC.public_key_pem(), OLD_EC.public_key_pem());
    let keys = folder(&[("s-1", public.as_bytes()), ("s-0", old.as_bytes())]);
    let users = folder(&[("current", SECRET)]);
    let mut tokens = json!({ "keysFolder": keys.path(), "namespace": "prod" });
    tokens.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let authentication =
        open(json!({ "service": "users", "auth": { "keysFolder": users.path() }, "serviceTokens": tokens }));
    (authentication, [keys, users])
}

#[tokio::test]
async fn a_service_is_known_by_its_token() {
    let (authentication, _keys) = services(json!({}));
    let caller = bearer_call(&authentication, &ec_token("prod", "projects")).await.unwrap();
    assert!(matches!(caller, Caller::Service(_)));
    let mut headers = HeaderMap::new();
    caller.announce(&mut headers);
    assert_eq!(headers["x-user-id"], "service/prod/projects");
    assert_eq!(headers["x-user-role"], "service");
    // The key before signs no more, and what it signed still holds.
    let before = token_of(&OLD_EC, "s-0", "prod", "projects", NOW - 60);
    assert!(matches!(bearer_call(&authentication, &before).await, Ok(Caller::Service(_))));
}

#[tokio::test]
async fn a_forged_or_expired_token_of_a_service_is_refused() {
    let (authentication, _keys) = services(json!({}));
    let claims_of = |subject: &str| json!({ "sub": subject, "aud": "visiobook-services", "exp": NOW + 60, "calls": ["prod/users"] });
    let public = EC.public_key_pem();
    let stranger = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    for token in [
        token_of(&stranger, "s-1", "prod", "projects", NOW),
        token_of(&stranger, "s-9", "prod", "projects", NOW),
        token_of(&EC, "s-0", "prod", "projects", NOW),
        ec_token("prod", "projects") + "x",
        token_of(&EC, "s-1", "prod", "projects", NOW - 7200),
        token_of(&EC, "s-1", "prod", "projects", NOW + 7200),
        ec_token("prod", "a/b"),
        ec_token("prod", ""),
        signed(Algorithm::ES256, Some("s-1"), &ec(), &claims_of("prod/projects")),
        signed(Algorithm::ES256, Some("s-1"), &ec(), &claims_of("service/prod")),
        // The public key as a secret, under its own name.
        signed(
            Algorithm::HS256,
            Some("s-1"),
            &EncodingKey::from_secret(public.as_bytes()),
            &claims_of("service/prod/projects"),
        ),
        // A user's key makes no service, and no user has a service's role.
        hs256(SECRET, &claims_of("service/prod/projects")),
        hs256(SECRET, &json!({ "user_id": "u", "role": "service", "exp": NOW + 60 })),
        hs256(SECRET, &json!({ "sub": "service/prod/projects", "exp": NOW + 60 })),
        signed(Algorithm::ES256, Some("s-1"), &ec(), &claims()),
    ] {
        assert_eq!(bearer_call(&authentication, &token).await, invalid(), "{token}");
    }
    let (users_only, _keys) = self::authentication();
    assert_eq!(bearer_call(&users_only, &ec_token("prod", "projects")).await, invalid());
}

#[tokio::test]
async fn only_services_that_name_this_one_or_are_named_by_it_may_call() {
    let undeclared = |namespace: &str, name: &str, calls: &Value| {
        let claims = json!({ "sub": format!("service/{namespace}/{name}"), "aud": "visiobook-services", "exp": NOW + 60, "calls": calls });
        signed(Algorithm::ES256, Some("s-1"), &ec(), &claims)
    };
    let (authentication, _keys) = services(json!({ "allow": ["projects", "tools/smoke"] }));
    let (here, elsewhere) = (json!(["prod/users"]), json!(["prod/media", "users"]));
    for (namespace, name, calls, answer) in [
        ("prod", "projects", &elsewhere, ""),
        ("tools", "smoke", &elsewhere, ""),
        ("prod", "media", &here, ""),
        ("prod", "media", &elsewhere, "spec.dependsOn"),
        ("prod", "media", &json!("prod/users"), "spec.dependsOn"),
        ("prod", "smoke", &Value::Null, "spec.dependsOn"),
        // Of another namespace it is not enough to say so.
        ("tools", "projects", &here, "serviceTokens.allow"),
    ] {
        let outcome = bearer_call(&authentication, &undeclared(namespace, name, calls)).await;
        match outcome {
            Ok(caller) => {
                assert!(answer.is_empty() && matches!(caller, Caller::Service(_)), "{namespace}/{name}")
            }
            Err((status, message)) => {
                assert_eq!(status, 403, "{namespace}/{name}: {message}");
                assert!(!answer.is_empty() && message.contains(answer), "{namespace}/{name}: {message}");
            }
        }
    }
}

#[tokio::test]
async fn without_users_other_tokens_are_the_applications_unless_only_services_may_call() {
    let public = EC.public_key_pem();
    let keys = folder(&[("s-1", public.as_bytes())]);
    let document = |required: bool| json!({ "service": "users", "serviceTokens": { "keysFolder": keys.path(), "namespace": "prod", "required": required } });
    let stranger = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let foreign = token_of(&stranger, "s-1", "prod", "projects", NOW);
    let of_user = format!("Bearer {}", hs256(SECRET, &claims()));
    for (required, answers) in
        [(false, [None; 4]), (true, [Some(MALFORMED), Some(INVALID), Some(INVALID), Some(MISSING)])]
    {
        let authentication = open(document(required));
        let headers = [
            &[("authorization", "Basic dTpw")][..],
            &[("authorization", "Bearer opaque")],
            &[("authorization", &of_user)],
            &[],
        ];
        for (headers, answer) in headers.into_iter().zip(answers) {
            let outcome = call(&authentication, "GET /", headers).await;
            match answer {
                None => assert_eq!(outcome, Ok(Caller::Anonymous)),
                Some(message) => assert_eq!(outcome.unwrap_err().1, message),
            }
        }
        assert_eq!(bearer_call(&authentication, &foreign).await, invalid());
        let service = bearer_call(&authentication, &ec_token("prod", "projects")).await;
        assert!(matches!(service, Ok(Caller::Service(_))));
    }
}

proptest! {
    #[test]
    fn a_token_with_any_byte_changed_is_refused(at in any::<prop::sample::Index>(), letter in "[A-Za-z0-9_-]") {
        let (authentication, _keys) = authentication();
        let token = hs256(SECRET, &claims());
        let at = at.index(token.len());
        prop_assume!(token.as_bytes()[at] != letter.as_bytes()[0] && token.as_bytes()[at] != b'.');
        let mut changed = token.clone();
        changed.replace_range(at..=at, &letter);
        let outcome = futures::executor::block_on(bearer_call(&authentication, &changed));
        prop_assert_eq!(outcome, invalid());
    }

    #[test]
    fn no_text_is_a_token(text in "[A-Za-z0-9_.=-]{1,200}") {
        let (authentication, _keys) = authentication();
        let outcome = futures::executor::block_on(bearer_call(&authentication, &text));
        prop_assert_eq!(outcome, invalid());
    }
}
