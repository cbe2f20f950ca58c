//! What a sidecar takes for granted where the document says nothing.

use std::collections::BTreeMap;

use super::{
    Application, Breaker, Drain, Environment, Errors, Format, Level, Limits, Logs, Mode, Protocol, Settings,
    VERSION,
};

impl Settings {
    /// What a sidecar takes for granted of a service.
    pub fn new(service: &str) -> Settings {
        Settings {
            version: version(),
            service: service.into(),
            service_version: first_version(),
            environment: Environment::default(),
            mode: Mode::default(),
            port: port(),
            contract_port: contract_port(),
            application: Application::default(),
            routes: Vec::new(),
            logs: Logs::default(),
            limits: Limits::default(),
            rate_limit: None,
            trusted_proxies: Vec::new(),
            cors_origins: Vec::new(),
            correlation_header: None,
            security_headers: yes(),
            hosts: Vec::new(),
            auth: None,
            csrf: None,
            service_tokens: None,
            compression: false,
            breaker: Breaker::default(),
            retries: retries(),
            errors: Errors::default(),
            dependencies: Vec::new(),
            configuration: Vec::new(),
            migrations: None,
            kpis: BTreeMap::new(),
            trusted_certificates: None,
            drain: Drain::default(),
        }
    }
}

pub(super) fn version() -> u32 {
    VERSION
}

pub(super) fn first_version() -> String {
    "1.0.0".into()
}

pub(super) fn port() -> u16 {
    crate::contract::SIDECAR_PORT
}

pub(super) fn contract_port() -> u16 {
    crate::contract::METRICS_PORT
}

pub(super) fn yes() -> bool {
    true
}

pub(super) fn retries() -> u32 {
    2
}

impl Default for Application {
    fn default() -> Self {
        Application {
            port: crate::contract::PORT,
            worker: false,
            protocol: Protocol::Http1,
            connections: 512,
            tunnels: 2048,
            keep_alive_seconds: 4.0,
            connect_seconds: 5.0,
            metrics_path: Some(crate::contract::METRICS_PATH.into()),
            metrics_port: None,
            health_path: None,
            memory_bytes: None,
        }
    }
}

impl Default for Logs {
    fn default() -> Self {
        Logs { level: Level::Info, format: Format::Json, sample_rate: 1.0, slow_milliseconds: 1000 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            head_seconds: 10.0,
            read_seconds: 30.0,
            write_seconds: 30.0,
            idle_seconds: 60.0,
            head_bytes: 64 << 10,
            connections: 2048,
        }
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Breaker { failures: 5, open_seconds: 30.0 }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Drain { propagation_seconds: 5.0, requests_seconds: 30.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_document_and_comes_to_what_is_taken_for_granted() {
        let read: Settings = serde_json::from_str(r#"{"service":"users"}"#).unwrap();
        assert_eq!(read, Settings::new("users"));
    }
}
