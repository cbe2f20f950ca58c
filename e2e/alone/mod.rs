//! Tests that change what all others need, one after the other: definitions of kinds, policies, the API server, rights in all
//! namespaces; and those that measure against the whole machine.

mod definitions;
mod external_secrets;
mod from_outside;
mod governance;
mod helm;
mod k6;
mod monitoring;
mod restart_apiserver;
mod sources;
mod strict;
