//! The contract suite against a service in the cluster.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;

use super::Site;
use super::exchange::address;

/// What `visiobook conformance` says of a service: nothing is wrong.
pub async fn conform(site: &Site, name: &str, spec: Value, token: Option<&str>) {
    let traffic = address(site, name, 80).await;
    conform_at(name, traffic, spec, token);
}

/// The same at one address: what a pod has counted, another one does not show.
pub fn conform_at(name: &str, traffic: SocketAddr, spec: Value, token: Option<&str>) {
    let file = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(file.path(), spec.to_string()).expect("spec");
    let mut suite = Command::new(env!("CARGO_BIN_EXE_visiobook"));
    suite
        .args(["conformance", "--url", &format!("http://{traffic}")])
        .args(["--contract-url", &format!("http://{}:9090", traffic.ip())])
        .arg("--spec")
        .arg(file.path())
        .envs(token.map(|token| ("CONFORMANCE_TOKEN", token)));
    let output = suite.output().expect("conformance");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{name}:\n{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!text.contains("\nfail"), "{text}");
}
