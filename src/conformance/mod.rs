//! The runtime contract as a suite that any service can be held against, whoever wrote it and in whatever language.
//!
//! `survey` asks and keeps what came back; `catalog` names every check with the function that judges the answers,
//! without I/O; `report` tells people, machines and CI what came of it.

pub mod catalog;
pub mod client;
mod cors;
mod envelope;
mod exposition;
mod headers;
mod kpis;
mod metrics;
mod probes;
pub mod report;
pub mod spec;
mod survey;
mod tokens;
mod verdict;

use std::time::{Duration, Instant};

pub use report::Report;
pub use spec::Spec;
pub use survey::Error;

/// Between two tries to reach it.
const AGAIN: Duration = Duration::from_millis(500);

/// Whom to ask.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where its traffic goes, as `http://books`.
    pub url: String,
    /// Where its contract is answered; none: port 9090 of the same host, or `url` where nothing listens there.
    pub contract_url: Option<String>,
    /// Sent as `Authorization: Bearer` with every request of the traffic.
    pub token: Option<String>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long it may take until there is a way to it at all.
    pub wait: Duration,
}

/// Ask a service everything, and judge what it answered. Fails only on an address that is none.
pub async fn examine(target: &Target, spec: Spec) -> Result<Report, Error> {
    let deadline = Instant::now() + target.wait;
    loop {
        match survey::ask(target, spec.clone()).await {
            Ok(survey) => return Ok(Report::of(&survey)),
            Err(Error::Unreachable { .. }) if Instant::now() < deadline => tokio::time::sleep(AGAIN).await,
            Err(Error::Unreachable { url, reason }) => return Ok(Report::unreachable(url, &reason)),
            Err(error) => return Err(error),
        }
    }
}
