//! Job: what is run for a release. It is made once and never repaired: a Job that was begun cannot become another one.
//!
//! Its pods carry no label by which the service's own pods are selected, and no sidecar: nobody sends them requests, no
//! budget counts them, and they end.

use serde_json::{Value, json};

use super::{Owner, Planned, Site, isolation, monitoring, render, sidecar_image};
use crate::api::kinds::Kind;
use crate::api::names::{self, Colour};
use crate::api::{CheckJob, KeyRef, Phase};
use crate::check::{Checked, Measured, Serving, built_in_resources};
use crate::facts::{Facts, SPARE_SECONDS};
use crate::rollout::{Run, Stored};

/// Seconds until a migration has failed, unless it says otherwise.
const MIGRATION_SECONDS: i64 = 300;
/// How often it is tried again.
const RETRIES: i32 = 2;
/// Seconds until every node knows the way to a Service that was made for the release.
const WAY: u32 = 30;
/// What a pod of a Job has in common with those of the service.
const KEPT: [&str; 12] = [
    "serviceAccountName",
    "automountServiceAccountToken",
    "enableServiceLinks",
    "securityContext",
    "imagePullSecrets",
    "nodeSelector",
    "tolerations",
    "priorityClassName",
    "runtimeClassName",
    "hostAliases",
    "dnsConfig",
    "terminationGracePeriodSeconds",
];

/// The Job that is to run, if any. It comes after the record of the release, which names it.
pub(super) fn build(site: &Site<'_>, serving: Option<&Serving>, facts: &Facts) -> Option<Planned> {
    let run = site.decision.jobs.run.as_ref()?;
    let rendered = render(site.owner, &run.revision, serving, facts);
    let checked = serving.and_then(|serving| serving.release.as_ref()?.checks.as_deref().cloned());
    let (mut pod, deadline, retries) = match run.phase {
        Phase::Migration => {
            let migration = run.revision.shape.migration.clone().unwrap_or_default();
            let deadline = migration.deadline_seconds.unwrap_or(MIGRATION_SECONDS);
            (migrate(&rendered), deadline, migration.retries.unwrap_or(RETRIES))
        }
        Phase::Preview | Phase::Live => {
            let checked = checked.unwrap_or_default();
            let soak = serving.and_then(|serving| serving.release.as_ref()).map_or(0, |release| release.soak);
            let is_live = run.phase == Phase::Live;
            let deadline = if is_live { checked.live_seconds(soak) } else { checked.deadline };
            (check(site, run, &rendered, (&checked, soak), serving, facts), deadline, 0)
        }
    };
    let template = &rendered.template["spec"];
    for field in KEPT {
        if let Some(value) = template.get(field) {
            pod[field] = value.clone();
        }
    }
    pod["restartPolicy"] = "Never".into();
    let mut labels = isolation::labels(&run.revision.shape);
    labels.insert(names::JOB_OF.into(), site.owner.name.as_str().into());
    let body = json!({
        "metadata": {
            "labels": { names::REVISION: run.revision.hash },
            "annotations": { names::ATTEMPT: run.attempt },
        },
        "spec": {
            "activeDeadlineSeconds": deadline + SPARE_SECONDS,
            "backoffLimit": retries,
            // A node that is drained is nobody's failure.
            "podFailurePolicy": { "rules": [{
                "action": "Ignore",
                "onPodConditions": [{ "type": "DisruptionTarget", "status": "True" }],
            }] },
            "template": { "metadata": { "labels": labels }, "spec": pod },
        },
    });
    Some(Planned::new(site, Kind::Job, names::job(&site.owner.name, run.phase, &run.attempt), body))
}

/// The application's container of a revision.
fn application(rendered: &Stored) -> Value {
    let containers = rendered.template.pointer("/spec/containers").and_then(Value::as_array);
    containers.into_iter().flatten().find(|container| container["name"] == "app").cloned().unwrap_or_default()
}

/// The application's container, with another command, and nothing that only one which serves has.
fn migrate(rendered: &Stored) -> Value {
    let migration = rendered.shape.migration.clone().unwrap_or_default();
    let mut container = application(rendered);
    container["name"] = Phase::Migration.as_str().into();
    container["terminationMessagePolicy"] = "FallbackToLogsOnError".into();
    if let Some(fields) = container.as_object_mut() {
        for field in ["ports", "lifecycle", "livenessProbe", "readinessProbe", "startupProbe", "args"] {
            fields.remove(field);
        }
    }
    if !migration.command.is_empty() {
        container["command"] = json!(migration.command);
    }
    if !migration.args.is_empty() {
        container["args"] = json!(migration.args);
    }
    // Whoever migrates needs no GPU, and should not wait for one.
    for part in ["requests", "limits"] {
        if let Some(resources) = container["resources"][part].as_object_mut() {
            resources.retain(|name, _| ["cpu", "memory", "ephemeral-storage"].contains(&name.as_str()));
        }
    }
    let mounted = |volume: &Value| {
        let mounts = container["volumeMounts"].as_array();
        mounts.into_iter().flatten().any(|mount| mount["name"] == volume["name"])
    };
    let volumes = rendered.template.pointer("/spec/volumes").and_then(Value::as_array);
    let volumes: Vec<Value> =
        volumes.into_iter().flatten().filter(|volume| mounted(volume)).cloned().collect();
    json!({ "containers": [container], "volumes": volumes })
}

/// The runtime contract first, then what the service checks itself.
fn check(
    site: &Site<'_>,
    run: &Run,
    rendered: &Stored,
    (checked, soak): (&Checked, i64),
    serving: Option<&Serving>,
    facts: &Facts,
) -> Value {
    let name = &site.owner.name;
    let url = match (run.phase, serving.map_or(80, |serving| serving.service_port)) {
        (Phase::Preview, _) => format!("http://{}", names::preview(name)),
        (_, 80) => format!("http://{name}"),
        (_, port) => format!("http://{name}:{port}"),
    };
    let security = application(rendered)["securityContext"].clone();
    let (requests, limits) = built_in_resources(run.revision.shape.environment);
    let resources = json!({ "requests": requests, "limits": limits });
    let own = |command: &str, args: Vec<String>, env: Value| {
        json!({
            "name": command,
            "image": sidecar_image(facts),
            "imagePullPolicy": "IfNotPresent",
            "command": ["/visiobook", command],
            "args": args,
            // Not arguments: an image of an earlier release passes over what it does not know.
            "env": env,
            "resources": resources,
            "securityContext": security,
            "terminationMessagePolicy": "FallbackToLogsOnError",
        })
    };
    let mut containers = Vec::new();
    if checked.conformance {
        // Several pods answer, and after the switch others call.
        let mut env = vec![
            json!({ "name": "CONFORMANCE_SUMMARY", "value": "/dev/termination-log" }),
            json!({ "name": "CONFORMANCE_SHARED", "value": "true" }),
        ];
        if run.phase == Phase::Preview {
            env.push(json!({ "name": "CONFORMANCE_WAIT", "value": WAY.to_string() }));
        }
        containers.push(own("conformance", vec!["--url".into(), url.clone()], env.into()));
    }
    if let Some(measured) = checked.measured.as_ref().filter(|_| run.phase == Phase::Live) {
        let args = questions(site.owner, site.decision.colour, measured, soak);
        let env = json!([{ "name": "MEASURE_SUMMARY", "value": "/dev/termination-log" }]);
        containers.push(own("measure", args, env));
    }
    if let Some(job) = &checked.job {
        let mut container = json!({
            "name": "check",
            "image": job.image.as_ref().unwrap_or(&run.revision.shape.image),
            "imagePullPolicy": "IfNotPresent",
            "env": variables(job, &url, run),
            "resources": resources,
            "securityContext": security,
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "volumeMounts": [{ "name": "tmp", "mountPath": "/tmp" }],
        });
        for (field, said) in [("command", &job.command), ("args", &job.args)] {
            if !said.is_empty() {
                container[field] = json!(said);
            }
        }
        containers.push(container);
    }
    let last = containers.pop();
    let mut pod = json!({
        "containers": last.into_iter().collect::<Vec<_>>(),
        "volumes": [{ "name": "tmp", "emptyDir": {} }],
    });
    if !containers.is_empty() {
        pod["initContainers"] = containers.into();
    }
    pod
}

/// What `visiobook measure` is told: the service's objectives and its own queries, of the pods of a colour.
fn questions(owner: &Owner, colour: Colour, measured: &Measured, soak: i64) -> Vec<String> {
    let pods = format!("{}-[a-z0-9]+-[a-z0-9]+", names::coloured(&owner.name, colour));
    let mut args = vec![
        "--prometheus".into(),
        measured.prometheus.clone(),
        "--seconds".into(),
        measured.seconds(soak).to_string(),
    ];
    let mut ask = |name: &str, query: &str, limits: [(&str, Option<f64>); 2]| {
        args.extend(["--query".into(), format!("{name}={query}")]);
        for (limit, value) in limits {
            args.extend(value.into_iter().flat_map(|value| [limit.to_string(), format!("{name}={value}")]));
        }
    };
    if let Some(held) = &measured.objectives {
        let objectives = monitoring::objectives(owner, &pods);
        let most = [held.error_percent, f64::from(held.latency_milliseconds)];
        for ((name, query), most) in objectives.iter().zip(most) {
            ask(name, query, [("--max", Some(most)), ("--min", None)]);
        }
    }
    for (name, limit) in &measured.metrics {
        ask(name, &limit.query.replace("$pods", &pods), [("--max", limit.max), ("--min", limit.min)]);
    }
    args
}

fn variables(job: &CheckJob, url: &str, run: &Run) -> Vec<Value> {
    let given = [
        ("VISIOBOOK_CHECK_URL", url),
        ("VISIOBOOK_CHECK_PHASE", run.phase.as_str()),
        ("VISIOBOOK_CHECK_REVISION", run.revision.hash.as_str()),
    ];
    let plain = job.env.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let plain = given.into_iter().chain(plain).map(|(name, value)| json!({ "name": name, "value": value }));
    let secret = |(name, key): (&String, &KeyRef)| json!({ "name": name, "valueFrom": { "secretKeyRef": { "name": key.name, "key": key.key } } });
    plain.chain(job.secrets.iter().map(secret)).collect()
}

/// Label by which the policies of a service let its Jobs in.
pub(super) fn caller(service: &str) -> Value {
    json!({ "podSelector": { "matchLabels": { names::JOB_OF: service } } })
}
