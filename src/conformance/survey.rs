//! The asking: every request of the suite, in one order, and what came back as plain data.

use std::time::Duration;

use http::{Method, Uri};
use jiff::Timestamp;

use super::client::{Asked, Client};
use super::spec::Route;
use super::{Spec, Target};
use crate::contract::{
    CORRELATION_ID_HEADER, HEALTH_PATH, KPIS_PATH, METRICS_PATH, METRICS_PORT, READY_PATH, REQUEST_ID_HEADER,
};

/// Requests whose growth in the counters is looked at.
const COUNTED: usize = 3;
/// Unknown paths whose labels are looked at.
const FLOOD: usize = 8;
/// Time in which a request that was answered is counted.
const SETTLE: Duration = Duration::from_millis(200);
/// Longest wait for a rate limit.
const MOST_WAIT: u64 = 10;
/// An origin that no list holds.
const STRANGER: &str = "https://stranger.invalid";

/// The correlation id that is sent.
pub const CORRELATION_ID: &str = "conformance-correlation";
/// The request id that is sent.
pub const REQUEST_ID: &str = "conformance-request";

/// Why there is no survey.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is none.
    #[error("{0:?} is no http(s) URL: write it as http://HOST:PORT")]
    Url(String),
    /// Nobody answers.
    #[error("{url}: {reason}")]
    Unreachable {
        /// Whom was asked.
        url: String,
        /// Why not.
        reason: String,
    },
}

/// What a service answered.
pub struct Survey {
    pub spec: Spec,
    pub url: String,
    pub contract_url: String,
    /// Whether contract and traffic share a port.
    pub one_port: bool,
    /// When the last answer came.
    pub now: Timestamp,
    pub health: Asked,
    pub health_later: Asked,
    pub health_head: Asked,
    pub health_post: Asked,
    pub health_for_peers: Asked,
    pub ready: Asked,
    pub ready_head: Asked,
    pub ready_for_peers: Asked,
    pub kpis: Asked,
    pub metrics_head: Asked,
    /// A path of the contract's port that does not exist.
    pub lost: Asked,
    /// /metrics and /kpis on the port of traffic.
    pub metrics_outside: Asked,
    pub kpis_outside: Asked,
    /// A path that does not exist, with both ids.
    pub unknown: Asked,
    /// The same with a request id only.
    pub with_request_id: Asked,
    /// The same twice without any id.
    pub without_id: [Asked; 2],
    /// Metrics before and after `counted`, and after a flood of unknown paths.
    pub metrics: [Asked; 3],
    /// HEAD requests to a path that does not exist: few others send these.
    pub counted: Vec<Asked>,
    pub cors: Option<Cors>,
    pub tokens: Option<Tokens>,
}

/// What a browser is told.
pub struct Cors {
    pub origin: String,
    pub preflight: Asked,
    pub listed: Asked,
    pub stranger: Asked,
}

/// What a protected route says to bad tokens.
pub struct Tokens {
    pub missing: Asked,
    pub malformed: Asked,
    pub invalid: Asked,
}

/// Where the contract is, unless told: port 9090 without TLS (G01).
fn contract_of(url: &str) -> Result<String, Error> {
    let uri: Uri = url.parse().map_err(|_| Error::Url(url.into()))?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(authority)) => {
            Ok(format!("http://{}:{METRICS_PORT}", authority.host()))
        }
        _ => Err(Error::Url(url.into())),
    }
}

struct Asker {
    client: Client,
    traffic: String,
    contract: String,
    authorization: Option<String>,
}

impl Asker {
    async fn contract(&self, method: Method, path: &str) -> Asked {
        self.client.ask(method, &format!("{}{path}", self.contract), &[]).await
    }

    /// A request of the traffic. A rate limit is no failure (D71): it is waited for once.
    async fn traffic(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Asked {
        let mut all: Vec<(&str, &str)> = headers.to_vec();
        all.extend(self.authorization.as_deref().map(|value| ("authorization", value)));
        self.bare(method, path, &all).await
    }

    /// The same without the token.
    async fn bare(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Asked {
        let url = format!("{}{path}", self.traffic);
        let asked = self.client.ask(method.clone(), &url, headers).await;
        let wait = asked.as_ref().ok().filter(|answer| answer.status == 429);
        let Some(seconds) = wait.and_then(|answer| answer.header("retry-after")?.parse::<u64>().ok()) else {
            return asked;
        };
        tokio::time::sleep(Duration::from_secs(seconds.min(MOST_WAIT))).await;
        self.client.ask(method, &url, headers).await
    }

    async fn settled_metrics(&self) -> Asked {
        tokio::time::sleep(SETTLE).await;
        self.contract(Method::GET, METRICS_PATH).await
    }

    async fn cors(&self, path: &str, origin: &str) -> Cors {
        let asked = [
            ("origin", origin),
            ("access-control-request-method", "PATCH"),
            ("access-control-request-headers", "authorization,content-type,x-correlation-id,x-request-id"),
        ];
        Cors {
            origin: origin.into(),
            preflight: self.bare(Method::OPTIONS, path, &asked).await,
            listed: self.traffic(Method::GET, path, &[("origin", origin)]).await,
            stranger: self.traffic(Method::GET, path, &[("origin", STRANGER)]).await,
        }
    }

    async fn tokens(&self, route: Route<'_>) -> Tokens {
        let path = route.path();
        let method = Method::from_bytes(route.method.as_bytes()).unwrap_or(Method::GET);
        let with = async |headers: &[(&str, &str)]| self.bare(method.clone(), &path, headers).await;
        Tokens {
            missing: with(&[]).await,
            malformed: with(&[("authorization", "Basic Ym9va3M6Ym9va3M=")]).await,
            invalid: with(&[("authorization", "Bearer not.a.token")]).await,
        }
    }
}

/// Ask everything. An application that fails on one request is still asked the rest.
pub async fn ask(target: &Target, spec: Spec) -> Result<Survey, Error> {
    let traffic = target.url.trim_end_matches('/').to_string();
    let default_contract = contract_of(&traffic)?;
    let contract =
        target.contract_url.as_deref().unwrap_or(&default_contract).trim_end_matches('/').to_string();
    contract_of(&contract)?;
    let mut asker = Asker {
        client: Client::new(target.timeout),
        traffic,
        contract,
        authorization: target.token.as_ref().map(|token| format!("Bearer {token}")),
    };
    let health_for_peers = asker.bare(Method::GET, HEALTH_PATH, &[]).await;
    if let Err(reason) = &health_for_peers {
        return Err(Error::Unreachable { url: asker.traffic, reason: reason.clone() });
    }
    let mut health = asker.contract(Method::GET, HEALTH_PATH).await;
    if let Err(reason) = &health {
        if target.contract_url.is_some() {
            return Err(Error::Unreachable { url: asker.contract, reason: reason.clone() });
        }
        asker.contract = asker.traffic.clone();
        health = health_for_peers.clone();
    }
    Ok(everything(&asker, spec, health, health_for_peers).await)
}

async fn everything(asker: &Asker, spec: Spec, health: Asked, health_for_peers: Asked) -> Survey {
    let run = uuid::Uuid::new_v4().simple().to_string();
    let nowhere = format!("/api/v1/visiobook-conformance-{run}");
    let example = spec.example().map(|route| route.path());
    // A browser asks what exists; a path that does not is answered by the same layers.
    let path = example.as_deref().unwrap_or(&nowhere);

    let unknown = asker
        .traffic(
            Method::GET,
            &nowhere,
            &[(CORRELATION_ID_HEADER, CORRELATION_ID), (REQUEST_ID_HEADER, REQUEST_ID)],
        )
        .await;
    let with_request_id = asker.traffic(Method::GET, &nowhere, &[(REQUEST_ID_HEADER, REQUEST_ID)]).await;
    let without_id =
        [asker.traffic(Method::GET, path, &[]).await, asker.traffic(Method::GET, path, &[]).await];
    let tokens = match spec.protected_route.as_deref().and_then(Route::read) {
        Some(route) => Some(asker.tokens(route).await),
        None => None,
    };
    let cors = match spec.cors_origins.iter().find(|origin| *origin != "*") {
        Some(origin) => Some(asker.cors(path, origin).await),
        None => None,
    };

    let before = asker.settled_metrics().await;
    let mut counted = Vec::with_capacity(COUNTED);
    for _ in 0..COUNTED {
        // Not through the rate limit's second try: each of these is counted once.
        counted.push(asker.client.ask(Method::HEAD, &format!("{}{nowhere}", asker.traffic), &[]).await);
    }
    let after = asker.settled_metrics().await;
    for number in 0..FLOOD {
        // What they answer is of no interest.
        let _ = asker.traffic(Method::GET, &format!("{nowhere}/{number}/flood-{number}"), &[]).await;
    }
    let flooded = asker.settled_metrics().await;

    Survey {
        one_port: asker.contract == asker.traffic,
        health_later: asker.contract(Method::GET, HEALTH_PATH).await,
        health_head: asker.contract(Method::HEAD, HEALTH_PATH).await,
        health_post: asker.contract(Method::POST, HEALTH_PATH).await,
        ready: asker.contract(Method::GET, READY_PATH).await,
        ready_head: asker.contract(Method::HEAD, READY_PATH).await,
        ready_for_peers: asker.bare(Method::GET, READY_PATH, &[]).await,
        kpis: asker.contract(Method::GET, KPIS_PATH).await,
        metrics_head: asker.contract(Method::HEAD, METRICS_PATH).await,
        lost: asker.contract(Method::GET, &format!("/visiobook-conformance-{run}")).await,
        metrics_outside: asker.bare(Method::GET, METRICS_PATH, &[]).await,
        kpis_outside: asker.bare(Method::GET, KPIS_PATH, &[]).await,
        now: Timestamp::now(),
        url: asker.traffic.clone(),
        contract_url: asker.contract.clone(),
        metrics: [before, after, flooded],
        spec,
        health,
        health_for_peers,
        unknown,
        with_request_id,
        without_id,
        counted,
        cors,
        tokens,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_is_on_its_port_of_the_same_host() {
        assert_eq!(contract_of("http://books").unwrap(), "http://books:9090");
        assert_eq!(
            contract_of("https://books.visiobook.com:8443/a").unwrap(),
            "http://books.visiobook.com:9090"
        );
        assert_eq!(contract_of("http://[::1]:80").unwrap(), "http://[::1]:9090");
        for none in ["books", "ftp://books", "", "http://"] {
            assert!(matches!(contract_of(none), Err(Error::Url(_))), "{none}");
        }
    }
}
