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
mod upgrade;

/// Whether tests take the time that they would like to have, rather than what fits every build.
fn soak() -> bool {
    std::env::var_os("VISIOBOOK_SOAK").is_some_and(|soak| !soak.is_empty())
}
