//! Operators that a test starts, starves, freezes and kills: the real program, under the rights that `config/rbac`
//! ships and no others.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::proxy::Proxy;
use super::{PATIENCE, Site, eventually, kubectl};

/// The command line as it is built with these tests; with VISIOBOOK_PROGRAMS, as it lies in that folder beside the
/// programs of the image.
pub static BINARY: LazyLock<PathBuf> = LazyLock::new(|| match std::env::var_os("VISIOBOOK_PROGRAMS") {
    Some(folder) => Path::new(&folder).join("visiobook"),
    None => env!("CARGO_BIN_EXE_visiobook").into(),
});

/// Run the command line, and answer its exit code and everything it printed.
pub fn visiobook(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(&*BINARY).args(arguments).output().expect("the binary");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().expect("an exit code"), String::from_utf8_lossy(&text).into_owned())
}

/// The operator's image in the cluster of the tests.
pub const SIDECAR_IMAGE: &str = "ghcr.io/visiobook/visiobook:dev";

/// A namespace with an account for an operator that looks after it, and lives in it.
pub struct Stage {
    pub site: Site,
    files: TempDir,
    token: String,
}

impl Stage {
    /// A namespace whose services have no pods unless they ask for some: what is tested here is what is written.
    pub async fn new(name: &str) -> Stage {
        Stage::governed(name, json!({ "type": "development", "defaults": { "replicas": 0 } })).await
    }

    /// A namespace under an environment with this spec.
    pub async fn governed(name: &str, environment: Value) -> Stage {
        let site = Site::new(name, environment).await;
        site.apply_object(digest_key()).await;
        site.apply_object(signing_keys()).await;
        site.apply_object(
            json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "operator" } }),
        )
        .await;
        for role in shipped_roles(&site.namespace) {
            site.apply_object(role).await;
        }
        let token = token(&site).await;
        let stage = Stage { site, files: tempfile::tempdir().expect("folder"), token };
        stage.wait_for_rights().await;
        stage
    }

    /// The name under which the API server knows the operator.
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{}:operator", self.site.namespace)
    }

    /// Start an operator that speaks through a proxy.
    pub fn operator(&self, proxy: &Proxy) -> Operator {
        self.launch(Launch { proxy: Some(proxy), ..Launch::default() })
    }

    /// Start an operator.
    pub fn launch(&self, launch: Launch<'_>) -> Operator {
        let name = format!("{}-{}", launch.identity, self.files.path().read_dir().expect("folder").count());
        let kubeconfig = self.files.path().join(format!("{name}.kubeconfig"));
        std::fs::write(&kubeconfig, self.kubeconfig(launch.proxy).to_string()).expect("kubeconfig");
        let log = self.files.path().join(format!("{name}.log"));
        let output = File::create(&log).expect("log");
        let [lease, renew, retry] = launch.pace.seconds();
        let mut command = Command::new(launch.binary);
        command
            .args(["operator", "--namespace", &self.site.namespace, "--own-namespace", &self.site.namespace])
            .args(["--identity", launch.identity, "--admin-address", "127.0.0.1:0"])
            .args(["--lease-seconds", lease, "--renew-seconds", renew, "--retry-seconds", retry])
            .args(launch.more)
            .env("KUBECONFIG", &kubeconfig)
            // It is no pod, so it cannot know its image.
            .env("VISIOBOOK_IMAGE", SIDECAR_IMAGE)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("log"))
            .stderr(output);
        Operator { child: command.spawn().expect("the operator"), log }
    }

    /// Who holds the lease.
    pub async fn leader(&self) -> Option<String> {
        let leases: Api<Lease> = Api::namespaced(self.site.client.clone(), &self.site.namespace);
        let lease = leases.get_opt("visiobook-operator").await.expect("lease")?;
        lease.spec?.holder_identity.filter(|holder| !holder.is_empty())
    }

    /// Wait until the lease is held by somebody.
    pub async fn led_by(&self, identity: &str) {
        eventually(&format!("{identity} to lead"), || async {
            let leader = self.leader().await;
            if leader.as_deref() == Some(identity) { Ok(()) } else { Err(leader) }
        })
        .await;
    }

    /// How an operator finds the API server: the kubeconfig of the tests, or a proxy, with the operator's token.
    fn kubeconfig(&self, proxy: Option<&Proxy>) -> Value {
        let cluster = match proxy {
            Some(proxy) => json!({ "server": format!("http://{}", proxy.address) }),
            None => serde_json::to_value(cluster()).expect("cluster"),
        };
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "operator" } }],
            "clusters": [{ "name": "test", "cluster": cluster }],
            "users": [{ "name": "operator", "user": { "token": self.token } }],
        })
    }

    /// An API server learns of new roles a moment after they are stored.
    async fn wait_for_rights(&self) {
        let kubeconfig: Kubeconfig = serde_json::from_value(self.kubeconfig(None)).expect("kubeconfig");
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .expect("config");
        let reviews: Api<SelfSubjectAccessReview> = Api::all(kube::Client::try_from(config).expect("client"));
        for (group, resource, verb, namespace) in [
            ("", "namespaces", "watch", None),
            ("platform.visiobook.com", "visiobookservices", "watch", Some(&self.site.namespace)),
            ("coordination.k8s.io", "leases", "create", Some(&self.site.namespace)),
        ] {
            let attributes = ResourceAttributes {
                group: Some(group.into()),
                resource: Some(resource.into()),
                verb: Some(verb.into()),
                namespace: namespace.cloned(),
                ..ResourceAttributes::default()
            };
            let spec =
                SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
            let review = SelfSubjectAccessReview { spec, ..Default::default() };
            eventually("the operator's rights", || async {
                let answer = reviews.create(&PostParams::default(), &review).await;
                match answer {
                    Ok(answer) if answer.status.as_ref().is_some_and(|status| status.allowed) => Ok(()),
                    other => Err(other.map(|answer| answer.status)),
                }
            })
            .await;
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // What is in the namespace goes with it.
        if !std::thread::panicking() {
            let name = format!("e2e:{}", self.site.namespace);
            kubectl(&["delete", "clusterrole,clusterrolebinding", &name, "--ignore-not-found"], None);
        }
    }
}

/// How an operator starts.
pub struct Launch<'a> {
    pub binary: &'a Path,
    pub identity: &'a str,
    pub proxy: Option<&'a Proxy>,
    pub pace: Pace,
    pub more: &'a [&'a str],
}

impl Default for Launch<'_> {
    fn default() -> Self {
        Launch { binary: &BINARY, identity: "operator", proxy: None, pace: Pace::Usual, more: &[] }
    }
}

/// How fast a silent leader is replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As installed.
    Usual,
    /// Within seconds, for tests that wait for it.
    Quick,
    /// Late, for tests in which the API server is away.
    Patient,
    /// As late as installed, but a lease that is given back is taken at once.
    Eager,
}

impl Pace {
    fn seconds(self) -> [&'static str; 3] {
        match self {
            Pace::Usual => ["15", "10", "2"],
            Pace::Quick => ["8", "6", "1"],
            Pace::Patient => ["90", "80", "1"],
            Pace::Eager => ["15", "10", "0.5"],
        }
    }
}

/// An operator that runs. It is killed when it is dropped.
pub struct Operator {
    child: Child,
    log: PathBuf,
}

impl Operator {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stop it without a warning: SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Let it do nothing, as on a node that hangs: SIGSTOP.
    pub fn freeze(&self) {
        signal(self.pid(), "STOP");
    }

    /// Let it go on: SIGCONT.
    pub fn thaw(&self) {
        signal(self.pid(), "CONT");
    }

    /// Ask it to end, as a kubelet does: SIGTERM.
    pub fn terminate(&self) {
        signal(self.pid(), "TERM");
    }

    /// Wait for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("child") {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "the operator does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether it runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("child").is_none()
    }

    /// What it logged.
    pub fn log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Wait until it reconciles.
    pub async fn leads(&self) {
        eventually("the operator to lead", || async {
            let log = self.log();
            let leads =
                |line: &Value| line["message"] == "leading" && line["target"] == "visiobook::operator";
            if log.iter().any(leads) { Ok(()) } else { Err(log.last().cloned()) }
        })
        .await;
    }

    /// Wait until it stands by.
    pub async fn waits(&self) {
        eventually("the standby to wait", || async {
            let log = self.log();
            let waits = log.iter().any(|line| line["message"] == "caches are filled; waiting for the lease");
            if waits { Ok(()) } else { Err(log.last().cloned()) }
        })
        .await;
    }

    /// Where it serves health and metrics.
    pub fn admin(&self) -> SocketAddr {
        let log = self.log();
        let line =
            log.iter().find(|line| line["message"] == "admin server listens").expect("an admin server");
        line["address"].as_str().and_then(|address| address.parse().ok()).expect("address")
    }

    /// What it shows on /metrics.
    pub async fn metrics(&self) -> String {
        let (mut connection, mut answer) =
            (TcpStream::connect(self.admin()).await.expect("admin server"), String::new());
        connection.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.expect("request");
        connection.read_to_string(&mut answer).await.expect("answer");
        answer.split_once("\r\n\r\n").expect("a body").1.to_string()
    }

    /// Memory that it holds, in KiB.
    pub fn resident(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a running operator");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let text = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let last = lines[lines.len().saturating_sub(60)..].join("\n");
            eprintln!("--- {}\n{last}\n---", self.log.display());
        }
    }
}

/// Send a signal to a process.
pub fn signal(pid: u32, name: &str) {
    // It may have ended by itself.
    let _ = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
}

/// The cluster of the tests' kubeconfig.
fn cluster() -> kube::config::Cluster {
    let kubeconfig = Kubeconfig::read().expect("KUBECONFIG");
    let current = kubeconfig.current_context.as_deref().expect("a current context");
    let context = kubeconfig
        .contexts
        .iter()
        .find(|named| named.name == current)
        .and_then(|named| named.context.as_ref());
    let name = &context.expect("context").cluster;
    let cluster =
        kubeconfig.clusters.iter().find(|named| named.name == *name).and_then(|named| named.cluster.clone());
    cluster.expect("cluster")
}

/// The key of all digests, the same in every namespace, so that what two operators make of one secret is equal.
fn digest_key() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "visiobook-operator-digest-key" },
        "stringData": { "key": "the same thirty-two bytes always" },
    })
}

/// A key that signs tokens of services, so that an operator that starts has nothing to make.
fn signing_keys() -> Value {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    let now = jiff::Timestamp::now().as_second();
    let key = json!({
        "kid": "first", "made": now, "signs": now,
        "private": pair.serialize_pem(), "public": pair.public_key_pem(),
    });
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "visiobook-operator-signing-keys" },
        "stringData": { "keys.json": json!([key]).to_string() },
    })
}

/// What `config/rbac` grants, to the account of a test's own namespace. A copy: the tests need no installation.
fn shipped_roles(namespace: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/rbac");
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).expect("config/rbac");
    let documents = |text: String| -> Vec<Value> { serde_saphyr::from_multiple(&text).expect("YAML") };
    let subject = json!({ "kind": "ServiceAccount", "name": "operator", "namespace": namespace });
    ["cluster-role.yaml", "role.yaml"]
        .into_iter()
        .flat_map(|file| documents(read(file)))
        .map(|mut document| {
            let wide = document["kind"].as_str().is_some_and(|kind| kind.starts_with("Cluster"));
            let name = if wide { format!("e2e:{namespace}") } else { "operator".to_string() };
            document["metadata"] = json!({ "name": name });
            if document["roleRef"].is_object() {
                document["roleRef"]["name"] = name.into();
                document["subjects"] = json!([subject]);
            }
            document
        })
        .collect()
}

async fn token(site: &Site) -> String {
    let accounts: Api<ServiceAccount> = Api::namespaced(site.client.clone(), &site.namespace);
    let spec = TokenRequestSpec { expiration_seconds: Some(7200), ..TokenRequestSpec::default() };
    let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let answer =
        accounts.create_token_request("operator", &PostParams::default(), &request).await.expect("token");
    answer.status.and_then(|status| status.token).expect("token")
}
