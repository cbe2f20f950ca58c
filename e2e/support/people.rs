//! People, as the API server knows them: by impersonation, under nobody's rights but their own.

use kube::{Client, Config};
use serde_json::{Value, json};

use super::{Site, kubectl};

/// A client that speaks as somebody.
pub async fn client_of(user: &str, groups: &[&str]) -> Client {
    let mut config = Config::infer().await.expect("KUBECONFIG");
    config.auth_info.impersonate = Some(user.to_string());
    let everybody = if user.starts_with("system:serviceaccount:") {
        vec!["system:serviceaccounts", "system:authenticated"]
    } else {
        vec!["system:authenticated"]
    };
    let groups = groups.iter().copied().chain(everybody).map(str::to_string).collect();
    config.auth_info.impersonate_groups = Some(groups);
    Client::try_from(config).expect("client")
}

/// Rights in the whole cluster for one subject, as a cluster's admin would grant them. They go when it is dropped.
pub struct Rights {
    name: String,
}

impl Rights {
    /// Grant these rules to a subject.
    pub fn grant(site: &Site, name: &str, rules: Value, subject: Value) -> Rights {
        let name = format!("e2e:{}:{name}", site.namespace);
        let group = "rbac.authorization.k8s.io";
        let role = json!({
            "apiVersion": format!("{group}/v1"), "kind": "ClusterRole", "metadata": { "name": name }, "rules": rules,
        });
        let binding = json!({
            "apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": { "name": name },
            "roleRef": { "apiGroup": group, "kind": "ClusterRole", "name": name }, "subjects": [subject],
        });
        for object in [role, binding] {
            kubectl(&["apply", "--server-side", "-f", "-"], Some(&object.to_string()));
        }
        Rights { name }
    }
}

impl Drop for Rights {
    fn drop(&mut self) {
        kubectl(&["delete", "clusterrole,clusterrolebinding", &self.name, "--ignore-not-found"], None);
    }
}
