//! Bad input: each breaks one rule, and is told by rule, field and way out.

use serde_json::{Value, json};
use visiobook::facts::EnvironmentFact;
use visiobook::manifest;

use crate::cases::Case;

const LONG: &str = "a-name-that-is-far-too-long-for-its-children";

/// What the resource says, the type of its environment, and the rule and field of the refusal.
fn table() -> Vec<(Value, &'static str, &'static str, &'static str)> {
    let image = "ghcr.io/visiobook/users:1.0";
    let with = |more: Value| {
        let mut spec = json!({ "image": image });
        visiobook::plan::merge(&mut spec, more);
        spec
    };
    let twice = json!({ "env": { "A": "1" }, "config": { "A": "2" } });
    let secret = json!({ "env": { "A": "1" }, "secrets": { "A": { "name": "s", "key": "k" } } });
    vec![
        (json!({}), "development", "image-or-domain-service", "spec"),
        (with(json!({ "domainService": "users" })), "development", "image-or-domain-service", "spec"),
        (
            json!({ "domainService": "projects" }),
            "development",
            "domain-service-available",
            "spec.domainService",
        ),
        (
            json!({ "domainService": "users" }),
            "development",
            "domain-service-secret",
            "spec.secrets.DATABASE_URL",
        ),
        (json!({ "image": "not an image" }), "development", "image-reference", "spec.image"),
        (json!({ "image": "ghcr.io/visiobook/users:latest" }), "production", "image-tag", "spec.image"),
        (json!({ "image": "ghcr.io/visiobook/users" }), "staging", "image-tag", "spec.image"),
        (json!({ "image": image }), "strict", "image-digest", "spec.image"),
        (json!({ "image": "docker.io/evil/users:1.0" }), "strict", "image-registry", "spec.image"),
        (
            with(json!({ "rollout": { "deadlineSeconds": 601 } })),
            "staging",
            "rollout-time",
            "spec.rollout.deadlineSeconds",
        ),
        (with(json!({ "migration": {} })), "development", "migration-command", "spec.migration"),
        (
            with(json!({ "rollout": { "checks": { "job": { "image": "not an image" } } } })),
            "development",
            "image-reference",
            "spec.rollout.checks.job.image",
        ),
        (
            with(json!({ "rollout": { "checks": { "job": { "env": { "1A": "x" } } } } })),
            "development",
            "variable-name",
            "spec.rollout.checks.job.env.1A",
        ),
        (
            with(json!({ "rollout": { "checks": { "job": { "env": { "VISIOBOOK_CHECK_URL": "x" } } } } })),
            "development",
            "variable-reserved",
            "spec.rollout.checks.job.env.VISIOBOOK_CHECK_URL",
        ),
        (
            with(
                json!({ "rollout": { "checks": { "job": { "env": { "A": "x" }, "secrets": { "A": { "name": "s", "key": "k" } } } } } }),
            ),
            "development",
            "variable-once",
            "spec.rollout.checks.job.secrets.A",
        ),
        (with(json!({ "port": 9090 })), "development", "port-once", "spec.port"),
        (
            with(json!({ "monitoring": { "interval": "3m" } })),
            "development",
            "monitoring-interval",
            "spec.monitoring.interval",
        ),
        (
            with(json!({ "monitoring": { "labels": { "release": "-" } } })),
            "development",
            "monitoring-label",
            "spec.monitoring.labels.release",
        ),
        (
            with(json!({ "monitoring": { "labels": { "app.kubernetes.io/name": "a" } } })),
            "development",
            "label-reserved",
            "spec.monitoring.labels.app.kubernetes.io/name",
        ),
        (
            with(json!({ "monitoring": { "alertLabels": { "severity": "info" } } })),
            "development",
            "label-reserved",
            "spec.monitoring.alertLabels.severity",
        ),
        (
            with(json!({ "monitoring": { "alertLabels": { "team": "{{ $labels" } } })),
            "development",
            "alert-label",
            "spec.monitoring.alertLabels.team",
        ),
        (
            with(json!({ "monitoring": { "objectives": { "latencyMilliseconds": 1500 } } })),
            "development",
            "latency-objective",
            "spec.monitoring.objectives.latencyMilliseconds",
        ),
        (with(json!({ "port": 0 })), "development", "port-range", "spec.port"),
        (with(json!({ "service": { "port": 9090 } })), "development", "port-once", "spec.service.port"),
        (with(json!({ "env": { "1A": "x" } })), "development", "variable-name", "spec.env.1A"),
        (with(twice), "development", "variable-once", "spec.env.A"),
        (with(secret), "development", "variable-once", "spec.env.A"),
        (with(json!({ "env": { "PORT": "1" } })), "development", "variable-reserved", "spec.env.PORT"),
        (
            with(json!({ "config": { "ENVIRONMENT": "x" } })),
            "development",
            "variable-reserved",
            "spec.config.ENVIRONMENT",
        ),
        (
            with(json!({ "configFiles": { "files": { "a/b": "" } } })),
            "development",
            "file-name",
            "spec.configFiles.files.a/b",
        ),
        (
            with(json!({ "configFiles": { "files": { "..a": "" } } })),
            "development",
            "file-name",
            "spec.configFiles.files...a",
        ),
        (
            with(
                json!({ "resources": { "requests": { "ephemeral-storage": "2Gi" }, "limits": { "ephemeral-storage": "1Gi" } } }),
            ),
            "development",
            "request-above-limit",
            "spec.resources.requests.ephemeral-storage",
        ),
        (
            with(json!({ "resources": { "requests": { "hugepages-2Mi": "1" } } })),
            "development",
            "request-above-limit",
            "spec.resources.requests.hugepages-2Mi",
        ),
        (
            with(json!({ "resources": { "limits": { "hugepages-2Mi": "0.5" } } })),
            "development",
            "quantity",
            "spec.resources.limits.hugepages-2Mi",
        ),
        (
            with(json!({ "configFiles": { "mountPath": "/tmp", "files": { "a": "" } } })),
            "development",
            "mount-once",
            "spec.configFiles.mountPath",
        ),
        (
            with(json!({ "rollout": { "maxSurge": 0, "maxUnavailable": "0%" } })),
            "development",
            "rollout-pace",
            "spec.rollout.maxUnavailable",
        ),
        (
            with(json!({ "configFiles": { "files": { "a": "x".repeat(600_000) } } })),
            "development",
            "config-size",
            "spec.configFiles",
        ),
        (
            with(json!({ "env": { "DB_SSL_MODE": "disable" } })),
            "production",
            "database-tls",
            "spec.env.DB_SSL_MODE",
        ),
        (
            with(json!({ "env": { "JWT_SECRET": "short" } })),
            "production",
            "secret-length",
            "spec.env.JWT_SECRET",
        ),
        (
            with(json!({ "config": { "ENCRYPTION_KEY": "short" } })),
            "production",
            "secret-length",
            "spec.config.ENCRYPTION_KEY",
        ),
        (
            with(json!({ "env": { "READ_TIMEOUT": "500ms" } })),
            "development",
            "timeout",
            "spec.env.READ_TIMEOUT",
        ),
        (
            with(json!({ "resources": { "limits": { "cpu": "much" } } })),
            "development",
            "quantity",
            "spec.resources.limits.cpu",
        ),
        (
            with(json!({ "resources": { "limits": { "nvidia.com/gpu": "1" } } })),
            "production",
            "gpu-field",
            "spec.resources.limits",
        ),
        (
            with(json!({ "resources": { "requests": { "amd.com/gpu": "1" } } })),
            "development",
            "gpu-field",
            "spec.resources.requests",
        ),
        (
            with(json!({ "resources": { "limits": { "nvidia.com/mig-1g.5gb": "1" } } })),
            "production",
            "gpu-field",
            "spec.resources.limits",
        ),
        (with(json!({ "replicas": 1 })), "strict", "replicas-minimum", "spec.replicas"),
        (
            with(json!({ "autoscaling": { "minReplicas": 1 } })),
            "strict",
            "replicas-minimum",
            "spec.autoscaling.minReplicas",
        ),
        (
            with(json!({ "resources": { "limits": { "cpu": "9" } } })),
            "strict",
            "resource-ceiling",
            "spec.resources.limits.cpu",
        ),
        (
            with(json!({ "sidecar": { "resources": { "limits": { "cpu": "9" } } } })),
            "strict",
            "resource-ceiling",
            "spec.sidecar.resources.limits.cpu",
        ),
        (
            with(json!({ "sidecar": { "resources": { "limits": { "memory": "2Gi" } } } })),
            "strict",
            "resource-ceiling",
            "spec.sidecar.resources.limits.memory",
        ),
        (
            with(json!({ "sidecar": { "resources": { "requests": { "cpu": "9" } } } })),
            "strict",
            "resource-ceiling",
            "spec.sidecar.resources.requests.cpu",
        ),
        (
            with(json!({ "resources": { "requests": { "memory": "1Gi" } } })),
            "development",
            "request-above-limit",
            "spec.resources.requests.memory",
        ),
        (with(json!({ "gpu": { "count": 1 } })), "development", "gpu-allowed", "spec.gpu"),
        (with(json!({ "gpu": { "count": 2 } })), "staging", "gpu-count", "spec.gpu.count"),
        (
            with(json!({ "autoscaling": { "enabled": true, "minReplicas": 11 } })),
            "development",
            "autoscaling-bounds",
            "spec.autoscaling.minReplicas",
        ),
        (with(json!({ "replicas": 6 })), "strict", "replicas-ceiling", "spec.replicas"),
        (
            with(json!({ "probes": { "liveness": { "successThreshold": 2 } } })),
            "development",
            "probe-threshold",
            "spec.probes.liveness.successThreshold",
        ),
        (with(json!({ "probes": { "startup": {} } })), "development", "probe-action", "spec.probes.startup"),
        (
            with(json!({ "pod": { "labels": { "version": "x" } } })),
            "development",
            "label-reserved",
            "spec.pod.labels.version",
        ),
        (
            with(json!({ "pod": { "labels": { "platform.visiobook.com/job-of": "shop" } } })),
            "development",
            "label-reserved",
            "spec.pod.labels.platform.visiobook.com/job-of",
        ),
        (
            with(json!({ "pod": { "labels": { "platform.visiobook.com/preview": "true" } } })),
            "development",
            "label-reserved",
            "spec.pod.labels.platform.visiobook.com/preview",
        ),
        (
            with(json!({ "pod": { "volumeMounts": [{ "name": "x", "mountPath": "/x" }] } })),
            "development",
            "volume-exists",
            "spec.pod.volumeMounts[mountPath=/x]",
        ),
        (
            with(
                json!({ "pod": { "volumes": [{ "name": "x", "emptyDir": {} }], "volumeMounts": [{ "name": "x", "mountPath": "/tmp" }] } }),
            ),
            "development",
            "mount-once",
            "spec.pod.volumeMounts[mountPath=/tmp]",
        ),
        (with(json!({ "port": 15080 })), "development", "port-once", "spec.port"),
        (
            with(json!({ "env": { "PROMETHEUS_PORT": "9090" } })),
            "development",
            "port-once",
            "spec.env.PROMETHEUS_PORT",
        ),
        (
            with(json!({ "pod": { "volumes": [{ "name": "sidecar-jwt", "emptyDir": {} }] } })),
            "development",
            "volume-reserved",
            "spec.pod.volumes[name=sidecar-jwt]",
        ),
        (with(json!({ "pod": { "preStop": {} } })), "development", "pre-stop-action", "spec.pod.preStop"),
        (
            with(json!({ "pod": { "preStop": { "sleep": { "seconds": 60 } } } })),
            "development",
            "pre-stop-sleep",
            "spec.pod.preStop.sleep.seconds",
        ),
        (
            with(json!({ "sidecar": { "mode": "Off" }, "probes": { "deep": true } })),
            "development",
            "probe-deep",
            "spec.probes.deep",
        ),
        (
            with(json!({ "sidecar": { "mode": "Off", "drainSeconds": 5 } })),
            "development",
            "sidecar-off",
            "spec.sidecar.mode",
        ),
        (
            with(json!({ "sidecar": { "mode": "Observe", "auth": { "jwks": "https://l/jwks" } } })),
            "development",
            "sidecar-mode",
            "spec.sidecar.auth",
        ),
        (
            with(json!({ "service": { "enabled": false }, "port": 3000 })),
            "development",
            "worker",
            "spec.port",
        ),
        (
            with(json!({ "service": { "enabled": false, "port": 81 } })),
            "development",
            "worker",
            "spec.service.port",
        ),
        (
            with(json!({ "service": { "enabled": false, "type": "NodePort" } })),
            "development",
            "worker",
            "spec.service.type",
        ),
        (
            with(json!({ "service": { "enabled": false }, "ingress": { "hosts": ["a.b"] } })),
            "development",
            "worker",
            "spec.ingress",
        ),
        (
            with(json!({ "service": { "enabled": false }, "sidecar": { "mode": "Proxy" } })),
            "development",
            "worker",
            "spec.sidecar.mode",
        ),
        (
            with(json!({ "service": { "enabled": false }, "sidecar": { "routes": ["/books"] } })),
            "development",
            "sidecar-mode",
            "spec.sidecar.routes",
        ),
        (
            with(json!({ "sidecar": { "routes": [format!("/{}", "a".repeat(70_000))] } })),
            "development",
            "sidecar-size",
            "spec.sidecar",
        ),
        (with(json!({ "sidecar": { "auth": {} } })), "development", "auth-key", "spec.sidecar.auth"),
        (
            with(json!({ "sidecar": { "auth": { "jwks": "/etc/jwks" } } })),
            "development",
            "url",
            "spec.sidecar.auth.jwks",
        ),
        (
            with(json!({ "sidecar": { "csrf": { "cookie": "session" } } })),
            "development",
            "csrf-key",
            "spec.sidecar.csrf",
        ),
        (
            with(json!({ "sidecar": { "csrf": {} } })),
            "development",
            "csrf-cookie",
            "spec.sidecar.csrf.cookie",
        ),
        (
            with(json!({ "sidecar": { "csrf": { "cookie": "a b" } } })),
            "development",
            "cookie-name",
            "spec.sidecar.csrf.cookie",
        ),
        (
            with(json!({ "sidecar": { "routes": ["/users/{id}", "/users/{name}"] } })),
            "development",
            "route-template",
            "spec.sidecar.routes[1]",
        ),
        (
            with(json!({ "sidecar": { "routes": ["get /users"] } })),
            "development",
            "route-template",
            "spec.sidecar.routes[0]",
        ),
        (
            with(json!({ "sidecar": { "auth": { "jwks": "https://l/jwks", "publicRoutes": ["users"] } } })),
            "development",
            "route-template",
            "spec.sidecar.auth.publicRoutes[0]",
        ),
        (
            with(json!({ "sidecar": { "cors": { "origins": ["https://a.example", "*"] } } })),
            "development",
            "origin",
            "spec.sidecar.cors.origins[1]",
        ),
        (
            with(json!({ "sidecar": { "cors": { "origins": ["https://a.example/"] } } })),
            "development",
            "origin",
            "spec.sidecar.cors.origins[0]",
        ),
        (
            with(json!({ "sidecar": { "hosts": ["a_b"] } })),
            "development",
            "host-name",
            "spec.sidecar.hosts[0]",
        ),
        (
            with(json!({ "sidecar": { "serviceTokens": { "allow": ["media", "a/b/c"] } } })),
            "development",
            "service-name",
            "spec.sidecar.serviceTokens.allow[1]",
        ),
        (
            with(
                json!({ "sidecar": { "auth": { "jwks": "https://a.example/k" }, "serviceTokens": { "required": true } } }),
            ),
            "development",
            "service-tokens-required",
            "spec.sidecar.serviceTokens.required",
        ),
        (
            with(json!({ "sidecar": { "trustedCertificates": {} } })),
            "development",
            "trusted-certificates",
            "spec.sidecar.trustedCertificates",
        ),
        (
            with(json!({ "sidecar": { "kpis": { "users": "active users" } } })),
            "development",
            "metric-name",
            "spec.sidecar.kpis.users",
        ),
        (
            with(json!({ "sidecar": { "healthPath": "healthz" } })),
            "development",
            "url-path",
            "spec.sidecar.healthPath",
        ),
        (
            with(json!({ "sidecar": { "logs": { "sampleRate": 1.5 } } })),
            "development",
            "sample-rate",
            "spec.sidecar.logs.sampleRate",
        ),
        (
            with(json!({ "sidecar": { "migrations": "Prisma" } })),
            "development",
            "migrations-database",
            "spec.sidecar.migrations",
        ),
        (
            with(json!({ "sidecar": { "resources": { "limits": { "nvidia.com/gpu": "1" } } } })),
            "development",
            "sidecar-resource",
            "spec.sidecar.resources.limits.nvidia.com/gpu",
        ),
        (
            with(json!({ "sidecar": { "resources": { "requests": { "memory": "1Gi" } } } })),
            "development",
            "request-above-limit",
            "spec.sidecar.resources.requests.memory",
        ),
        (
            with(json!({ "dependsOn": [{ "name": "users" }] })),
            "development",
            "depends-on-itself",
            "spec.dependsOn[name=users]",
        ),
        (
            with(json!({ "dependsOn": [{ "name": "redis" }] })),
            "development",
            "depends-on-store",
            "spec.dependsOn[name=redis]",
        ),
        (
            with(json!({ "dependsOn": [{ "name": "Media" }] })),
            "development",
            "depends-on-name",
            "spec.dependsOn[name=Media]",
        ),
        (
            with(json!({ "dependsOn": [{ "name": "media" }, { "name": "media", "namespace": "b" }] })),
            "development",
            "depends-on-once",
            "spec.dependsOn[name=media]",
        ),
        (with(json!({})), "crooked", "range", "VisiobookEnvironment crooked: spec.sidecar.trustedProxies[0]"),
        (
            with(json!({})),
            "crooked",
            "secret-name",
            "VisiobookEnvironment crooked: spec.defaults.copiedPullSecrets[0]",
        ),
        (with(json!({})), "crooked", "origin", "VisiobookEnvironment crooked: spec.sidecar.corsOrigins[0]"),
        (with(json!({})), "crooked", "image-reference", "VisiobookEnvironment crooked: spec.sidecar.image"),
        (with(json!({ "ingress": {} })), "development", "ingress-host", "spec.ingress.hosts"),
        (
            with(json!({ "ingress": { "hosts": ["a..b"] } })),
            "development",
            "host-name",
            "spec.ingress.hosts[0]",
        ),
        (
            with(json!({ "ingress": { "hosts": ["10.0.0.1"] } })),
            "development",
            "host-name",
            "spec.ingress.hosts[0]",
        ),
        (
            with(json!({ "ingress": { "hosts": ["api.visiobook.com", "evilvisiobook.com"] } })),
            "domain",
            "ingress-domain",
            "spec.ingress.hosts[1]",
        ),
        (with(json!({ "ingress": { "path": "/a/../b" } })), "domain", "url-path", "spec.ingress.path"),
        (with(json!({ "ingress": { "path": "/a/" } })), "domain", "url-path", "spec.ingress.path"),
        (
            with(json!({ "ingress": { "tls": { "enabled": false } } })),
            "domain",
            "ingress-tls",
            "spec.ingress.tls.enabled",
        ),
        (
            with(json!({ "ingress": { "requestsPerMinute": 10 } })),
            "domain",
            "ingress-limit",
            "spec.ingress.requestsPerMinute",
        ),
        (
            with(
                json!({ "ingress": { "annotations": { "nginx.ingress.kubernetes.io/server-snippet": "x" } } }),
            ),
            "domain",
            "ingress-snippet",
            "spec.ingress.annotations.nginx.ingress.kubernetes.io/server-snippet",
        ),
        (
            with(
                json!({ "ingress": { "preview": true, "hosts": [format!("{}.visiobook.com", "a".repeat(56))] } }),
            ),
            "development",
            "preview-host",
            "spec.ingress.hosts[0]",
        ),
        (
            with(
                json!({ "ingress": { "preview": true, "hosts": ["a.b.c", vec!["a".repeat(49); 5].join(".")] } }),
            ),
            "development",
            "preview-host",
            "spec.ingress.hosts[1]",
        ),
        (
            with(json!({ "ingress": { "preview": true, "hosts": ["*.visiobook.com"] } })),
            "development",
            "preview-host",
            "spec.ingress.hosts[0]",
        ),
        (
            with(json!({ "ingress": { "preview": true, "hosts": ["api.a.com", "preview-api.a.com"] } })),
            "development",
            "preview-host",
            "spec.ingress.hosts[0]",
        ),
        // What its environment asks for, of hosts of its own.
        (
            with(json!({ "ingress": { "hosts": ["visiobook.com"] } })),
            "previewed",
            "preview-host",
            "spec.ingress.hosts[0]",
        ),
        (
            with(json!({ "networkPolicy": { "allowFrom": [{}] } })),
            "development",
            "allow-from",
            "spec.networkPolicy.allowFrom[0]",
        ),
        (
            with(json!({ "pod": { "labels": { "depends-on.platform.visiobook.com/users": "true" } } })),
            "development",
            "label-reserved",
            "spec.pod.labels.depends-on.platform.visiobook.com/users",
        ),
        (
            with(json!({})),
            "crooked",
            "range",
            "VisiobookEnvironment crooked: spec.networkPolicy.egress.ranges[0]",
        ),
        (
            with(json!({ "secrets": { "A": { "name": "s" } } })),
            "development",
            "secret-source",
            "spec.secrets.A",
        ),
        (
            with(json!({ "secrets": { "A": { "name": "s", "key": "a", "remote": { "key": "a" } } } })),
            "vault",
            "secret-source",
            "spec.secrets.A",
        ),
        (
            with(json!({ "secrets": { "A": { "remote": { "key": "a" } } } })),
            "development",
            "secret-store",
            "spec.secrets.A",
        ),
        (
            with(json!({ "secrets": { "A": { "name": "s", "key": "a" } } })),
            "vault",
            "secret-kind",
            "spec.secrets.A",
        ),
        (
            with(json!({ "sidecar": { "auth": { "secret": { "name": "s", "key": "a" } } } })),
            "vault",
            "secret-kind",
            "spec.sidecar.auth.secret",
        ),
        (
            with(
                json!({ "rollout": { "strategy": "BlueGreen", "checks": { "job": { "command": ["check"], "secrets": { "A": { "name": "s", "key": "a" } } } } } }),
            ),
            "vault",
            "secret-kind",
            "spec.rollout.checks.job.secrets",
        ),
        (
            with(
                json!({ "pod": { "volumes": [{ "name": "keys", "secret": { "secretName": "s", "optional": true } }] } }),
            ),
            "vault",
            "secret-kind",
            "spec.pod.volumes",
        ),
        // Nothing is fetched, so whoever made a Secret of that name made it by hand.
        (
            with(
                json!({ "pod": { "volumes": [{ "name": "keys", "secret": { "secretName": "users-secrets" } }] } }),
            ),
            "vault",
            "secret-kind",
            "spec.pod.volumes",
        ),
        (
            with(
                json!({ "sidecar": { "trustedCertificates": { "secret": { "name": "s", "key": "ca.pem" } } } }),
            ),
            "vault",
            "secret-kind",
            "spec.sidecar.trustedCertificates.secret",
        ),
        (
            with(json!({ "secrets": { "A": { "remote": { "key": "a" } } } })),
            "sealed",
            "secret-kind",
            "spec.secrets.A",
        ),
        (with(json!({})), "storeless", "secret-store", "VisiobookEnvironment storeless: spec.secrets.store"),
        (json!({ "image": image }), "missing", "environment-exists", "metadata.namespace"),
    ]
}

fn environment(word: &str) -> EnvironmentFact {
    let spec = match word {
        "missing" => return EnvironmentFact::Missing { name: "nowhere".into() },
        "strict" => json!({
            "type": "production",
            "limits": { "cpu": "8", "memory": "1Gi", "replicas": 5, "minReplicas": 2 },
            "images": { "registries": ["ghcr.io/visiobook"], "requireDigest": true },
        }),
        "vault" => {
            json!({ "type": "production", "secrets": { "kind": "External", "store": { "name": "vault" } } })
        }
        "sealed" => {
            json!({ "type": "staging", "secrets": { "kind": "Sealed", "store": { "name": "vault" } } })
        }
        "storeless" => json!({ "type": "staging", "secrets": { "kind": "External" } }),
        "domain" => {
            json!({ "type": "production", "ingress": { "domain": "visiobook.com", "className": "traefik" } })
        }
        "previewed" => {
            json!({ "type": "production", "ingress": { "domain": "visiobook.com", "preview": true } })
        }
        "crooked" => json!({
            "type": "development",
            "defaults": { "copiedPullSecrets": ["Registry"] },
            "sidecar": { "trustedProxies": ["10.0.0.0/40"], "corsOrigins": ["visiobook.com"], "image": "not an image" },
            "networkPolicy": { "egress": { "ranges": ["10.0.0.0"] } },
        }),
        type_ => json!({ "type": type_ }),
    };
    EnvironmentFact::Governed { name: word.into(), spec: serde_json::from_value(spec).expect("environment") }
}

fn case(name: &str, spec: Value, word: &str) -> Case {
    let service = json!({
        "apiVersion": "platform.visiobook.com/v1alpha1",
        "kind": "VisiobookService",
        "metadata": { "name": name, "namespace": "test" },
        "spec": spec,
    });
    Case { service: serde_json::from_value(service).expect("service"), environment: environment(word) }
}

#[test]
fn every_bad_input_is_refused_by_name() {
    let mut wrong = Vec::new();
    for (spec, word, rule, field) in table() {
        let refusals =
            case("users", spec.clone(), word).verdict().expect_err(&format!("{rule} lets through {spec}"));
        if !refusals
            .iter()
            .any(|refusal| refusal.rule == rule && refusal.field == field && refusal.message.len() > 10)
        {
            wrong.push(format!("{rule} on {field}: told {refusals:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_that_children_could_not_have_are_refused() {
    let good = json!({ "image": "ghcr.io/visiobook/users:1.0" });
    for (name, rule) in
        [(LONG, "name-length"), ("users-blue", "name-ending"), ("users-preview", "name-ending")]
    {
        let refusals = case(name, good.clone(), "development").verdict().expect_err(name);
        assert_eq!(refusals[0].rule, rule, "{name}");
    }
    assert!(case("users", good, "development").verdict().is_ok());
}

#[test]
fn all_refusals_are_told_at_once() {
    let spec = json!({ "image": "a:latest", "port": 9090, "gpu": { "count": 1 }, "env": { "PORT": "1" } });
    let refusals = case("users-green", spec, "strict").verdict().expect_err("refused");
    let rules: Vec<&str> = refusals.iter().map(|refusal| refusal.rule).collect();
    assert_eq!(
        rules,
        [
            "name-ending",
            "port-once",
            "variable-reserved",
            "image-tag",
            "image-digest",
            "image-registry",
            "replicas-ceiling"
        ]
    );
}

#[test]
fn secrets_that_are_too_short_for_production_are_held_back() {
    use visiobook::facts::SecretFact;
    let spec = json!({ "image": "ghcr.io/visiobook/users:1.0", "secrets": { "JWT_SECRET": { "name": "s", "key": "jwt" }, "ENCRYPTION_KEY": { "name": "s", "key": "enc" } } });
    for (word, expected) in [("production", 2), ("development", 0)] {
        let case = case("users", spec.clone(), word);
        let mut facts = case.facts();
        for fact in facts.secrets.values_mut() {
            *fact = SecretFact::Present { digest: "k:d".into(), length: 31 };
        }
        let decision = visiobook::rollout::step(&case.verdict(), &facts);
        assert_eq!(decision.held.len(), expected, "{word}: {:?}", decision.held);
    }
}

#[test]
fn an_environment_may_put_any_image_beside_its_services() {
    let spec = json!({ "image": format!("ghcr.io/visiobook/users@sha256:{}", "a".repeat(64)) });
    let environment = json!({
        "type": "production", "images": { "registries": ["ghcr.io/visiobook"], "requireDigest": true },
        "sidecar": { "image": "registry.local/visiobook:latest" },
    });
    let mut case = case("users", spec, "strict");
    case.environment = EnvironmentFact::Governed {
        name: "strict".into(),
        spec: serde_json::from_value(environment).expect("environment"),
    };
    assert_eq!(case.verdict().err(), None);
}

#[test]
fn a_number_of_services_at_once_that_is_none_is_refused_by_the_crd() {
    let refused = |most: Value| {
        let environment = json!({
            "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookEnvironment",
            "metadata": { "name": "production" },
            "spec": { "type": "production", "rollout": { "waves": { "maxConcurrent": most } } },
        });
        let documents = manifest::read(&environment.to_string()).expect("a document");
        let files = [manifest::File { name: "production.yaml".into(), documents }];
        let gathered = manifest::gather(&files, None, "default");
        manifest::examine_environment(&gathered.environments[0]).1
    };
    for most in [json!(1), json!(9999), json!("1%"), json!("100%"), json!("25%")] {
        assert_eq!(refused(most.clone()), [], "{most}");
    }
    for most in [json!(0), json!(-1), json!(10_000), json!("0%"), json!("101%"), json!("half"), json!("")] {
        let findings = refused(most.clone());
        let told = findings.iter().any(|finding| {
            finding.rule == "crd-rule"
                && finding.field == "spec.rollout.waves"
                && finding.message.contains("a number from 1 to 9999, or 1% to 100%")
        });
        assert!(told, "{most}: {findings:?}");
    }
    assert_eq!(refused(json!(0.5))[0].rule, "schema-type");
}
