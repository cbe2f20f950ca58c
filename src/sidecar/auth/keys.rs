//! Keys in a folder, one a file, read again when it changes (D64, X49, H01).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use arc_swap::{ArcSwap, Guard};
use jsonwebtoken::{Algorithm, DecodingKey};
use sha2::{Digest, Sha256};

use crate::contract::JWT_SECRET_MIN;
use crate::contract::settings::Environment;

/// How often a folder is looked at.
const EVERY: Duration = Duration::from_secs(5);
/// Bytes that a key's file may have.
const LONGEST_FILE: u64 = 64 << 10;
/// Files that stand for the keys of tokens without a `kid` (X49).
const UNNAMED: [&str; 2] = ["current", "previous"];
const PEM: &[u8] = b"-----BEGIN";

/// A key, for one algorithm only.
pub struct Key {
    /// By which tokens name it.
    pub kid: Option<String>,
    /// The algorithm that it is for, whatever a token says.
    pub algorithm: Algorithm,
    /// The key.
    pub decoding: DecodingKey,
}

/// A file of a folder: its name, and its bytes.
pub type File = (String, Vec<u8>);

type Build<T> = Box<dyn Fn(Vec<File>) -> Result<T, String> + Send + Sync>;

/// What the files of a folder make, always current.
pub struct Folder<T> {
    path: PathBuf,
    build: Build<T>,
    current: ArcSwap<T>,
    seen: ArcSwap<[u8; 32]>,
}

impl<T: Send + Sync + 'static> Folder<T> {
    /// Reads a folder for the first time.
    pub fn open(
        path: &str,
        build: impl Fn(Vec<File>) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Folder<T>, String> {
        let files = read(Path::new(path))?;
        let seen = ArcSwap::from_pointee(digest(&files));
        let current = ArcSwap::from_pointee(build(files)?);
        Ok(Folder { path: path.into(), build: Box::new(build), current, seen })
    }

    /// What they make now.
    pub fn load(&self) -> Guard<Arc<T>> {
        self.current.load()
    }

    /// Reads again; whether it changed. What is wrong leaves everything as it was.
    pub fn reload(&self) -> Result<bool, String> {
        let files = read(&self.path)?;
        let digest = digest(&files);
        if digest == **self.seen.load() {
            return Ok(false);
        }
        self.current.store(Arc::new((self.build)(files)?));
        self.seen.store(Arc::new(digest));
        Ok(true)
    }

    /// Reads again every few seconds, for as long as it is polled; `field` is what logs call it.
    pub async fn follow(self: Arc<Self>, field: &'static str) {
        let mut failure = None;
        loop {
            tokio::time::sleep(EVERY).await;
            let folder = Arc::clone(&self);
            let outcome = tokio::task::spawn_blocking(move || folder.reload()).await;
            match outcome.unwrap_or_else(|error| Err(error.to_string())) {
                Ok(changed) => {
                    if changed {
                        tracing::info!(folder = %self.path.display(), "keys of {field} have been read again");
                    }
                    failure = None;
                }
                Err(error) => {
                    if failure.as_ref() != Some(&error) {
                        tracing::error!(error, "keys of {field} cannot be read again: the ones before stay");
                    }
                    failure = Some(error);
                }
            }
        }
    }
}

/// Secrets of HS256. A public key among them would be a secret that everybody knows.
pub fn open_secrets(path: &str, environment: Environment) -> Result<Folder<Vec<Key>>, String> {
    Folder::open(path, move |files| {
        let key = |(name, bytes): File| match bytes.trim_ascii_start().starts_with(PEM) {
            true => {
                Err(format!("file {name:?} is a PEM key, which is no secret: give public keys as auth.jwks"))
            }
            false => secret(name, &bytes, environment),
        };
        some(files.into_iter().map(key).collect::<Result<_, _>>()?)
    })
}

/// Keys of services: public ones as PEM, each under its `kid`. A secret would let everybody who verifies mint as well.
pub fn open_service_keys(path: &str) -> Result<Folder<Vec<Key>>, String> {
    Folder::open(path, |files| {
        some(files.into_iter().map(|(name, bytes)| public(name, &bytes)).collect::<Result<_, _>>()?)
    })
}

/// Keys of the operator, as they are there: they may come later, and nothing that serves waits for them.
pub fn open_operator_keys(path: &str) -> Result<Folder<Vec<Key>>, String> {
    Folder::open(path, |files| files.into_iter().map(|(name, bytes)| public(name, &bytes)).collect())
}

/// Whether a secret is long enough for its environment (H01).
pub(super) fn check_length(name: &str, bytes: &[u8], environment: Environment) -> Result<(), String> {
    let least = if environment == Environment::Production { JWT_SECRET_MIN } else { 1 };
    if bytes.len() >= least {
        return Ok(());
    }
    Err(format!(
        "file {name:?} has {} bytes, and a secret has at least {least} in {}: make one with `openssl rand -base64 48`",
        bytes.len(),
        environment.as_str()
    ))
}

fn some(keys: Vec<Key>) -> Result<Vec<Key>, String> {
    if keys.is_empty() {
        return Err(
            "the folder holds no key: put one a file, named `current`, `previous` or by its kid".into()
        );
    }
    Ok(keys)
}

fn secret(name: String, bytes: &[u8], environment: Environment) -> Result<Key, String> {
    check_length(&name, bytes, environment)?;
    let kid = (!UNNAMED.contains(&name.as_str())).then_some(name);
    Ok(Key { kid, algorithm: Algorithm::HS256, decoding: DecodingKey::from_secret(bytes) })
}

fn public(name: String, pem: &[u8]) -> Result<Key, String> {
    let (algorithm, decoding) = match DecodingKey::from_ec_pem(pem) {
        Ok(key) => (Algorithm::ES256, key),
        Err(_) => match DecodingKey::from_rsa_pem(pem) {
            Ok(key) => (Algorithm::RS256, key),
            Err(error) => return Err(format!("file {name:?} is no public key of RSA or P-256: {error}")),
        },
    };
    Ok(Key { kid: Some(name), algorithm, decoding })
}

/// The files of a folder, by name. Kubernetes swaps `..data` as a whole, so what is read is one version.
fn read(folder: &Path) -> Result<Vec<File>, String> {
    let failed = |path: &Path, error: io::Error| format!("{} cannot be read: {error}", path.display());
    let version = folder.join("..data");
    let from = match fs::canonicalize(&version) {
        Ok(version) => version,
        Err(error) if error.kind() == io::ErrorKind::NotFound => folder.to_path_buf(),
        Err(error) => return Err(failed(&version, error)),
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(&from).map_err(|error| failed(&from, error))? {
        let path = entry.map_err(|error| failed(&from, error))?.path();
        let Some(name) =
            path.file_name().and_then(|name| name.to_str()).filter(|name| !name.starts_with('.'))
        else {
            continue;
        };
        let metadata = fs::metadata(&path).map_err(|error| failed(&path, error))?;
        if !metadata.is_file() {
            continue;
        }
        if metadata.len() > LONGEST_FILE {
            return Err(format!("file {name:?} has more than {LONGEST_FILE} bytes: it is no key"));
        }
        files.push((name.to_string(), fs::read(&path).map_err(|error| failed(&path, error))?));
    }
    files.sort();
    Ok(files)
}

fn digest(files: &[File]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for (name, bytes) in files {
        for part in [name.as_bytes(), bytes] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const LONG: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        folder
    }

    fn open(folder: &tempfile::TempDir, environment: Environment) -> Result<Folder<Vec<Key>>, String> {
        open_secrets(folder.path().to_str().unwrap(), environment)
    }

    fn kids(folder: &Folder<Vec<Key>>) -> Vec<Option<String>> {
        folder.load().iter().map(|key| key.kid.clone()).collect()
    }

    #[test]
    fn a_secret_of_production_has_32_bytes() {
        let short = folder(&[("current", &LONG[..31])]);
        let error = open(&short, Environment::Production).err().unwrap();
        assert!(
            error.contains("\"current\" has 31 bytes") && error.contains("at least 32 in production"),
            "{error}"
        );
        open(&short, Environment::Development).unwrap();
        open(&folder(&[("current", LONG)]), Environment::Production).unwrap();
        assert!(open(&folder(&[("current", b"")]), Environment::Development).is_err());
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        for (files, word) in [
            (&[][..], "holds no key"),
            (&[("current", &b"\n-----BEGIN PUBLIC KEY-----"[..])], "auth.jwks"),
            (&[("current", &[b'a'; 70_000])], "more than 65536 bytes"),
        ] {
            let error = open(&folder(files), Environment::Development).err().unwrap();
            assert!(error.contains(word), "{error}");
        }
        let missing = open_secrets("/nowhere/at/all", Environment::Development).err().unwrap();
        assert!(missing.starts_with("/nowhere/at/all cannot be read"), "{missing}");
    }

    #[test]
    fn a_swapped_volume_is_read_again_and_a_bad_one_is_not() {
        // As the kubelet does it: `..data` leads to a folder of the version, and the names lead through it.
        let mount = tempfile::tempdir().unwrap();
        let publish = |version: &str, files: &[(&str, &[u8])]| {
            let folder = mount.path().join(version);
            fs::create_dir(&folder).unwrap();
            for (name, bytes) in files {
                fs::write(folder.join(name), bytes).unwrap();
                let _ = symlink(format!("..data/{name}"), mount.path().join(name));
            }
            symlink(version, mount.path().join("..data_tmp")).unwrap();
            fs::rename(mount.path().join("..data_tmp"), mount.path().join("..data")).unwrap();
        };
        publish("..1", &[("current", LONG)]);
        let folder = open(&mount, Environment::Production).unwrap();
        assert_eq!(kids(&folder), [None]);
        assert_eq!(folder.reload(), Ok(false));
        publish(
            "..2",
            &[("current", b"another-secret-of-thirty-two-byte"), ("previous", LONG), ("k2", LONG)],
        );
        assert_eq!(folder.reload(), Ok(true));
        assert_eq!(kids(&folder), [None, Some("k2".into()), None]);
        publish("..3", &[("current", b"short")]);
        assert!(folder.reload().is_err());
        assert_eq!(kids(&folder).len(), 3, "the keys before stay");
    }
}
