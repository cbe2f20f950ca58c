//! The rules hold while no operator runs, and the API server and the operator read them alike.

use kube::ResourceExt;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use visiobook::api::{VisiobookEnvironment, VisiobookEnvironmentSpec, VisiobookService};
use visiobook::check;
use visiobook::facts::EnvironmentFact;

use super::strict::specs;
use crate::support::soak;
use crate::support::{STANDIN, Site, eventually, kubectl};

/// The policies, installed for one test; that environments know of each other is told by hand.
struct Policies;

impl Policies {
    fn install() -> Policies {
        kubectl(&["apply", "--server-side", "--force-conflicts", "-k", &folder()], None);
        Policies
    }

    /// Have every environment list all of them, as an operator would.
    async fn list(&self, client: &kube::Client) {
        let environments: Api<VisiobookEnvironment> = Api::all(client.clone());
        let all = environments.list(&Default::default()).await.expect("environments").items;
        let names: Vec<String> = all.iter().map(ResourceExt::name_any).collect();
        for name in &names {
            let status = json!({ "status": { "environments": names, "namespaces": 0, "services": 0, "violations": 0 } });
            let answer =
                environments.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await;
            answer.expect("listed");
        }
    }
}

impl Drop for Policies {
    fn drop(&mut self) {
        kubectl(&["delete", "-k", &folder(), "--ignore-not-found"], None);
    }
}

fn folder() -> String {
    format!("{}/config/policy", env!("CARGO_MANIFEST_DIR"))
}

/// Ask until a policy that was just installed refuses with a rule.
async fn refused(site: &Site, spec: Value, rule: &str) {
    let bracketed = format!("[{rule}]");
    eventually(&bracketed, || async {
        match site.would_apply("users", spec.clone()).await {
            Err(error) if error.to_string().contains(&bracketed) => Ok(()),
            other => Err(other.map(|service| service.spec)),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forbidden_stays_out_while_no_operator_runs() {
    let free = Site::unlabelled("down-free").await;
    let strict = json!({ "type": "staging", "limits": { "memory": "1Gi" } });
    let governed = Site::new("down-governed", strict).await;
    let vault = json!({ "type": "staging", "secrets": { "kind": "External", "store": { "name": "vault" } } });
    let vault = Site::new("down-vault", vault).await;
    let lost = Site::unlabelled("down-lost").await;
    lost.label(Some("nowhere")).await;
    let policies = Policies::install();
    policies.list(&governed.client).await;

    let gpus = |count: i32| json!({ "image": STANDIN, "gpu": { "count": count } });
    refused(&free, gpus(1), "gpu-allowed").await;
    refused(&governed, gpus(2), "gpu-count").await;
    refused(
        &governed,
        json!({ "image": STANDIN, "resources": { "limits": { "memory": "2Gi" } } }),
        "resource-ceiling",
    )
    .await;
    refused(&lost, json!({ "image": STANDIN }), "environment-exists").await;
    refused(
        &vault,
        json!({ "image": STANDIN, "secrets": { "API_KEY": { "name": "keys", "key": "api" } } }),
        "secret-kind",
    )
    .await;
    refused(
        &vault,
        json!({ "image": STANDIN, "rollout": { "strategy": "BlueGreen", "checks": { "job": { "command": ["/check"], "secrets": { "API_KEY": { "name": "keys", "key": "api" } } } } } }),
        "secret-kind",
    )
    .await;
    // What is allowed gets in.
    vault
        .apply("users", json!({ "image": STANDIN, "secrets": { "API_KEY": { "remote": { "key": "api" } } } }))
        .await;
    free.apply("users", json!({ "image": "any:latest" })).await;
    governed.apply("users", gpus(1)).await;
    // An environment that the others do not know is not trusted to exist.
    lost.environment(&lost.namespace, json!({ "type": "development" })).await;
    lost.label(Some(&lost.namespace)).await;
    refused(&lost, json!({ "image": STANDIN }), "environment-exists").await;
    kubectl(&["delete", "vbe", &lost.namespace], None);
}

/// Environments that forbid much.
fn environments() -> impl Strategy<Value = Value> {
    use proptest::prelude::*;
    let some = |values: Vec<Value>| proptest::option::of(proptest::sample::select(values));
    let numbers = |values: &[i32]| some(values.iter().map(|value| json!(value)).collect());
    let words = |values: &[&str]| some(values.iter().map(|value| json!(value)).collect());
    let images = (
        some(vec![
            json!(["ghcr.io/visiobook"]),
            json!(["docker.io", "localhost/"]),
            json!(["registry.local:5000"]),
        ]),
        some(vec![json!(true), json!(false)]),
        some(vec![json!(true), json!(false)]),
    );
    let gpu = some(vec![
        json!({ "allowed": false }),
        json!({ "allowed": true, "perPod": 1 }),
        json!({ "allowed": true }),
    ]);
    let limits = (
        words(&["500m", "1", "0.75", "1e3m"]),
        words(&["256Mi", "1G", "1Gi", "1.5Gi", "900000Ki"]),
        numbers(&[6, 9, 20]),
        numbers(&[0, 1, 3]),
        gpu,
    );
    let type_ = proptest::sample::select(vec!["development", "staging", "production"]);
    let autoscaling = some(vec![json!({ "enabled": true }), json!({ "enabled": false })]);
    let resources = some(vec![
        json!({ "limits": { "cpu": "750m" } }),
        json!({ "limits": { "memory": "2Gi", "cpu": 2 } }),
    ]);
    let kinds =
        ["External", "Sealed", "Plain"].map(|kind| json!({ "kind": kind, "store": { "name": "vault" } }));
    let secrets = proptest::option::weighted(0.3, proptest::sample::select(kinds.to_vec()));
    let all = (type_, images, limits, autoscaling, resources, secrets);
    all.prop_map(|(type_, images, limits, autoscaling, resources, secrets)| {
        let without_null = |value: Value| -> Value {
            value.as_object().expect("object").clone().into_iter().filter(|(_, value)| !value.is_null()).collect()
        };
        without_null(json!({
            "type": type_,
            "secrets": secrets,
            "images": without_null(json!({ "registries": images.0, "forbidLatest": images.1, "requireDigest": images.2 })),
            "limits": without_null(json!({
                "cpu": limits.0, "memory": limits.1, "replicas": limits.2, "minReplicas": limits.3, "gpu": limits.4,
            })),
            "defaults": without_null(json!({ "autoscaling": autoscaling, "resources": resources })),
        }))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_and_the_operator_refuse_the_same_by_the_same_rules() {
    let rules: Vec<String> = check::policies()
        .into_iter()
        .filter(|(name, _)| name == "visiobook-environment.yaml")
        .flat_map(|(_, objects)| objects[0]["spec"]["validations"].as_array().expect("validations").clone())
        .filter_map(|validation| {
            Some(validation["messageExpression"].as_str()?.rsplit_once('[')?.1.split_once(']')?.0.to_string())
        })
        .collect();
    let (governed, each) = if soak() { (100, 100) } else { (25, 96) };
    let mut runner = if soak() { TestRunner::new(Config::default()) } else { TestRunner::deterministic() };
    let (services, strict) = (specs::services(), environments());
    let policies = Policies::install();
    let (mut admitted, mut refused, mut others, mut problems) = (0, 0, 0, Vec::new());
    for index in 0..=governed {
        // The last one has no environment.
        let site = Site::unlabelled(&format!("alike-{index}")).await;
        let environment = if index == governed {
            EnvironmentFact::Unlabelled
        } else {
            let said = strict.new_tree(&mut runner).expect("environment").current();
            site.environment(&site.namespace, said.clone()).await;
            site.label(Some(&site.namespace)).await;
            policies.list(&site.client).await;
            governs(&site).await;
            let spec: VisiobookEnvironmentSpec = serde_json::from_value(said).expect("environment");
            EnvironmentFact::Governed { name: site.namespace.clone(), spec: Box::new(spec) }
        };
        for _ in 0..each {
            let service = services.new_tree(&mut runner).expect("service").current();
            let ours: Vec<&str> = match check::validate(&service, &environment) {
                Ok(_) => vec![],
                Err(refusals) => refusals.iter().map(|refusal| refusal.rule).collect(),
            };
            let governing = ours.iter().any(|rule| rules.iter().any(|known| known == rule));
            match (dry_run(&site, &service).await, governing) {
                (Ok(()), false) if ours.is_empty() => admitted += 1,
                // What no environment has a say in, and no schema can tell.
                (Ok(()), false) => others += 1,
                // A schema and its list keys are asked before any policy, and name no rule.
                (Err(told), _) if by_schema(&told) && !ours.is_empty() => refused += 1,
                (Err(told), true) if ours.iter().any(|rule| told.contains(&format!("[{rule}]"))) => {
                    refused += 1
                }
                (theirs, _) => problems.push(format!(
                    "API server: {theirs:?}\noperator: {ours:?}\n{}\nunder {environment:?}",
                    serde_json::to_string(&service.spec).expect("json")
                )),
            }
        }
        if index < governed {
            kubectl(&["delete", "vbe", &site.namespace], None);
        }
    }
    println!(
        "{admitted} admitted and {refused} refused alike, {others} refused by rules of the operator alone"
    );
    assert!(problems.is_empty(), "{}:\n{}", problems.len(), problems[..problems.len().min(5)].join("\n\n"));
    assert!(admitted + refused >= 2000 && admitted > 300 && refused > 300, "{admitted} and {refused}");
}

/// Wait until the policies know an environment that was just made: they refuse this under any.
async fn governs(site: &Site) {
    let limits = json!({ "limits": { "nvidia.com/gpu": "1" } });
    let impossible = json!({ "image": STANDIN, "resources": limits });
    eventually("the policy to know the environment", || async {
        match site.would_apply("users", impossible.clone()).await {
            Err(error) if error.to_string().contains("'visiobook-environment'") => Ok(()),
            other => Err(other.map(|service| service.spec)),
        }
    })
    .await;
}

fn by_schema(told: &str) -> bool {
    told.contains("code: 422") || told.contains("duplicate entries for key")
}

async fn dry_run(site: &Site, service: &VisiobookService) -> Result<(), String> {
    let services: Api<DynamicObject> = Api::namespaced_with(
        site.client.clone(),
        &site.namespace,
        &kube::api::ApiResource::erase::<VisiobookService>(&()),
    );
    let params = PatchParams { dry_run: true, ..PatchParams::apply("team").force() };
    let name = service.metadata.name.as_deref().expect("name");
    let answer = services.patch(name, &params, &Patch::Apply(visiobook::apply::payload(service))).await;
    answer.map(drop).map_err(|error| error.to_string())
}
