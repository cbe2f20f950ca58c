//! The contract's own port: /health, /ready, /metrics, /kpis, /alive.

pub mod kpis;
