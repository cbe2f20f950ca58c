//! Passwords: hashed by bcrypt (D68), on as many threads as there are cores, and with an end to the queue.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use crate::services::failure::Failure;

/// Passwords that wait for a core, for each core. What comes on top is refused: it would wait for longer than
/// anybody does.
const WAITING: usize = 4;
/// What is told of too many at once.
const BUSY: &str = "Too many passwords are being checked: try again in a moment";

/// Hashes passwords.
pub struct Passwords {
    rounds: u32,
    admitted: Arc<Semaphore>,
    running: Arc<Semaphore>,
    /// The hash of nobody's password, as costly as anybody's: an unknown user takes as long as a known one.
    nobody: String,
}

/// A place in the queue.
pub struct Admitted {
    _place: OwnedSemaphorePermit,
}

/// A place among those that are hashed.
struct Place {
    _admitted: Admitted,
    _running: OwnedSemaphorePermit,
}

impl Passwords {
    /// With 2 to the power of `rounds`, on `cores`.
    pub fn new(rounds: u32, cores: usize) -> Result<Passwords, String> {
        let nobody =
            bcrypt::hash(uuid::Uuid::new_v4().to_string(), rounds).map_err(|error| error.to_string())?;
        Ok(Passwords {
            rounds,
            admitted: Arc::new(Semaphore::new(cores * (1 + WAITING))),
            running: Arc::new(Semaphore::new(cores)),
            nobody,
        })
    }

    /// The hash of a password.
    pub async fn hash(&self, password: String) -> Result<String, Failure> {
        let place = self.place(self.admit()?).await?;
        let rounds = self.rounds;
        let hashed = spawn_blocking(move || {
            // It is given back when the work ends, not when somebody stops waiting for it.
            let _place = place;
            bcrypt::hash(password, rounds)
        });
        hashed.await.map_err(failed)?.map_err(failed)
    }

    /// Whether a password is that of `hash`; nobody's is no one's.
    pub async fn verify(
        &self,
        admitted: Admitted,
        password: String,
        hash: Option<String>,
    ) -> Result<bool, Failure> {
        let place = self.place(admitted).await?;
        let is_somebody = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.nobody.clone());
        let verified = spawn_blocking(move || {
            let _place = place;
            bcrypt::verify(password, &hash)
        });
        Ok(verified.await.map_err(failed)?.map_err(failed)? && is_somebody)
    }

    /// A place in the queue, or 503.
    pub fn admit(&self) -> Result<Admitted, Failure> {
        let place = self.admitted.clone().try_acquire_owned().map_err(|_| Failure::unavailable(BUSY))?;
        Ok(Admitted { _place: place })
    }

    async fn place(&self, admitted: Admitted) -> Result<Place, Failure> {
        let running = self.running.clone().acquire_owned().await.map_err(|_| Failure::unavailable(BUSY))?;
        Ok(Place { _admitted: admitted, _running: running })
    }
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::internal("Failed to check a password", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_known_again_and_nobodys_is_not() {
        let passwords = Passwords::new(4, 2).unwrap();
        let hash = passwords.hash("correct horse".into()).await.unwrap();
        assert!(hash.starts_with("$2b$04$") && !hash.contains("horse"));
        let verify = |password: &str, hash: Option<String>| {
            passwords.verify(passwords.admit().unwrap(), password.to_owned(), hash)
        };
        assert!(verify("correct horse", Some(hash.clone())).await.unwrap());
        assert!(!verify("Correct horse", Some(hash)).await.unwrap());
        assert!(!verify("correct horse", None).await.unwrap());
    }

    #[tokio::test]
    async fn beyond_the_queue_is_an_answer_and_no_waiting() {
        let passwords = Arc::new(Passwords::new(4, 1).unwrap());
        let taken = passwords.admitted.clone().acquire_many_owned((1 + WAITING) as u32).await.unwrap();
        let refused = passwords.hash("correct horse".into()).await.unwrap_err();
        assert_eq!(refused.status, 503);
        assert!(refused.header.is_some_and(|header| header.0 == http::header::RETRY_AFTER));
        drop(taken);
        assert!(passwords.hash("correct horse".into()).await.is_ok());
    }
}
