//! What the operator tells about itself. It decides nothing.
//!
//! | file | idea |
//! |---|---|
//! | `logs` | log lines on stdout, and traces where a collector is configured |
//! | `metrics` | the registry, with every metric's name in one table |
//! | `releases` | what is counted and measured of releases |
//! | `calls` | the Kubernetes client that counts its calls |
//! | `admin` | the HTTP server of `/livez`, `/readyz` and `/metrics` |
//! | `memory` | what a burst has freed goes back |

pub mod admin;
pub mod calls;
pub mod logs;
pub mod memory;
pub mod metrics;
pub mod monitoring;
mod releases;

pub use admin::{Admin, Heartbeat, Latch, Readiness};
pub use logs::{LogFormat, init};
pub use metrics::{Metrics, Outcome};
pub use releases::Service;
