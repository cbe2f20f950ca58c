//! The real autoscaler, on real load, through the scale subresource.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kube::ResourceExt;
use serde_json::{Value, json};
use visiobook::api::VisiobookService;
use visiobook::api::kinds::Kind;

use crate::support::{Site, is};

/// As in `examples/podinfo.yaml`, but small and quick, so that a little load makes a difference.
pub(super) fn podinfo() -> Value {
    json!({
        "image": "docker.io/stefanprodan/podinfo:6.9.2",
        "env": { "PODINFO_PORT": "8080", "PODINFO_PORT_METRICS": "9797", "PODINFO_DATA_PATH": "/tmp" },
        "sidecar": { "metricsPort": 9797 },
        "resources": { "requests": { "cpu": "20m", "memory": "128Mi" }, "limits": { "cpu": "200m" } },
        "probes": {
            "liveness": { "httpGet": { "path": "/healthz", "port": 8080 } },
            "readiness": { "httpGet": { "path": "/readyz", "port": 8080 }, "initialDelaySeconds": 0, "periodSeconds": 1 },
        },
        "autoscaling": {
            "enabled": true, "minReplicas": 1, "maxReplicas": 3, "targetCPUUtilizationPercentage": 60,
            "behavior": { "scaleDown": { "stabilizationWindowSeconds": 0, "policies": [{ "type": "Pods", "value": 3, "periodSeconds": 15 }] } },
        },
    })
}

/// Requests through the API server's proxy, which reaches a pod in any cluster, until told to stop.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    workers: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    pub(super) fn start(site: &Site, workers: usize) -> Load {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let workers = (0..workers).map(|_| {
            let (client, stop, answered) = (site.client.clone(), stop.clone(), answered.clone());
            let path = format!("/api/v1/namespaces/{}/services/podinfo:80/proxy/api/info", site.namespace);
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let request = http::Request::get(&path).body(Vec::new()).expect("request");
                    match client.request_text(request).await {
                        Ok(_) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                        Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                    }
                }
            })
        });
        let workers = workers.collect();
        Load { stop, answered, workers }
    }

    pub(super) async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        futures::future::join_all(self.workers).await;
        self.answered.load(Ordering::Relaxed)
    }
}

/// Wait for a size, longer than usual: metrics are some 15 s old, and the autoscaler waits for fresh ones.
async fn until_sized(site: &Site, what: &str, holds: impl Fn(i32) -> bool) -> VisiobookService {
    let started = Instant::now();
    loop {
        let service = site.services().get("podinfo").await.expect("service");
        if service.spec.replicas.is_some_and(&holds) {
            return service;
        }
        let autoscaler = site.child(Kind::HorizontalPodAutoscaler, "podinfo").await;
        let seen = autoscaler.map(|autoscaler| autoscaler["status"].clone());
        assert!(
            started.elapsed() < Duration::from_secs(180),
            "{what}: {:?}, {seen:#?}",
            service.spec.replicas
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_autoscaler_scales_podinfo_up_under_load_and_down_again_through_the_scale_subresource() {
    let site = Site::new("load", json!({ "type": "development" })).await;
    site.apply("podinfo", podinfo()).await;
    let service = site.ready("podinfo").await;
    assert_eq!(service.spec.replicas, Some(1));

    let load = Load::start(&site, 8);
    let service = until_sized(&site, "up under load", |replicas| replicas >= 2).await;
    // The autoscaler wrote the number where everybody writes it, and no apply holds it.
    let autoscaler = site.existing(Kind::HorizontalPodAutoscaler, "podinfo").await;
    let rescaled = autoscaler["status"]["lastScaleTime"].is_string();
    assert!(rescaled, "somebody else scaled: {autoscaler:#}");
    let holders = service.managed_fields().iter().filter(|entry| {
        let fields = entry.fields_v1.as_ref().map(|fields| fields.0.to_string()).unwrap_or_default();
        entry.subresource.is_none() && fields.contains("f:replicas")
    });
    assert_eq!(holders.count(), 0, "{:?}", service.managed_fields());
    let more = |service: &VisiobookService| {
        service.status.as_ref().is_some_and(|status| status.replicas >= 2) && is(service, "Ready", "True")
    };
    let service = site.until("podinfo", "the pods that were asked for", more).await;
    assert!(is(&service, "Autoscaling", "True"), "{:?}", service.status);

    let answered = load.stop().await;
    assert!(answered > 100, "{answered} requests are no load");
    until_sized(&site, "down again", |replicas| replicas == 1).await;
    let service = site.ready("podinfo").await;
    assert_eq!(service.status.as_ref().map(|status| status.replicas), Some(1));
}
