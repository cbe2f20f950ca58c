//! The backends of the test cluster that this machine may have no use for: what they would run is well-formed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::cases::documents;

/// A backend whose files go to a folder of its own.
struct Backend {
    files: TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Backend {
    fn new(name: &str, variables: &[(&'static str, &str)]) -> Backend {
        let files = tempfile::tempdir().unwrap();
        let mut of = vec![("CLUSTER", name.to_string())];
        of.push(("XDG_STATE_HOME", files.path().to_string_lossy().to_string()));
        of.extend(variables.iter().map(|(name, value)| (*name, value.to_string())));
        Backend { files, variables: of }
    }

    fn kubeconfig(&self, name: &str) -> PathBuf {
        self.files.path().join("visiobook").join(name).join("kubeconfig")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/cluster/cluster");
        let mut command = Command::new(tool);
        for variable in ["DRY_RUN", "CLUSTER_CONTEXT", "KIND_NAME", "KUBECONFIG", "VISIOBOOK_STATE"] {
            command.env_remove(variable);
        }
        command.args(arguments).envs(self.variables.iter().cloned()).output().unwrap()
    }

    /// What it prints, word by word, when it succeeds.
    fn says(&self, arguments: &[&str]) -> Vec<Vec<String>> {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| line.split_whitespace().map(str::to_string).collect()).collect()
    }

    /// What it complains of when it refuses.
    fn complains(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?} is accepted");
        String::from_utf8(output.stderr).unwrap()
    }
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_string).collect()
}

#[test]
fn what_is_run_for_a_cluster_of_kind_is_well_formed() {
    let kind = Backend::new("kind", &[("DRY_RUN", "1"), ("KIND_NAME", "trial")]);
    let kubeconfig = kind.kubeconfig("kind");
    let (state, kubeconfig) = (kubeconfig.parent().unwrap().display(), kubeconfig.display());
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/cluster/config/kind.yaml");
    let create = format!(
        "kind create cluster --name trial --config {} --kubeconfig {kubeconfig} --wait 120s",
        config.display()
    );
    assert_eq!(kind.says(&["up"]), [words(&format!("mkdir -p {state}")), words(&create)]);
    let load = |tar: &str| words(&format!("kind load image-archive {tar} --name trial"));
    assert_eq!(kind.says(&["load", "a.tar", "b.tar"]), [load("a.tar"), load("b.tar")]);
    assert_eq!(kind.says(&["status"]), [words(&format!("kubectl --kubeconfig {kubeconfig} get nodes"))]);
    assert_eq!(kind.says(&["kubeconfig"]), [words(&kubeconfig.to_string())]);
    let delete = format!("kind delete cluster --name trial --kubeconfig {kubeconfig}");
    assert_eq!(kind.says(&["down"]), [words(&delete), words(&format!("rm -rf {state}"))]);
    let exports = kind.says(&["env"]).concat();
    assert!(exports.contains(&"CLUSTER=kind".into()), "{exports:?}");
    assert!(exports.contains(&format!("KUBECONFIG={kubeconfig}")), "{exports:?}");
    assert!(!Path::new(&kubeconfig.to_string()).exists(), "a dry run leaves nothing behind");
    // What names a component of the local cluster has no meaning here, and says so.
    for local in [["stop", "apiserver"], ["node", "remove"]] {
        let [verb, object] = local;
        let complaint = kind.complains(&[verb, object, "a"]);
        assert!(complaint.contains("CLUSTER=local only"), "{complaint}");
    }
}

#[test]
fn the_configuration_of_kind_is_one_that_kind_and_kubeadm_read() {
    let [config] =
        &documents(&Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/cluster/config/kind.yaml"))[..]
    else {
        panic!("one document")
    };
    assert_eq!(
        (&config["kind"], &config["apiVersion"]),
        (&"Cluster".into(), &"kind.x-k8s.io/v1alpha4".into())
    );
    for node in config["nodes"].as_array().unwrap() {
        assert_eq!(node["role"], "control-plane");
        for patch in node["kubeadmConfigPatches"].as_array().unwrap() {
            let patch: serde_json::Value = serde_saphyr::from_str(patch.as_str().unwrap()).unwrap();
            assert_eq!(patch["kind"], "ClusterConfiguration");
            let arguments = patch["controllerManager"]["extraArgs"].as_array().unwrap();
            assert!(
                arguments
                    .iter()
                    .all(|argument| argument["name"].is_string() && argument["value"].is_string())
            );
        }
    }
}

#[test]
fn a_cluster_that_exists_is_used_by_its_named_context_alone_and_never_deleted() {
    let unnamed = Backend::new("current", &[]);
    assert!(unnamed.complains(&["up"]).contains("CLUSTER_CONTEXT"));
    assert!(unnamed.complains(&["status"]).contains("CLUSTER_CONTEXT"));

    let current = Backend::new("current", &[("CLUSTER_CONTEXT", "mine")]);
    let path = std::env::var("PATH").unwrap();
    let programs = current.files.path().join("programs");
    let calls = current.files.path().join("calls");
    fs::create_dir(&programs).unwrap();
    // Writes down how it is called, and answers as kubectl does for a context that exists.
    let kubectl = format!(
        "#!/bin/sh\necho \"$@\" >>{}\n[ \"$1\" != config ] || echo 'kind: Config'\n",
        calls.display()
    );
    fs::write(programs.join("kubectl"), kubectl).unwrap();
    fs::set_permissions(programs.join("kubectl"), fs::Permissions::from_mode(0o755)).unwrap();
    let current = Backend {
        variables: [current.variables, vec![("PATH", format!("{}:{path}", programs.display()))]].concat(),
        files: current.files,
    };
    let kubeconfig = current.kubeconfig("current");
    current.says(&["up"]);
    assert_eq!(fs::read_to_string(&kubeconfig).unwrap(), "kind: Config\n");
    let mode = fs::metadata(&kubeconfig).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "it may hold credentials");
    current.says(&["status"]);
    assert_eq!(current.says(&["kubeconfig"]), [words(&kubeconfig.to_string_lossy())]);
    assert!(current.complains(&["load", "a.tar"]).contains("registry"));
    assert!(current.complains(&["restart", "etcd"]).contains("CLUSTER=local only"));
    current.says(&["down"]);
    assert!(!kubeconfig.exists());
    let calls = fs::read_to_string(calls).unwrap();
    let expected = [
        "config view --minify --flatten --context mine".to_string(),
        format!("--kubeconfig {} version", kubeconfig.display()),
        format!("--kubeconfig {} get nodes", kubeconfig.display()),
    ];
    assert_eq!(calls.lines().collect::<Vec<_>>(), expected);
}
