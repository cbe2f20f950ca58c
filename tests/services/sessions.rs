//! Logging in, staying so, and that a suspension is felt at once.

use std::time::{Duration, Instant};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::support::{PASSWORD, Person, Platform, Running, SECRET};

const SESSIONS: &str = "/api/v1/users/sessions";

async fn log_in(service: &Running, email: &str, password: &str) -> super::support::Answer {
    service.post(SESSIONS, json!({ "email": email, "password": password })).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_begun_renewed_listed_and_ended() {
    let platform = Platform::new();
    let service = platform.start().await;
    let mut ada = service.somebody().await;
    let again = service.log_in(ada.id.clone(), ada.email.clone()).await;
    let sessions = service.get(SESSIONS).by(&ada).send().await.expect(200);
    assert_eq!(sessions["items"].as_array().unwrap().len(), 2);
    assert_eq!(sessions["items"].as_array().unwrap().iter().filter(|one| one["current"] == true).count(), 1);

    let renew = |token: &str| service.put(SESSIONS, json!({ "refreshToken": token })).send();
    let granted = renew(&ada.refresh).await.expect(200);
    assert_eq!((&granted["expiresIn"], &granted["tokenType"]), (&900.into(), &"Bearer".into()));
    let used = std::mem::replace(&mut ada.refresh, granted["refreshToken"].as_str().unwrap().to_owned());
    ada.token = granted["accessToken"].as_str().unwrap().to_owned();
    service.get(&ada.path()).by(&ada).send().await.expect(200);
    // In two hands: it ends for both.
    renew(&used).await.refuses(401, "Invalid token");
    renew(&ada.refresh).await.refuses(401, "Invalid token");
    service.get(&ada.path()).by(&ada).send().await.refuses(401, "Invalid token");
    // Also if it has gone on with others since.
    let late = service.log_in(ada.id.clone(), ada.email.clone()).await;
    let next = renew(&late.refresh).await.expect(200)["refreshToken"].as_str().unwrap().to_owned();
    let current = renew(&next).await.expect(200)["refreshToken"].as_str().unwrap().to_owned();
    renew(&late.refresh).await.refuses(401, "Invalid token");
    renew(&current).await.refuses(401, "Invalid token");
    for none in ["x", "", "AAAA"] {
        assert!(matches!(renew(none).await.status.as_u16(), 401), "{none}");
    }

    let path = format!("{SESSIONS}/{}", again.session);
    let bob = service.somebody().await;
    service.delete(&path).by(&bob).send().await.refuses(404, "Session not found");
    service.delete(&path).by(&again).send().await.expect(204);
    service.get(&again.path()).by(&again).send().await.refuses(401, "Invalid token");
    service.delete(SESSIONS).by(&bob).send().await.expect(204);
    service.get(&bob.path()).by(&bob).send().await.refuses(401, "Invalid token");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sessions_that_hold_the_oldest_beyond_twenty_ends_and_those_that_have_ended_count_for_nothing() {
    let platform = Platform::new();
    let service = platform.start().await;
    let first = service.somebody().await;
    for _ in 0..25 {
        let other = service.log_in(first.id.clone(), first.email.clone()).await;
        service.delete(&format!("{SESSIONS}/{}", other.session)).by(&other).send().await.expect(204);
    }
    service.get(&first.path()).by(&first).send().await.expect(200);
    let ended = "SELECT count(*) FROM user_sessions WHERE revoked_at IS NOT NULL";
    assert_eq!(platform.postgres.answer(ended), "25", "they go with the sweep");
    for _ in 0..20 {
        service.log_in(first.id.clone(), first.email.clone()).await;
    }
    service.get(&first.path()).by(&first).send().await.refuses(401, "Invalid token");
    let hold = "SELECT count(*) FROM user_sessions WHERE revoked_at IS NULL";
    assert_eq!(platform.postgres.answer(hold), "20");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_suspended_is_out_at_once_and_comes_back_with_a_new_login() {
    let platform = Platform::new();
    let service = platform.start().await;
    // A second replica feels it as well.
    let other = platform.start().await;
    let (ada, admin) = (service.somebody().await, service.admin(&platform).await);
    other.get(&ada.path()).by(&ada).send().await.expect(200);
    let status = |word: &str| {
        service.put(&format!("{}/status", ada.path()), json!({ "status": word })).by(&admin).send()
    };
    assert_eq!(status("suspended").await.expect(200)["status"], "suspended");
    other.get(&ada.path()).by(&ada).send().await.refuses(401, "Invalid token");
    let renewed = service.put(SESSIONS, json!({ "refreshToken": ada.refresh })).send().await;
    renewed.refuses(401, "Invalid token");
    log_in(&service, &ada.email, PASSWORD).await.refuses(403, "account is not active");
    log_in(&service, &ada.email, "wrong-password").await.refuses(401, "invalid credentials");
    assert_eq!(other.get(&ada.path()).by(&admin).send().await.expect(200)["status"], "suspended");
    status("active").await.expect(200);
    // The old session stays ended.
    other.get(&ada.path()).by(&ada).send().await.refuses(401, "Invalid token");
    service.log_in(ada.id.clone(), ada.email.clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demotion_is_felt_before_the_token_ends() {
    let platform = Platform::new();
    let service = platform.start().await;
    let (one, two) = (service.admin(&platform).await, service.admin(&platform).await);
    service.put(&format!("{}/role", two.path()), json!({ "role": "user" })).by(&one).send().await.expect(200);
    service.get("/api/v1/users").by(&two).send().await.expect(403);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_admins_who_demote_each_other_at_once_one_is_left() {
    let platform = Platform::new();
    let (service, other) = (platform.start().await, platform.start().await);
    for _ in 0..5 {
        let (one, two) = (service.admin(&platform).await, service.admin(&platform).await);
        let demotion = || json!({ "role": "user" });
        let (first, second) = tokio::join!(
            service.put(&format!("{}/role", two.path()), demotion()).by(&one).send(),
            other.put(&format!("{}/role", one.path()), demotion()).by(&two).send(),
        );
        let mut statuses = [first.status.as_u16(), second.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 403]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_that_a_database_reads_as_others_are_no_way_around_the_throttle() {
    let platform = Platform::new();
    let service = platform.start().await;
    let email = "nikki@example.com";
    let body = json!({ "email": email, "username": "nikki", "password": PASSWORD });
    service.post("/api/v1/users", body).send().await.expect(201);
    log_in(&service, "Nikki@Example.com", PASSWORD).await.expect(201);
    // KELVIN SIGN and I WITH DOT ABOVE are k and i in lower case.
    for letter in ["\u{212A}", "\u{130}"] {
        let odd = email.replacen(if letter == "\u{130}" { 'i' } else { 'k' }, letter, 1);
        log_in(&service, &odd, PASSWORD).await.refuses(401, "invalid credentials");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_ends_every_session_and_the_old_one_is_needed() {
    let platform = Platform::new();
    let service = platform.start().await;
    let (ada, admin) = (service.somebody().await, service.admin(&platform).await);
    let path = format!("{}/password", ada.path());
    let change = |body: Value, by: &Person| service.put(&path, body).by(by).send();
    let new = "another-password";
    change(json!({ "newPassword": new }), &ada).await.refuses(403, "currentPassword is wrong");
    change(json!({ "currentPassword": "no", "newPassword": new }), &ada)
        .await
        .refuses(403, "currentPassword is wrong");
    change(json!({ "currentPassword": PASSWORD, "newPassword": "short" }), &ada)
        .await
        .refuses(400, "password must be at least 8 characters long");
    change(json!({ "current_password": PASSWORD, "new_password": new }), &ada).await.expect(204);
    service.get(&ada.path()).by(&ada).send().await.refuses(401, "Invalid token");
    log_in(&service, &ada.email, PASSWORD).await.refuses(401, "invalid credentials");
    log_in(&service, &ada.email, new).await.expect(201);
    // The access token of a stolen session is no way to guess the password.
    let bob = service.somebody().await;
    let guess = json!({ "currentPassword": "a-wrong-password", "newPassword": new });
    let guess = || service.put(&format!("{}/password", bob.path()), guess.clone()).by(&bob).send();
    for _ in 0..10 {
        guess().await.refuses(403, "currentPassword is wrong");
    }
    guess().await.refuses(429, "Too many wrong passwords: try again later");
    change(json!({ "newPassword": PASSWORD }), &admin).await.expect(204);
    log_in(&service, &ada.email, PASSWORD).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_is_slowed_for_known_and_unknown_alike() {
    let platform = Platform::new();
    let service = platform.start().await;
    let ada = service.somebody().await;
    for email in [ada.email.as_str(), "nobody@example.com"] {
        for _ in 0..10 {
            log_in(&service, email, "wrong-password").await.refuses(401, "invalid credentials");
        }
        for password in ["wrong-password", PASSWORD] {
            let answer = log_in(&service, &email.to_uppercase(), password).await;
            answer.refuses(429, "Too many failed logins: try again later");
            let seconds: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((1..=900).contains(&seconds), "{seconds}");
        }
    }
    // Who is logged in stays so.
    service.get(&ada.path()).by(&ada).send().await.expect(200);
    platform.postgres.sql("UPDATE login_attempts SET window_ends = now()");
    log_in(&service, &ada.email, PASSWORD).await.expect(201);
    let left = platform.postgres.answer("SELECT count(*) FROM login_attempts");
    assert_eq!(left, "1", "a login forgives");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_takes_as_long_for_nobody_as_for_somebody() {
    let platform = Platform::new().with("BCRYPT_ROUNDS", "9").with("LOGIN_ATTEMPTS", "0");
    let service = platform.start().await;
    let ada = service.somebody().await;
    let time = async |email: &str| {
        let begun = Instant::now();
        log_in(&service, email, "wrong-password").await.refuses(401, "invalid credentials");
        begun.elapsed()
    };
    // The shortest of many: what a machine does beside them only adds.
    let (mut known, mut unknown) = (Duration::MAX, Duration::MAX);
    for round in 0..25 {
        known = known.min(time(&ada.email).await);
        unknown = unknown.min(time(&format!("nobody-{round}@example.com")).await);
    }
    let ratio = known.as_secs_f64() / unknown.as_secs_f64();
    assert!((0.7..1.4).contains(&ratio), "{known:?} for somebody, {unknown:?} for nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_somebody_else_or_of_another_time_is_none() {
    let platform = Platform::new();
    let service = platform.start().await;
    let (ada, bob) = (service.somebody().await, service.somebody().await);
    let now = jiff::Timestamp::now().as_second();
    let sign = |secret: &str, claims: Value| {
        jsonwebtoken::encode(
            &Header::new(Algorithm::HS256),
            &claims,
            &EncodingKey::from_secret(secret.as_bytes()),
        )
        .unwrap()
    };
    let claims = |user: &str, session: &str, exp: i64| json!({ "user_id": user, "role": "admin", "sid": session, "iat": now, "exp": exp });
    let ask =
        |token: String| service.get(&ada.path()).header("authorization", &format!("Bearer {token}")).send();
    // The role of a token is not believed: the database knows better.
    ask(sign(SECRET, claims(&ada.id, &ada.session, now + 60))).await.expect(200);
    for token in [
        sign("foreign", claims(&ada.id, &ada.session, now + 60)),
        sign(SECRET, claims(&ada.id, &ada.session, now - 1)),
        sign(SECRET, claims(&ada.id, &ada.session, now + 86_400)),
        sign(SECRET, claims(&ada.id, &bob.session, now + 60)),
        sign(SECRET, json!({ "user_id": ada.id, "role": "admin", "exp": now + 60 })),
        ada.refresh.clone(),
    ] {
        ask(token).await.refuses(401, "Invalid token");
    }
    let basic = service.get(&ada.path()).header("authorization", "Basic eDp5").send().await;
    basic.refuses(401, "Invalid authorization format");
    // A header is nothing.
    let forged =
        service.get(&ada.path()).header("x-user-id", &ada.id).header("x-user-role", "admin").send().await;
    forged.refuses(401, "Authorization header required");
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_what_cores_can_hash_is_told_to_come_back() {
    let platform = Platform::new().with("BCRYPT_ROUNDS", "10").with("LOGIN_ATTEMPTS", "0");
    let service = platform.start().await;
    let asked = (0..200).map(|number| {
        let service = &service;
        async move { log_in(service, &format!("nobody-{number}@example.com"), PASSWORD).await }
    });
    let answers = futures::future::join_all(asked).await;
    let busy = answers.iter().filter(|answer| answer.status == 503).count();
    let wrong = answers.iter().filter(|answer| answer.status == 401).count();
    assert!(busy > 0 && wrong > 0 && busy + wrong == 200, "{busy} told to come back, {wrong} looked at");
    for answer in answers.iter().filter(|answer| answer.status == 503) {
        assert_eq!(answer.headers["retry-after"], "1");
    }
    log_in(&service, "nobody@example.com", PASSWORD).await.refuses(401, "invalid credentials");
}
