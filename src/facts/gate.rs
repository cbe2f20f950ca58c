//! What the gate looks at: the pods that carry it, and the services that theirs depends on.

/// Namespace and name of a service.
pub type ServiceName = (String, String);

/// A pod with the readiness gate, as its node and the operator itself tell of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatedPod {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Revision that it was rendered from, by its own label.
    pub revision: String,
    /// Whether its node says that all of its containers are ready: the kubelet's probes go through its own sidecar.
    pub answers: bool,
    /// What the operator has said of it; `None` until then.
    pub said: Option<Word>,
}

impl GatedPod {
    /// Whether it has been told that it may take requests.
    pub fn is_let_in(&self) -> bool {
        self.said.as_ref().is_some_and(|said| said.open)
    }
}

/// What the operator says of a pod at the gate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// Whether it may take requests.
    pub open: bool,
    /// Why, in one word.
    pub reason: String,
    /// Why, for people.
    pub message: String,
}

/// How a service that another one depends on is. Times are Unix seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is Ready.
    Ready {
        /// Since when.
        since: i64,
    },
    /// It is not.
    NotReady {
        /// Since when; `None` where nobody has looked yet.
        since: Option<i64>,
    },
    /// It is being deleted.
    Leaving,
    /// Nothing has that name.
    Missing,
    /// A Service that no VisiobookService of this operator stands behind: nothing more is known of it.
    Foreign,
}

impl Standing {
    /// Whether those that depend on it wait.
    pub fn is_lacking(&self) -> bool {
        !matches!(self, Standing::Ready { .. } | Standing::Foreign)
    }
}
