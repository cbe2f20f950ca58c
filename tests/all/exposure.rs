//! The way in from outside, who may connect, and what happens where a cluster lacks a kind.

use serde_json::{Value, json};
use visiobook::api::kinds::Kind;
use visiobook::check::Exposure;
use visiobook::facts::{Applied, Facts, Missing};
use visiobook::plan::Plan;
use visiobook::status::{self, Pass};

use crate::cases::Case;
use crate::defaults::{Planned, case, plan_under};

/// An environment with a domain.
fn domain(type_: &str, more: Value) -> Value {
    let mut environment = json!({ "type": type_, "ingress": { "domain": "visiobook.com" } });
    visiobook::plan::merge(&mut environment, more);
    environment
}

fn asked(type_: &str, ingress: Value) -> Planned {
    plan_under(json!({ "ingress": ingress }), domain(type_, json!({})))
}

#[test]
fn a_service_is_reached_from_outside_only_where_it_or_its_environment_says_so() {
    let by_default = json!({ "ingress": { "enabled": true } });
    let exposed =
        |spec: Value, more: Value| plan_under(spec, domain("production", more)).find("Ingress").is_some();
    assert!(!exposed(json!({}), json!({})));
    assert!(exposed(json!({ "ingress": {} }), json!({})));
    assert!(exposed(json!({}), by_default.clone()));
    assert!(!exposed(json!({ "ingress": { "enabled": false } }), by_default));
}

#[test]
fn host_and_path_are_those_of_the_guidelines() {
    let rule = |name: &str, profile: Value, ingress: Value| {
        let spec = json!({ "profile": profile, "ingress": ingress });
        let mut case = case(spec, domain("production", json!({})));
        case.service.metadata.name = Some(name.into());
        let plan = case.plan();
        let ingress = plan.objects.into_iter().find(|planned| planned.kind == Kind::Ingress).unwrap().object;
        let text = |path: &str| ingress.pointer(path).unwrap().as_str().unwrap().to_string();
        let rule = "/spec/rules/0";
        let secret = text("/spec/tls/0/secretName");
        (text(&format!("{rule}/host")), text(&format!("{rule}/http/paths/0/path")), secret)
    };
    for (name, path) in [
        ("user-service", "/api/v1/users"),
        ("project-service", "/api/v1/projects"),
        ("storage-service", "/api/v1/storage"),
        ("ai-analysis-service", "/api/v1/analysis"),
        ("media-generation-service", "/api/v1/media"),
        ("billing-service", "/api/v1/billing"),
        ("search", "/api/v1/search"),
    ] {
        let (host, found, secret) = rule(name, json!("backend"), json!({}));
        assert_eq!((host.as_str(), found.as_str()), ("api.visiobook.com", path), "{name}");
        assert_eq!(secret, "visiobook-tls");
    }
    let (host, path, secret) = rule("web-user-portal", json!("frontend"), json!({}));
    assert_eq!((host.as_str(), path.as_str()), ("web-user-portal.visiobook.com", "/"));
    assert_eq!(secret, "web-user-portal-tls");
    let own = json!({ "hosts": ["shop.visiobook.com"], "path": "/shop", "tls": { "secretName": "shop" } });
    let (host, path, secret) = rule("search", json!(null), own);
    assert_eq!((host.as_str(), path.as_str(), secret.as_str()), ("shop.visiobook.com", "/shop", "shop"));
}

#[test]
fn annotations_are_keys_that_the_ingress_controller_knows() {
    for (type_, limit) in [("development", "1000"), ("staging", "200"), ("production", "100")] {
        let annotations = asked(type_, json!({})).get("Ingress", "/metadata/annotations");
        let known = json!({
            "nginx.ingress.kubernetes.io/ssl-redirect": "true",
            "nginx.ingress.kubernetes.io/limit-rpm": limit,
        });
        assert_eq!(annotations, known, "{type_}");
    }
    let under = |ingress: Value, said: Value| {
        let environment = domain("staging", json!({ "ingress": ingress }));
        plan_under(json!({ "ingress": said }), environment).get("Ingress", "/metadata/annotations")
    };
    let none = under(json!({}), json!({ "requestsPerMinute": 0, "tls": { "enabled": false } }));
    assert_eq!(none, json!({ "nginx.ingress.kubernetes.io/ssl-redirect": "false" }));
    let traefik = json!({
        "traefik.ingress.kubernetes.io/router.entrypoints": "websecure",
        "traefik.ingress.kubernetes.io/router.tls": "true",
    });
    assert_eq!(under(json!({ "className": "traefik" }), json!({})), traefik);
    let issued = json!({ "className": "other", "clusterIssuer": "letsencrypt-prod", "annotations": { "a": "1", "b": "1" } });
    let expected = json!({ "cert-manager.io/cluster-issuer": "letsencrypt-prod", "a": "1", "b": "2" });
    assert_eq!(under(issued.clone(), json!({ "annotations": { "b": "2" } })), expected);
    // A Secret that somebody names is there already, and cert-manager would write over it.
    let there = under(issued, json!({ "tls": { "secretName": "ours" } }));
    assert_eq!(there, json!({ "a": "1", "b": "1" }));
}

#[test]
fn the_path_arrives_as_it_is_at_the_services_own_port() {
    let planned =
        plan_under(json!({ "ingress": {}, "service": { "port": 8000 } }), domain("production", json!({})));
    assert!(!planned.find("Ingress").unwrap().to_string().contains("rewrite-target"));
    let path = json!({
        "path": "/api/v1/users", "pathType": "Prefix",
        "backend": { "service": { "name": "users", "port": { "number": 8000 } } },
    });
    assert_eq!(planned.get("Ingress", "/spec/rules/0/http/paths"), json!([path]));
    assert_eq!(planned.get("Ingress", "/spec/ingressClassName"), json!("nginx"));
}

#[test]
fn a_gateway_gets_a_route_and_an_ingress_only_where_a_class_is_named_too() {
    let gateway = json!({ "gateway": { "name": "public", "namespace": "edge", "sectionName": "https" } });
    let environment = domain("production", json!({ "ingress": gateway }));
    let planned = plan_under(json!({ "ingress": {} }), environment.clone());
    assert_eq!(planned.find("Ingress"), None);
    let spec = json!({
        "parentRefs": [{ "group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "edge", "name": "public", "sectionName": "https" }],
        "hostnames": ["api.visiobook.com"],
        "rules": [{
            "matches": [{ "path": { "type": "PathPrefix", "value": "/api/v1/users" } }],
            "backendRefs": [{ "group": "", "kind": "Service", "name": "users", "port": 80, "weight": 1 }],
        }],
    });
    assert_eq!(planned.get("HTTPRoute", "/spec"), spec);
    let mut both = environment;
    both["ingress"]["className"] = "nginx".into();
    let planned = plan_under(json!({ "ingress": {} }), both);
    assert!(planned.find("Ingress").is_some() && planned.find("HTTPRoute").is_some());
}

/// The way to the colour that does not serve, as resource and environment come to it.
fn previewed(spec: Value, environment: Value) -> Option<Exposure> {
    case(spec, environment).verdict().expect("valid").serving.exposure?.to_preview()
}

#[test]
fn a_preview_is_led_to_where_the_service_or_its_environment_says_so_and_the_service_first() {
    let all =
        |preview: bool| domain("production", json!({ "ingress": { "enabled": true, "preview": preview } }));
    let says = |preview: bool| json!({ "ingress": { "preview": preview } });
    for (spec, environment, expected) in [
        (json!({}), all(false), false),
        (json!({}), all(true), true),
        (json!({ "ingress": {} }), all(true), true),
        (says(true), all(false), true),
        (says(false), all(true), false),
        (json!({ "ingress": { "enabled": false, "preview": true } }), all(true), false),
        (json!({ "service": { "enabled": false } }), all(true), false),
        (says(true), domain("production", json!({})), true),
    ] {
        assert_eq!(previewed(spec.clone(), environment).is_some(), expected, "{spec}");
    }
}

#[test]
fn a_preview_differs_in_its_hosts_and_in_a_certificate_that_is_issued() {
    let issued = json!({ "ingress": { "clusterIssuer": "letsencrypt-prod" } });
    let way = |spec: Value, more: Value| {
        let mut said = json!({ "ingress": { "preview": true } });
        visiobook::plan::merge(&mut said, spec);
        let environment = domain("production", more);
        let own = case(said.clone(), environment.clone()).verdict().expect("valid").serving.exposure;
        (own.expect("a way in"), previewed(said, environment).expect("a preview"))
    };
    let (own, preview) = way(json!({}), issued.clone());
    assert_eq!(preview.hosts, ["preview-api.visiobook.com"]);
    assert_eq!(preview.annotations["cert-manager.io/cluster-issuer"], "letsencrypt-prod");
    let same = Exposure {
        hosts: own.hosts.clone(),
        tls_secret: own.tls_secret.clone(),
        preview: own.preview.clone(),
        ..preview
    };
    assert_eq!(same, own);

    let hosts = json!({ "ingress": { "hosts": ["shop.visiobook.com", "a.b.visiobook.com"] } });
    assert_eq!(
        way(hosts.clone(), json!({})).1.hosts,
        ["preview-shop.visiobook.com", "preview-a.b.visiobook.com"]
    );
    let wildcard = json!({ "ingress": { "tlsSecretName": "wildcard", "clusterIssuer": "letsencrypt-prod" } });
    let named = json!({ "ingress": { "tls": { "secretName": "ours" } } });
    let by_hand = json!({ "ingress": {
        "tls": { "secretName": "ours" }, "annotations": { "cert-manager.io/issuer": "own" },
    } });
    let open = json!({ "ingress": { "tls": { "enabled": false } } });
    for (spec, more, secrets) in [
        // Services under the common host share its certificate, and so do their previews.
        (json!({}), issued.clone(), [Some("visiobook-tls"), Some("visiobook-preview-tls")]),
        (json!({}), json!({}), [Some("visiobook-tls"), Some("visiobook-preview-tls")]),
        (json!({ "profile": "frontend" }), issued.clone(), [Some("users-tls"), Some("users-preview-tls")]),
        (hosts, issued.clone(), [Some("users-tls"), Some("users-preview-tls")]),
        // What somebody names is there, and holds for both.
        (json!({}), wildcard, [Some("wildcard"); 2]),
        (named, issued.clone(), [Some("ours"); 2]),
        // Two Ingresses would contend for what cert-manager makes.
        (by_hand, issued, [Some("ours"), Some("visiobook-preview-tls")]),
        (open, json!({ "type": "staging" }), [None; 2]),
    ] {
        let (own, preview) = way(spec.clone(), more);
        assert_eq!([own.tls_secret.as_deref(), preview.tls_secret.as_deref()], secrets, "{spec}");
    }
    // An annotation that names a host would lead it to two places.
    let aliases = json!({ "ingress": { "annotations": {
        "nginx.ingress.kubernetes.io/server-alias": "www.visiobook.com", "a": "1",
    } } });
    let (own, preview) = way(aliases, json!({}));
    assert_eq!(own.annotations.len(), preview.annotations.len() + 1);
    assert_eq!(preview.annotations["a"], "1");
}

#[test]
fn a_sidecar_that_answers_few_hosts_answers_those_of_the_preview_too() {
    let spec = |preview: bool| json!({ "ingress": { "preview": preview } });
    let of = |spec: Value| case(spec, domain("production", json!({})));
    let revision = |spec: Value| of(spec).verdict().expect("valid").shape.revision();
    assert_eq!(revision(spec(true)), revision(spec(false)), "one that answers all hosts is not replaced");
    let few = |preview: bool| {
        let mut spec = spec(preview);
        spec["sidecar"] = json!({ "hosts": ["api.visiobook.com"] });
        spec
    };
    assert_ne!(revision(few(true)), revision(few(false)));
    let trusts = |preview: bool| {
        let plan = plan_under(few(preview), domain("production", json!({})));
        let settings = plan.get("Deployment", "/spec/template/spec/initContainers/0/env/0/value");
        settings.as_str().expect("settings").contains("\"preview-api.visiobook.com\"")
    };
    assert!(trusts(true) && !trusts(false));
}

#[test]
fn nobody_connects_whom_nothing_names() {
    let policy = |spec: Value, environment: Value| {
        plan_under(spec, environment).find("NetworkPolicy").map(|policy| policy["spec"].clone())
    };
    let production = json!({ "type": "production" });
    let namespace = |name: &str| json!({ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": name } } });
    let port = |port: u16| json!([{ "port": port, "protocol": "TCP" }]);
    let caller =
        json!({ "podSelector": { "matchLabels": { "depends-on.platform.visiobook.com/users": "true" } } });
    let scrapers = json!([namespace("monitoring"), namespace("visiobook-system")]);
    assert_eq!(
        policy(json!({}), production.clone()).unwrap(),
        json!({
            "podSelector": { "matchLabels": { "app.kubernetes.io/name": "users" } },
            "policyTypes": ["Ingress"],
            "ingress": [
                { "ports": port(9090), "from": scrapers },
                { "ports": port(15080), "from": [caller] },
            ],
        })
    );
    // Who may call beside those.
    let allowed = json!({
        "ingress": {}, "dependsOn": [{ "name": "media" }, { "name": "search", "namespace": "shop" }],
        "networkPolicy": { "allowFrom": [{ "namespace": "shop" }, { "namespace": "shop", "service": "cart" }, { "service": "batch" }] },
    });
    let environment = domain(
        "production",
        json!({ "networkPolicy": { "metricsFrom": [], "egress": { "ranges": ["10.20.0.0/16"] } } }),
    );
    let found = policy(allowed.clone(), environment.clone()).unwrap();
    let mut cart = namespace("shop");
    cart["podSelector"] = json!({ "matchLabels": { "app.kubernetes.io/name": "cart" } });
    let batch = json!({ "podSelector": { "matchLabels": { "app.kubernetes.io/name": "batch" } } });
    let from = json!([caller, namespace("shop"), cart, batch, namespace("ingress-nginx")]);
    assert_eq!(found["ingress"][1]["from"], from);
    assert_eq!(found["ingress"][0]["from"], json!([namespace("visiobook-system")]));
    // Where it may connect to, where the environment asks.
    let mut search = namespace("shop");
    search["podSelector"] = json!({ "matchLabels": { "app.kubernetes.io/name": "search" } });
    let media = json!({ "podSelector": { "matchLabels": { "app.kubernetes.io/name": "media" } } });
    let dns = json!([{ "port": 53, "protocol": "UDP" }, { "port": 53, "protocol": "TCP" }]);
    assert_eq!(found["policyTypes"], json!(["Ingress", "Egress"]));
    assert_eq!(
        found["egress"],
        json!([
            { "ports": dns, "to": [namespace("kube-system")] },
            { "to": [media, search, { "ipBlock": { "cidr": "10.20.0.0/16" } }] },
        ])
    );
    // Its pods say whom they call in their own namespace, and nothing of others.
    let labels = plan_under(allowed, environment).get("Deployment", "/spec/template/metadata/labels");
    assert_eq!(labels["depends-on.platform.visiobook.com/media"], json!("true"));
    assert!(labels.get("depends-on.platform.visiobook.com/search").is_none());
    // Without a sidecar in the way requests go to the application, and an address from outside is open to all.
    let observe = policy(
        json!({ "sidecar": { "mode": "Observe" }, "service": { "type": "LoadBalancer" } }),
        production.clone(),
    );
    assert_eq!(observe.unwrap()["ingress"][1], json!({ "ports": port(8080) }));
    assert_eq!(policy(json!({ "networkPolicy": { "enabled": false } }), production), None);
    let off = json!({ "type": "development", "networkPolicy": { "enabled": false } });
    assert_eq!(policy(json!({}), off), None);
}

#[test]
fn where_the_environment_says_where_pods_connect_to_no_service_and_no_job_gets_out_of_it() {
    let egress =
        json!({ "type": "production", "networkPolicy": { "egress": { "ranges": ["10.20.0.0/16"] } } });
    let open = json!({ "networkPolicy": { "enabled": false }, "dependsOn": [{ "name": "media" }] });
    let planned = plan_under(open.clone(), egress.clone());
    let spec = planned.get("NetworkPolicy", "/spec");
    assert_eq!(spec["policyTypes"], json!(["Egress"]), "anybody may connect, and nobody connects elsewhere");
    assert_eq!(spec.get("ingress"), None);
    let to = |spec: &Value| spec["egress"][1]["to"].clone();
    let media = json!({ "podSelector": { "matchLabels": { "app.kubernetes.io/name": "media" } } });
    let reached = json!([media, { "ipBlock": { "cidr": "10.20.0.0/16" } }]);
    assert_eq!(to(&spec), reached);

    // A Job reaches the same; one that checks, the service too.
    let policies = |spec: Value, environment: &Value| -> Vec<Value> {
        let case = case(spec, environment.clone());
        let decision = visiobook::rollout::step(&case.verdict(), &case.facts());
        let plan = visiobook::plan::build(&case.owner(), &decision, 1, &case.facts());
        let policies = plan.objects.into_iter().filter(|planned| planned.kind == Kind::NetworkPolicy);
        policies
            .map(|planned| planned.object)
            .filter(|policy| policy["metadata"]["name"] == "users.jobs")
            .collect()
    };
    let with = |more: Value| {
        let mut spec = open.clone();
        visiobook::plan::merge(&mut spec, more);
        spec
    };
    assert_eq!(policies(open.clone(), &egress), [] as [Value; 0], "it has no Job");
    let migrates = with(json!({ "migration": { "command": ["/migrate"] } }));
    let [policy] = &policies(migrates.clone(), &egress)[..] else { panic!("no policy of Jobs") };
    assert_eq!(
        policy["spec"]["podSelector"],
        json!({ "matchLabels": { "platform.visiobook.com/job-of": "users" } })
    );
    assert_eq!(
        (to(&policy["spec"]), policy["spec"]["policyTypes"].clone()),
        (reached.clone(), json!(["Egress"]))
    );
    assert_eq!(policy["spec"]["egress"].as_array().map(Vec::len), Some(2), "a migration asks no service");
    let checks = with(json!({ "rollout": { "strategy": "BlueGreen", "checks": { "conformance": true } } }));
    let [policy] = &policies(checks, &egress)[..] else { panic!("no policy of Jobs") };
    let own = json!({ "podSelector": { "matchLabels": { "app.kubernetes.io/name": "users" } } });
    assert_eq!(policy["spec"]["egress"][2]["to"], json!([own]));
    assert_eq!(policies(migrates, &json!({ "type": "production" })), [] as [Value; 0]);
}

fn planned_where(case: &Case, missing: &[(Kind, Missing)]) -> (Plan, Facts) {
    let mut facts = case.facts();
    facts.missing_kinds = missing.iter().cloned().collect();
    let decision = visiobook::rollout::step(&case.verdict(), &facts);
    (visiobook::plan::build(&case.owner(), &decision, 1, &facts), facts)
}

#[test]
fn a_kind_that_the_cluster_lacks_is_left_out_and_told_and_all_else_is_planned() {
    let gateway = json!({ "ingress": { "gateway": { "name": "public", "namespace": "edge" } } });
    let case = case(json!({ "ingress": {} }), domain("production", gateway));
    let (whole, facts) = planned_where(&case, &[]);
    let exposed = |plan: &Plan, facts: &Facts| {
        let decision = visiobook::rollout::step(&case.verdict(), facts);
        let pass = Pass {
            name: "users",
            generation: 1,
            facts,
            decision: &decision,
            plan,
            gating: &Default::default(),
            applied: &Applied::default(),
            failure: None,
            is_recorded: true,
            serving: None,
            replicas: 1,
            unready: &[],
            lacks: &[],
            previous: &Default::default(),
        };
        let report = status::report(&pass, jiff::Timestamp::UNIX_EPOCH);
        let found = report.status.conditions.into_iter().find(|condition| condition.type_ == "Exposed");
        let found = found.unwrap();
        (found.status, found.reason, found.message, report.status.children)
    };
    let (status, reason, _, children) = exposed(&whole, &facts);
    assert_eq!((status.as_str(), reason.as_str()), ("True", "Enabled"));
    assert!(children.iter().any(|child| child.kind == "HTTPRoute"));

    for (missing, words) in [
        (Missing::NotInstalled, "httproutes.gateway.networking.k8s.io is not installed"),
        (Missing::NotServed("404".into()), "gateway.networking.k8s.io/v1 cannot be listed (404)"),
    ] {
        let (plan, facts) = planned_where(&case, &[(Kind::HTTPRoute, missing)]);
        assert_eq!(plan.left_out, [Kind::HTTPRoute].into());
        let rest: Vec<_> =
            whole.objects.iter().filter(|planned| planned.kind != Kind::HTTPRoute).cloned().collect();
        assert_eq!(plan.objects, rest);
        let (status, reason, message, children) = exposed(&plan, &facts);
        assert_eq!((status.as_str(), reason.as_str()), ("False", "KindMissing"));
        assert!(message.contains(words), "{message}");
        assert!(!children.iter().any(|child| child.kind == "HTTPRoute"));
    }
}
