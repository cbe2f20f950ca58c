//! Every check there is, in the order in which they are told.

use super::survey::Survey;
use super::verdict::Verdict;
use super::{cors, envelope, headers, kpis, metrics, probes, tokens};

/// One rule of the contract.
#[derive(Debug)]
pub struct Check {
    /// Its name, which stays.
    pub id: &'static str,
    /// The requirements it holds.
    pub requirements: &'static [&'static str],
    /// What has to be.
    pub expected: &'static str,
    /// What to do where it is not.
    pub way_out: &'static str,
    /// Judges the answers.
    pub(super) judge: fn(&Survey) -> Verdict,
}

/// The first check: without it there is nothing to judge.
pub const REACHABLE: Check = Check {
    id: "service/reachable",
    requirements: &["C31", "D17"],
    expected: "the service answers HTTP",
    way_out: "start it, and check host, port and network policy; --timeout gives a slow one longer",
    judge: |survey| Ok(format!("{}, contract at {}", survey.url, survey.contract_url)),
};

/// All of them.
pub fn all() -> impl Iterator<Item = &'static Check> {
    std::iter::once(&REACHABLE)
        .chain(probes::CHECKS)
        .chain(metrics::CHECKS)
        .chain(kpis::CHECKS)
        .chain(headers::CHECKS)
        .chain(envelope::CHECKS)
        .chain(cors::CHECKS)
        .chain(tokens::CHECKS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn every_check_has_a_name_of_its_own_a_requirement_and_a_way_out() {
        let mut ids = BTreeSet::new();
        for check in super::all() {
            assert!(ids.insert(check.id), "{} is there twice", check.id);
            assert!(check.id.split('/').count() == 2 && !check.requirements.is_empty(), "{}", check.id);
            assert!(check.expected.len() > 3 && check.way_out.len() > 10, "{}", check.id);
        }
        assert!(ids.len() > 40, "only {} checks", ids.len());
    }
}
