//! The sidecar that resource and environment come to, the resource first.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::api::quantity::canonical;
use crate::api::{
    Cors, EnvironmentSidecar, RateLimit, Sidecar, SidecarLogs, SidecarMode, VisiobookServiceSpec,
};

type Quantities = BTreeMap<String, String>;

/// What resource and environment say; what neither says is absent. Where no request passes through, nothing of the
/// environment's that concerns requests is in it.
pub(super) fn merge(spec: &VisiobookServiceSpec, environment: Option<&EnvironmentSidecar>) -> Sidecar {
    let mut sidecar = spec.sidecar.as_deref().cloned().unwrap_or_default();
    let mode = spec.sidecar_mode();
    // What everybody takes for granted stays out of the revision.
    sidecar.mode = sidecar.mode.or((mode != SidecarMode::default()).then_some(mode));
    let Some(environment) = environment else {
        sidecar.resources = sidecar.resources.map(|said| resources([Some(&said), None]));
        return sidecar;
    };
    if mode == SidecarMode::Off {
        return sidecar;
    }
    sidecar.resources = match (&environment.resources, &sidecar.resources) {
        (None, None) => None,
        (environment, said) => Some(resources([environment.as_ref(), said.as_ref()])),
    };
    if mode == SidecarMode::Proxy {
        if sidecar.cors.is_none() && !environment.cors_origins.is_empty() {
            sidecar.cors = Some(Cors { origins: environment.cors_origins.clone() });
        }
        sidecar.compression = sidecar.compression.or(environment.compression);
        if let Some(limit) = &environment.rate_limit {
            let said = sidecar.rate_limit.get_or_insert_with(RateLimit::default);
            said.requests_per_minute = said.requests_per_minute.or(Some(limit.requests_per_minute));
        }
        if let Some(rate) = environment.log_sample_rate {
            let said = sidecar.logs.get_or_insert_with(SidecarLogs::default);
            said.sample_rate = said.sample_rate.or(Some(rate));
        }
    }
    sidecar
}

/// Requests and limits of a sidecar, with its defaults under them: little, and no ceiling of CPU, which would only
/// delay the requests of the application.
pub fn built_in(said: Option<&ResourceRequirements>) -> (Quantities, Quantities) {
    let of = |parts: &[(&str, &str)], said: Option<&BTreeMap<String, Quantity>>| {
        let mut whole: Quantities =
            parts.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        whole.extend(said.into_iter().flatten().map(|(key, value)| (key.clone(), canonical(&value.0))));
        whole
    };
    let part = |part: fn(&ResourceRequirements) -> Option<&BTreeMap<String, Quantity>>| said.and_then(part);
    (
        of(&[("cpu", "10m"), ("memory", "16Mi")], part(|said| said.requests.as_ref())),
        of(&[("memory", "64Mi")], part(|said| said.limits.as_ref())),
    )
}

/// Requests and limits, the later over the earlier, as the API server spells them.
fn resources(parts: [Option<&ResourceRequirements>; 2]) -> ResourceRequirements {
    let mut whole = ResourceRequirements::default();
    for part in parts.into_iter().flatten() {
        for (into, more) in [(&mut whole.requests, &part.requests), (&mut whole.limits, &part.limits)] {
            let more = more.iter().flatten().map(|(key, value)| (key.clone(), Quantity(canonical(&value.0))));
            into.get_or_insert_default().extend(more);
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(said: serde_json::Value, environment: serde_json::Value) -> serde_json::Value {
        let spec = VisiobookServiceSpec {
            sidecar: Some(serde_json::from_value(said).unwrap()),
            ..VisiobookServiceSpec::default()
        };
        let environment: EnvironmentSidecar = serde_json::from_value(environment).unwrap();
        serde_json::to_value(merge(&spec, Some(&environment))).unwrap()
    }

    #[test]
    fn the_resource_comes_before_its_environment_part_by_part() {
        let environment = json!({
            "image": "registry.local/visiobook:1", "corsOrigins": ["https://a.example"], "compression": true,
            "trustedProxies": ["10.0.0.0/8"], "rateLimit": { "requestsPerMinute": 600 }, "logSampleRate": 0.1,
            "resources": { "requests": { "cpu": "20m" }, "limits": { "memory": "1024Mi" } },
        });
        let said = json!({ "compression": false, "rateLimit": { "burst": 7 }, "resources": { "requests": { "cpu": "0.05" } } });
        assert_eq!(
            merged(said, environment.clone()),
            json!({
                "compression": false, "cors": { "origins": ["https://a.example"] }, "logs": { "sampleRate": 0.1 },
                "rateLimit": { "requestsPerMinute": 600, "burst": 7 },
                "resources": { "requests": { "cpu": "50m" }, "limits": { "memory": "1Gi" } },
            })
        );
        assert_eq!(merged(json!({ "mode": "Off" }), environment.clone()), json!({ "mode": "Off" }));
        // As the API server stores it.
        assert_eq!(
            merged(json!({}), json!({ "logSampleRate": 1.0 })),
            json!({ "logs": { "sampleRate": 1 } })
        );
        let observe = merged(json!({ "mode": "Observe" }), environment);
        assert_eq!(observe.as_object().unwrap().keys().collect::<Vec<_>>(), ["mode", "resources"]);
    }
}
