//! Resources and their environments, read from files and taken through the pure rooms.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use visiobook::api::{PastJob, Phase, VisiobookEnvironment, VisiobookService};
use visiobook::check::{self, Refusal, Valid};
use visiobook::facts::{Admission, EnvironmentFact, Facts, SecretFact, Signing};
use visiobook::plan::{self, Owner, Plan};
use visiobook::rollout::{self, Decision};

/// The image of the operator that the tests on a cluster install.
pub const SIDECAR_IMAGE: &str = "ghcr.io/visiobook/visiobook:dev";

/// When the plans of these tests are made, in Unix seconds.
pub const NOW: i64 = 1_800_000_000;

/// One key that signs, and tokens for four days.
pub fn signing() -> Signing {
    let public = [("k1".to_string(), "-----BEGIN PUBLIC KEY-----".to_string())].into();
    Signing { kid: "k1".into(), public, lifetime: 345_600 }
}

/// A resource in its environment.
pub struct Case {
    pub service: VisiobookService,
    pub environment: EnvironmentFact,
}

impl Case {
    pub fn name(&self) -> String {
        self.service.metadata.name.clone().expect("name")
    }

    pub fn owner(&self) -> Owner {
        Owner {
            name: self.name(),
            namespace: self.service.metadata.namespace.clone().unwrap_or_else(|| "default".into()),
            uid: "00000000-0000-0000-0000-000000000001".into(),
        }
    }

    pub fn verdict(&self) -> Result<Valid, Vec<Refusal>> {
        check::validate(&self.service, &self.environment)
    }

    /// What a first pass sees: every secret there, a domain service migrated, nothing else made yet.
    pub fn facts(&self) -> Facts {
        let secrets: BTreeMap<_, _> = check::asked(&self.name(), &self.service.spec)
            .into_iter()
            .map(|key| {
                (
                    (key.name.clone(), key.key.clone()),
                    SecretFact::Present { digest: "key:digest".into(), length: 32 },
                )
            })
            .collect();
        let copied = match &self.environment {
            EnvironmentFact::Governed { spec, .. } => {
                spec.defaults.as_ref().map(|defaults| defaults.copied_pull_secrets.clone())
            }
            _ => None,
        };
        let present = || SecretFact::Present { digest: "key:digest".into(), length: 32 };
        let sealed_secrets = secrets.keys().map(|(name, _)| name.clone()).collect();
        let migrated =
            self.verdict().ok().filter(|valid| valid.shape.domain_service.is_some()).map(|valid| {
                let attempt = format!("{}-1", valid.shape.revision());
                let past = PastJob {
                    phase: Phase::Migration,
                    attempt,
                    succeeded: true,
                    message: String::new(),
                    ended: None,
                };
                (valid.shape.revision(), past)
            });
        Facts {
            migrations: migrated.into_iter().collect(),
            environment: self.environment.clone(),
            pull_secrets: copied.into_iter().flatten().map(|name| (name, present())).collect(),
            cluster_domain: "cluster.local".into(),
            secrets,
            sealed_secrets,
            sidecar_image: SIDECAR_IMAGE.into(),
            operator_namespace: "visiobook-system".into(),
            // Of waves other tests tell.
            admission: Some(Admission::Admitted { generation: 1 }),
            ..Facts::default()
        }
    }

    /// The same where tokens of services are signed, which a plan without an operator does not know of.
    pub fn signed_facts(&self) -> Facts {
        Facts { signing: Some(signing()), now: NOW, ..self.facts() }
    }

    /// What the operator plans with its keys.
    pub fn signed_plan(&self) -> Plan {
        let (decision, facts) = (self.decide(), self.signed_facts());
        let replicas = rollout::size(self.service.spec.replicas, None, &decision, &facts);
        plan::build(&self.owner(), &decision, replicas, &facts)
    }

    pub fn decide(&self) -> Decision {
        rollout::step(&self.verdict(), &self.facts())
    }

    pub fn plan(&self) -> Plan {
        let (decision, facts) = (self.decide(), self.facts());
        let replicas = rollout::size(self.service.spec.replicas, None, &decision, &facts);
        plan::build(&self.owner(), &decision, replicas, &facts)
    }
}

/// Every document of a YAML file.
pub fn documents(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

pub fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files
}

/// The examples, each under the environment that its namespace's label names.
pub fn examples() -> Vec<Case> {
    let mut environments = BTreeMap::new();
    let mut namespaces = BTreeMap::new();
    for document in yaml_files("examples/environments").iter().flat_map(|file| documents(file)) {
        match document["kind"].as_str() {
            Some("VisiobookEnvironment") => {
                let environment: VisiobookEnvironment =
                    serde_json::from_value(document).expect("environment");
                environments.insert(environment.metadata.name.clone().expect("name"), environment.spec);
            }
            Some("Namespace") => {
                let label = document["metadata"]["labels"]["platform.visiobook.com/environment"].as_str();
                let name = document["metadata"]["name"].as_str().expect("name");
                namespaces.insert(name.to_string(), label.expect("an environment label").to_string());
            }
            other => panic!("examples/environments holds a {other:?}"),
        }
    }
    yaml_files("examples")
        .iter()
        .flat_map(|file| documents(file))
        .filter(|document| document["kind"] == "VisiobookService")
        .map(|document| {
            let service: VisiobookService = serde_json::from_value(document).expect("service");
            let label = &namespaces[service.metadata.namespace.as_deref().expect("namespace")];
            let spec = Box::new(environments[label].clone());
            Case { service, environment: EnvironmentFact::Governed { name: label.clone(), spec } }
        })
        .collect()
}

/// The services among these documents, under one of the examples' environments.
pub fn examples_of(environment: &str, objects: Vec<Value>) -> Vec<Case> {
    let document = documents(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("examples/environments/{environment}.yaml")),
    )
    .remove(0);
    let said: VisiobookEnvironment = serde_json::from_value(document).expect("environment");
    let services = objects.into_iter().filter(|object| object["kind"] == "VisiobookService");
    let case = |service| Case {
        service: serde_json::from_value(service).expect("service"),
        environment: EnvironmentFact::Governed {
            name: environment.into(),
            spec: Box::new(said.spec.clone()),
        },
    };
    services.map(case).collect()
}

/// Cases that each have a file of their own: an environment, and a service in it.
pub fn written(folder: &str) -> Vec<Case> {
    let read = |file: &PathBuf| {
        let mut documents = documents(file).into_iter();
        let (environment, service) =
            (documents.next().expect("environment"), documents.next().expect("service"));
        let environment: VisiobookEnvironment = serde_json::from_value(environment).expect("environment");
        let name = environment.metadata.name.expect("name");
        let environment = EnvironmentFact::Governed { name, spec: Box::new(environment.spec) };
        Case { service: serde_json::from_value(service).expect("service"), environment }
    };
    yaml_files(folder).iter().map(read).collect()
}
