//! Against operators that the tests start, starve, freeze and kill themselves.

mod answers;
mod crash;
mod domain_services;
mod gate;
mod growth;
mod http2;
mod idle;
mod isolation;
pub mod jobs;
mod kept;
mod lag;
mod leader;
mod orphaned;
mod platform;
mod releases;
mod rollout;
pub mod state;
mod stored;
mod tokens;
mod upgrade;
mod waves;

use crate::support::soak;
