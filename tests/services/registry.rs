//! The registry of schemas: telling, history, differences, lint, and who may.

use serde_json::{Value, json};

use super::issuer::{self, Issuer};
use super::support::{Answer, Platform, Running};

pub const SYNC: &str = "/api/v1/migrations/sync";
const SERVICES: &str = "/api/v1/migrations/services";

/// A registry that runs, and who signs tokens.
pub async fn registry() -> (Platform, Issuer, Running) {
    registry_with(&[]).await
}

pub async fn registry_with(variables: &[(&str, &str)]) -> (Platform, Issuer, Running) {
    let issuer = Issuer::new();
    let platform = Platform::of("database").with("SERVICE_KEYS_FOLDER", issuer.keys().to_str().unwrap());
    let platform = variables.iter().fold(platform, |platform, (name, value)| platform.with(name, value));
    let service = platform.start().await;
    service.until_ready().await;
    (platform, issuer, service)
}

/// A schema in the words of the guidelines.
pub fn told(service: &str, columns: &[(&str, &str, &str)]) -> Value {
    let column = |(table, name, kind): &(&str, &str, &str)| json!({ "table_name": table, "column_name": name, "data_type": kind });
    let schema: Vec<Value> = columns.iter().map(column).collect();
    json!({ "service": service, "version": "1.0.0", "schema": schema, "timestamp": jiff::Timestamp::now().to_string() })
}

/// What is made of a body that is right.
type Change = Box<dyn Fn(&mut Value)>;

const BOOKS: [(&str, &str, &str); 5] = [
    ("books", "id", "uuid"),
    ("books", "created_at", "timestamp with time zone"),
    ("books", "updated_at", "timestamp with time zone"),
    ("books", "version", "integer"),
    ("books", "title", "text"),
];

#[tokio::test(flavor = "multi_thread")]
async fn schemas_are_told_kept_compared_and_forgotten() {
    let (_platform, issuer, service) = registry().await;
    let token = issuer.token("shop", "books");
    let tell = |body: Value| service.post(SYNC, body).bearing(&token).send();
    let first = tell(told("books", &BOOKS)).await.expect(201);
    assert_eq!((&first["revision"], &first["changed"]), (&1.into(), &true.into()));
    assert_eq!((&first["service"], &first["namespace"]), (&"books".into(), &"shop".into()));
    assert_eq!(first["lint"], json!({ "passed": true, "tables": 1, "findings": [] }));
    assert_eq!(first["difference"]["tablesAdded"], json!(["books"]));
    assert_eq!(first["difference"]["breaking"], false);

    // The order in which columns come is nothing, and the same schema of the next version is no revision.
    let mut reversed = told("books", &BOOKS);
    reversed["schema"].as_array_mut().unwrap().reverse();
    reversed["version"] = "1.1.0".into();
    let again = tell(reversed).await.expect(200);
    assert_eq!(
        (&again["revision"], &again["changed"], &again["id"]),
        (&1.into(), &false.into(), &first["id"])
    );

    let mut changed = BOOKS.to_vec();
    changed[4] = ("books", "title", "character varying");
    changed.push(("authors", "userName", "text"));
    let second = tell(told("books", &changed)).await.expect(201);
    assert_eq!((&second["revision"], &second["difference"]["breaking"]), (&2.into(), &true.into()));
    let findings = second["lint"]["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 5, "{findings:?}");
    assert_eq!(
        findings[0],
        json!({ "rule": "column-name", "requirement": "DL02", "table": "authors", "name": "userName",
            "message": "column \"userName\" of table authors is not in snake_case: call it \"user_name\"" })
    );
    assert!(findings[1..].iter().all(|finding| finding["rule"] == "mandatory-field"), "{findings:?}");
    tell(told("books", &BOOKS)).await.expect(201);

    let path = format!("{SERVICES}/{}", first["id"].as_str().unwrap());
    let moderator = issuer::person("moderator");
    let get = |path: String| service.get(&path).bearing(&moderator).send();
    let one = get(path.clone()).await.expect(200);
    assert_eq!(
        (&one["service"], &one["revision"], &one["version"]),
        (&"books".into(), &3.into(), &"1.0.0".into())
    );
    let list = get(format!("{path}/revisions?limit=2")).await.expect(200);
    assert_eq!((&list["total"], &list["pages"]), (&3.into(), &2.into()));
    let numbers: Vec<&Value> = list["items"].as_array().unwrap().iter().map(|one| &one["revision"]).collect();
    assert_eq!(numbers, [3, 2]);
    assert_eq!((&list["items"][1]["tables"], &list["items"][1]["columns"]), (&2.into(), &6.into()));
    let oldest = get(format!("{path}/revisions?sort=revision:asc&limit=1")).await.expect(200);
    assert_eq!(oldest["items"][0]["version"], "1.1.0", "who told it last");

    let schema = get(format!("{path}/schema")).await.expect(200);
    assert_eq!((&schema["revision"], schema["schema"].as_array().unwrap().len()), (&3.into(), 5));
    let schema = get(format!("{path}/schema?revision=2")).await.expect(200);
    let kinds: Vec<&Value> =
        schema["schema"].as_array().unwrap().iter().map(|one| &one["data_type"]).collect();
    assert!(kinds.contains(&&json!("character varying")), "{schema}");
    let diff = get(format!("{path}/diff?from=1&to=2")).await.expect(200);
    assert_eq!(diff["difference"]["columnsChanged"][0]["after"]["data_type"], "character varying");
    let diff = get(format!("{path}/diff")).await.expect(200);
    assert_eq!((&diff["from"], &diff["to"]), (&2.into(), &3.into()));
    assert_eq!(diff["difference"]["tablesRemoved"], json!(["authors"]));
    let whole = get(format!("{path}/diff?from=0&to=3")).await.expect(200);
    assert_eq!(whole["difference"]["columnsAdded"].as_array().unwrap().len(), 5);
    assert_eq!(get(format!("{path}/lint?revision=2")).await.expect(200)["passed"], false);
    assert_eq!(get(format!("{path}/lint")).await.expect(200)["passed"], true);
    for unknown in [
        "schema?revision=4",
        "schema?revision=0",
        "schema?revision=99999999999999",
        "diff?from=9",
        "diff?to=-1",
    ] {
        get(format!("{path}/{unknown}")).await.refuses(404, "Revision not found");
    }

    service.delete(&path).bearing(&moderator).send().await.refuses(403, "Only an admin may do this");
    service.delete(&path).bearing(&token).send().await.refuses(403, "Only an admin may do this");
    let admin = issuer::person("admin");
    service.delete(&path).bearing(&admin).send().await.expect(204);
    service.delete(&path).bearing(&admin).send().await.refuses(404, "Service not found");
    for gone in ["", "/schema", "/revisions", "/diff", "/lint"] {
        get(format!("{path}{gone}")).await.refuses(404, "Service not found");
    }
    get(format!("{SERVICES}/1")).await.refuses(400, "Invalid service ID format");
}

#[tokio::test(flavor = "multi_thread")]
async fn services_of_one_name_in_two_namespaces_are_two_and_are_listed() {
    let (_platform, issuer, service) = registry().await;
    for (namespace, name) in [("shop", "books"), ("tools", "books"), ("shop", "audit")] {
        let token = issuer.token(namespace, name);
        service.post(SYNC, told(name, &BOOKS)).bearing(&token).send().await.expect(201);
    }
    let reader = issuer.token("shop", "audit");
    let list = |query: &str| service.get(&format!("{SERVICES}?{query}")).bearing(&reader).send();
    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().unwrap().iter();
        items
            .map(|one| format!("{}/{}", one["namespace"].as_str().unwrap(), one["service"].as_str().unwrap()))
            .collect()
    };
    let all = list("sort=service").await.expect(200);
    assert_eq!(names(&all), ["shop/audit", "shop/books", "tools/books"]);
    assert_eq!(
        names(&list("").await.expect(200)),
        ["shop/audit", "tools/books", "shop/books"],
        "newest first"
    );
    assert_eq!(
        names(&list("filter[service]=books&filter[namespace]=tools").await.expect(200)),
        ["tools/books"]
    );
    assert_eq!(list("filter[service]=%25").await.expect(200)["total"], 0);
    for wrong in ["filter[version]=1", "sort=namespace", "cursor=", "page=one"] {
        list(wrong).await.refuses(400, "Invalid request data");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_service_with_a_token_that_holds_tells_and_only_its_own() {
    let (_platform, mut issuer, service) =
        registry_with(&[("REGISTRY_SERVICES", "books, tools/audit")]).await;
    let tell = async |token: &str| service.post(SYNC, told("books", &BOOKS)).bearing(token).send().await;
    service.post(SYNC, told("books", &BOOKS)).send().await.refuses(401, "Authorization header required");
    let claims = json!({ "sub": "service/shop/books", "aud": "visiobook-services", "iat": issuer::now(), "exp": issuer::now() + 60 });
    let public = std::fs::read_to_string(issuer.keys().join("k1")).unwrap();
    for foreign in [
        Issuer::new().token("shop", "books"),
        issuer.token_until("shop", "books", issuer::now() - 1),
        // A secret that verifies people makes no service, and neither does a public key that is taken for a secret.
        issuer::sign(super::support::SECRET, &claims),
        issuer::sign(&public, &claims),
        issuer.token("shop", "x/y"),
        issuer.token("", "books"),
        "x".into(),
        format!("{}x", issuer.token("shop", "books")),
    ] {
        tell(&foreign).await.refuses(401, "Invalid token");
    }
    tell(&issuer::person("admin"))
        .await
        .refuses(403, "Only a service may tell its schema, with its SERVICE_TOKEN");
    tell(&issuer.token("shop", "users"))
        .await
        .refuses(403, "A service tells its own schema: the token is of another");
    tell(&issuer.token("any", "books")).await.expect(201);
    for (namespace, name, known) in
        [("tools", "audit", true), ("shop", "audit", false), ("shop", "users", false)]
    {
        let answer =
            service.post(SYNC, told(name, &BOOKS)).bearing(&issuer.token(namespace, name)).send().await;
        match known {
            true => assert_eq!(answer.status, 201),
            false => answer.refuses(404, &format!("No adapter found for service: {name}")),
        }
    }

    // Who reads.
    let list = async |token: &str| service.get(SERVICES).bearing(token).send().await;
    let seers = "Only a service, a moderator or an admin may do this";
    list(&issuer::person("user")).await.refuses(403, seers);
    let lint =
        service.post("/api/v1/migrations/lint", json!({ "schema": [] })).bearing(&issuer::person("user"));
    lint.send().await.refuses(403, seers);
    list("x").await.refuses(401, "Invalid token");
    list(&issuer::person("moderator")).await.expect(200);
    list(&issuer.token("shop", "users")).await.expect(200);

    // A key that was taken away makes no more callers, and the next one does, without a restart.
    let old = issuer.token("shop", "books");
    issuer.rotate();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while list(&issuer.token("shop", "books")).await.status != 200 {
        assert!(std::time::Instant::now() < deadline, "{}", service.log());
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    list(&old).await.refuses(401, "Invalid token");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_no_schema_is_refused_with_its_place() {
    let (platform, issuer, service) = registry().await;
    let token = issuer.token("shop", "books");
    let tell = async |change: &dyn Fn(&mut Value)| -> Answer {
        let mut body = told("books", &BOOKS);
        change(&mut body);
        service.post(SYNC, body).bearing(&token).send().await
    };
    let cases: [(&str, Change); 12] = [
        ("schema[1]", Box::new(|body| body["schema"][1]["column_name"] = "id".into())),
        ("schema[0].table_name", Box::new(|body| body["schema"][0]["table_name"] = "".into())),
        ("schema[0].data_type", Box::new(|body| body["schema"][0]["data_type"] = "a\u{0}".into())),
        ("schema[0].tableName", Box::new(|body| body["schema"][0]["tableName"] = "x".into())),
        (
            "schema[0].character_maximum_length",
            Box::new(|body| body["schema"][0]["character_maximum_length"] = (-1).into()),
        ),
        (
            "indexes[0].index_name",
            Box::new(|body| body["indexes"] = json!([{ "table_name": "books", "index_name": "" }])),
        ),
        ("version", Box::new(|body| body["version"] = "v".repeat(129).into())),
        ("version", Box::new(|body| drop(body.as_object_mut().unwrap().remove("version")))),
        ("timestamp", Box::new(|body| body["timestamp"] = "yesterday".into())),
        ("timestamp", Box::new(|body| body["timestamp"] = "2026-11-21T12:00:00".into())),
        ("schema", Box::new(|body| body["schema"] = "users".into())),
        ("adapter", Box::new(|body| body["adapter"] = "prisma".into())),
    ];
    for (field, change) in cases {
        let answer = tell(&change).await;
        answer.refuses(400, "Invalid request data");
        assert_eq!(answer.body["error"]["details"][0]["field"], field, "{}", answer.body);
    }
    // What PostgreSQL leaves out is null, and names are whatever somebody has called their tables.
    let odd = |body: &mut Value| {
        body["schema"][0]["character_maximum_length"] = Value::Null;
        body["schema"][1]["character_maximum_length"] = 255.0.into();
        body["schema"][4]["column_name"] = "'; DROP TABLE schema_revisions; -- \u{1F4DA}".into();
    };
    tell(&odd).await.expect(201);
    let large = |columns: usize| {
        let columns: Vec<Value> = (0..columns)
            .map(|number| json!({ "table_name": "t", "column_name": format!("c{number}"), "data_type": "text" }))
            .collect();
        move |body: &mut Value| body["schema"] = columns.clone().into()
    };
    tell(&large(9_000)).await.expect(201);
    tell(&large(10_001)).await.refuses(400, "Invalid request data");
    tell(&large(18_000)).await.refuses(413, "The body has more than 1048576 bytes");
    tell(&|body: &mut Value| body["schema"] = json!([])).await.expect(201);
    assert_eq!(platform.postgres.answer("SELECT count(*) FROM schema_revisions"), "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_was_read_before_does_not_replace_a_later_one() {
    let (platform, issuer, service) = registry().await;
    let token = issuer.token("shop", "books");
    let at = |columns: &[(&str, &str, &str)], offset: i64| {
        let mut body = told("books", columns);
        let time = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(offset);
        body["timestamp"] = time.to_string().into();
        service.post(SYNC, body).bearing(&token).send()
    };
    at(&BOOKS, 0).await.expect(201);
    let outdated = "Another schema was read later and told before: read it again";
    at(&BOOKS[..4], -60).await.refuses(409, outdated);
    // The same one is right whenever it was read.
    at(&BOOKS, -60).await.expect(200);
    // A clock that is a day ahead holds nobody back.
    at(&BOOKS[..4], 86_400).await.expect(201);
    at(&BOOKS, 1).await.expect(201);
    let count = "SELECT count(*), bool_and(told_at <= now()) FROM schema_revisions";
    assert_eq!(platform.postgres.answer(count), "3|t");
    for odd in ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59-09:00", "1969-07-20T20:17:40.5+00:00"] {
        let mut body = told("books", &BOOKS);
        body["timestamp"] = odd.into();
        service.post(SYNC, body).bearing(&token).send().await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_that_tell_at_once_make_one_revision() {
    let (platform, issuer, service) = registry().await;
    let token = issuer.token("shop", "books");
    let asked = (0..10).map(|_| service.post(SYNC, told("books", &BOOKS)).bearing(&token).send());
    let mut statuses: Vec<u16> =
        futures::future::join_all(asked).await.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 200, 200, 200, 201]);
    assert_eq!(platform.postgres.answer("SELECT revision FROM schema_revisions"), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_told_to_who_listens() {
    let (platform, issuer, service) = registry().await;
    let token = issuer.token("shop", "books");
    service.post(SYNC, told("books", &BOOKS)).bearing(&token).send().await.expect(201);
    service.post(SYNC, told("books", &BOOKS)).bearing(&token).send().await.expect(200);
    service.post(SYNC, told("books", &BOOKS[..4])).bearing(&token).send().await.expect(201);
    let client = redis::Client::open(platform.redis.as_ref().unwrap().url()).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    type Entries = Vec<(String, std::collections::BTreeMap<String, String>)>;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let entries = loop {
        let mut range = redis::cmd("XRANGE");
        let entries: Entries =
            range.arg("visiobook:database:events").arg("-").arg("+").query_async(&mut redis).await.unwrap();
        if entries.len() == 2 {
            break entries;
        }
        assert!(std::time::Instant::now() < deadline, "{entries:?}\n{}", service.log());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    let payloads: Vec<Value> =
        entries.iter().map(|(_, entry)| serde_json::from_str(&entry["payload"]).unwrap()).collect();
    assert!(entries.iter().all(|(_, entry)| entry["type"] == "schema.changed"));
    let expected = |revision: i32, breaking: bool| json!({ "namespace": "shop", "service": "books", "version": "1.0.0", "revision": revision, "breaking": breaking });
    assert_eq!(payloads, [expected(1, false), expected(2, true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_metrics_kpis_and_documents_are_as_every_service_has_them() {
    let (_platform, issuer, service) = registry().await;
    let token = issuer.token("shop", "books");
    service.post(SYNC, told("books", &BOOKS[..4])).bearing(&token).send().await.expect(201);
    service.post(SYNC, told("books", &BOOKS[..3])).bearing(&token).send().await.expect(201);
    let health = service.get("/health").send().await.expect(200);
    assert_eq!((&health["service"], &health["status"]), (&"database".into(), &"healthy".into()));
    let Value::String(text) = service.get("/metrics").send().await.expect(200) else { panic!() };
    for line in [
        "schema_syncs 2",
        "schema_changes 2",
        "schema_findings 1",
        r#"business_operations_total{operation="sync_schema",status="success"} 2"#,
        r#"db_query_duration_seconds_bucket{operation="insert",table="schema_revisions",le="0.01"}"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let kpis = service.get("/kpis").send().await.expect(200);
    assert_eq!(kpis["businessMetrics"]["schemaSyncs"], 2.0);
    assert!(kpis["businessMetrics"]["registeredServices"].is_number());
    let document = service.get("/api/openapi.json").send().await.expect(200);
    let sync = &document["paths"][SYNC]["post"];
    for status in ["200", "201", "400", "401", "403", "404", "409", "413", "415", "500", "503"] {
        assert!(sync["responses"][status].is_object(), "{status}: {sync}");
    }
    let Value::String(page) = service.get("/api/docs").send().await.expect(200) else { panic!() };
    assert!(page.contains(SYNC) && page.contains("id=\"type-Finding\""));
    service.get("/api/v1/migrations").send().await.refuses(404, "No such route");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_it_does_not_start_and_says_why() {
    let platform = Platform::of("database");
    for (folder, word) in
        [("/nowhere/at/all", "cannot be read"), (env!("CARGO_MANIFEST_DIR"), "SERVICE_KEYS_FOLDER")]
    {
        let output = platform.command(&[]).env("SERVICE_KEYS_FOLDER", folder).output().unwrap();
        assert!(!output.status.success());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains("SERVICE_KEYS_FOLDER") && told.contains(word), "{told}");
    }
}
