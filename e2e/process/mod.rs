//! Against operators that the tests start, starve, freeze and kill themselves.

mod answers;
mod crash;
mod growth;
mod http2;
mod idle;
mod lag;
mod leader;
mod orphaned;
mod restart_apiserver;
mod state;
mod stored;
mod strict;
mod tokens;
mod upgrade;

use crate::support::soak;
