//! The map of the house.
//!
//! The flow is one line, and so is the order of the rooms:
//! **api -> check -> rollout -> plan -> apply -> status**, conducted by `operator`.
//!
//! | layer | rooms | may use | must not contain |
//! |---|---|---|---|
//! | words | contract, api, facts | each other, downwards | client, async, clock, environment |
//! | thought | check, rollout, plan, gate, status | words; rollout uses check; plan uses check and rollout; status uses all | the same |
//! | | manifest, convert | words, check; convert uses plan and manifest too | the same |
//! | hands | apply, notify, telemetry, handover, doctor | words, thought | decisions |
//! | conductor | operator | all of the above | builders |
//! | data plane | sidecar, services, conformance, measure | contract, telemetry (sidecar), parts of the sidecar (services), the client of conformance (measure) | kube, api, check, plan |
//! | doors | cli, main | everything | logic |
//!
//! No room imports upwards, and none in a circle: `tests/all/rooms.rs` reads the imports against this table.

pub mod api;
pub mod apply;
pub mod check;
pub mod cli;
pub mod conformance;
pub mod contract;
pub mod convert;
pub mod doctor;
pub mod facts;
pub mod gate;
pub mod handover;
pub mod manifest;
pub mod measure;
pub mod notify;
pub mod operator;
pub mod plan;
pub mod rollout;
pub mod services;
pub mod sidecar;
pub mod status;
pub mod telemetry;
