//! Against operators that the tests start, starve, freeze and kill themselves.

mod answers;
mod crash;
mod definitions;
mod domain_services;
mod external_secrets;
mod from_outside;
mod gate;
mod governance;
mod growth;
mod helm;
mod http2;
mod idle;
mod isolation;
mod jobs;
mod k6;
mod kept;
mod lag;
mod leader;
mod monitoring;
mod orphaned;
mod platform;
mod releases;
mod restart_apiserver;
mod rollout;
mod sources;
mod state;
mod stored;
mod strict;
mod tokens;
mod upgrade;
mod waves;

use crate::support::soak;
