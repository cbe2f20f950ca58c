//! Tokens between services, copies of pull secrets and trusted certificates, as they are planned.

use serde_json::{Value, json};
use visiobook::api::kinds::Kind;
use visiobook::api::names::{self, Colour};
use visiobook::check;
use visiobook::facts::{
    Content, DeploymentFact, EnvironmentFact, Facts, RevisionFact, SecretFact, TokenContent,
};
use visiobook::plan::{self, Plan};
use visiobook::rollout;

use crate::cases::{Case, NOW, signing};

const DAY: i64 = 86_400;

fn case(spec: Value, environment: Value) -> Case {
    let mut said = json!({ "image": "ghcr.io/visiobook/orders:1.0" });
    plan::merge(&mut said, spec);
    let service = json!({
        "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookService",
        "metadata": { "name": "orders", "namespace": "shop" }, "spec": said,
    });
    Case {
        service: serde_json::from_value(service).expect("service"),
        environment: EnvironmentFact::Governed {
            name: "any".into(),
            spec: serde_json::from_value(environment).expect("environment"),
        },
    }
}

fn development(spec: Value) -> Case {
    case(spec, json!({ "type": "development" }))
}

fn plan_with(case: &Case, facts: &Facts) -> Plan {
    let decision = rollout::step(&case.verdict(), facts);
    plan::build(&case.owner(), &decision, 1, facts)
}

fn object(plan: &Plan, kind: Kind, name: &str) -> Option<Value> {
    let found = plan.objects.iter().find(|planned| planned.kind == kind && planned.name == name);
    found.map(|planned| planned.object.clone())
}

fn token(plan: &Plan) -> TokenContent {
    let secret = object(plan, Kind::Secret, "orders-service-token").expect("a token");
    match visiobook::apply::content(&secret) {
        Some(Content::ServiceToken(token)) => token,
        other => panic!("{other:?}"),
    }
}

fn pod(plan: &Plan) -> Value {
    let deployment = object(plan, Kind::Deployment, "orders-blue").expect("a Deployment");
    deployment["spec"]["template"]["spec"].clone()
}

fn calls() -> Value {
    json!({ "dependsOn": [{ "name": "users" }, { "name": "audit", "namespace": "tools" }] })
}

/// What a later pass sees once a token was written and its pods have arrived.
fn holding(case: &Case, token: &TokenContent, now: i64) -> Facts {
    let hash = case.verdict().expect("valid").shape.revision();
    let deployment = DeploymentFact { revision: hash, observed: true, ..DeploymentFact::default() };
    Facts {
        contents: [("orders-service-token".to_string(), Content::ServiceToken(token.clone()))].into(),
        deployments: [(Colour::Blue, deployment)].into(),
        now,
        ..case.signed_facts()
    }
}

#[test]
fn a_service_that_calls_others_finds_its_token_in_a_file_and_a_variable() {
    let plan = development(calls()).signed_plan();
    let expected = TokenContent {
        kid: "k1".into(),
        issued: NOW,
        expires: NOW + 4 * DAY,
        calls: vec!["shop/users".into(), "tools/audit".into()],
    };
    assert_eq!(token(&plan), expected);
    let secret = object(&plan, Kind::Secret, "orders-service-token").expect("a token");
    assert_eq!(
        (&secret["type"], &secret["data"]),
        (&json!("Opaque"), &json!({ "token": "" })),
        "a value is planned"
    );
    let pod = pod(&plan);
    let app = &pod["containers"][0];
    let variable = |name: &str| {
        let variables = app["env"].as_array().expect("env").iter();
        variables.filter(|entry| entry["name"] == name).cloned().collect::<Vec<_>>()
    };
    assert_eq!(
        variable("SERVICE_TOKEN_FILE"),
        [json!({ "name": "SERVICE_TOKEN_FILE", "value": "/var/run/visiobook/service-token/token" })]
    );
    let reference = json!({ "secretKeyRef": { "name": "orders-service-token", "key": "token" } });
    assert_eq!(variable("SERVICE_TOKEN"), [json!({ "name": "SERVICE_TOKEN", "valueFrom": reference })]);
    let mount =
        json!({ "name": "service-token", "mountPath": "/var/run/visiobook/service-token", "readOnly": true });
    assert!(app["volumeMounts"].as_array().expect("mounts").contains(&mount), "{}", app["volumeMounts"]);
    // Who reads files knows only whether tokens are asked for.
    let sidecar = pod["initContainers"][0].to_string();
    assert!(!sidecar.contains("service-token"), "{sidecar}");
    assert_eq!(plan.wake_at, Some(NOW + DAY));
}

#[test]
fn a_service_that_calls_nobody_has_no_token_and_its_own_variable_wins() {
    let plan = development(json!({})).signed_plan();
    assert_eq!(object(&plan, Kind::Secret, "orders-service-token"), None);
    assert_eq!(plan.wake_at, None);
    let mut spec = calls();
    spec["env"] = json!({ "SERVICE_TOKEN": "its own" });
    let pod = pod(&development(spec).signed_plan());
    assert!(!pod["containers"][0]["env"].to_string().contains("secretKeyRef"), "{pod}");
}

#[test]
fn a_token_is_made_anew_after_a_quarter_of_its_life_and_not_before() {
    let case = development(calls());
    let held = token(&case.signed_plan());
    for (now, renewed) in [(NOW, false), (NOW + DAY - 1, false), (NOW + DAY, true), (NOW + 9 * DAY, true)] {
        let plan = plan_with(&case, &holding(&case, &held, now));
        assert_eq!(token(&plan) != held, renewed, "at {now}");
        let wake = plan.wake_at.expect("a time to wake up");
        assert!(wake > now && wake <= now + DAY, "wakes at {wake}");
        assert_eq!(token(&plan).issued, if renewed { now } else { NOW });
    }
    // A clock that was ahead, and an annotation that somebody wrote.
    let ahead = TokenContent { issued: NOW + 9 * DAY, expires: NOW + 13 * DAY, ..held.clone() };
    let endless = TokenContent { expires: NOW + 900 * DAY, ..held.clone() };
    for wrong in [ahead, endless] {
        let now = NOW + 60;
        assert_eq!(token(&plan_with(&case, &holding(&case, &wrong, now))).issued, now);
    }
}

#[test]
fn a_token_follows_its_key_and_what_the_service_calls() {
    let case = development(calls());
    let held = token(&case.signed_plan());
    let later = NOW + 60;
    let mut facts = holding(&case, &held, later);
    let keys = facts.signing.as_mut().expect("keys");
    keys.kid = "k2".into();
    keys.public.insert("k2".into(), "a public key".into());
    assert_eq!(token(&plan_with(&case, &facts)), held, "another key signs, and the one before still holds");
    facts.signing.as_mut().expect("keys").public.remove("k1");
    let renewed = token(&plan_with(&case, &facts));
    assert_eq!((renewed.kid.as_str(), renewed.issued), ("k2", later));

    let fewer = development(json!({ "dependsOn": [{ "name": "users" }] }));
    let mut facts = holding(&fewer, &held, later);
    assert_eq!(token(&plan_with(&fewer, &facts)).calls, ["shop/users"]);
    // While pods of before may run, nothing is taken from them.
    facts.deployments.get_mut(&Colour::Blue).expect("pods").replicas = 1;
    assert_eq!(token(&plan_with(&fewer, &facts)), held);
}

#[test]
fn without_keys_nothing_is_minted_and_nothing_taken_away() {
    let case = development(calls());
    let plan = plan_with(&case, &Facts { signing: None, ..case.signed_facts() });
    assert_eq!(object(&plan, Kind::Secret, "orders-service-token"), None);
    assert!(plan.keep_kinds.contains(&Kind::Secret));
    assert!(plan.keep.contains(&(Kind::ConfigMap, "orders-service-keys".into())));
}

#[test]
fn who_checks_tokens_is_given_the_public_keys_and_nothing_else() {
    for (spec, verifies) in [
        (json!({}), false),
        (json!({ "sidecar": { "auth": { "jwks": "https://login.example.com/jwks.json" } } }), true),
        (json!({ "sidecar": { "serviceTokens": { "required": true, "allow": ["tools/smoke"] } } }), true),
        (json!({ "sidecar": { "mode": "Observe" } }), false),
    ] {
        let plan = development(spec.clone()).signed_plan();
        let keys = object(&plan, Kind::ConfigMap, "orders-service-keys");
        assert_eq!(keys.is_some(), verifies, "{spec}");
        let pod = pod(&plan);
        let settings: Value =
            serde_json::from_str(pod["initContainers"][0]["env"][0]["value"].as_str().expect("settings"))
                .expect("JSON");
        assert_eq!(settings["serviceTokens"].is_object(), verifies, "{settings}");
        let Some(keys) = keys else { continue };
        assert_eq!(keys["data"], json!(signing().public));
        assert!(!keys.to_string().contains("PRIVATE"));
        assert!(keys["immutable"].is_null(), "keys follow those of the operator");
        assert_eq!(settings["serviceTokens"]["namespace"], "shop");
        let mounts = pod["initContainers"][0]["volumeMounts"].as_array().expect("mounts");
        let mounted = mounts.iter().find(|mount| mount["name"] == "sidecar-services").expect("the keys");
        assert_eq!(mounted["mountPath"], settings["serviceTokens"]["keysFolder"]);
        assert!(!pod["containers"][0].to_string().contains("sidecar-services"));
    }
    let plan = development(
        json!({ "sidecar": { "serviceTokens": { "required": true, "allow": ["tools/smoke"] } } }),
    )
    .signed_plan();
    assert!(pod(&plan).to_string().contains(r#"\"allow\":[\"tools/smoke\"]"#));
}

#[test]
fn sidecars_of_two_colours_are_given_what_they_know_the_operator_by() {
    let blue_green = json!({ "strategy": "BlueGreen" });
    for (spec, hears) in [
        (json!({}), false),
        (json!({ "rollout": { "strategy": "RollingUpdate" } }), false),
        (json!({ "rollout": blue_green }), true),
        (json!({ "rollout": blue_green, "sidecar": { "mode": "Observe" } }), false),
        (json!({ "rollout": blue_green, "sidecar": { "serviceTokens": { "required": true } } }), true),
    ] {
        let verifies = spec["sidecar"]["serviceTokens"].is_object();
        let case = development(spec.clone());
        let plan = case.signed_plan();
        let keys = object(&plan, Kind::ConfigMap, "orders-service-keys");
        assert_eq!(keys.map(|keys| keys["data"].clone()), hears.then(|| json!(signing().public)), "{spec}");
        let pod = pod(&plan);
        let sidecar = &pod["initContainers"][0];
        let said = sidecar["env"].as_array().expect("env").iter();
        let said = said.filter(|entry| entry["name"] == "VISIOBOOK_SIDECAR_OPERATOR").collect::<Vec<_>>();
        assert_eq!(said.len(), usize::from(hears), "{spec}");
        let volumes = pod["volumes"].as_array().expect("volumes").iter();
        let volume = volumes.filter(|volume| volume["name"] == "sidecar-services").collect::<Vec<_>>();
        assert_eq!(volume.len(), usize::from(hears), "{spec}");
        // A sidecar of an earlier release must not refuse its settings for it.
        let settings = sidecar["env"][0]["value"].as_str().expect("settings");
        assert_eq!(settings.contains("keysFolder"), verifies, "{settings}");
        let ([said], [volume]) = (said.as_slice(), volume.as_slice()) else { continue };
        let known: Value = serde_json::from_str(said["value"].as_str().expect("text")).expect("JSON");
        assert_eq!(known, json!({ "keysFolder": "/etc/visiobook/keys/services", "service": "shop/orders" }));
        let mounts = sidecar["volumeMounts"].as_array().expect("mounts").iter();
        let mounted: Vec<_> = mounts.filter(|mount| mount["name"] == "sidecar-services").collect();
        assert_eq!(mounted.len(), 1, "{spec}");
        assert_eq!(mounted[0]["mountPath"], known["keysFolder"]);
        let optional = &volume["configMap"]["optional"];
        assert_eq!(
            *optional == json!(true),
            !verifies,
            "a pod waits for keys only where callers are checked"
        );
        let rolling = development(json!({ "sidecar": spec["sidecar"] })).verdict().expect("valid");
        assert_eq!(case.verdict().expect("valid").shape.revision(), rolling.shape.revision());
    }
}

#[test]
fn keys_stay_while_a_colour_that_needs_them_is_warm() {
    let two = development(json!({ "rollout": { "strategy": "BlueGreen" } }));
    let plan = two.signed_plan();
    let hash = two.verdict().expect("valid").shape.revision();
    let deployment = DeploymentFact { revision: hash, observed: true, ..DeploymentFact::default() };
    let stored = object(&plan, Kind::ControllerRevision, &names::revision("orders", &deployment.revision));
    let stored = stored.expect("a revision");
    let revision = RevisionFact {
        hash: deployment.revision.clone(),
        number: 1,
        data: stored["data"].clone(),
        serving: None,
    };
    // One colour again, by strategy: what runs was rendered with keys, and goes on with them.
    let one = development(json!({}));
    let facts = Facts {
        deployments: [(Colour::Blue, deployment)].into(),
        revisions: vec![revision],
        now: NOW,
        ..one.signed_facts()
    };
    let plan = plan_with(&one, &facts);
    assert!(object(&plan, Kind::ConfigMap, "orders-service-keys").is_some());
    assert!(pod(&plan).to_string().contains("VISIOBOOK_SIDECAR_OPERATOR"), "it was rendered anew");
}

#[test]
fn other_services_reach_one_that_answers_few_hosts() {
    let settings = |spec: Value| {
        let pod = pod(&development(spec).signed_plan());
        serde_json::from_str::<Value>(pod["initContainers"][0]["env"][0]["value"].as_str().expect("settings"))
            .expect("JSON")
    };
    let told = settings(json!({ "sidecar": { "hosts": ["api.visiobook.com"] } }));
    let expected = json!([
        "api.visiobook.com",
        "orders",
        "orders.shop",
        "orders.shop.svc",
        "orders.shop.svc.cluster.local",
        "orders-preview"
    ]);
    assert_eq!(told["hosts"], expected);
    assert_eq!(settings(json!({}))["hosts"], Value::Null, "all hosts are answered where none is named");
}

#[test]
fn pull_secrets_of_the_environment_are_copied_followed_and_waited_for() {
    let environment = json!({ "type": "development", "defaults": { "copiedPullSecrets": ["registry", "mirror", "registry"] } });
    let case = case(json!({ "imagePullSecrets": [{ "name": "own" }] }), environment);
    let plan = case.signed_plan();
    let copies: Vec<_> = plan.objects.iter().filter(|planned| planned.kind == Kind::Secret).collect();
    assert_eq!(copies.len(), 2);
    for copy in &copies {
        assert_eq!(copy.object["type"], "kubernetes.io/dockerconfigjson");
        assert_eq!(copy.object["data"], json!({ ".dockerconfigjson": "e30=" }), "a value is planned");
    }
    let pulls = pod(&plan)["imagePullSecrets"].as_array().expect("pull secrets").clone();
    assert_eq!(pulls.len(), 3);
    assert!(copies.iter().all(|copy| pulls.contains(&json!({ "name": copy.name }))));

    // Another value is another copy under the same name.
    let mut facts = case.signed_facts();
    facts
        .pull_secrets
        .insert("registry".into(), SecretFact::Present { digest: "key:other".into(), length: 9 });
    let changed = plan_with(&case, &facts);
    let differing =
        copies.iter().filter(|copy| object(&changed, Kind::Secret, &copy.name) != Some(copy.object.clone()));
    assert_eq!(differing.count(), 1);

    // One that is gone holds back what is new, and takes nothing from what runs.
    facts.pull_secrets.insert("registry".into(), SecretFact::SecretMissing);
    let decision = rollout::step(&case.verdict(), &facts);
    let told: Vec<String> = decision.held.iter().map(ToString::to_string).collect();
    assert!(
        told.len() == 1 && told[0].contains("\"registry\"") && told[0].contains("[pull-secret-exists]"),
        "{told:?}"
    );
    let plan = plan::build(&case.owner(), &decision, 1, &facts);
    assert!(plan.keep_kinds.contains(&Kind::Secret));
    assert_eq!(object(&plan, Kind::Deployment, "orders-blue"), None);
}

#[test]
fn certificates_of_ones_own_are_mounted_for_the_sidecar() {
    let from = |source: Value| {
        let case = development(json!({ "sidecar": { "trustedCertificates": source } }));
        let plan = plan_with(
            &case,
            &Facts {
                secrets: [(
                    ("ca".into(), "tls".into()),
                    SecretFact::Present { digest: "key:d".into(), length: 9 },
                )]
                .into(),
                ..case.signed_facts()
            },
        );
        let pod = pod(&plan);
        let volumes = pod["volumes"].as_array().expect("volumes").clone();
        let volume = volumes.into_iter().find(|volume| volume["name"] == "sidecar-trust").expect("a volume");
        let settings: Value =
            serde_json::from_str(pod["initContainers"][0]["env"][0]["value"].as_str().expect("settings"))
                .expect("JSON");
        assert_eq!(settings["trustedCertificates"], "/etc/visiobook/trust/ca.pem");
        volume
    };
    let items = json!([{ "key": "tls", "path": "ca.pem" }]);
    assert_eq!(
        from(json!({ "configMap": { "name": "ca", "key": "tls" } })),
        json!({ "name": "sidecar-trust", "configMap": { "name": "ca", "items": items, "defaultMode": 0o444 } })
    );
    assert_eq!(
        from(json!({ "secret": { "name": "ca", "key": "tls" } }))["projected"]["sources"],
        json!([{ "secret": { "name": "ca", "items": items } }])
    );
    let waiting = development(
        json!({ "sidecar": { "trustedCertificates": { "secret": { "name": "ca", "key": "tls" } } } }),
    );
    let held = check::hold(&waiting.verdict().expect("valid"), &Default::default());
    assert_eq!(held.len(), 1);
    assert_eq!(held[0].field, "spec.sidecar.trustedCertificates.secret");
}
