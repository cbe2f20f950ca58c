//! What an application is: its technology, its kind, or one of the services that come with the operator.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::contract::domain_services;

/// Approved technologies (B11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stack {
    /// Node.js.
    Nodejs,
    /// Python.
    Python,
    /// Go.
    Go,
    /// Vue.
    Vue,
    /// Rust.
    Rust,
}

/// The seeds' three charts (A02).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// A service with an HTTP interface.
    #[default]
    Backend,
    /// A service that computes on GPUs.
    Ai,
    /// A web application.
    Frontend,
}

// The schema takes its words from here, not from the field.
/// A domain service that comes with the operator, in place of an image: users or database. The others are not
/// available in this release. It runs the operator's image as it is at each of the service's releases, and brings
/// its command, port, routes and KPIs; spec.secrets has to name what it does not start without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DomainService {
    /// Users and sessions.
    Users,
    /// Projects.
    Projects,
    /// Files.
    Storage,
    /// Schema registry.
    Database,
    /// Configuration.
    Config,
    /// E-mail and messages.
    Notifications,
    /// Analysis of texts.
    Analysis,
    /// Generation of media.
    Media,
    /// The single entry point.
    ApiGateway,
}

impl DomainService {
    /// The word in `spec.domainService`.
    pub fn as_str(self) -> &'static str {
        match self {
            DomainService::Users => "users",
            DomainService::Projects => "projects",
            DomainService::Storage => "storage",
            DomainService::Database => "database",
            DomainService::Config => "config",
            DomainService::Notifications => "notifications",
            DomainService::Analysis => "analysis",
            DomainService::Media => "media",
            DomainService::ApiGateway => "api-gateway",
        }
    }

    /// What runs around it, where this release has it.
    pub fn definition(self) -> Option<&'static domain_services::DomainService> {
        domain_services::find(self.as_str())
    }
}
