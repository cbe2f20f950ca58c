//! What runs around a domain service that comes with the operator: what its sidecar is told of it, and what it cannot
//! do without. Its own code knows no Kubernetes, so this is where the two meet.

/// A domain service as it is run.
pub struct DomainService {
    /// Its name, on the command line and in `spec.domainService`.
    pub name: &'static str,
    /// Where its routes are below `/api/v1`.
    pub segment: &'static str,
    /// Whether its application verifies tokens of services itself, and needs their public keys.
    pub verifies_services: bool,
    /// Variables that it does not start without, all of them secret (H.1).
    pub secrets: &'static [&'static str],
    /// Routes that need no token (D64).
    pub public_routes: &'static [&'static str],
    /// Templates of its routes, which become labels of metrics.
    pub routes: &'static [&'static str],
    /// Name in `/kpis`, and its metric (E36).
    pub kpis: &'static [(&'static str, &'static str)],
}

/// Those that come with this release.
pub const DOMAIN_SERVICES: &[DomainService] = &[USERS, DATABASE];

const USERS: DomainService = DomainService {
    name: "users",
    segment: "users",
    verifies_services: false,
    secrets: &["DATABASE_URL", "JWT_SECRET"],
    public_routes: &[
        "POST /api/v1/users",
        "POST /api/v1/users/sessions",
        "PUT /api/v1/users/sessions",
        "GET /api/openapi.json",
        "GET /api/docs",
        "GET /api/docs/style.css",
    ],
    routes: &[
        "/api/v1/users",
        "/api/v1/users/bulk",
        "/api/v1/users/me",
        "/api/v1/users/search",
        "/api/v1/users/sessions",
        "/api/v1/users/sessions/{id}",
        "/api/v1/users/stats",
        "/api/v1/users/{id}",
        "/api/v1/users/{id}/password",
        "/api/v1/users/{id}/role",
        "/api/v1/users/{id}/status",
        "/api/openapi.json",
        "/api/docs",
        "/api/docs/style.css",
    ],
    kpis: &[
        ("activeUsers", "active_users"),
        ("newRegistrations", "new_registrations"),
        ("loginAttempts", "login_attempts"),
    ],
};

/// The registry of schemas (F09). Who calls is verified twice: only its sidecar knows who says that it calls.
const DATABASE: DomainService = DomainService {
    name: "database",
    segment: "migrations",
    verifies_services: true,
    secrets: &["DATABASE_URL", "JWT_SECRET"],
    public_routes: &["GET /api/openapi.json", "GET /api/docs", "GET /api/docs/style.css"],
    routes: &[
        "/api/v1/migrations/sync",
        "/api/v1/migrations/lint",
        "/api/v1/migrations/services",
        "/api/v1/migrations/services/{id}",
        "/api/v1/migrations/services/{id}/diff",
        "/api/v1/migrations/services/{id}/lint",
        "/api/v1/migrations/services/{id}/revisions",
        "/api/v1/migrations/services/{id}/schema",
        "/api/openapi.json",
        "/api/docs",
        "/api/docs/style.css",
    ],
    kpis: &[
        ("registeredServices", "registered_services"),
        ("schemaSyncs", "schema_syncs"),
        ("schemaChanges", "schema_changes"),
        ("schemaFindings", "schema_findings"),
    ],
};

/// The domain service of a name, where this release has it.
pub fn find(name: &str) -> Option<&'static DomainService> {
    DOMAIN_SERVICES.iter().find(|service| service.name == name)
}
