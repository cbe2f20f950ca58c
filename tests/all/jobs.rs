//! Migrations and checks of releases, as they are checked, decided and planned.

use serde_json::{Value, json};
use visiobook::api::kinds::Kind;
use visiobook::api::names::{self, Colour};
use visiobook::api::{PastJob, Phase, ReleaseState, RolloutStatus};
use visiobook::facts::{DeploymentFact, EndpointFact, EnvironmentFact, Facts, JobEnd, JobFact, RevisionFact};
use visiobook::plan::{self, Plan};
use visiobook::rollout::{self, Decision};

use crate::cases::{Case, NOW};

fn case(spec: Value, environment: Value) -> Case {
    let mut all = json!({ "image": "ghcr.io/visiobook/users:1.0", "replicas": 2 });
    plan::merge(&mut all, spec);
    let service = json!({ "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookService", "metadata": { "name": "users" }, "spec": all });
    let mut said = json!({ "type": "production", "defaults": { "autoscaling": { "enabled": false } } });
    plan::merge(&mut said, environment);
    Case {
        service: serde_json::from_value(service).expect("service"),
        environment: EnvironmentFact::Governed {
            name: "production".into(),
            spec: serde_json::from_value(said).expect("environment"),
        },
    }
}

fn pass(case: &Case, facts: &Facts) -> (Decision, Plan) {
    let decision = rollout::step(&case.verdict(), facts);
    let replicas = rollout::size(case.service.spec.replicas, None, &decision, facts);
    let plan = plan::build(&case.owner(), &decision, replicas, facts);
    (decision, plan)
}

fn find(plan: &Plan, kind: Kind) -> Vec<&Value> {
    plan.objects.iter().filter(|planned| planned.kind == kind).map(|planned| &planned.object).collect()
}

const MIGRATION: &str =
    r#"{ "migration": { "args": ["migrate", "--up"], "deadlineSeconds": 60, "retries": 1 } }"#;

fn migration() -> Value {
    serde_json::from_str(MIGRATION).expect("json")
}

#[test]
fn a_migration_runs_with_all_that_the_revision_has_and_nothing_that_selects_its_pods() {
    let spec = json!({
        "env": { "A": "1" }, "config": { "B": "2" }, "secrets": { "DATABASE_URL": { "name": "db", "key": "url" } },
        "dependsOn": [{ "name": "projects" }], "gpu": { "count": 1 },
        "pod": { "volumes": [{ "name": "cache", "emptyDir": {} }], "volumeMounts": [{ "name": "cache", "mountPath": "/cache" }] },
    });
    let mut migrating = migration();
    plan::merge(&mut migrating, spec);
    let case = case(migrating, json!({}));
    let (decision, plan) = pass(&case, &Facts { now: NOW, ..case.facts() });
    assert!(
        decision.revision.is_none() && find(&plan, Kind::Deployment).is_empty(),
        "nothing starts before it"
    );
    let jobs = find(&plan, Kind::Job);
    assert_eq!(jobs.len(), 1);
    let job = jobs[0];
    let hash = &decision.jobs.waiting.as_ref().expect("a revision").hash;
    assert_eq!(job["metadata"]["name"], format!("users-{hash}-1-migrate"));
    assert_eq!(job["metadata"]["ownerReferences"][0]["name"], "users");
    assert_eq!(job["spec"]["activeDeadlineSeconds"], 120, "the operator ends it after 60 s, and says why");
    assert_eq!(job["spec"]["backoffLimit"], 1);
    let pod = &job["spec"]["template"];
    let labels = pod["metadata"]["labels"].as_object().expect("labels");
    for label in [names::NAME, names::APP, names::VERSION, names::REVISION] {
        assert!(!labels.contains_key(label), "{label} selects pods of the service");
    }
    assert_eq!(labels["depends-on.platform.visiobook.com/projects"], "true", "what it calls lets it in");
    assert_eq!(
        (&pod["spec"]["restartPolicy"], &pod["spec"]["initContainers"]),
        (&json!("Never"), &Value::Null)
    );
    assert_eq!(pod["spec"]["serviceAccountName"], "users");
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["args"], json!(["migrate", "--up"]));
    assert_eq!(container["image"], "ghcr.io/visiobook/users:1.0");
    assert_eq!(container["terminationMessagePolicy"], "FallbackToLogsOnError");
    for field in ["ports", "lifecycle", "livenessProbe", "readinessProbe"] {
        assert_eq!(container[field], Value::Null, "{field}");
    }
    let env = container["env"].to_string();
    assert!(
        ["\"A\"", "\"B\"", "DATABASE_URL", "PROJECTS_URL"].iter().all(|name| env.contains(name)),
        "{env}"
    );
    assert!(!container["resources"].to_string().contains("gpu"), "nobody migrates on a GPU");
    let volumes = pod["spec"]["volumes"].to_string();
    assert!(
        volumes.contains("cache") && volumes.contains("tmp") && !volumes.contains("sidecar"),
        "{volumes}"
    );
    // What it mounts and reads is written before it.
    let place = |kind: Kind| plan.objects.iter().position(|planned| planned.kind == kind).expect("planned");
    for kind in [Kind::ServiceAccount, Kind::ConfigMap, Kind::ControllerRevision] {
        assert!(place(kind) < place(Kind::Job), "{kind:?}");
    }
}

#[test]
fn a_migration_is_part_of_the_revision_only_where_there_is_one_and_its_outcome_is_recorded_on_it() {
    let plain = case(json!({}), json!({})).verdict().expect("valid").shape;
    assert!(!serde_json::to_string(&plain).expect("json").contains("migration"));
    let case = case(migration(), json!({}));
    assert_ne!(case.verdict().expect("valid").shape.revision(), plain.revision());
    let facts = Facts { now: NOW, ..case.facts() };
    let (decision, _) = pass(&case, &facts);
    let run = decision.jobs.run.expect("a Job");
    let end = Some(JobEnd { succeeded: true, message: String::new() });
    let facts = Facts { jobs: vec![job(Phase::Migration, &run.attempt, end)], ..facts };
    let (_, plan) = pass(&case, &facts);
    assert_eq!(find(&plan, Kind::Deployment).len(), 1);
    assert!(find(&plan, Kind::Job).is_empty() && plan.keep.iter().all(|(kind, _)| *kind != Kind::Job));
    let recorded = &find(&plan, Kind::ControllerRevision)[0]["metadata"]["annotations"][names::MIGRATION];
    let recorded: PastJob = serde_json::from_str(recorded.as_str().expect("a record")).expect("a record");
    assert!(recorded.succeeded && recorded.attempt == run.attempt);
}

fn job(phase: Phase, attempt: &str, end: Option<JobEnd>) -> JobFact {
    JobFact {
        name: names::job("users", phase, attempt),
        phase,
        attempt: attempt.into(),
        revision: attempt.rsplit_once('-').expect("an attempt").0.into(),
        made: NOW,
        deadline: NOW + 300,
        ready: true,
        end,
    }
}

/// A release of a second version, whose pods are all ready; with what stands in front of them.
fn released(spec: Value, environment: Value) -> (Case, Facts) {
    let mut strategy = json!({ "rollout": { "strategy": "BlueGreen" } });
    plan::merge(&mut strategy, environment);
    let first = case(spec.clone(), strategy.clone());
    let mut facts = Facts { now: NOW, ..first.facts() };
    let (decision, plan) = pass(&first, &facts);
    see(&mut facts, &decision, &plan);
    let mut second = json!({ "env": { "RELEASE": "2" } });
    plan::merge(&mut second, spec);
    let second = case(second, strategy);
    let (decision, plan) = pass(&second, &facts);
    see(&mut facts, &decision, &plan);
    (second, facts)
}

/// What the next pass sees when all of a plan was written and its pods are ready.
fn see(facts: &mut Facts, decision: &Decision, plan: &Plan) {
    let text = |object: &Value, path: &str| object.pointer(path).and_then(Value::as_str).map(str::to_string);
    let hash = |object: &Value| {
        text(object, "/metadata/labels/platform.visiobook.com~1revision").expect("a revision")
    };
    facts.release = decision.release.clone();
    facts.selected = Some(decision.colour);
    facts.revisions.clear();
    for object in find(plan, Kind::ControllerRevision) {
        let number = object["revision"].as_i64().expect("a number");
        let serving = text(object, "/metadata/annotations/platform.visiobook.com~1serving");
        facts.revisions.push(RevisionFact {
            hash: hash(object),
            number,
            data: object["data"].clone(),
            serving,
        });
    }
    for object in find(plan, Kind::Deployment) {
        let colour =
            Colour::parse(&text(object, "/metadata/labels/version").expect("a colour")).expect("a colour");
        let (revision, replicas) =
            (hash(object), object["spec"]["replicas"].as_i64().expect("replicas") as i32);
        let fact = DeploymentFact {
            revision,
            replicas,
            status_replicas: replicas,
            updated: replicas,
            ready: replicas,
            available: replicas,
            observed: true,
            ..DeploymentFact::default()
        };
        facts.deployments.insert(colour, fact);
    }
    let endpoints = facts.deployments.iter().flat_map(|(colour, there)| {
        let (colour, revision, preview) = (*colour, there.revision.clone(), *colour != decision.colour);
        (0..there.ready).map(move |index| EndpointFact {
            uid: format!("{revision}{index}"),
            colour,
            revision: revision.clone(),
            preview,
        })
    });
    facts.endpoints = Some(endpoints.collect());
    facts.now += 1;
}

fn state(decision: &Decision) -> (ReleaseState, &RolloutStatus) {
    let release = decision.release.as_ref().expect("a release");
    (release.state, release)
}

const CHECKS: &str = r#"{ "conformance": true, "deadlineSeconds": 120, "job": {
    "image": "ghcr.io/visiobook/smoke:1", "args": ["run"], "env": { "A": "1" }, "secrets": { "TOKEN": { "name": "t", "key": "k" } } } }"#;

fn checks() -> Value {
    serde_json::from_str(CHECKS).expect("json")
}

#[test]
fn a_release_is_checked_at_the_preview_and_again_where_it_serves() {
    let (case, mut facts) = released(
        json!({ "rollout": { "checks": checks() }, "networkPolicy": { "enabled": true } }),
        json!({}),
    );
    let (early, plan) = pass(&case, &facts);
    assert_eq!(state(&early).0, ReleaseState::Verifying, "{}", early.message);
    assert!(find(&plan, Kind::Job).is_empty(), "nobody may be reached yet: {}", early.message);
    (facts.release, facts.now) = (early.release, facts.now + 10);
    let (decision, plan) = pass(&case, &facts);
    let (at, release) = state(&decision);
    assert_eq!(at, ReleaseState::Verifying, "{}", decision.message);
    let attempt = release.attempt.clone().expect("an attempt");
    let jobs = find(&plan, Kind::Job);
    assert_eq!(jobs[0]["metadata"]["name"], format!("users-{attempt}-preview"));
    let pod = &jobs[0]["spec"]["template"]["spec"];
    let conformance = &pod["initContainers"][0];
    assert_eq!(conformance["args"], json!(["--url", "http://users-preview"]));
    assert_eq!(conformance["image"], crate::cases::SIDECAR_IMAGE);
    let shared = json!({ "name": "CONFORMANCE_SHARED", "value": "true" });
    let wait = json!({ "name": "CONFORMANCE_WAIT", "value": "30" });
    let env = conformance["env"].as_array().expect("variables");
    assert!(env.contains(&shared), "several pods answer");
    assert!(env.contains(&wait), "nodes learn of the preview one after the other");
    let check = &pod["containers"][0];
    assert_eq!((&check["image"], &check["args"]), (&json!("ghcr.io/visiobook/smoke:1"), &json!(["run"])));
    let env = check["env"].to_string();
    for told in [
        "VISIOBOOK_CHECK_URL\",\"value\":\"http://users-preview",
        "VISIOBOOK_CHECK_PHASE\",\"value\":\"preview",
        "secretKeyRef",
    ] {
        assert!(env.contains(told), "{told}: {env}");
    }
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(check["securityContext"]["allowPrivilegeEscalation"], false);
    assert_eq!(jobs[0]["spec"]["backoffLimit"], 0, "a check that fails has failed");
    let policy = find(&plan, Kind::NetworkPolicy)[0];
    let caller = json!({ "podSelector": { "matchLabels": { names::JOB_OF: "users" } } });
    assert_eq!(jobs[0]["spec"]["template"]["metadata"]["labels"][names::JOB_OF], "users");
    for rule in policy["spec"]["ingress"].as_array().expect("rules") {
        assert!(rule["from"].as_array().expect("callers").contains(&caller), "{rule}");
    }

    // It passes: traffic moves, and what serves is checked.
    let passed = |phase| job(phase, &attempt, Some(JobEnd { succeeded: true, message: String::new() }));
    let mut facts = Facts { jobs: vec![passed(Phase::Preview)], release: decision.release.clone(), ..facts };
    let (moved, plan) = pass(&case, &facts);
    assert_eq!((moved.colour, state(&moved).0), (Colour::Green, ReleaseState::Soaking));
    assert!(!plan.keep.iter().any(|(kind, _)| *kind == Kind::Job), "it is recorded, and goes");
    see(&mut facts, &moved, &plan);
    facts.jobs.clear();
    let (early, plan) = pass(&case, &facts);
    assert!(find(&plan, Kind::Job).is_empty(), "the colour before may still be asked: {}", early.message);
    assert!(early.message.contains("starts once all nodes have followed"), "{}", early.message);
    facts.now += 10;
    let (live, plan) = pass(&case, &facts);
    let job = find(&plan, Kind::Job)[0];
    assert_eq!(job["metadata"]["name"], format!("users-{attempt}-live"));
    assert_eq!(
        job["spec"]["template"]["spec"]["initContainers"][0]["args"],
        json!(["--url", "http://users"])
    );
    // The soak is over, the check is not.
    facts.now = NOW + 100;
    assert_eq!(state(&pass(&case, &facts).0).0, ReleaseState::Soaking);
    facts.jobs = vec![passed(Phase::Live)];
    facts.release = live.release;
    let (done, _) = pass(&case, &facts);
    assert_eq!(state(&done).0, ReleaseState::Retiring);
    let phases: Vec<Phase> = state(&done).1.jobs.iter().map(|past| past.phase).collect();
    assert_eq!(phases, [Phase::Preview, Phase::Live], "the evidence stays with the record");
}

#[test]
fn a_check_that_fails_before_the_switch_ends_the_release_and_one_after_it_returns_traffic() {
    let spec = json!({ "rollout": { "checks": { "job": { "command": ["/smoke"] } } } });
    let (case, mut facts) = released(spec, json!({}));
    let (verifying, _) = pass(&case, &facts);
    let attempt = state(&verifying).1.attempt.clone().expect("an attempt");
    facts.release = verifying.release;
    let failed = |phase| {
        job(phase, &attempt, Some(JobEnd { succeeded: false, message: "BackoffLimitExceeded".into() }))
    };
    let before = Facts { jobs: vec![failed(Phase::Preview)], ..facts.clone() };
    let (ended, plan) = pass(&case, &before);
    assert_eq!((ended.colour, state(&ended).0), (Colour::Blue, ReleaseState::Stable));
    assert_eq!(serde_json::to_value(state(&ended).1.outcome).expect("json"), "Failed");
    assert!(
        ended.message.contains("the check before the switch failed: BackoffLimitExceeded"),
        "{}",
        ended.message
    );
    assert_eq!(find(&plan, Kind::Deployment).len(), 1);
    assert!(
        plan.keep.contains(&(Kind::Job, names::job("users", Phase::Preview, &attempt))),
        "its log can be read"
    );

    facts.jobs =
        vec![job(Phase::Preview, &attempt, Some(JobEnd { succeeded: true, message: String::new() }))];
    let (moved, plan) = pass(&case, &facts);
    see(&mut facts, &moved, &plan);
    facts.jobs = vec![failed(Phase::Live)];
    let (back, _) = pass(&case, &facts);
    assert_eq!((back.colour, state(&back).0), (Colour::Blue, ReleaseState::Stable));
    assert_eq!(serde_json::to_value(state(&back).1.outcome).expect("json"), "RolledBack");
    assert!(back.message.contains("the check after the switch failed"), "{}", back.message);
}

#[test]
fn a_release_that_migrates_starts_no_pods_before_that_and_fails_with_it() {
    let (case, mut facts) = released(migration(), json!({}));
    // The first revision of `released` migrates as well: it has run.
    let blue = case.verdict().expect("valid").shape.revision();
    assert!(facts.deployments.is_empty(), "{blue}: {:?}", facts.deployments);
    let (first, _) = pass(&case, &facts);
    let run = first.jobs.run.expect("a Job");
    let end = |succeeded| Some(JobEnd { succeeded, message: "BackoffLimitExceeded".into() });
    facts.jobs = vec![job(Phase::Migration, &run.attempt, end(true))];
    let (decision, plan) = pass(&case, &facts);
    see(&mut facts, &decision, &plan);
    let past = decision.revision.and_then(|revision| revision.migration).expect("recorded");
    facts.migrations.insert(blue, past);
    facts.jobs.clear();

    let mut third = migration();
    plan::merge(&mut third, json!({ "env": { "RELEASE": "3" } }));
    let third = self::case(third, json!({ "rollout": { "strategy": "BlueGreen" } }));
    let (begun, plan) = pass(&third, &facts);
    let attempt = state(&begun).1.attempt.clone().expect("an attempt");
    assert_eq!(state(&begun).0, ReleaseState::Deploying);
    assert_eq!(find(&plan, Kind::Deployment).len(), 1, "no pod starts in the pass that begins it");
    facts.release = begun.release;
    let (waits, plan) = pass(&third, &facts);
    assert_eq!(find(&plan, Kind::Job)[0]["metadata"]["name"], format!("users-{attempt}-migrate"));
    assert_eq!(find(&plan, Kind::Deployment).len(), 1, "{}", waits.message);
    see(&mut facts, &waits, &plan);
    let failed = Facts { jobs: vec![job(Phase::Migration, &attempt, end(false))], ..facts.clone() };
    let (ended, plan) = pass(&third, &failed);
    assert_eq!(serde_json::to_value(state(&ended).1.outcome).expect("json"), "Failed");
    assert!(ended.message.contains("the migration failed: BackoffLimitExceeded"), "{}", ended.message);
    let records: Vec<String> = find(&plan, Kind::ControllerRevision)
        .into_iter()
        .filter_map(|revision| {
            revision["metadata"]["annotations"][names::MIGRATION].as_str().map(str::to_string)
        })
        .collect();
    assert!(
        records.iter().any(|record| record.contains(&attempt)),
        "it is recorded before its Job goes: {records:?}"
    );
    // Stopped by somebody, a migration that has succeeded is recorded all the same.
    let mut aborted = Facts { jobs: vec![job(Phase::Migration, &attempt, end(true))], ..facts };
    aborted.orders.abort = Some(attempt.clone());
    let (ended, plan) = pass(&third, &aborted);
    assert_eq!(state(&ended).0, ReleaseState::Stable);
    let recorded = find(&plan, Kind::ControllerRevision).iter().any(|revision| {
        revision["metadata"]["annotations"][names::MIGRATION]
            .as_str()
            .is_some_and(|record| record.contains(&attempt))
    });
    assert!(recorded);
}

#[test]
fn an_environment_can_ask_for_checks_and_a_service_cannot_take_them_out() {
    let asks = |checks: Value| json!({ "rollout": { "strategy": "BlueGreen", "checks": checks } });
    let checked = |spec: Value, environment: Value| {
        let release = case(spec, environment).verdict().expect("valid").serving.release.expect("blue-green");
        serde_json::to_value(release.checks).expect("json")
    };
    assert_eq!(checked(json!({}), asks(json!({}))), Value::Null);
    assert_eq!(
        checked(json!({}), asks(json!({ "conformance": true }))),
        json!({ "conformance": true, "deadline": 300 })
    );
    let mine = json!({ "rollout": { "checks": { "job": { "image": "ghcr.io/visiobook/smoke:1" }, "deadlineSeconds": 60 } } });
    assert_eq!(
        checked(mine.clone(), asks(json!({ "conformance": true, "job": true }))),
        json!({ "conformance": true, "job": { "image": "ghcr.io/visiobook/smoke:1" }, "deadline": 60 })
    );
    let refused = |spec: Value, environment: Value| {
        let refusals = case(spec, environment).verdict().expect_err("refused");
        refusals.into_iter().map(|refusal| (refusal.rule, refusal.field)).collect::<Vec<_>>()
    };
    assert_eq!(
        refused(
            json!({ "rollout": { "checks": { "conformance": false } } }),
            asks(json!({ "conformance": true, "job": true }))
        ),
        [
            ("rollout-checks", "spec.rollout.checks.conformance".into()),
            ("rollout-checks", "spec.rollout.checks.job".into())
        ]
    );
    // Pods that are replaced one by one are not checked, so nothing is asked for.
    let rolling = json!({ "rollout": { "checks": { "job": true } } });
    assert!(case(json!({}), rolling).verdict().is_ok());
    // The image of a check is held to the same rules as any other.
    let foreign =
        json!({ "rollout": { "checks": { "job": { "image": "docker.io/somebody/smoke:latest" } } } });
    let registries = json!({ "images": { "registries": ["ghcr.io/visiobook"], "requireDigest": true } });
    let digest = json!({ "image": "ghcr.io/visiobook/users@sha256:1111111111111111111111111111111111111111111111111111111111111111" });
    let mut foreign = foreign;
    plan::merge(&mut foreign, digest);
    let field = || "spec.rollout.checks.job.image".to_string();
    assert_eq!(
        refused(foreign, registries),
        [("image-tag", field()), ("image-digest", field()), ("image-registry", field())]
    );
}

#[test]
fn what_serves_is_held_against_its_objectives_and_queries_of_its_own_for_the_soak() {
    let measured = json!({ "rollout": { "checks": { "metrics": {
        "queue": { "query": "max(queue_length{pod=~\"$pods\"})", "max": 100.0, "min": 0.5 },
    } } }, "monitoring": { "objectives": { "latencyMilliseconds": 300 } } });
    let asks = json!({ "rollout": { "soakSeconds": 100, "checks": { "objectives": true, "prometheus": "http://prometheus:9090" } } });
    let (case, mut facts) = released(measured, asks);
    let (moved, plan) = pass(&case, &facts);
    assert_eq!(
        (moved.colour, state(&moved).0),
        (Colour::Green, ReleaseState::Soaking),
        "before the switch there are no requests to look at: {}",
        moved.message
    );
    see(&mut facts, &moved, &plan);
    facts.now += 10;
    let (live, plan) = pass(&case, &facts);
    let attempt = state(&live).1.attempt.clone().expect("an attempt");
    let job = find(&plan, Kind::Job)[0];
    assert_eq!(job["metadata"]["name"], format!("users-{attempt}-live"));
    assert_eq!(job["spec"]["activeDeadlineSeconds"], 300 + 100 + 60, "the soak is none of its own time");
    let pod = &job["spec"]["template"]["spec"];
    assert_eq!(pod["initContainers"], Value::Null);
    let container = &pod["containers"][0];
    assert_eq!(
        (&container["name"], &container["image"]),
        (&json!("measure"), &json!(crate::cases::SIDECAR_IMAGE))
    );
    let args: Vec<&str> =
        container["args"].as_array().expect("args").iter().filter_map(Value::as_str).collect();
    assert_eq!(args[..4], ["--prometheus", "http://prometheus:9090", "--seconds", "100"]);
    let pods = "users-green-[a-z0-9]+-[a-z0-9]+";
    assert!(
        args[5].starts_with("errorPercent=") && args[5].contains(&format!("pod=~\"{pods}\"")),
        "{}",
        args[5]
    );
    assert_eq!(args[6..8], ["--max", "errorPercent=1"]);
    assert!(args[9].starts_with("latencyMilliseconds="), "{}", args[9]);
    assert_eq!(args[10..12], ["--max", "latencyMilliseconds=300"]);
    let queue = format!("queue=max(queue_length{{pod=~\"{pods}\"}})");
    assert_eq!(args[12..], ["--query", &queue, "--max", "queue=100", "--min", "queue=0.5"]);

    facts.release = live.release;
    let message = "errorPercent: 7 is above 1".to_string();
    facts.jobs = vec![self::job(Phase::Live, &attempt, Some(JobEnd { succeeded: false, message }))];
    let (back, _) = pass(&case, &facts);
    assert_eq!((back.colour, state(&back).0), (Colour::Blue, ReleaseState::Stable));
    assert!(back.message.contains("errorPercent: 7 is above 1"), "{}", back.message);
}

#[test]
fn objectives_that_nobody_can_look_at_are_refused_with_the_way_out() {
    let refused = |spec: Value, environment: Value| {
        let refusals = case(spec, environment).verdict().expect_err("refused");
        refusals.into_iter().map(|refusal| (refusal.rule, refusal.field)).collect::<Vec<_>>()
    };
    let checks = |checks: Value| json!({ "rollout": { "strategy": "BlueGreen", "checks": checks } });
    let metrics = json!({ "queue": { "query": "vector(1)", "max": 1.0 } });
    assert_eq!(
        refused(checks(json!({ "objectives": true, "metrics": metrics })), json!({})),
        [
            ("checks-prometheus", "spec.rollout.checks.objectives".to_string()),
            ("checks-prometheus", "spec.rollout.checks.metrics.queue".to_string())
        ]
    );
    let asks = checks(json!({ "objectives": true, "prometheus": "http://prometheus:9090" }));
    assert_eq!(
        refused(json!({ "monitoring": { "enabled": false } }), asks.clone()),
        [("checks-objectives", "spec.monitoring.enabled".to_string())]
    );
    assert_eq!(
        refused(checks(json!({ "objectives": false })), asks.clone()),
        [("rollout-checks", "spec.rollout.checks.objectives".to_string())]
    );
    let worker = json!({ "service": { "enabled": false } });
    let held =
        case(worker.clone(), asks.clone()).verdict().expect("valid").serving.release.expect("blue-green");
    assert!(held.checks.is_none(), "a worker answers no requests");
    let mut asked = worker;
    plan::merge(&mut asked, checks(json!({ "objectives": true })));
    assert_eq!(refused(asked, asks), [("checks-objectives", "spec.rollout.checks.objectives".to_string())]);
}
