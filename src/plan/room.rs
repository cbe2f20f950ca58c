//! Whether what is about to start fits into the quotas of its namespace: said before it starts, for a release that does
//! not fit only ends at its deadline.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Plan;
use crate::api::kinds::Kind;
use crate::api::quantity::Quantity;
use crate::facts::QuotaFact;

/// What does not fit, one by one. `revision` is the name of the ControllerRevision whose pods start beside those that
/// serve, as many as these.
pub fn lacks(plan: &Plan, revision: &str, quotas: &[QuotaFact]) -> Vec<String> {
    let find = |kind: Kind, named: &dyn Fn(&str) -> bool| {
        plan.objects.iter().find(|it| it.kind == kind && named(&it.name)).map(|it| &it.object)
    };
    let new = find(Kind::ControllerRevision, &|name| name == revision);
    let (Some(new), Some(serving)) = (new, find(Kind::Deployment, &|_| true)) else { return Vec::new() };
    let pods = serving["spec"]["replicas"].as_i64().unwrap_or(0);
    let needed = needed(&new["data"]["template"]["spec"], pods);
    let mut lacks = Vec::new();
    for quota in quotas {
        for (resource, (hard, used)) in &quota.resources {
            // Without a prefix requests are meant.
            let prefixed = format!("requests.{resource}");
            let wanted = needed.get(resource.as_str()).or_else(|| needed.get(prefixed.as_str()));
            let read = |text: &str| Quantity::parse(text).ok();
            if let (Some(wanted), Some(most), Some(taken)) = (wanted, read(hard), read(used))
                && taken.plus(*wanted) > most
            {
                lacks.push(format!(
                    "ResourceQuota {} allows {hard} of {resource}, of which {used} is taken; {pods} pods more need {wanted}",
                    quota.name
                ));
            }
        }
    }
    lacks
}

/// What so many pods take together, in the words of a ResourceQuota.
fn needed(pod: &Value, pods: i64) -> BTreeMap<String, Quantity> {
    let mut needed = BTreeMap::new();
    let mut add = |name: String, amount: Option<Quantity>| {
        if let Some(amount) = amount.map(|amount| amount.times(pods)) {
            let sum = needed.get(&name).map_or(amount, |before: &Quantity| before.plus(amount));
            needed.insert(name, sum);
        }
    };
    add("pods".into(), Quantity::parse("1").ok());
    let all = |field: &str| pod[field].as_array().cloned().unwrap_or_default();
    let stays = |container: &Value| container["restartPolicy"] == "Always";
    for container in all("initContainers").into_iter().filter(stays).chain(all("containers")) {
        for part in ["requests", "limits"] {
            for (resource, amount) in container["resources"][part].as_object().into_iter().flatten() {
                let amount = amount.as_str().and_then(|text| Quantity::parse(text).ok());
                add(format!("{part}.{resource}"), amount);
            }
        }
    }
    needed
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Planned;
    use super::*;

    fn quota(resource: &str, hard: &str, used: &str) -> QuotaFact {
        let resources = [(resource.to_string(), (hard.to_string(), used.to_string()))].into();
        QuotaFact { name: "team".into(), resources }
    }

    #[test]
    fn a_second_colour_that_does_not_fit_is_told_with_the_quota_and_the_numbers() {
        let container = |cpu: &str| json!({ "resources": { "requests": { "cpu": cpu, "nvidia.com/gpu": "1" }, "limits": { "cpu": "1" } } });
        let mut sidecar = container("50m");
        sidecar["restartPolicy"] = "Always".into();
        let spec = json!({ "initContainers": [sidecar], "containers": [container("100m")] });
        let planned = |kind, name: &str, object| Planned { kind, name: name.into(), manager: "m", object };
        let revision = json!({ "data": { "template": { "spec": spec } } });
        let objects = vec![
            planned(Kind::ControllerRevision, "users-bbbbbbbbbb", revision),
            planned(Kind::Deployment, "users-blue", json!({ "spec": { "replicas": 3 } })),
        ];
        let plan = Plan { objects, ..Plan::default() };
        let lacks = |quota: QuotaFact| lacks(&plan, "users-bbbbbbbbbb", &[quota]);
        assert_eq!(
            lacks(quota("requests.cpu", "800m", "400m")),
            ["ResourceQuota team allows 800m of requests.cpu, of which 400m is taken; 3 pods more need 450m"]
        );
        for fits in [
            quota("requests.cpu", "850m", "400m"),
            quota("pods", "6", "3"),
            quota("limits.cpu", "6", "0"),
            quota("services", "1", "1"),
        ] {
            assert!(lacks(fits.clone()).is_empty(), "{fits:?}");
        }
        for short in [
            quota("pods", "5", "3"),
            quota("cpu", "400m", "0"),
            quota("limits.cpu", "5", "0"),
            quota("requests.nvidia.com/gpu", "8", "3"),
        ] {
            assert_eq!(lacks(short.clone()).len(), 1, "{short:?}");
        }
        assert!(super::lacks(&plan, "users-aaaaaaaaaa", &[quota("pods", "0", "0")]).is_empty());
    }
}
