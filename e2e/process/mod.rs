//! Against operators that the tests start, starve, freeze and kill themselves.

mod crash;
mod state;
