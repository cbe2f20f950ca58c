//! Programs of others that work on the cluster from beside it, with all rights.

use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::{eventually, kubectl, try_kubectl};

/// A program that runs until it is dropped; what it prints stands in `target/tmp`.
pub struct Beside {
    child: Child,
}

impl Beside {
    /// Start it.
    pub fn start(program: &Path, arguments: &[String]) -> Beside {
        let name = program.file_name().expect("a program").to_string_lossy();
        let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.log"));
        let output = File::create(&log).expect("log");
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("log"))
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        Beside { child }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// Definitions of others that are gone when it is dropped, but for those that were there before.
pub struct Borrowed {
    names: Vec<String>,
}

impl Borrowed {
    /// Those of a folder of YAML files.
    pub async fn from(folder: &Path) -> Borrowed {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        {
            let path = entry.expect("file").path();
            let Some(file) = path.to_str().filter(|path| path.ends_with(".yaml")) else { continue };
            let text = std::fs::read_to_string(&path).expect("readable");
            if !text.contains("kind: CustomResourceDefinition") {
                continue;
            }
            let name =
                kubectl(&["create", "--dry-run=client", "-o", "name", "-f", file], None).trim().to_string();
            if try_kubectl(&["get", &name], None).0 {
                continue;
            }
            kubectl(&["apply", "--server-side", "-f", file], None);
            established(&name).await;
            names.push(name);
        }
        Borrowed { names }
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        for name in &self.names {
            try_kubectl(&["delete", name, "--ignore-not-found", "--wait=false"], None);
        }
    }
}

/// Wait until a definition is served.
pub async fn established(definition: &str) {
    // kubectl gives up on one that has no conditions yet.
    let wait = ["wait", "--for=condition=Established", definition, "--timeout=60s"];
    eventually(definition, || async {
        match try_kubectl(&wait, None) {
            (true, _) => Ok(()),
            (false, told) => Err(told),
        }
    })
    .await;
}
