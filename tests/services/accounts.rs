//! Registering, reading, changing, deleting; who may; two writers at once.

use http::Method;
use serde_json::{Value, json};

use super::support::{PASSWORD, Platform};

const USERS: &str = "/api/v1/users";

#[tokio::test(flavor = "multi_thread")]
async fn names_are_taken_once_whatever_their_case() {
    let platform = Platform::new();
    let service = platform.start().await;
    let person = service.person("Ada").await;
    let create = |email: &str, name: &str| {
        service.post(USERS, json!({ "email": email, "username": name, "password": PASSWORD })).send()
    };
    for (email, name) in [("ada@EXAMPLE.com", "other"), ("other@example.com", "aDA")] {
        let answer = create(email, name).await;
        answer.refuses(409, "user already exists");
        assert_eq!(answer.body["error"]["type"], "CONFLICT");
    }
    // As it was written, to be shown.
    let user = service.get(&person.path()).by(&person).send().await.expect(200);
    assert_eq!((&user["username"], &user["email"]), (&"Ada".into(), &"Ada@example.com".into()));
    service.log_in(person.id.clone(), "ADA@example.com".into()).await;

    let other = service.person("other").await;
    let change = |body| service.put(&other.path(), body).by(&other).send();
    change(json!({ "email": "ADA@example.com" })).await.refuses(409, "Email already in use");
    change(json!({ "username": "ADA" })).await.refuses(409, "Username already exists");
    change(json!({ "username": "OTHER" })).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_who_register_one_name_at_once_are_one() {
    let platform = Platform::new();
    let service = platform.start().await;
    let body = json!({ "email": "one@example.com", "username": "one", "password": PASSWORD });
    let asked = (0..10).map(|_| service.post(USERS, body.clone()).send());
    let mut statuses: Vec<u16> =
        futures::future::join_all(asked).await.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    // Some may find every core at work.
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 201 | 409 | 503)), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_in_the_words_of_the_contract() {
    let platform = Platform::new();
    let service = platform.start().await;
    let answer =
        service.post(USERS, json!({ "email": "x", "username": "!", "password": "short" })).send().await;
    answer.refuses(400, "invalid email format");
    assert_eq!(answer.body["error"]["type"], "VALIDATION_ERROR");
    assert_eq!(answer.body["error"]["details"].as_array().unwrap().len(), 3);
    let person = service.somebody().await;
    let change = |body| service.put(&person.path(), body).by(&person).send();
    change(json!({ "email": "x" })).await.refuses(400, "invalid email format");
    change(json!({ "firstName": " " })).await.refuses(400, "first name cannot be empty if provided");
    change(json!({ "password": "another-password" })).await.refuses(400, "Invalid request data");
    change(json!({ "email": null })).await.refuses(400, "Invalid request data");
    change(json!({ "bio": "a\u{0}b" })).await.refuses(400, "bio must not contain the character NUL");
    for id in ["1", "0b4ff2e07d4e4f6e9e0c3c0a1f5f3f11", "%00", "..%2f..", "' OR 1=1"] {
        let path = format!("{USERS}/{}", id.replace(' ', "%20").replace('\'', "%27"));
        service.get(&path).by(&person).send().await.refuses(400, "Invalid user ID format");
    }
    service.delete(&person.path()).by(&person).send().await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_written_comes_back_as_it_was() {
    let platform = Platform::new();
    let service = platform.start().await;
    let person = service.somebody().await;
    for text in [
        "'; DROP TABLE users; --",
        "%_\\",
        "Ada\u{301} 👩🏽‍🚀 \u{202e}abc",
        "\u{1F468}\u{200D}\u{1F469}",
        "a\nb\tc",
        "\u{10FFFF}",
        "<script>alert(1)</script>",
    ] {
        let body = json!({ "firstName": text, "last_name": text, "bio": text, "avatar": text });
        let changed =
            service.ask(Method::PATCH, &person.path()).json(body).by(&person).send().await.expect(200);
        let read = service.get(&person.path()).by(&person).send().await.expect(200);
        assert_eq!(changed, read);
        for field in ["firstName", "lastName", "bio", "avatar"] {
            assert_eq!(read["profile"][field], text);
        }
    }
    let body = json!({ "firstName": null, "preferences": { "language": "fr", "timezone": "Europe/Paris", "notifications": false } });
    let read = service.put(&person.path(), body).by(&person).send().await.expect(200);
    assert!(read["profile"].get("firstName").is_none(), "{read}");
    assert_eq!(read["preferences"]["language"], "fr");
    assert_eq!(service.get("/api/v1/users/me").by(&person).send().await.expect(200), read);
    let read = service.put("/api/v1/users/me", json!({ "bio": "" })).by(&person).send().await.expect(200);
    assert_eq!(read["profile"]["bio"], "");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_with_one_version_one_is_told() {
    let platform = Platform::new();
    let service = platform.start().await;
    let person = service.somebody().await;
    let with = |bio: &str, version: i32| json!({ "bio": bio, "version": version });
    let put = |body: Value| service.put(&person.path(), body).by(&person);
    let (one, two) = tokio::join!(put(with("a", 1)).send(), put(with("b", 1)).send());
    let (won, lost) = if one.status == 200 { (one, two) } else { (two, one) };
    assert_eq!(won.headers["etag"], "\"2\"");
    won.expect(200);
    lost.refuses(409, "The user was changed meanwhile: read it again");

    let meant = |tag: &str, body: Value| put(body).header("if-match", tag).send();
    let message = "The user was changed meanwhile: read it again";
    for stale in ["\"1\"", "W/\"2\"", "2", "\"x\"", "\"1\", \"9\"", ""] {
        meant(stale, json!({ "bio": "c" })).await.refuses(412, message);
    }
    assert_eq!(meant("\"1\", \"2\"", json!({ "bio": "c" })).await.expect(200)["version"], 3);
    assert_eq!(meant("*", json!({ "bio": "d" })).await.expect(200)["version"], 4);
    // What changes nothing is no change.
    assert_eq!(put(json!({ "bio": "d" })).send().await.expect(200)["version"], 4);
    let delete = |tag: &str| service.delete(&person.path()).by(&person).header("if-match", tag).send();
    delete("\"3\"").await.refuses(412, message);
    delete("\"4\"").await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_changes_themself_and_admins_everybody() {
    let platform = Platform::new();
    let service = platform.start().await;
    let (ada, bob, admin) =
        (service.somebody().await, service.somebody().await, service.admin(&platform).await);
    let moderator = service.somebody().await;
    let path = format!("{}/role", moderator.path());
    service.put(&path, json!({ "role": "moderator" })).by(&ada).send().await.expect(403);
    let made = service.put(&path, json!({ "role": "moderator" })).by(&admin).send().await.expect(200);
    assert_eq!(made["role"], "moderator");

    let yours = "Only the user or an admin may do this";
    let unknown = "/api/v1/users/0b4ff2e0-7d4e-4f6e-9e0c-3c0a1f5f3f11";
    // Whether somebody exists is nothing for everybody.
    for path in [bob.path().as_str(), unknown] {
        service.get(path).by(&ada).send().await.refuses(403, yours);
        service.put(path, json!({})).by(&ada).send().await.refuses(403, yours);
        service.delete(path).by(&ada).send().await.refuses(403, yours);
        service
            .put(&format!("{path}/password"), json!({ "newPassword": PASSWORD }))
            .by(&ada)
            .send()
            .await
            .refuses(403, yours);
    }
    for path in [USERS, "/api/v1/users/search?q=a", "/api/v1/users/stats"] {
        service.get(path).by(&ada).send().await.refuses(403, "Only a moderator or an admin may do this");
        service.get(path).by(&moderator).send().await.expect(200);
    }
    service.get(&bob.path()).by(&moderator).send().await.expect(200);
    service.put(&bob.path(), json!({})).by(&moderator).send().await.refuses(403, yours);
    service.get(unknown).by(&admin).send().await.refuses(404, "User not found");
    service.put(unknown, json!({})).by(&admin).send().await.refuses(404, "User not found");
    service.delete(unknown).by(&admin).send().await.refuses(404, "User not found");
    let locked = "Another admin has to do this: an admin cannot lock themself out";
    service.delete(&admin.path()).by(&admin).send().await.refuses(403, locked);
    let path = format!("{}/status", admin.path());
    service.put(&path, json!({ "status": "suspended" })).by(&admin).send().await.refuses(403, locked);

    service.put(&bob.path(), json!({ "bio": "changed" })).by(&admin).send().await.expect(200);
    service.delete(&bob.path()).by(&admin).send().await.expect(204);
    service.get(&bob.path()).by(&admin).send().await.refuses(404, "User not found");
    service.get(&bob.path()).by(&bob).send().await.refuses(401, "Invalid token");
    // The name is free again (X33).
    let body = json!({ "email": bob.email, "username": "bob-again", "password": PASSWORD });
    service.post(USERS, body).send().await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_suspended_at_once_and_what_is_no_user_is_passed_over() {
    let platform = Platform::new();
    let service = platform.start().await;
    let (ada, bob, admin) =
        (service.somebody().await, service.somebody().await, service.admin(&platform).await);
    let path = "/api/v1/users/bulk";
    let ids = json!([ada.id, bob.id, admin.id, ada.id, "nobody", "0b4ff2e0-7d4e-4f6e-9e0c-3c0a1f5f3f11"]);
    let body = json!({ "ids": ids, "status": "suspended" });
    service.post(path, body.clone()).by(&ada).send().await.refuses(403, "Only an admin may do this");
    assert_eq!(service.post(path, body.clone()).by(&admin).send().await.expect(200)["modifiedCount"], 2);
    assert_eq!(service.post(path, body).by(&admin).send().await.expect(200)["modifiedCount"], 0);
    service.get(&ada.path()).by(&ada).send().await.refuses(401, "Invalid token");
    let statistics = service.get("/api/v1/users/stats").by(&admin).send().await.expect(200);
    assert_eq!(
        statistics,
        json!({ "total": 3, "byStatus": { "active": 1, "inactive": 0, "suspended": 2 }, "recentSignups": 3 })
    );
    let recorded =
        "SELECT string_agg(changes::text, ';') FROM user_changes WHERE action = 'user.status_changed'";
    let once = r#"{"status": ["active", "suspended"]}"#;
    assert_eq!(platform.postgres.answer(recorded), format!("{once};{once}"));
    platform.postgres.sql("INSERT INTO users (id, email, username, password) SELECT md5(n::text)::uuid, n || '@many.example', 'many' || n, '' FROM generate_series(1, 1000) n");
    let all = platform.postgres.answer("SELECT id FROM users WHERE username LIKE 'many%'");
    let body = json!({ "ids": all.lines().collect::<Vec<_>>(), "status": "inactive" });
    let begun = std::time::Instant::now();
    assert_eq!(service.post(path, body).by(&admin).send().await.expect(200)["modifiedCount"], 1000);
    assert!(begun.elapsed().as_secs() < 2, "{:?}", begun.elapsed());
    let many: Vec<String> = (0..1001).map(|number| number.to_string()).collect();
    for ids in [json!([]), json!(many)] {
        let body = json!({ "ids": ids, "status": "active" });
        service.post(path, body).by(&admin).send().await.refuses(400, "Invalid request data");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_recorded_with_who_and_what() {
    let mut platform = Platform::new();
    let service = platform.start().await;
    let (ada, admin) = (service.somebody().await, service.admin(&platform).await);
    let put = service.put(&ada.path(), json!({ "bio": "new" })).by(&admin).header("x-correlation-id", "c-9");
    put.send().await.expect(200);
    let told = platform.postgres.answer(&format!(
        "SELECT action, actor_id, changes, correlation_id FROM user_changes WHERE user_id = '{}' AND action = 'user.updated'",
        ada.id
    ));
    assert_eq!(told, format!("user.updated|{}|{{\"bio\": [null, \"new\"]}}|c-9", admin.id));
    platform.redis.as_mut().unwrap().stop();
    assert!(platform.run(&["grant", &ada.email, "moderator"]).status.success());
    let waiting = format!(
        "SELECT kind, payload FROM outbox_events WHERE subject = '{}' AND correlation_id = 'by hand'",
        ada.id
    );
    let told = platform.postgres.answer(&waiting);
    assert_eq!(told, "user.role_changed|{\"fields\": [\"role\"]}", "what is done by hand is sent as well");
    let all = platform.postgres.answer("SELECT changes::text FROM user_changes");
    assert!(!all.contains("$2b$") && !all.contains(PASSWORD), "{all}");
}
