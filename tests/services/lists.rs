//! Lists of users: pages, order, filters, cursors, search.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::support::Platform;

fn names(list: &Value) -> Vec<String> {
    list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|user| user["username"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged_sorted_filtered_and_followed() {
    let platform = Platform::new();
    let service = platform.start().await;
    let admin = service.admin(&platform).await;
    // Many of one moment: a cursor must not lose one between two parts.
    platform.postgres.sql(
        "INSERT INTO users (email, username, password, status, created_at) SELECT 'u' || n || '@example.com', 'u' || n, '', \
        CASE WHEN n % 5 = 0 THEN 'inactive' ELSE 'active' END, \
        timestamptz '2026-01-01T00:00:00.123456Z' + (n / 10) * interval '1 microsecond' FROM generate_series(1, 250) n",
    );
    let list = |query: &str| service.get(&format!("/api/v1/users?{query}")).by(&admin).send();

    let page = list("").await.expect(200);
    assert_eq!(
        (&page["total"], &page["page"], &page["size"], &page["pages"]),
        (&251.into(), &1.into(), &10.into(), &26.into())
    );
    assert_eq!(names(&page).len(), 10);
    assert!(page["items"][0].get("profile").is_none());
    let page = list("include=profile&limit=1").await.expect(200);
    assert!(page["items"][0]["profile"]["id"].is_string(), "{page}");
    let page = list("page=26&limit=10").await.expect(200);
    assert_eq!(names(&page).len(), 1);
    for beyond in ["page=27", "page=99999999999999999999999"] {
        let page = list(beyond).await.expect(200);
        assert_eq!((names(&page).len(), &page["total"]), (0, &251.into()));
    }
    let page = list("page=-3&limit=1000").await.expect(200);
    assert_eq!((&page["page"], &page["size"]), (&1.into(), &10.into()));

    let sorted = names(&list("sort=username:asc&limit=100").await.expect(200));
    assert_eq!(&sorted[1..4], ["u1", "u10", "u100"]);
    let sorted = names(&list("sort=username:desc&limit=2").await.expect(200));
    assert_eq!(sorted, ["u99", "u98"]);
    let page = list("filter%5Bstatus%5D=inactive&filter[role]=user").await.expect(200);
    assert_eq!(page["total"], 50);
    assert_eq!(list("filter[role]=admin").await.expect(200)["total"], 1);
    for wrong in [
        "page=x",
        "limit=1.5",
        "sort=password",
        "sort=email:sideways",
        "filter[password]=x",
        "filter[status]=gone",
        "include=sessions",
        "cursor=zzz",
        "page=1&page=2",
        "cursor=&sort=email",
    ] {
        list(wrong).await.refuses(400, "Invalid request data");
    }

    for direction in ["desc", "asc"] {
        let mut seen = Vec::new();
        let mut cursor = String::new();
        loop {
            let part = list(&format!("cursor={cursor}&limit=7&sort=createdAt:{direction}")).await.expect(200);
            assert!(part.get("total").is_none() && part["size"] == 7, "{part}");
            seen.extend(names(&part));
            match part["nextCursor"].as_str() {
                Some(next) => cursor = next.to_owned(),
                None => break,
            }
            if seen.len() == 70 {
                // What comes meanwhile moves nothing.
                platform.postgres.sql("DELETE FROM users WHERE username = 'late'; INSERT INTO users (email, username, password, created_at) VALUES ('late@example.com', 'late', '', now() + interval '1 hour')");
            }
        }
        seen.retain(|name| name != "late");
        assert_eq!(seen.len(), 251, "{direction}");
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 251, "{direction}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_takes_every_text_for_itself() {
    let platform = Platform::new();
    let service = platform.start().await;
    let admin = service.admin(&platform).await;
    let ada = service.person("ada_l").await;
    service.person("adaxl").await;
    let change = json!({ "firstName": "100% Ada", "lastName": "O'Brien\\" });
    service.put(&ada.path(), change).by(&ada).send().await.expect(200);
    let search = async |text: &str| {
        let text: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
        names(&service.get(&format!("/api/v1/users/search?q={text}")).by(&admin).send().await.expect(200))
    };
    assert_eq!(search("ADA").await, ["adaxl", "ada_l"]);
    // None of these is a pattern.
    for text in ["ada_l", "100%", "%", "O'B", "\\", "n\\", "'brien"] {
        assert_eq!(search(text).await, ["ada_l"], "{text}");
    }
    for text in ["' OR 1=1 --", ".*", "a%l", "(", "\u{0301}"] {
        assert_eq!(search(text).await, [""; 0], "{text}");
    }
    platform.postgres.sql("INSERT INTO users (email, username, password) SELECT n || '@many.example', 'many' || n, '' FROM generate_series(1, 30) n");
    assert_eq!(search("many").await.len(), 20);
    for wrong in ["", "q=", "q=%00", &format!("q={}", "x".repeat(101))] {
        let path = format!("/api/v1/users/search?{wrong}");
        service.get(&path).by(&admin).send().await.refuses(400, "Invalid request data");
    }
}
