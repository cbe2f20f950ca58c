//! An Argo CD of a test's own: the real repository server, controller and API server as processes, in a namespace of
//! their own, for one namespace of services. Its CRDs stay, as the next test needs them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use kube::api::{Api, ApiResource, DynamicObject};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::beside::{established, free_port as port};
use super::operator::signal;
use super::{Site, eventually, kubectl, root, run, tools};

/// What `config/argocd` tells it of our kinds.
pub const SETTINGS: &str = "config/argocd/argocd-cm.yaml";

/// See the module. Its processes end when it is dropped.
pub struct ArgoCd {
    pub namespace: String,
    bin: PathBuf,
    files: TempDir,
    processes: Vec<Child>,
    applications: Api<DynamicObject>,
    server: u16,
}

impl ArgoCd {
    /// One that looks after the namespace of a site.
    pub async fn start(site: &Site) -> ArgoCd {
        let folder = tools("argocd").await;
        let namespace = format!("{}-argocd", site.namespace);
        let definitions =
            ["applications", "appprojects", "applicationsets"].map(|name| format!("{name}.argoproj.io"));
        let crds = folder.with_file_name("crds");
        for crd in ["application-crd", "appproject-crd", "applicationset-crd"] {
            let path = crds.join(format!("{crd}.yaml"));
            kubectl(&["apply", "--server-side", "-f", path.to_str().expect("a path")], None);
        }
        for definition in &definitions {
            established(&format!("crd/{definition}")).await;
        }
        kubectl(&["create", "namespace", &namespace], None);
        let resource = ApiResource {
            group: "argoproj.io".into(),
            version: "v1alpha1".into(),
            api_version: "argoproj.io/v1alpha1".into(),
            kind: "Application".into(),
            plural: "applications".into(),
        };
        let applications = Api::namespaced_with(site.client.clone(), &namespace, &resource);
        let files = tempfile::tempdir().expect("folder");
        let mut argocd =
            ArgoCd { namespace, bin: folder, files, processes: vec![], applications, server: port() };
        argocd.configure(site);
        argocd.git(&["init", "--quiet", "--initial-branch", "main"]);
        argocd.launch();
        argocd
    }

    fn configure(&self, site: &Site) {
        // It reads cluster and settings from objects with this label.
        let part = |name: &str| json!({ "name": name, "labels": { "app.kubernetes.io/part-of": "argocd" } });
        for name in [
            "argocd-cm",
            "argocd-rbac-cm",
            "argocd-cmd-params-cm",
            "argocd-tls-certs-cm",
            "argocd-gpg-keys-cm",
        ] {
            self.apply(json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": part(name) }));
        }
        for (name, key, value) in
            [("argocd-secret", "server.secretkey", "only for this test"), ("argocd-redis", "auth", "")]
        {
            self.apply(json!({ "apiVersion": "v1", "kind": "Secret", "metadata": part(name), "stringData": { key: value } }));
        }
        // The rest of the cluster is none of its business.
        self.apply(json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": "cluster", "labels": { "argocd.argoproj.io/secret-type": "cluster" } },
            "stringData": {
                "name": "in-cluster", "server": "https://kubernetes.default.svc", "config": "{}",
                "namespaces": format!("{},{}", site.namespace, self.namespace), "clusterResources": "true",
            },
        }));
        let settings = std::fs::read_to_string(root().join(SETTINGS)).expect("settings");
        let settings = settings.replace("namespace: argocd", &format!("namespace: {}", self.namespace));
        kubectl(&["apply", "--server-side", "--field-manager", "visiobook", "-f", "-"], Some(&settings));
    }

    fn launch(&mut self) {
        let (redis, repository) = (port(), port());
        let number = |port: u16| port.to_string();
        let at = |port: u16| format!("127.0.0.1:{port}");
        let kubeconfig = std::env::var("KUBECONFIG").expect("KUBECONFIG");
        let bin = |role: &str| self.bin.join(format!("argocd-{role}"));
        let mut store = Command::new("redis-server");
        store.args(["--port", &number(redis), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        let mut repositories = Command::new(bin("repo-server"));
        repositories
            .args([
                "--address",
                "127.0.0.1",
                "--port",
                &number(repository),
                "--metrics-port",
                &number(port()),
            ])
            .args(["--redis", &at(redis), "--disable-tls", "--revision-cache-expiration", "2s"]);
        let mut controller = Command::new(bin("application-controller"));
        controller
            .args(["--kubeconfig", &kubeconfig, "--namespace", &self.namespace, "--redis", &at(redis)])
            .args([
                "--repo-server",
                &at(repository),
                "--repo-server-plaintext",
                "--metrics-port",
                &number(port()),
            ])
            // Far more often than usual: each look is a chance to undo something.
            .args(["--app-resync", "5", "--app-resync-jitter", "0", "--self-heal-timeout-seconds", "1"]);
        let mut server = Command::new(bin("server"));
        server
            .args(["--kubeconfig", &kubeconfig, "--namespace", &self.namespace, "--redis", &at(redis)])
            .args([
                "--repo-server",
                &at(repository),
                "--repo-server-plaintext",
                "--metrics-port",
                &number(port()),
            ])
            .args(["--address", "127.0.0.1", "--port", &number(self.server), "--insecure", "--disable-auth"]);
        let commands =
            [("redis", store), ("repo-server", repositories), ("controller", controller), ("server", server)];
        for (name, mut command) in commands {
            let log = File::create(self.files.path().join(format!("{name}.log"))).expect("log");
            let child = command
                .envs([("ARGOCD_FAKE_IN_CLUSTER", "true"), ("ARGOCD_GPG_ENABLED", "false")])
                .env("HOME", self.files.path())
                .env("TMPDIR", self.files.path())
                .stdin(Stdio::null())
                .stdout(log.try_clone().expect("log"))
                .stderr(log)
                .spawn();
            self.processes.push(child.unwrap_or_else(|error| panic!("{name}: {error}")));
        }
    }

    /// Apply an object in its namespace.
    pub fn apply(&self, object: Value) {
        let arguments = ["apply", "--server-side", "--force-conflicts", "-n", &self.namespace, "-f", "-"];
        kubectl(&arguments, Some(&object.to_string()));
    }

    fn repository(&self) -> PathBuf {
        let path = self.files.path().join("repository");
        std::fs::create_dir_all(&path).expect("folder");
        path
    }

    /// The address of its Git repository.
    pub fn repository_url(&self) -> String {
        format!("file://{}", self.repository().display())
    }

    fn git(&self, arguments: &[&str]) {
        let author = ["-c", "user.name=e2e", "-c", "user.email=e2e@localhost"];
        run(Command::new("git").arg("-C").arg(self.repository()).args(author).args(arguments));
    }

    /// Put files into the repository, and commit them.
    pub fn commit(&self, files: &[(&str, String)]) {
        for (path, text) in files {
            let path = self.repository().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("folder");
            std::fs::write(path, text).expect("written");
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", "change"]);
    }

    /// An application, as it is now.
    pub async fn application(&self, name: &str) -> Value {
        let found = self.applications.get_opt(name).await.expect("application");
        found.map_or(Value::Null, |found| serde_json::to_value(found).expect("json"))
    }

    /// Wait until an application says what the test waits for.
    pub async fn until(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("{name} {what}"), || async {
            let application = self.application(name).await;
            if holds(&application["status"]) { Ok(application) } else { Err(application["status"].clone()) }
        })
        .await
    }

    /// Wait until all of an application is as in Git, and well.
    pub async fn settled(&self, name: &str) -> Value {
        let well =
            |status: &Value| status["sync"]["status"] == "Synced" && status["health"]["status"] == "Healthy";
        self.until(name, "Synced and Healthy", well).await
    }

    /// Run an action on a service, as somebody does who clicks on it.
    pub fn act(&self, application: &str, service: &str, action: &str) {
        let server = format!("127.0.0.1:{}", self.server);
        run(Command::new(self.bin.join("argocd"))
            .args(["--server", &server, "--plaintext", "app", "actions", "run", application, action])
            .args(["--kind", "VisiobookService", "--resource-name", service])
            .env("HOME", self.files.path()));
    }
}

impl Drop for ArgoCd {
    fn drop(&mut self) {
        for process in &mut self.processes {
            signal(process.id(), "TERM");
            let _ = process.wait();
        }
        if std::thread::panicking() {
            for name in ["repo-server", "controller", "server"] {
                let log = std::fs::read_to_string(self.files.path().join(format!("{name}.log")));
                let log = log.unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                eprintln!("--- {name}\n{}\n---", lines[lines.len().saturating_sub(20)..].join("\n"));
            }
            eprintln!("kept for a look: namespace {}", self.namespace);
            return;
        }
        kubectl(&["delete", "namespace", &self.namespace, "--wait=false", "--ignore-not-found"], None);
    }
}

/// What Argo CD's own engine says of an object's health under our settings: the status, and the message.
pub fn health(folder: &Path, object: &Value) -> (String, String) {
    let printed = resource_overrides(folder, object, &["health"], &[]);
    let line = |word: &str| {
        let found = printed.lines().find_map(|line| line.strip_prefix(word));
        found.unwrap_or_else(|| panic!("no {word} in {printed}")).trim().to_string()
    };
    (line("STATUS:"), line("MESSAGE:"))
}

/// The actions that Argo CD's own engine offers for an object under our settings.
pub fn offered(folder: &Path, object: &Value) -> Vec<String> {
    let lines = resource_overrides(folder, object, &["list-actions"], &[]);
    let enabled = lines.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|_| words.next() == Some("false"))
    });
    enabled.map(str::to_string).collect()
}

/// What an action changes of an object, as Argo CD's own engine runs it under our settings.
pub fn changed(folder: &Path, object: &Value, action: &str) -> String {
    resource_overrides(folder, object, &["run-action"], &[action])
}

fn resource_overrides(folder: &Path, object: &Value, command: &[&str], more: &[&str]) -> String {
    let file = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(file.path(), object.to_string()).expect("written");
    run(Command::new(folder.join("argocd"))
        .args(["admin", "settings", "resource-overrides"])
        .args(command)
        .arg(file.path())
        .args(more)
        .arg("--argocd-cm-path")
        .arg(root().join(SETTINGS)))
}
