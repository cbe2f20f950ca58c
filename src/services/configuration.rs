//! The variables that a service is configured by (H.1), read once, with everything that is wrong at once.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::contract::settings::{Dependency, DependencyKind, Environment, Settings};
use crate::contract::{JWT_SECRET_MIN, PORT, service_token};
use crate::sidecar::dependencies::target::{Located, Target, locate};

/// Rounds that bcrypt can do.
const ROUNDS: std::ops::RangeInclusive<u32> = 4..=31;
/// What the database is called in health and logs (D01).
const DATABASE: &str = "database";
/// What Redis is called there.
const REDIS: &str = "redis";

/// Everything that a service is told.
pub struct Configuration {
    /// Its name, in answers, logs and metrics.
    pub service: String,
    /// Its version.
    pub version: String,
    /// Rule book of its environment.
    pub environment: Environment,
    /// Address that it listens on. 127.0.0.1: a sidecar is in front.
    pub host: std::net::IpAddr,
    /// Port that it listens on; 0: any.
    pub port: u16,
    /// Its database.
    pub database: Store<PgConnectOptions>,
    /// Its connections.
    pub pool: Pool,
    /// Its Redis; none: no cache, and no events.
    pub redis: Option<Store<redis::Client>>,
    /// What tokens are signed with, newest first: the one in use and the one before (X49).
    pub jwt_secrets: Vec<String>,
    /// Work that a password costs: 2 to the power of it (D68).
    pub bcrypt_rounds: u32,
    /// Failed logins of an account in a quarter of an hour before it has to wait; 0: any number.
    pub login_attempts: u32,
    /// Where the registry of schemas is, which is told what this service's is (DL08); none: nobody is told.
    pub registry: Option<String>,
    /// What this service shows others who it is with (D79).
    pub service_token: Option<TokenSource>,
    /// Folder with the public keys of services' tokens, for a service that verifies them.
    pub service_keys: String,
    /// Services that may tell the registry their schema, as `name` or `namespace/name`; none: all with a token.
    pub registry_services: Vec<String>,
    /// How long requests under way have at the end (H03).
    pub shutdown: Duration,
    /// The same in the words of a sidecar, whose logs and checks are used.
    pub settings: Settings,
}

/// A store, and what must not be told of it.
pub struct Store<T> {
    /// How to reach it.
    pub client: T,
    located: Located,
}

/// Where the token of this service is.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenSource {
    /// In a file that is kept current.
    File(PathBuf),
    /// As it was at the start.
    Text(String),
}

impl TokenSource {
    /// The token as it is now.
    pub async fn read(&self) -> Result<String, String> {
        match self {
            TokenSource::Text(token) => Ok(token.clone()),
            TokenSource::File(path) => tokio::fs::read_to_string(path)
                .await
                .map(|text| text.trim().to_owned())
                .map_err(|error| format!("{} cannot be read: {error}", path.display())),
        }
    }
}

/// Connections to a database (DL14).
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Most of them.
    pub most: u32,
    /// Those that are kept.
    pub kept: u32,
    /// How long one is used.
    pub lifetime: Duration,
    /// How long one is kept unused, where there are more than ten at most.
    pub idle: Option<Duration>,
}

impl<T> Store<T> {
    /// `text` without the password.
    pub fn redact(&self, text: &str) -> String {
        self.located.redact(text)
    }

    /// Its URL without credentials.
    pub fn endpoint(&self) -> &str {
        &self.located.endpoint
    }
}

impl Configuration {
    /// The configuration of `service` in an environment; else every problem with it.
    pub fn read(
        service: &str,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Configuration, Vec<String>> {
        let mut read = Reading { lookup, problems: Vec::new() };
        let environment = read.environment();
        let by_type = |development, staging, production| match environment {
            Environment::Development => development,
            Environment::Staging => staging,
            Environment::Production => production,
        };
        let port = read.number("PORT", u32::from(PORT), 0..=65_535) as u16;
        let most = read.number("DB_MAX_OPEN_CONNS", by_type(5, 10, 25), 1..=1000);
        let kept = read.number("DB_MAX_IDLE_CONNS", by_type(2, 3, 5), 0..=1000).min(most);
        let lifetime = read.duration("DB_CONN_MAX_LIFETIME", Duration::from_secs(3600));
        let idle = (most > 10).then_some(Duration::from_secs(600));
        let database = read.database(environment);
        let redis = read.redis();
        let jwt_secrets = read.jwt_secrets(environment);
        let bcrypt_rounds = read.number("BCRYPT_ROUNDS", 12, ROUNDS);
        let login_attempts = read.number("LOGIN_ATTEMPTS", 10, 0..=1_000_000);
        let registry = read.registry();
        let registry_services = read.registry_services();
        let service_token = read.service_token();
        let service_keys =
            read.text(service_token::KEYS_VARIABLE).unwrap_or_else(|| service_token::KEYS_FOLDER.to_owned());
        let shutdown = read.duration("SHUTDOWN_TIMEOUT", Duration::from_secs(30));
        let host = read.host();
        let name = read.text("SERVICE_NAME").unwrap_or_else(|| service.to_owned());
        let version = read.text("SERVICE_VERSION").unwrap_or_else(|| "1.0.0".to_owned());
        let level = read.one_of("LOG_LEVEL", &["debug", "info", "warn", "error"], "info");
        let format = read.one_of("LOG_FORMAT", &["json", "text"], "json");
        let stores: &[&str] = if redis.is_some() { &[DATABASE, REDIS] } else { &[DATABASE] };
        let dependencies: Vec<Dependency> = stores.iter().map(|name| dependency(name)).collect();
        let settings = json!({
            "service": name, "serviceVersion": version, "environment": environment.as_str(),
            "logs": { "level": level, "format": format },
            "dependencies": serde_json::to_value(dependencies).unwrap_or_default(),
        });
        let settings = serde_json::from_value(settings).map_err(|error| read.problem(error.to_string())).ok();
        match (database, settings) {
            (Some(database), Some(settings)) if read.problems.is_empty() => Ok(Configuration {
                service: name,
                version,
                environment,
                host,
                port,
                database,
                pool: Pool { most, kept, lifetime, idle },
                redis,
                jwt_secrets,
                bcrypt_rounds,
                login_attempts,
                registry,
                service_token,
                service_keys,
                registry_services,
                shutdown,
                settings,
            }),
            _ => Err(read.problems),
        }
    }

    /// `text` without any password of a store.
    pub fn redact(&self, text: &str) -> String {
        let text = self.database.redact(text);
        self.redis.as_ref().map_or(text.clone(), |redis| redis.redact(&text))
    }
}

fn dependency(name: &str) -> Dependency {
    let (kind, variable) = match name {
        DATABASE => (DependencyKind::Postgres, "DATABASE_URL"),
        _ => (DependencyKind::Redis, "REDIS_URL"),
    };
    Dependency {
        name: name.to_owned(),
        kind,
        variable: variable.to_owned(),
        // Without Redis a service is slower, and right.
        critical: kind == DependencyKind::Postgres,
        timeout_seconds: None,
        interval_seconds: Some(5.0),
    }
}

/// Variables being read.
struct Reading<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    problems: Vec<String>,
}

impl Reading<'_> {
    fn text(&self, name: &str) -> Option<String> {
        (self.lookup)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn problem(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    fn environment(&mut self) -> Environment {
        match self.text("ENVIRONMENT").as_deref() {
            None | Some("development" | "dev") => Environment::Development,
            Some("staging") => Environment::Staging,
            Some("production" | "prod") => Environment::Production,
            Some(other) => {
                self.problem(format!("ENVIRONMENT is {other:?}: write development, staging or production"));
                Environment::Production
            }
        }
    }

    fn number(&mut self, name: &str, default: u32, range: std::ops::RangeInclusive<u32>) -> u32 {
        let Some(text) = self.text(name) else { return default };
        match text.parse() {
            Ok(number) if range.contains(&number) => number,
            _ => {
                let (least, most) = (range.start(), range.end());
                self.problem(format!("{name} is {text:?}: write a number from {least} to {most}"));
                default
            }
        }
    }

    fn duration(&mut self, name: &str, default: Duration) -> Duration {
        let Some(text) = self.text(name) else { return default };
        let split = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
        let seconds = match &text[split..] {
            "" | "s" => Some(1),
            "m" => Some(60),
            "h" => Some(3600),
            _ => None,
        };
        let number: Option<u64> = text[..split].parse().ok();
        match seconds.zip(number).and_then(|(unit, number)| number.checked_mul(unit)) {
            Some(seconds) if (1..=31_536_000).contains(&seconds) => Duration::from_secs(seconds),
            _ => {
                self.problem(format!(
                    "{name} is {text:?}: write a time of a second or more, such as 30s or 1h"
                ));
                default
            }
        }
    }

    fn one_of(&mut self, name: &str, known: &[&'static str], default: &'static str) -> &'static str {
        let Some(text) = self.text(name) else { return default };
        known.iter().find(|known| **known == text).copied().unwrap_or_else(|| {
            self.problem(format!("{name} is {text:?}: write {}", known.join(", ")));
            default
        })
    }

    fn host(&mut self) -> std::net::IpAddr {
        let local = std::net::Ipv4Addr::LOCALHOST.into();
        let Some(text) = self.text("HOST") else { return local };
        text.parse().unwrap_or_else(|_| {
            self.problem(format!("HOST is {text:?}: write an address, such as 127.0.0.1 or 0.0.0.0"));
            local
        })
    }

    fn database(&mut self, environment: Environment) -> Option<Store<PgConnectOptions>> {
        const VARIABLE: &str = "DATABASE_URL";
        if self.text(VARIABLE).is_none() {
            self.problem(format!("{VARIABLE} is not set: write postgres://user:password@host:5432/database"));
            return None;
        }
        // H01: in production what is stored does not cross the network in the clear, whoever asks for that.
        // `prefer`, which the driver takes where nothing is said, goes on in the clear with a server that has no TLS.
        let is_clear = |mode| {
            environment == Environment::Production
                && matches!(mode, PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer)
        };
        let mode = self.text("DB_SSL_MODE").map(|text| (text.parse::<PgSslMode>(), text));
        let told = match mode {
            Some((Err(_), text)) => Some(format!(
                "DB_SSL_MODE is {text:?}: write disable, allow, prefer, require, verify-ca or verify-full"
            )),
            Some((Ok(mode), text)) if is_clear(mode) => Some(format!(
                "DB_SSL_MODE is {text:?} in production: write require, verify-ca or verify-full"
            )),
            _ => None,
        };
        let is_told = told.is_some();
        told.into_iter().for_each(|problem| self.problem(problem));
        let located = locate(&dependency(DATABASE), "", self.lookup)?;
        match &located.target {
            Target::Postgres(options, schema) => {
                let mut options = options.as_ref().clone().disable_statement_logging();
                if !is_told && is_clear(options.get_ssl_mode()) {
                    self.problem(format!("{VARIABLE} allows a connection in the clear in production: write sslmode=require, verify-ca or verify-full there, or none and set DB_SSL_MODE to one of these"));
                }
                if let Some(schema) = schema {
                    options = options.options([("search_path", schema)]);
                }
                Some(Store { client: options, located })
            }
            Target::Unusable(reason) => {
                self.problems.push(reason.clone());
                None
            }
            _ => None,
        }
    }

    fn redis(&mut self) -> Option<Store<redis::Client>> {
        let located = locate(&dependency(REDIS), "", self.lookup)?;
        match &located.target {
            Target::Redis(client) => Some(Store { client: client.as_ref().clone(), located }),
            Target::Unusable(reason) => {
                self.problems.push(reason.clone());
                None
            }
            _ => None,
        }
    }

    fn registry(&mut self) -> Option<String> {
        const VARIABLE: &str = "DATABASE_SERVICE_URL";
        let text = self.text(VARIABLE)?;
        let is_address = url::Url::parse(&text).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty()
        });
        if !is_address {
            self.problem(format!("{VARIABLE} is no address: write http://host or https://host"));
        }
        Some(text)
    }

    fn registry_services(&mut self) -> Vec<String> {
        const VARIABLE: &str = "REGISTRY_SERVICES";
        let text = self.text(VARIABLE).unwrap_or_default();
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let is_name = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|letter| {
                    letter.is_ascii_lowercase() || letter.is_ascii_digit() || matches!(letter, b'-' | b'.')
                })
        };
        let mut known = Vec::new();
        for name in names {
            if !(name.split('/').count() <= 2 && name.split('/').all(is_name)) {
                self.problem(format!(
                    "{VARIABLE} names {name:?}: write services as name or namespace/name, with commas between them"
                ));
            }
            known.push(name.to_owned());
        }
        known
    }

    fn service_token(&self) -> Option<TokenSource> {
        // D79: the file is current, the variable is as it was at the start.
        let file = self.text(service_token::FILE_VARIABLE).map(|path| TokenSource::File(path.into()));
        file.or_else(|| self.text(service_token::VARIABLE).map(TokenSource::Text))
    }

    fn jwt_secrets(&mut self, environment: Environment) -> Vec<String> {
        let least = if environment == Environment::Production { JWT_SECRET_MIN } else { 1 };
        if self.text("JWT_SECRET").is_none() {
            self.problem("JWT_SECRET is not set: make one with `openssl rand -base64 48`");
        }
        let mut secrets = Vec::new();
        for name in ["JWT_SECRET", "JWT_SECRET_PREVIOUS"] {
            // As it is: whoever else verifies has the same bytes, with the line break at their end if there is one.
            let Some(secret) = (self.lookup)(name).filter(|secret| !secret.is_empty()) else { continue };
            if secret.chars().count() < least {
                self.problem(format!(
                    "{name} has {} characters, and in {} it has at least {least}: make one with `openssl rand -base64 48`",
                    secret.chars().count(),
                    environment.as_str()
                ));
            }
            secrets.push(secret);
        }
        secrets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Configuration, Vec<String>> {
        let lookup = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Configuration::read("users", &lookup)
    }

    const DATABASE_URL: (&str, &str) = ("DATABASE_URL", "postgres://u:hush@db/users");
    const SECRET: (&str, &str) = ("JWT_SECRET", "0123456789012345678901234567890123456789");

    #[test]
    fn a_database_and_a_secret_are_enough() {
        let read = read(&[DATABASE_URL, SECRET]).unwrap_or_else(|problems| panic!("{problems:?}"));
        assert_eq!((read.service.as_str(), read.version.as_str(), read.port), ("users", "1.0.0", 8080));
        assert_eq!(read.host.to_string(), "127.0.0.1");
        assert!(read.redis.is_none());
        assert_eq!(read.bcrypt_rounds, 12);
        assert_eq!(read.shutdown.as_secs(), 30);
        assert_eq!(read.pool, Pool { most: 5, kept: 2, lifetime: Duration::from_secs(3600), idle: None });
    }

    #[test]
    fn a_secret_is_used_as_it_is() {
        let read =
            read(&[DATABASE_URL, ("JWT_SECRET", "one\n"), ("JWT_SECRET_PREVIOUS", " two")]).ok().unwrap();
        assert_eq!(read.jwt_secrets, ["one\n", " two"]);
    }

    #[test]
    fn the_pool_is_that_of_the_environment() {
        for (environment, most, kept, idle) in
            [("staging", 10, 3, None), ("production", 25, 5, Some(Duration::from_secs(600)))]
        {
            let tls = ("DB_SSL_MODE", "require");
            let read = read(&[DATABASE_URL, SECRET, tls, ("ENVIRONMENT", environment)]).ok().unwrap();
            assert_eq!((read.pool.most, read.pool.kept, read.pool.idle), (most, kept, idle));
        }
    }

    #[test]
    fn production_reaches_its_database_in_no_clear_way() {
        let told = |url: &'static str, mode: &'static str| {
            let read = read(&[
                ("DATABASE_URL", url),
                ("JWT_SECRET", "a secret of thirty-two characters"),
                ("DB_SSL_MODE", mode),
                ("ENVIRONMENT", "production"),
            ]);
            read.err().unwrap_or_default()
        };
        let plain = "postgres://u:p@db/books";
        assert_eq!(told(plain, "require"), [""; 0]);
        assert_eq!(told("postgres://u:p@db/books?sslmode=verify-full", "verify-full"), [""; 0]);
        for (url, mode, field) in [
            (plain, "DISABLE", "DB_SSL_MODE"),
            (plain, "allow", "DB_SSL_MODE"),
            (plain, "verify_full", "DB_SSL_MODE"),
            (plain, "prefer", "DB_SSL_MODE"),
            (plain, "", "DATABASE_URL"),
            ("postgres://u:p@db/books?sslmode=prefer", "require", "DATABASE_URL"),
            ("postgres://u:p@db/books?sslmode=prefer", "", "DATABASE_URL"),
            ("postgres://u:p@db/books?sslmode=disable", "require", "DATABASE_URL"),
        ] {
            let problems = told(url, mode);
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].starts_with(field), "{problems:?}");
        }
    }

    #[test]
    fn every_problem_is_told_at_once_and_no_secret() {
        let problems = read(&[
            ("ENVIRONMENT", "prod"),
            ("PORT", "99999"),
            ("DATABASE_URL", "mysql://u:hush@db"),
            ("DB_SSL_MODE", "disable"),
            ("DB_MAX_OPEN_CONNS", "many"),
            ("REDIS_URL", "http://:hush@redis"),
            ("JWT_SECRET", "hush"),
            ("BCRYPT_ROUNDS", "3"),
            ("SHUTDOWN_TIMEOUT", "500ms"),
            ("HOST", "everywhere"),
            ("LOG_LEVEL", "loud"),
            ("DATABASE_SERVICE_URL", "http://u:hush@registry"),
            ("REGISTRY_SERVICES", "users, Books!"),
        ])
        .err()
        .unwrap();
        for name in [
            "PORT",
            "DATABASE_URL",
            "DB_SSL_MODE",
            "DB_MAX_OPEN_CONNS",
            "REDIS_URL",
            "JWT_SECRET",
            "BCRYPT_ROUNDS",
            "SHUTDOWN_TIMEOUT",
            "HOST",
            "LOG_LEVEL",
            "DATABASE_SERVICE_URL",
            "REGISTRY_SERVICES",
        ] {
            assert_eq!(
                problems.iter().filter(|told| told.starts_with(name)).count(),
                1,
                "{name}: {problems:?}"
            );
        }
        assert_eq!(problems.len(), 12, "{problems:?}");
        assert!(!problems.concat().contains("hush"), "{problems:?}");
    }

    #[tokio::test]
    async fn a_token_is_read_from_its_file_where_there_is_one() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "now\n").unwrap();
        let path = file.path().to_str().unwrap();
        let read = |variables: &[(&str, &str)]| {
            read(&[&[DATABASE_URL, SECRET][..], variables].concat()).ok().unwrap()
        };
        let told = read(&[("SERVICE_TOKEN", "then"), ("SERVICE_TOKEN_FILE", path)]).service_token.unwrap();
        assert_eq!(told.read().await.as_deref(), Ok("now"));
        std::fs::write(file.path(), "later").unwrap();
        assert_eq!(told.read().await.as_deref(), Ok("later"));
        let told = read(&[("SERVICE_TOKEN", "then")]).service_token.unwrap();
        assert_eq!(told.read().await.as_deref(), Ok("then"));
        assert!(read(&[]).service_token.is_none());
        let gone = TokenSource::File("/nowhere/at/all".into()).read().await.unwrap_err();
        assert!(gone.starts_with("/nowhere/at/all cannot be read"), "{gone}");
    }

    #[test]
    fn without_anything_both_that_are_needed_are_named() {
        let problems = read(&[]).err().unwrap();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(
            problems[0].starts_with("DATABASE_URL is not set")
                && problems[1].starts_with("JWT_SECRET is not set")
        );
    }
}
