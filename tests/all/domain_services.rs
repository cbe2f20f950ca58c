//! Domain services: what comes with them, what does not change, and what must not be said of them.

use serde_json::{Value, json};
use visiobook::contract::domain_services::DOMAIN_SERVICES;
use visiobook::facts::{DeploymentFact, EnvironmentFact, Facts, RevisionFact};
use visiobook::{plan, rollout, services};

use crate::cases::{Case, SIDECAR_IMAGE};

fn case(more: Value) -> Case {
    case_of("users", more)
}

fn case_of(domain_service: &str, more: Value) -> Case {
    let mut spec = json!({
        "domainService": domain_service,
        "secrets": {
            "DATABASE_URL": { "name": "users", "key": "url" }, "JWT_SECRET": { "name": "users", "key": "jwt" },
        },
    });
    plan::merge(&mut spec, more);
    let service = json!({
        "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookService",
        "metadata": { "name": "accounts", "namespace": "test" }, "spec": spec,
    });
    // Its own image is refused nowhere.
    let environment = json!({
        "type": "production", "images": { "registries": ["registry.local"], "requireDigest": true },
    });
    Case {
        service: serde_json::from_value(service).expect("service"),
        environment: EnvironmentFact::Governed {
            name: "strict".into(),
            spec: serde_json::from_value(environment).expect("environment"),
        },
    }
}

fn template(case: &Case, facts: &Facts) -> (Value, RevisionFact) {
    let decision = rollout::step(&case.verdict(), facts);
    let plan = plan::build(&case.owner(), &decision, 1, facts);
    let find = |kind: &str| {
        let found = plan.objects.iter().find(|planned| planned.kind.as_str() == kind);
        found.unwrap_or_else(|| panic!("no {kind}: {decision:?}")).object.clone()
    };
    let stored = find("ControllerRevision");
    let hash = decision.revision.as_ref().expect("a revision").hash.clone();
    let stored = RevisionFact { hash, number: 1, data: stored["data"].clone(), serving: None };
    (find("Deployment")["spec"]["template"].clone(), stored)
}

fn settings(template: &Value) -> Value {
    let sidecar = &template["spec"]["initContainers"][0];
    serde_json::from_str(sidecar["env"][0]["value"].as_str().expect("settings")).expect("JSON")
}

#[test]
fn a_resource_with_two_secrets_is_a_whole_service() {
    let case = case(json!({}));
    assert_eq!(case.verdict().err(), None);
    let (template, _) = template(&case, &case.facts());
    let app = &template["spec"]["containers"][0];
    assert_eq!((&app["image"], &app["args"]), (&json!(SIDECAR_IMAGE), &json!(["service", "users"])));
    assert_eq!(app.get("command"), None, "the entry point of the image is the program");
    let value = |name: &str| {
        let env = app["env"].as_array().expect("env");
        env.iter().find(|entry| entry["name"] == name).unwrap_or_else(|| panic!("no {name}")).clone()
    };
    assert_eq!(
        (&value("SERVICE_NAME")["value"], &value("PORT")["value"]),
        (&json!("accounts"), &json!("8080"))
    );
    assert_eq!(value("SERVICE_VERSION")["value"], "dev");
    assert_eq!(value("DATABASE_URL")["valueFrom"]["secretKeyRef"], json!({ "name": "users", "key": "url" }));
    assert_eq!(value("DB_SSL_MODE")["value"], "require");
    assert_eq!(value("BCRYPT_ROUNDS")["value"], "12");
    assert!(!app["env"].to_string().contains("JWT_EXPIRES_IN"), "its tokens hold 900 s");
    assert_eq!(
        template["spec"]["readinessGates"],
        json!([{ "conditionType": "platform.visiobook.com/contract" }])
    );
    let settings = settings(&template);
    assert_eq!(settings["auth"]["publicRoutes"], json!(DOMAIN_SERVICES[0].public_routes));
    assert_eq!(settings["auth"]["keysFolder"], "/etc/visiobook/keys/jwt");
    assert_eq!(settings["kpis"]["activeUsers"], "active_users");
    assert!(settings["routes"].as_array().expect("routes").contains(&json!("/api/v1/users/{id}")));
    assert_eq!(app["readinessProbe"]["httpGet"]["path"], "/alive");
}

#[test]
fn what_the_resource_says_of_its_sidecar_is_laid_over_what_comes_with_it() {
    let said = json!({ "sidecar": {
        "auth": { "issuer": "visiobook", "publicRoutes": ["POST /api/v1/users/sessions"] }, "kpis": { "users": "active_users" },
    }, "gate": { "mode": "Off" } });
    let case = case(said);
    let (template, _) = template(&case, &case.facts());
    let settings = settings(&template);
    assert_eq!(settings["auth"]["issuer"], "visiobook");
    assert_eq!(
        settings["auth"]["publicRoutes"],
        json!(["POST /api/v1/users/sessions"]),
        "registration is closed"
    );
    assert_eq!(settings["kpis"].as_object().map(|kpis| kpis.len()), Some(4));
    assert!(template["spec"].get("readinessGates").is_none());
}

#[test]
fn an_upgrade_of_the_operator_changes_no_pod_and_comes_with_the_next_release() {
    let before = case(json!({}));
    let (template_before, stored) = template(&before, &before.facts());
    let running = DeploymentFact {
        revision: stored.hash.clone(),
        replicas: 1,
        status_replicas: 1,
        updated: 1,
        available: 1,
        observed: true,
        ..DeploymentFact::default()
    };
    let upgraded = |case: &Case| Facts {
        sidecar_image: "ghcr.io/visiobook/visiobook:next".into(),
        revisions: vec![stored.clone()],
        deployments: [(visiobook::api::names::Colour::Blue, running.clone())].into(),
        ..case.facts()
    };
    let mut after = template(&before, &upgraded(&before)).0;
    // The digest of secrets is of the pass, not of the revision.
    after["metadata"]["annotations"]["platform.visiobook.com/secrets-rotation"].take();
    let mut expected = template_before.clone();
    expected["metadata"]["annotations"]["platform.visiobook.com/secrets-rotation"].take();
    assert_eq!(after, expected);
    let released = case(json!({ "pod": { "annotations": { "release": "2" } } }));
    let (next, stored_next) = template(&released, &upgraded(&released));
    assert_eq!(next["spec"]["containers"][0]["image"], "ghcr.io/visiobook/visiobook:next");
    assert_ne!(stored_next.hash, stored.hash);
    assert_eq!(next["metadata"]["labels"]["platform.visiobook.com/revision"], stored_next.hash.as_str());
    assert_eq!(
        stored_next.data["shape"]["image"], "ghcr.io/visiobook/visiobook:next",
        "so an undo brings it back"
    );
}

#[test]
fn its_routes_are_the_same_whatever_it_is_called() {
    let mut case = case(json!({ "ingress": { "hosts": ["api.visiobook.com"] } }));
    case.service.metadata.name = Some("accounts".into());
    let plan = case.plan();
    let ingress = plan.objects.iter().find(|planned| planned.kind.as_str() == "Ingress").expect("an Ingress");
    let path = ingress.object.pointer("/spec/rules/0/http/paths/0/path").expect("a path");
    assert_eq!(path, "/api/v1/users");
}

#[test]
fn the_registry_has_the_public_keys_in_its_own_container_and_in_its_jobs() {
    let (registry, users) = (case_of("database", json!({})), case(json!({})));
    let keys = json!({
        "name": "sidecar-services", "mountPath": "/var/run/visiobook/service-keys", "readOnly": true,
    });
    let mounts = |case: &Case| {
        let template = template(case, &case.signed_facts()).0;
        template["spec"]["containers"][0]["volumeMounts"].as_array().expect("mounts").clone()
    };
    assert!(mounts(&registry).contains(&keys), "{:?}", mounts(&registry));
    assert!(!mounts(&users).contains(&keys), "who verifies nobody has no keys");
    let plan = registry.signed_plan();
    let public = plan.objects.iter().find(|planned| planned.name == "accounts-service-keys");
    assert!(public.is_some_and(|planned| planned.object["data"]["k1"].is_string()), "{public:?}");
    // A first pass runs the migration, with the program that serves.
    let begun = Facts { migrations: Default::default(), ..registry.signed_facts() };
    let plan = plan::build(&registry.owner(), &rollout::step(&registry.verdict(), &begun), 1, &begun);
    let job = plan.objects.iter().find(|planned| planned.kind.as_str() == "Job").expect("a Job");
    let pod = &job.object["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["args"], json!(["service", "database", "migrate"]));
    assert!(pod["containers"][0]["volumeMounts"].as_array().expect("mounts").contains(&keys), "{pod}");
    assert!(pod["volumes"].to_string().contains("accounts-service-keys"), "{pod}");
}

#[test]
fn the_registry_is_called_by_who_depends_on_it_and_asked_by_nobody_else() {
    let caller = case(json!({ "dependsOn": [{ "name": "database-service" }] }));
    let (told, _) = template(&caller, &caller.signed_facts());
    let env = told["spec"]["containers"][0]["env"].as_array().expect("env").clone();
    let value = |name: &str| env.iter().find(|entry| entry["name"] == name).cloned().unwrap_or_default();
    assert_eq!(value("DATABASE_SERVICE_URL")["value"], "http://database-service:80");
    assert_eq!(value("SERVICE_TOKEN_FILE")["value"], "/var/run/visiobook/service-token/token");
    let dependencies = settings(&told)["dependencies"].clone();
    let registry =
        dependencies.as_array().expect("dependencies").iter().find(|it| it["name"] == "database-service");
    assert!(
        registry.is_some_and(|it| it.get("critical").is_none_or(|critical| critical == false)),
        "{dependencies}"
    );
    let alone = case(json!({}));
    let (alone, _) = template(&alone, &alone.signed_facts());
    assert!(!alone.to_string().contains("DATABASE_SERVICE_URL"), "nobody is told of it who did not say so");
}

#[test]
fn what_is_mounted_where_the_registry_finds_its_keys_is_refused() {
    let path = "/var/run/visiobook/service-keys";
    let volumes = json!([{ "name": "mine", "emptyDir": {} }]);
    let pod =
        json!({ "pod": { "volumes": volumes, "volumeMounts": [{ "name": "mine", "mountPath": path }] } });
    let files = json!({ "configFiles": { "mountPath": path, "files": { "a": "b" } } });
    for (more, field) in [
        (pod, format!("spec.pod.volumeMounts[mountPath={path}]")),
        (files, "spec.configFiles.mountPath".to_string()),
    ] {
        assert_eq!(case(more.clone()).verdict().err(), None, "users has nothing there");
        let refusals = case_of("database", more).verdict().expect_err(&field);
        let told: Vec<_> = refusals.iter().map(|refusal| (refusal.rule, refusal.field.as_str())).collect();
        assert_eq!(told, [("mount-once", field.as_str())]);
    }
}

#[test]
fn every_route_of_a_domain_service_lies_below_its_way_in() {
    for service in DOMAIN_SERVICES {
        let case = case_of(service.name, json!({ "ingress": { "hosts": ["api.visiobook.com"] } }));
        let plan = case.plan();
        let ingress =
            plan.objects.iter().find(|planned| planned.kind.as_str() == "Ingress").expect("an Ingress");
        let path = ingress.object.pointer("/spec/rules/0/http/paths/0/path").expect("a path");
        let path = path.as_str().expect("text");
        let outside: Vec<_> =
            service.routes.iter().filter(|route| !route.starts_with(path) && !is_document(route)).collect();
        assert!(outside.is_empty(), "{}: {outside:?} are not below {path}", service.name);
    }
}

fn is_document(route: &str) -> bool {
    route.starts_with("/api/docs") || route == "/api/openapi.json"
}

#[test]
fn what_comes_with_it_cannot_be_said_and_each_field_is_named() {
    for (more, field) in [
        (json!({ "stack": "rust" }), "spec.stack"),
        (json!({ "profile": "ai" }), "spec.profile"),
        (json!({ "command": ["/bin/sh"] }), "spec.command"),
        (json!({ "args": ["service", "projects"] }), "spec.args"),
        (json!({ "port": 3000 }), "spec.port"),
        (json!({ "sidecar": { "mode": "Observe" } }), "spec.sidecar.mode"),
        (json!({ "sidecar": { "routes": ["/a"] } }), "spec.sidecar.routes"),
        (
            json!({ "sidecar": { "auth": { "secret": { "name": "s", "key": "k" } } } }),
            "spec.sidecar.auth.secret",
        ),
        (json!({ "sidecar": { "metricsPath": "/m" } }), "spec.sidecar.metricsPath"),
        (json!({ "sidecar": { "healthPath": "/h" } }), "spec.sidecar.healthPath"),
        (json!({ "sidecar": { "migrations": "AnyTable" } }), "spec.sidecar.migrations"),
        (json!({ "migration": { "args": ["migrate"] } }), "spec.migration"),
        (json!({ "env": { "HOST": "0.0.0.0" } }), "spec.env.HOST"),
    ] {
        let refusals = case(more.clone()).verdict().expect_err(field);
        let told: Vec<_> = refusals.iter().map(|refusal| (refusal.rule, refusal.field.as_str())).collect();
        assert_eq!(told, [("domain-service-field", field)], "{more}");
    }
}

#[test]
fn every_domain_service_that_can_be_asked_for_is_one_that_there_is() {
    for service in DOMAIN_SERVICES {
        let found = services::find(service.name);
        assert!(found.is_some(), "{} is in no image", service.name);
        assert_eq!(found.map(|found| found.name), Some(service.name));
    }
}
