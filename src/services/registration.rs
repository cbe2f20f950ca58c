//! A service tells the registry what its schema is (DL08), beside its work: nobody waits for it, and it tries until it
//! has succeeded.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::configuration::{Configuration, TokenSource};
use super::database::{Database, Error, commit};
use super::schema::Definition;
use super::{Service, migrations};
use crate::sidecar::fetch::Fetch;

/// Where the registry is told (F09).
pub const PATH: &str = "/api/v1/migrations/sync";
/// How long it has to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is waited before the second try; twice that before the next, and so on.
const PAUSE: Duration = Duration::from_secs(1);
/// What is waited at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Tells the schema of a service.
pub struct Registration {
    /// Where; none: nowhere.
    url: Option<String>,
    token: Option<TokenSource>,
    configuration: Arc<Configuration>,
    fetch: Fetch,
}

impl Registration {
    /// To the registry that the configuration names.
    pub fn new(configuration: Arc<Configuration>) -> Registration {
        let url = configuration.registry.as_ref().map(|url| format!("{}{PATH}", url.trim_end_matches('/')));
        let token = configuration.service_token.clone();
        // The registry's answer holds every column that is new to it.
        Registration { url, token, fetch: Fetch::default().at_most(4 << 20), configuration }
    }

    /// Tell the schema of `service` once it is there, and then nothing more, for ever.
    pub async fn run(&self, database: &Database, service: &Service) {
        if let Some(url) = &self.url {
            let mut pause = PAUSE;
            let mut said = None;
            loop {
                match self.tell(url, database, service).await {
                    Ok(Some(answer)) => {
                        let revision = &answer["revision"];
                        let findings = answer["lint"]["findings"].as_array().map_or(0, Vec::len);
                        tracing::info!(%revision, findings, "The registry was told the schema");
                        break;
                    }
                    // The report tells what is missing.
                    Ok(None) => pause = PAUSE,
                    Err(error) => {
                        let error = self.configuration.redact(&error);
                        // Once for each reason: an outage is no flood of lines.
                        if said.as_ref() != Some(&error) {
                            tracing::warn!(error, "The registry was not told the schema: it is tried again");
                            said = Some(error);
                        }
                    }
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        std::future::pending().await
    }

    /// What the registry answers; none: the schema is not there yet.
    async fn tell(&self, url: &str, database: &Database, service: &Service) -> Result<Option<Value>, String> {
        let read_at = jiff::Timestamp::now().to_string();
        let read = || async {
            let mut transaction = database.begin_snapshot().await?;
            let missing =
                migrations::missing(&mut transaction, service.migration_table, service.migrations).await?;
            let definition = match missing {
                Some(_) => None,
                None => Some(Definition::read(&mut transaction).await?),
            };
            commit(transaction).await?;
            Ok(definition)
        };
        let definition = database.run("select", "information_schema", read).await;
        let Some(definition) = definition.map_err(|error: Error| error.to_string())? else { return Ok(None) };
        let token = match &self.token {
            None => return Err("neither SERVICE_TOKEN_FILE nor SERVICE_TOKEN is set".into()),
            Some(source) => source.read().await?,
        };
        let mut bearer = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| "the token of this service is no token".to_owned())?;
        bearer.set_sensitive(true);
        let headers = HeaderMap::from_iter([
            (AUTHORIZATION, bearer),
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        ]);
        let body = json!({
            "service": self.configuration.service, "version": self.configuration.version,
            "schema": definition.schema, "indexes": definition.indexes, "constraints": definition.constraints,
            "timestamp": read_at,
        });
        let asked = self.fetch.post(url, headers, Bytes::from(body.to_string()), PATIENCE).await;
        let (status, body) = asked.map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        match status.is_success() {
            true => Ok(Some(answer)),
            false => {
                let message = answer["error"]["message"].as_str().unwrap_or_default();
                Err(format!("it answers {}: {message}", status.as_u16()))
            }
        }
    }
}
