//! Against operators that the tests start, starve, freeze and kill themselves.

mod answers;
mod crash;
mod definitions;
mod growth;
mod http2;
mod idle;
mod isolation;
mod lag;
mod leader;
mod orphaned;
mod restart_apiserver;
mod sources;
mod state;
mod stored;
mod strict;
mod upgrade;

use crate::support::soak;
