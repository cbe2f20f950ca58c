//! What the operator tells about itself. It decides nothing.
//!
//! | file | idea |
//! |---|---|
//! | `logs` | log lines on stdout, and traces where a collector is configured |
//! | `metrics` | the registry, with every metric's name in one table |
//! | `calls` | the Kubernetes client that counts its calls |
//! | `admin` | the HTTP server of `/livez`, `/readyz` and `/metrics` |

pub mod admin;
pub mod calls;
pub mod logs;
pub mod metrics;
pub mod monitoring;

pub use admin::{Admin, Heartbeat, Latch, Readiness};
pub use logs::{LogFormat, init};
pub use metrics::{Metrics, Outcome};
