//! The sidecar as a process, between raw sockets and an application that knows nothing of it.

mod contract;
mod drain;
mod hostile;
mod limits;
mod proxying;
mod support;
