//! The API server restarts under a running operator.

use std::path::Path;
use std::process::Command;

use crate::process::state;
use crate::support::eventually;
use crate::support::operator::{Launch, Pace, Stage};

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_outlives_a_restart_of_the_api_server_and_settles_what_changed_right_after() {
    let stage = Stage::new("restart").await;
    let site = &stage.site;
    state::secret(site).await;
    // On a busy machine an API server takes longer to start than a lease lasts.
    let mut operator = stage.launch(Launch { pace: Pace::Patient, ..Launch::default() });
    operator.leads().await;
    site.apply("before", state::first_spec()).await;
    state::settled(site, "before").await;

    restart_apiserver();
    eventually("the API server to take a change", || async {
        for name in ["before", "after"] {
            site.try_apply(name, state::second_spec()).await?;
        }
        Ok::<(), kube::Error>(())
    })
    .await;
    for name in ["before", "after"] {
        state::settled(site, name).await;
    }
    assert!(operator.runs(), "the operator has ended");
}

/// By the harness; or by a command of the user's own, for a cluster that it did not bring up.
fn restart_apiserver() {
    let harness = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/cluster/cluster");
    let mut command = match std::env::var("VISIOBOOK_RESTART_APISERVER") {
        Ok(own) => {
            let mut command = Command::new("sh");
            command.args(["-c", &own]);
            command
        }
        Err(_) => {
            let mut command = Command::new(harness);
            command.args(["restart", "apiserver"]);
            command
        }
    };
    let status = command.status().expect("a command that restarts the API server");
    assert!(status.success(), "the API server could not be restarted");
}
