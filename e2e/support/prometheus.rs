//! A real Prometheus beside the cluster: it scrapes what ServiceMonitors ask for and evaluates what PrometheusRules hold.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::beside::{Beside, free_port};
use super::eventually;

/// Runs until it is dropped.
pub struct Prometheus {
    _server: Beside,
    /// Lets Prometheus speak to the API server, and through it to the kubelets, without keys of its own.
    _proxy: Beside,
    _folder: TempDir,
    address: String,
    tools: String,
}

impl Prometheus {
    /// One that scrapes what these ServiceMonitors select, the kubelets' cAdvisor, and an operator that runs as a process,
    /// and evaluates these rules.
    pub async fn start(monitors: &[Value], rules: &[Value], operator: SocketAddr) -> Prometheus {
        let tools = super::tools("prometheus").await.display().to_string();
        let folder = tempfile::tempdir().expect("folder");
        let (port, proxied) = (free_port(), free_port());
        let api = format!("http://127.0.0.1:{proxied}");
        let mut jobs: Vec<Value> = monitors.iter().flat_map(|monitor| jobs(monitor, &api)).collect();
        jobs.extend([kubelets(&api, proxied), process(operator)]);
        let files: Vec<String> = (0..)
            .zip(rules)
            .map(|(number, rule)| write(&folder, &format!("rule-{number}.yaml"), &rule["spec"]))
            .collect();
        let config = json!({
            "global": { "scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "2s" },
            "rule_files": files,
            "scrape_configs": jobs,
        });
        let config = write(&folder, "prometheus.yaml", &config);
        let address = format!("127.0.0.1:{port}");
        let proxy = Beside::start(Path::new("kubectl"), &["proxy".into(), format!("--port={proxied}")]);
        let server = Beside::start(
            &Path::new(&tools).join("prometheus"),
            &[
                format!("--config.file={config}"),
                format!("--storage.tsdb.path={}", folder.path().join("data").display()),
                format!("--web.listen-address=0.0.0.0:{port}"),
            ],
        );
        let prometheus = Prometheus { _server: server, _proxy: proxy, _folder: folder, address, tools };
        eventually("Prometheus answers", || async { prometheus.try_query("vector(1)").map(drop) }).await;
        prometheus
    }

    /// Where it is, from here.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where pods reach it: at the address by which this machine speaks to their node.
    pub async fn url_for_pods(&self, client: &kube::Client) -> String {
        let nodes: Api<Node> = Api::all(client.clone());
        let nodes = nodes.list(&ListParams::default()).await.expect("nodes");
        let addresses = nodes.items.into_iter().flat_map(|node| node.status?.addresses).flatten();
        let node = addresses.into_iter().find(|address| address.type_ == "InternalIP").expect("an address");
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        socket.connect((node.address, 9)).expect("a route");
        let here = socket.local_addr().expect("an address").ip();
        format!("http://{here}:{}", self.address.rsplit(':').next().expect("a port"))
    }

    /// The series that an expression yields now.
    pub fn query(&self, expression: &str) -> Vec<Value> {
        self.try_query(expression).unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    fn try_query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let url = self.url();
        let output = Command::new(format!("{}/promtool", self.tools))
            .args(["query", "instant", "--format=json", &url, expression])
            .output()
            .map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}: {:?}", output.stdout))
    }

    /// Wait until an expression yields something that is a number.
    pub async fn until(&self, expression: &str) -> Vec<Value> {
        eventually(expression, || async {
            match self.try_query(expression) {
                Ok(series) if series.iter().any(|one| one["value"][1] != "NaN") => Ok(series),
                other => Err(other),
            }
        })
        .await
    }
}

fn write(folder: &TempDir, name: &str, content: &Value) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, content.to_string()).expect("file");
    path.display().to_string()
}

/// What the Prometheus operator makes of a ServiceMonitor, but for the interval, which would try a test's patience.
fn jobs(monitor: &Value, api: &str) -> Vec<Value> {
    let text = |value: &Value| value.as_str().expect("text").to_string();
    let (namespace, name) = (text(&monitor["metadata"]["namespace"]), text(&monitor["metadata"]["name"]));
    let label = |label: &str| {
        let label: String = label.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        format!("__meta_kubernetes_service_label_{label}")
    };
    let endpoints = monitor["spec"]["endpoints"].as_array().expect("endpoints").iter();
    let job = |endpoint: &Value| {
        let mut relabel: Vec<Value> = monitor["spec"]["selector"]["matchLabels"]
            .as_object()
            .expect("labels")
            .iter()
            .map(|(key, value)| json!({ "action": "keep", "source_labels": [label(key)], "regex": value }))
            .collect();
        relabel.extend([
            json!({ "action": "keep", "source_labels": ["__meta_kubernetes_endpointslice_port_name"], "regex": endpoint["port"] }),
            json!({ "source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace" }),
            json!({ "source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod" }),
            json!({ "source_labels": ["__meta_kubernetes_service_name"], "target_label": "service" }),
            json!({ "source_labels": [label(&text(&monitor["spec"]["jobLabel"]))], "target_label": "job" }),
        ]);
        json!({
            "job_name": format!("serviceMonitor/{namespace}/{name}"),
            "metrics_path": endpoint["path"],
            "honor_labels": endpoint["honorLabels"].as_bool().unwrap_or(false),
            "kubernetes_sd_configs": [{ "role": "endpointslice", "api_server": api, "namespaces": { "names": [namespace] } }],
            "relabel_configs": relabel,
        })
    };
    endpoints.map(job).collect()
}

/// An operator that is no pod, under the labels that it would have as one.
fn process(operator: SocketAddr) -> Value {
    let labels = json!({ "namespace": "visiobook-system", "job": "visiobook-operator", "pod": "operator" });
    json!({
        "job_name": "operator",
        // As config/monitoring/service-monitor.yaml has it.
        "honor_labels": true,
        "static_configs": [{ "targets": [operator.to_string()], "labels": labels }],
    })
}

/// What the kubelets know of containers, fetched through the API server.
fn kubelets(api: &str, proxied: u16) -> Value {
    json!({
        "job_name": "kubelet",
        "scrape_interval": "5s",
        "kubernetes_sd_configs": [{ "role": "node", "api_server": api }],
        "relabel_configs": [
            { "source_labels": ["__meta_kubernetes_node_name"], "target_label": "__metrics_path__", "replacement": "/api/v1/nodes/${1}/proxy/metrics/cadvisor" },
            { "target_label": "__address__", "replacement": format!("127.0.0.1:{proxied}") },
        ],
    })
}
