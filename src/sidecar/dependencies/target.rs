//! Where a dependency is, and how it may be told: never with a password.

use std::str::FromStr;
use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::{IntoConnectionInfo, TlsCertificates};
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

use crate::contract::settings::{Dependency, DependencyKind};

/// After so long without a word of what was sent, a connection to Redis is lost: TCP itself would wait a quarter of an hour.
#[cfg(target_os = "linux")]
const LOST: Duration = Duration::from_secs(10);
/// Variable that says how TLS is used with a database whose URL does not.
const SSL_MODE_VARIABLE: &str = "DB_SSL_MODE";
/// Variable that names a PEM file with the certificates of an authority of one's own, in place of the public ones.
pub const AUTHORITIES_VARIABLE: &str = "SSL_CERT_FILE";

/// What is asked.
#[derive(Clone, Debug)]
pub enum Target {
    /// A database, and the schema that Prisma's `?schema=` names.
    Postgres(Box<PgConnectOptions>, Option<String>),
    /// A Redis.
    Redis(Box<redis::Client>),
    /// The address of a service's health.
    Service(String),
    /// Nothing that can be asked, and why.
    Unusable(String),
}

/// A target with its address as it is told.
#[derive(Clone, Debug)]
pub struct Located {
    /// What is asked.
    pub target: Target,
    /// Its URL without credentials and parameters (D23).
    pub endpoint: String,
    /// What errors must not tell.
    secrets: Vec<String>,
}

impl Located {
    /// `text` without the URL's password.
    pub fn redact(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "***"))
    }
}

/// Where `setting` is, from the variable that it names; `None` where the variable is unset (D07), or where the
/// service would ask itself (G14).
pub fn locate(
    setting: &Dependency,
    service: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Option<Located> {
    let text = lookup(&setting.variable).filter(|text| !text.trim().is_empty())?;
    let Ok(url) = Url::parse(text.trim()) else {
        let reason = format!("{} is no URL: write scheme://host:port", setting.variable);
        return Some(Located {
            target: Target::Unusable(reason),
            endpoint: setting.variable.clone(),
            secrets: Vec::new(),
        });
    };
    let is_itself =
        setting.name == service || url.host_str().and_then(|host| host.split('.').next()) == Some(service);
    if setting.kind == DependencyKind::Service && is_itself {
        return None;
    }
    let target = match setting.kind {
        DependencyKind::Postgres => postgres(&url, lookup(SSL_MODE_VARIABLE), lookup(AUTHORITIES_VARIABLE)),
        DependencyKind::Redis => redis(&url, lookup(AUTHORITIES_VARIABLE)),
        DependencyKind::Service => service_health(&url),
    };
    let target = target.unwrap_or_else(|rule| Target::Unusable(format!("{} {rule}", setting.variable)));
    Some(Located { target, endpoint: bare(&url), secrets: secrets(&url) })
}

/// Seconds of the settings, or the default where there are none or they are no duration.
pub fn seconds(set: Option<f64>, default: u64) -> Duration {
    set.and_then(|set| Duration::try_from_secs_f64(set).ok())
        .filter(|set| !set.is_zero())
        .unwrap_or(Duration::from_secs(default))
}

fn postgres(url: &Url, ssl_mode: Option<String>, authorities: Option<String>) -> Result<Target, String> {
    // SQLAlchemy names its driver in the scheme: postgresql+asyncpg.
    if !matches!(url.scheme().split('+').next(), Some("postgres" | "postgresql")) {
        return Err("is no database's URL: write postgres://user:password@host:5432/database".into());
    }
    let mut known = url.clone();
    let kept: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(key, _)| KNOWN_PARAMETERS.contains(&key.as_ref()))
        .map(|(key, value)| (key.into_owned(), value.into_owned()))
        .collect();
    known.set_query(None);
    if !kept.is_empty() {
        known.query_pairs_mut().extend_pairs(&kept);
    }
    let mut options =
        PgConnectOptions::from_str(known.as_str()).map_err(|error| format!("cannot be used: {error}"))?;
    let names = |keys: &[&str]| kept.iter().any(|(key, _)| keys.contains(&key.as_str()));
    if let (false, Some(mode)) =
        (names(&["sslmode", "ssl-mode"]), ssl_mode.and_then(|mode| mode.parse::<PgSslMode>().ok()))
    {
        options = options.ssl_mode(mode);
    }
    if let (false, Some(authorities)) = (names(&["sslrootcert", "ssl-root-cert", "ssl-ca"]), authorities) {
        options = options.ssl_root_cert(authorities);
    }
    let schema = url.query_pairs().find(|(key, _)| key == "schema").map(|(_, schema)| schema.into_owned());
    let options = options.application_name("visiobook-sidecar").disable_statement_logging();
    Ok(Target::Postgres(Box::new(options), schema))
}

/// Parameters that the driver knows: it warns of others, such as Prisma's, and would tell their values.
const KNOWN_PARAMETERS: [&str; 15] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
];

fn redis(url: &Url, authorities: Option<String>) -> Result<Target, String> {
    const ADVICE: &str = "is no Redis' URL: write redis://host:6379 or rediss://host:6379";
    let tcp = TcpSettings::default().set_nodelay(true);
    #[cfg(target_os = "linux")]
    let tcp = tcp.set_user_timeout(LOST);
    let server = url.clone().into_connection_info().map_err(|_| ADVICE)?.set_tcp_settings(tcp);
    let client = match authorities.filter(|_| url.scheme() == "rediss") {
        None => redis::Client::open(server),
        Some(file) => {
            let root_cert = std::fs::read(&file).map_err(|error| {
                format!("needs the certificates of {AUTHORITIES_VARIABLE}, {file}: {error}")
            })?;
            let certificates = TlsCertificates { client_tls: None, root_cert: Some(root_cert) };
            redis::Client::build_with_tls(server, certificates)
        }
    };
    client.map(|client| Target::Redis(Box::new(client))).map_err(|_| ADVICE.into())
}

fn service_health(url: &Url) -> Result<Target, String> {
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err("is no service's URL: write http://host:port".into());
    }
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // The client cannot send them, and the checks need none.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Ok(Target::Service(format!("{}/health", url.as_str().trim_end_matches('/'))))
}

fn bare(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

/// The password, as it is written and as it is meant.
fn secrets(url: &Url) -> Vec<String> {
    let parameter = url.query_pairs().find(|(key, _)| key == "password").map(|(_, value)| value.into_owned());
    let written = url.password().map(str::to_owned);
    let meant = written.as_deref().map(percent_decoded);
    let mut secrets: Vec<String> = [written, meant, parameter].into_iter().flatten().collect();
    secrets.retain(|secret| !secret.is_empty());
    secrets
}

fn percent_decoded(text: &str) -> String {
    // A form's pair is decoded just so, but for the plus sign.
    let pair = text.replace('+', "%2B");
    url::form_urlencoded::parse(pair.as_bytes()).map(|(name, _)| name.into_owned()).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(name: &str, kind: DependencyKind) -> Dependency {
        Dependency {
            name: name.into(),
            kind,
            variable: "AT".into(),
            critical: false,
            timeout_seconds: None,
            interval_seconds: None,
        }
    }

    fn located(name: &str, kind: DependencyKind, url: &str) -> Option<Located> {
        locate(&setting(name, kind), "users", &|name| (name == "AT").then(|| url.to_owned()))
    }

    #[test]
    fn an_unset_variable_is_skipped_and_so_is_the_service_itself() {
        assert!(locate(&setting("redis", DependencyKind::Redis), "users", &|_| None).is_none());
        assert!(located("redis", DependencyKind::Redis, " ").is_none());
        assert!(located("users", DependencyKind::Service, "http://anywhere").is_none());
        assert!(located("people", DependencyKind::Service, "http://users.default.svc:80").is_none());
        assert!(located("projects", DependencyKind::Service, "http://users-2:80").is_some());
        // A database may well be called as the service is.
        assert!(located("database", DependencyKind::Postgres, "postgres://users:5432/users").is_some());
    }

    #[test]
    fn health_is_asked_below_the_url() {
        for (url, asked) in [
            ("http://projects", "http://projects/health"),
            ("https://projects:8443/", "https://projects:8443/health"),
            ("http://a:b@gateway/base/?x=1#y", "http://gateway/base/health"),
        ] {
            let Some(Located { target: Target::Service(health), .. }) =
                located("projects", DependencyKind::Service, url)
            else {
                panic!("{url}")
            };
            assert_eq!(health, asked);
        }
    }

    #[test]
    fn neither_address_nor_error_tells_a_password() {
        let located =
            located("database", DependencyKind::Postgres, "postgres://u:p%40ss@db/x?password=other").unwrap();
        assert_eq!(located.endpoint, "postgres://db/x");
        assert_eq!(located.redact("refused p@ss and p%40ss and other"), "refused *** and *** and ***");
    }

    #[test]
    fn what_cannot_be_asked_says_why_and_what_to_write() {
        for (kind, url, told) in [
            (DependencyKind::Service, "projects:80", "AT is no service's URL: write http://host:port"),
            (DependencyKind::Service, "//secret", "AT is no URL: write scheme://host:port"),
            (
                DependencyKind::Redis,
                "http://x",
                "AT is no Redis' URL: write redis://host:6379 or rediss://host:6379",
            ),
            (
                DependencyKind::Postgres,
                "mysql://x",
                "AT is no database's URL: write postgres://user:password@host:5432/database",
            ),
        ] {
            let Some(Located { target: Target::Unusable(reason), .. }) = located("other", kind, url) else {
                panic!("{url}")
            };
            assert_eq!(reason, told);
        }
    }

    #[test]
    fn a_databases_url_keeps_its_tls_and_its_schema() {
        let lookup = |name: &str| match name {
            "AT" => Some("postgresql+asyncpg://u:p@db/x?schema=books&connection_limit=5".to_owned()),
            SSL_MODE_VARIABLE => Some("require".to_owned()),
            _ => None,
        };
        let located = locate(&setting("database", DependencyKind::Postgres), "users", &lookup).unwrap();
        let Target::Postgres(options, schema) = located.target else { panic!() };
        assert!(matches!(options.get_ssl_mode(), PgSslMode::Require));
        assert_eq!(schema.as_deref(), Some("books"));
    }

    #[test]
    fn a_time_that_is_none_is_the_default() {
        assert_eq!(seconds(Some(0.5), 5), Duration::from_millis(500));
        for none in [None, Some(0.0), Some(-1.0), Some(f64::NAN), Some(f64::INFINITY)] {
            assert_eq!(seconds(none, 5), Duration::from_secs(5));
        }
    }
}
