//! `visiobook convert`: the values of the guidelines, of both shapes.

use serde_json::{Value, json};

use super::{Run, visiobook};
use crate::cases::SIDECAR_IMAGE;
use crate::command_line::render::golden;

fn convert(name: &str, arguments: &[&str]) -> Run {
    let file = format!("tests/fixtures/values/{name}.yaml");
    visiobook(&[&["convert", &file], arguments].concat(), "")
}

/// The one resource that comes out.
fn resource(run: &Run) -> Value {
    let documents = run.documents();
    assert_eq!(documents.len(), 1);
    documents.into_iter().next().unwrap()
}

fn rendered(service: &str, environment: &str) -> Vec<Value> {
    let file = format!("examples/environments/{environment}.yaml");
    visiobook(&["render", "-f", "-", "--environment", &file, "--sidecar-image", SIDECAR_IMAGE], service)
        .documents()
}

/// What values can say of a plan: the rest is the example's own, and is named here.
fn comparable(objects: Vec<Value>) -> Vec<Value> {
    objects
        .into_iter()
        .filter(|object| object["kind"] != "ControllerRevision")
        .map(|mut object| {
            if let Some(labels) = object["metadata"]["labels"].as_object_mut() {
                labels.remove("platform.visiobook.com/revision");
            }
            if let Some(template) = object.pointer_mut("/spec/template") {
                template["metadata"]["labels"]["platform.visiobook.com/revision"] = Value::Null;
                let pod = template["spec"].as_object_mut().unwrap();
                // Values know no sidecar: its routes and its check of tokens are the example's.
                for container in pod["initContainers"].as_array_mut().unwrap() {
                    container["env"][0]["value"] = Value::Null;
                    container.as_object_mut().unwrap().remove("volumeMounts");
                }
                pod["volumes"]
                    .as_array_mut()
                    .unwrap()
                    .retain(|volume| volume["name"] != "sidecar-jwt" && volume["name"] != "sidecar-services");
                // The example is shown on a simulated node.
                pod.remove("nodeSelector");
                pod.remove("tolerations");
            }
            object
        })
        .collect()
}

#[test]
fn converted_and_rendered_the_values_of_the_guidelines_equal_the_golden_files() {
    let image = "ghcr.io/visiobook/ai-analysis-service:1.0.0";
    for (values, arguments, environment, name, more) in [
        ("user-service.dev", vec!["-n", "visiobook-dev"], "development", "user-service", ""),
        (
            "ai-analysis-service.prod",
            vec!["-n", "visiobook-prod", "--image", image],
            "production",
            "ai-analysis-service",
            // What converting told to write: these values leave the chart's placeholder as it is.
            "  ingress: {}\n",
        ),
    ] {
        let converted = convert(values, &arguments);
        assert_eq!(converted.code, 0, "{}", converted.told);
        assert!(converted.told.contains("spec.ingress: {} offers the service"), "{}", converted.told);
        let rendered = rendered(&format!("{}{more}", converted.output), environment);
        let (rendered, golden) = (comparable(rendered), comparable(golden(name)));
        assert_eq!(rendered.len(), golden.len(), "{name}");
        for (rendered, golden) in rendered.into_iter().zip(golden) {
            assert_eq!(rendered, golden, "{name}");
        }
    }
}

#[test]
fn values_that_name_no_image_ask_for_one() {
    let run = convert("ai-analysis-service.prod", &[]);
    assert!(run.code == 2 && run.output.is_empty(), "{}", run.output);
    assert!(run.told.contains("the values name no image: add --image"), "{}", run.told);
}

#[test]
fn what_the_chart_does_by_default_needs_no_word() {
    let run = convert("chart", &[]);
    let spec = &resource(&run)["spec"];
    let expected = json!({
        "stack": "nodejs",
        "image": "ghcr.io/visiobook/service-name:latest",
        "resources": {
            "requests": { "cpu": "100m", "memory": "128Mi" },
            "limits": { "cpu": "500m", "memory": "512Mi" },
        },
        "secrets": {
            "DATABASE_URL": { "name": "database-credentials", "key": "url" },
            "JWT_SECRET": { "name": "jwt-credentials", "key": "secret" },
            "REDIS_URL": { "name": "redis-credentials", "key": "url" },
        },
        "autoscaling": { "enabled": true },
        "ingress": {
            "hosts": ["api.visiobook.com"],
            "path": "/api/v1/service-name",
            "tls": { "secretName": "visiobook-tls" },
            "annotations": { "cert-manager.io/cluster-issuer": "letsencrypt-prod" },
        },
    });
    assert_eq!(*spec, expected);
    for told in [
        "rewrite-target: the path arrives at the application as it is",
        ": configMap.PROMETHEUS_PORT: changed: ",
        ": env.NODE_ENV: given: ",
        "in production it would be refused: spec.image",
    ] {
        assert!(run.told.contains(told), "{told}\n{}", run.told);
    }
    assert!(!run.told.contains("no home"), "{}", run.told);
    assert_eq!(convert("chart", &["--strict"]).code, 0);
}

#[test]
fn the_older_shape_is_read_too() {
    let run = convert("older-chart", &["--image", "ghcr.io/visiobook/myapp:2.1", "--stack", "go"]);
    let service = resource(&run);
    let spec = &service["spec"];
    assert_eq!(service["metadata"]["name"], "myapp");
    assert_eq!(spec["secrets"]["DB_PASSWORD"], json!({ "name": "myapp-secrets", "key": "db-password" }));
    assert!(spec["secrets"].get("DATABASE_URL").is_none(), "that is the other chart's");
    assert_eq!(spec["probes"], json!({ "readiness": { "initialDelaySeconds": 10 } }));
    assert_eq!(
        spec["autoscaling"],
        json!({ "enabled": true, "minReplicas": 3, "targetCPUUtilizationPercentage": 80 })
    );
    assert_eq!(spec["pod"]["securityContext"]["runAsUser"], 1000);
    assert_eq!(spec["env"], json!({ "LOG_LEVEL": "warn" }));
    assert_eq!((&spec["ingress"]["path"], &spec["ingress"]["requestsPerMinute"]), (&"/".into(), &100.into()));
    let deployment = rendered(&run.output.replace("myapp.com", "myapp.visiobook.com"), "production")
        .into_iter()
        .find(|object| object["kind"] == "Deployment");
    let environment = &deployment.unwrap()["spec"]["template"]["spec"]["containers"][0]["env"];
    let variable = |name| environment.as_array().unwrap().iter().find(|variable| variable["name"] == name);
    assert_eq!(variable("APP_ENV").unwrap()["value"], "production");
}

#[test]
fn every_field_has_a_home_or_is_told() {
    let values = "nameOverride: books\nimage: {repository: ghcr.io/a/books, tag: 1.10, digest: x}\ndeployment:\n  replicaCount: 2\n  strategy: {type: Recreate}\n  livenessProbe: {httpGet: {path: /live, port: 3000}, periodSeconds: 7}\n  resources:\n    limits: {nvidia.com/gpu: 2, cpu: 1}\n  podLabels: {a: b}\nservice: {type: NodePort, port: 8080, targetPort: 3000}\nautoscaling: {enabled: false}\nenv: {A: 1, B: true, PROMETHEUS_PORT: \"9100\"}\nconfigMap: {A: 2}\nsecrets: {X: {secretName: s, key: k, optional: true}}\nnodeSelector: {disk: fast}\ningress: {enabled: true, className: traefik, hosts: [{host: books.example.com, paths: [{path: /books/}, {path: /old}]}]}\nmonitoring: {enabled: true, serviceMonitor: {interval: 15s, path: /stats, labels: {release: prometheus}}}\nsidecars: []\nextra: {deep: [1]}\n";
    let run = visiobook(&["convert", "-"], values);
    let spec = resource(&run)["spec"].clone();
    assert_eq!(spec["replicas"], 2);
    assert_eq!((&spec["profile"], &spec["gpu"]), (&"ai".into(), &json!({ "count": 2 })));
    assert_eq!(spec["resources"], json!({ "limits": { "cpu": "1" } }));
    assert_eq!(
        (&spec["port"], &spec["service"]),
        (&3000.into(), &json!({ "type": "NodePort", "port": 8080 }))
    );
    assert_eq!(
        spec["probes"]["liveness"],
        json!({ "httpGet": { "path": "/live", "port": 3000 }, "periodSeconds": 7 })
    );
    assert_eq!(spec["env"], json!({ "A": "1", "B": "true", "PROMETHEUS_PORT": "9100" }));
    assert_eq!(spec["sidecar"], json!({ "metricsPort": 9100 }));
    assert_eq!(spec["pod"], json!({ "nodeSelector": { "disk": "fast" } }));
    assert_eq!(
        spec["ingress"],
        json!({ "hosts": ["books.example.com"], "path": "/books", "tls": { "enabled": false } })
    );
    assert_eq!(spec["monitoring"], json!({ "interval": "15s", "labels": { "release": "prometheus" } }));
    for told in [
        "(input):16: ingress.hosts: no home: a service has one path, with everything below it: /old",
        "(input):16: ingress: changed: without tls",
        "(input):16: ingress.className: changed",
        "(input):17: monitoring.serviceMonitor.path: changed",
        "(input):2: image.tag: changed",
        "(input):2: image.digest: no home",
        "(input):5: deployment.strategy.type: no home",
        "(input):9: deployment.podLabels.a: no home",
        "(input):13: configMap.A: changed",
        "(input):14: secrets.X.optional: no home",
        "(input):19: extra.deep: no home",
    ] {
        assert!(run.told.contains(told), "{told}\n{}", run.told);
    }
    assert!(!run.told.contains("sidecars"), "an empty list says nothing\n{}", run.told);
}

#[test]
fn values_of_another_chart_are_refused() {
    for values in ["controller: {replicas: 1}\n", "apiVersion: v1\nkind: ConfigMap\nenv: {}\n", "[]\n", "a\n"]
    {
        let run = visiobook(&["convert", "-"], values);
        assert!(
            run.code == 2 && run.told.contains("no values of the guidelines' chart"),
            "{values}: {}",
            run.told
        );
    }
    let run = visiobook(&["convert", "-"], "image: {repository: a/b}\nsecrets: {A: text}\n");
    assert!(run.code == 2 && run.told.contains("line 2: secrets"), "{}", run.told);
    let run = visiobook(&["convert", "-"], "a: 1\n---\nb: 1\n");
    assert!(run.code == 2 && run.told.contains("holds 2 documents"), "{}", run.told);
}
