//! Who owns which field: what a team takes out goes, and the number of pods is everybody's, one at a time.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use visiobook::api::VisiobookService;
use visiobook::api::kinds::Kind;

use crate::support::{Site, eventually, is, kubectl, message, quick};

fn fullest() -> Value {
    quick(json!({
        "env": { "KEPT": "1", "DROPPED": "1" },
        "service": { "annotations": { "example.com/dropped": "1", "example.com/kept": "1" } },
        "pod": {
            "labels": { "dropped": "1" },
            "volumes": [{ "name": "data", "emptyDir": {} }],
            "volumeMounts": [{ "name": "data", "mountPath": "/data" }],
        },
        "autoscaling": { "enabled": true, "minReplicas": 1, "maxReplicas": 2 },
    }))
}

fn leanest() -> Value {
    quick(json!({
        "env": { "KEPT": "1" },
        "service": { "annotations": { "example.com/kept": "1" } },
        "disruptionBudget": { "enabled": false },
    }))
}

/// What is left of the dropped fields, and of the children that go with them.
async fn left(site: &Site) -> Vec<String> {
    let mut left = Vec::new();
    for (kind, child) in site.all_children("users").await {
        let text = match kind {
            Kind::Deployment => child["spec"].to_string() + &child["metadata"]["labels"].to_string(),
            Kind::Service => child["metadata"]["annotations"].to_string(),
            Kind::HorizontalPodAutoscaler | Kind::PodDisruptionBudget => "DROPPED".into(),
            _ => String::new(),
        };
        for word in ["DROPPED", "dropped", "/data"] {
            if text.contains(word) {
                left.push(format!("{} has {word}", kind.as_str()));
            }
        }
    }
    left
}

async fn nothing_is_left(site: &Site) {
    eventually("what was taken out to go", || async {
        let left = left(site).await;
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    let deployment = site.existing(Kind::Deployment, "users-blue").await;
    let service = site.existing(Kind::Service, "users").await;
    assert!(deployment["spec"].to_string().contains("KEPT"), "{deployment:#}");
    assert_eq!(service["metadata"]["annotations"]["example.com/kept"], "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn t20_a_field_that_a_team_takes_out_goes_from_the_cluster() {
    let site = Site::new("taken-out", json!({ "type": "development" })).await;
    site.apply("users", fullest()).await;
    site.ready("users").await;
    assert_eq!(left(&site).await.len(), 6, "the test looks at nothing");
    site.apply("users", leanest()).await;
    nothing_is_left(&site).await;
    let service = site.ready("users").await;
    let children = service.status.map(|status| status.children).unwrap_or_default();
    assert!(!children.iter().any(|child| child.kind == "HorizontalPodAutoscaler"), "{children:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn t20_a_team_that_moves_from_plain_to_server_side_apply_leaves_no_field_stuck() {
    let site = Site::new("migrated", json!({ "type": "development" })).await;
    let object = |spec: Value| {
        let metadata = json!({ "name": "users", "namespace": site.namespace });
        json!({ "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookService", "metadata": metadata, "spec": spec }).to_string()
    };
    kubectl(&["apply", "-f", "-"], Some(&object(fullest())));
    site.ready("users").await;
    kubectl(&["apply", "--server-side", "-f", "-"], Some(&object(leanest())));
    nothing_is_left(&site).await;
    site.ready("users").await;
}

fn replicas(service: &VisiobookService) -> Option<i32> {
    service.spec.replicas
}

/// Wait until so many pods serve.
async fn sized(site: &Site, pods: i64) -> VisiobookService {
    eventually(&format!("{pods} pods"), || async {
        let deployment = site.child(Kind::Deployment, "users-blue").await.unwrap_or_default();
        let (wanted, ready) = (&deployment["spec"]["replicas"], &deployment["status"]["readyReplicas"]);
        if *wanted == pods && *ready == pods { Ok(()) } else { Err((wanted.clone(), ready.clone())) }
    })
    .await;
    site.ready("users").await
}

/// Managers that hold the number of pods, other than through the scale subresource.
fn holders(service: &VisiobookService) -> Vec<Option<String>> {
    let held = |entry: &&ManagedFieldsEntry| {
        let fields = entry.fields_v1.as_ref().map(|fields| fields.0.to_string()).unwrap_or_default();
        entry.subresource.is_none() && fields.contains("f:replicas")
    };
    service.managed_fields().iter().filter(held).map(|entry| entry.manager.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn t19_the_number_of_pods_is_filled_in_once_and_survives_every_later_apply() {
    let environment = json!({ "type": "development", "defaults": { "replicas": 2 } });
    let site = Site::new("sized", environment).await;
    site.apply("users", quick(json!({}))).await;
    let service = sized(&site, 2).await;
    assert_eq!(replicas(&service), Some(2), "the environment's default");
    assert!(holders(&service).is_empty(), "filled in by other means than the scale subresource: {service:?}");

    kubectl(&["scale", "vbs/users", "--replicas=3", "-n", &site.namespace], None);
    sized(&site, 3).await;
    site.apply("users", quick(json!({ "env": { "RELEASE": "2" } }))).await;
    let service = sized(&site, 3).await;
    assert_eq!(replicas(&service), Some(3), "an apply without replicas undid the scaling");

    // Said by the team and taken out again: the last size stays, not the environment's default.
    site.apply("users", quick(json!({ "replicas": 1 }))).await;
    let said = sized(&site, 1).await;
    assert_eq!(holders(&said), [Some("team".to_string())]);
    site.apply("users", quick(json!({}))).await;
    let taken_out =
        site.until("users", "the number to be filled in", |service| replicas(service).is_some()).await;
    assert_eq!(replicas(&taken_out), Some(1));
    sized(&site, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t19_the_autoscaler_takes_over_and_hands_back_without_losing_a_pod() {
    let site = Site::new("handover", json!({ "type": "development" })).await;
    let fixed = quick(json!({}));
    let scaled = quick(json!({ "autoscaling": { "enabled": true, "minReplicas": 2, "maxReplicas": 3 } }));
    site.apply("users", fixed.clone()).await;
    site.ready("users").await;
    kubectl(&["scale", "vbs/users", "--replicas=2", "-n", &site.namespace], None);
    sized(&site, 2).await;
    let pods = site.pod_uids("users").await;

    site.apply("users", scaled).await;
    let autoscaler = eventually("the autoscaler to know its size", || async {
        let found = site.child(Kind::HorizontalPodAutoscaler, "users").await;
        match found {
            Some(found) if found["status"]["currentReplicas"] == 2 => Ok(found),
            other => Err(other),
        }
    })
    .await;
    let target = &autoscaler["spec"]["scaleTargetRef"];
    assert_eq!((&target["kind"], &target["name"]), (&json!("VisiobookService"), &json!("users")));
    let able = autoscaler["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == "AbleToScale");
    assert_eq!(able.map(|condition| &condition["status"]), Some(&json!("True")), "{autoscaler:#}");
    site.condition("users", "Autoscaling", "True", "Enabled").await;
    assert_eq!(site.pod_uids("users").await, pods, "taking over replaced pods");

    site.apply("users", fixed).await;
    site.condition("users", "Autoscaling", "False", "Disabled").await;
    eventually("the autoscaler to go", || async {
        match site.child(Kind::HorizontalPodAutoscaler, "users").await {
            None => Ok(()),
            Some(found) => Err(found),
        }
    })
    .await;
    site.stays_untouched("users", 3).await;
    let service = sized(&site, 2).await;
    assert_eq!(
        (replicas(&service), site.pod_uids("users").await),
        (Some(2), pods),
        "handing back replaced pods"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn t19_a_number_that_is_applied_under_autoscaling_is_a_fight_that_is_told_by_name() {
    let site = Site::new("fight", json!({ "type": "development" })).await;
    let autoscaling = json!({ "enabled": true, "minReplicas": 1, "maxReplicas": 2 });
    site.apply("users", quick(json!({ "autoscaling": autoscaling, "replicas": 1 }))).await;
    let service = site.condition("users", "Autoscaling", "False", "ReplicasApplied").await;
    let told = message(&service, "Autoscaling");
    for word in ["team sets spec.replicas", "take spec.replicas out", "autoscaling.enabled to false"] {
        assert!(told.contains(word), "no \"{word}\" in: {told}");
    }
    assert!(is(&service, "Accepted", "True"), "{:?}", service.status);
    site.apply("users", quick(json!({ "autoscaling": autoscaling }))).await;
    site.condition("users", "Autoscaling", "True", "Enabled").await;
    site.ready("users").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t19_scaling_the_deployment_itself_is_undone_and_scaling_to_zero_is_a_size() {
    let site = Site::new("scaled", json!({ "type": "development" })).await;
    site.apply("users", quick(json!({}))).await;
    site.ready("users").await;
    let more = json!({ "spec": { "replicas": 4 } });
    let params = PatchParams { field_manager: Some("old-pipeline".into()), ..PatchParams::default() };
    site.children(Kind::Deployment).patch("users-blue", &params, &Patch::Merge(&more)).await.expect("scaled");
    sized(&site, 1).await;
    kubectl(&["scale", "vbs/users", "--replicas=0", "-n", &site.namespace], None);
    let service = site.condition("users", "Ready", "True", "ScaledToZero").await;
    assert_eq!(replicas(&service), Some(0));
    eventually("the pods to go", || async {
        let pods = site.pod_uids("users").await;
        if pods.is_empty() { Ok(()) } else { Err(pods) }
    })
    .await;
    // A release does not wake it up.
    site.apply("users", quick(json!({ "env": { "RELEASE": "2" } }))).await;
    let service = site.ready("users").await;
    assert_eq!((replicas(&service), site.pod_uids("users").await.len()), (Some(0), 0));
}
