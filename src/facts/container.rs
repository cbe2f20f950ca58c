//! A container of a pod that is not ready, as the kubelet tells it.

/// What hinders a container, or what became of it last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerFact {
    /// Its pod.
    pub pod: String,
    /// Its name; empty where the pod itself has no place to run.
    pub name: String,
    /// Why it does not run, in the kubelet's word, such as CrashLoopBackOff.
    pub waiting: Option<String>,
    /// The kubelet's sentence beside that word.
    pub message: Option<String>,
    /// With which code it ended last.
    pub ended: Option<i32>,
    /// What it said of its end, or the last lines of its log (C26).
    pub said: Option<String>,
}
