//! Who is told of releases.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::service::KeyRef;

/// Somebody who is told of the releases of an environment (C29): by Slack, by a webhook or by e-mail. Each message is
/// sent once at most. Its Secret is one of the operator's own namespace.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.slack), has(self.webhook), has(self.email)].filter(x, x).size() == 1").message("a notification has exactly one of slack, webhook and email"))]
pub struct Notification {
    /// What it is called in events.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// What is told. Default: all but Superseded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<NotificationEvent>,
    /// A message for Slack, or for what takes the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slack: Option<Webhook>,
    /// A JSON document, as docs/releases.md tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// An e-mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Email>,
}

/// What may be told of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NotificationEvent {
    /// It is ready, and waits for somebody, or for the end of a freeze.
    AwaitingApproval,
    /// Its revision serves, and the soak is over.
    Promoted,
    /// Somebody stopped it.
    Aborted,
    /// Traffic has returned to the revision before it.
    RolledBack,
    /// A newer revision took its place before traffic moved.
    Superseded,
    /// Its pods were not ready in time.
    DeadlineExceeded,
    /// Its migration or a check before the switch failed.
    Failed,
}

/// An address that is told by HTTP. It is a secret: who knows it can write there.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    /// Secret of the operator's own namespace that holds the URL, http or https, and the key in it.
    pub url_from: KeyRef,
}

/// Whom to write, and through which server.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Email {
    /// Name of the server.
    #[schemars(length(min = 1, max = 253))]
    pub host: String,
    /// Its port. Default: 587, and 465 with the encryption TLS.
    #[schemars(range(min = 1, max = 65535))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// How the connection is kept secret: StartTLS (default), TLS from its beginning, or None, within the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// Secret of the operator's own namespace with the keys username and password. Default: the server wants none.
    #[schemars(length(min = 1, max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<String>,
    /// Who writes, such as Visiobook <releases@visiobook.com>.
    #[schemars(length(min = 3, max = 320))]
    pub from: String,
    /// Who is written to.
    #[schemars(length(min = 1, max = 32), inner(length(min = 3, max = 320)))]
    pub to: Vec<String>,
}

/// How a connection to a mail server is kept secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Encryption {
    /// From the first command on; a server that does not offer it gets nothing.
    #[default]
    StartTLS,
    /// From its beginning.
    TLS,
    /// Not at all.
    None,
}
