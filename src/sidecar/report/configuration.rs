//! Whether the variables are there that the service cannot do without (D10, G12).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::contract::settings::Settings;

/// The variable whose value a sidecar is given as files: the secret in use is `current`.
const JWT_SECRET: &str = "JWT_SECRET";

/// What has to be there, and what of it is missing.
pub struct Configuration {
    /// Names that are no variable here: they may be files.
    unset: Vec<String>,
    keys_folder: Option<PathBuf>,
    missing: ArcSwap<Vec<String>>,
}

impl Configuration {
    /// What `settings` ask for, where `lookup` is the environment.
    pub fn new(settings: &Settings, lookup: &dyn Fn(&str) -> Option<String>) -> Configuration {
        let is_unset = |name: &&String| lookup(name).is_none_or(|value| value.is_empty());
        let configuration = Configuration {
            unset: settings.configuration.iter().filter(is_unset).cloned().collect(),
            keys_folder: settings.auth.as_ref().and_then(|auth| auth.keys_folder.as_ref()).map(PathBuf::from),
            missing: ArcSwap::default(),
        };
        configuration.look();
        configuration
    }

    /// Look for the files again: a Secret may come later than the pod.
    pub fn look(&self) {
        let missing = self.unset.iter().filter(|name| !self.is_file(name)).cloned().collect();
        self.missing.store(Arc::new(missing));
    }

    /// Whether all is there, or what is not, in the words of D10.
    pub fn complete(&self) -> Result<(), String> {
        let missing = self.missing.load();
        if missing.is_empty() {
            return Ok(());
        }
        Err(format!("Missing required environment variable(s): {}", missing.join(", ")))
    }

    fn is_file(&self, name: &str) -> bool {
        let has = |folder: &Path, name: &str| {
            std::fs::metadata(folder.join(name)).is_ok_and(|file| file.is_file() && file.len() > 0)
        };
        self.keys_folder
            .as_ref()
            .is_some_and(|folder| has(folder, name) || name == JWT_SECRET && has(folder, "current"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(folder: Option<&Path>) -> Configuration {
        let settings = serde_json::json!({
            "service": "users",
            "configuration": ["SERVICE_NAME", "DATABASE_URL", "JWT_SECRET"],
            "auth": { "keysFolder": folder },
        });
        let settings: Settings = serde_json::from_value(settings).unwrap();
        Configuration::new(&settings, &|name| match name {
            "SERVICE_NAME" => Some("users".to_owned()),
            "DATABASE_URL" => Some(String::new()),
            _ => None,
        })
    }

    #[test]
    fn what_is_unset_or_empty_is_named() {
        assert_eq!(
            configuration(None).complete(),
            Err("Missing required environment variable(s): DATABASE_URL, JWT_SECRET".into())
        );
    }

    #[test]
    fn a_mounted_key_counts_and_may_come_later() {
        let folder = tempfile::tempdir().unwrap();
        let configuration = configuration(Some(folder.path()));
        std::fs::write(folder.path().join("current"), "secret").unwrap();
        std::fs::write(folder.path().join("DATABASE_URL"), "").unwrap();
        configuration.look();
        assert_eq!(
            configuration.complete(),
            Err("Missing required environment variable(s): DATABASE_URL".into())
        );
        std::fs::write(folder.path().join("DATABASE_URL"), "postgres://db").unwrap();
        configuration.look();
        assert_eq!(configuration.complete(), Ok(()));
    }
}
