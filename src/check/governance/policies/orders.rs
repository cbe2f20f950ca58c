//! Orders whose record is in the caller's own name: an approval and a release in a freeze, which take a right of their
//! own, and an attestation.

use super::{Governed, Policy, SERVICES, annotation};
use crate::api::GROUP;
use crate::api::names::{APPROVE, APPROVED_BY, ATTEST, BREAK_GLASS, BREAK_GLASS_BY, BREAK_GLASS_REASON};

fn approvals() -> Vec<(String, String)> {
    [
        ("approve", annotation("object", APPROVE)),
        ("approvedBy", annotation("object", APPROVED_BY)),
        ("approveBefore", annotation("oldObject", APPROVE)),
        ("approvedByBefore", annotation("oldObject", APPROVED_BY)),
        // Withdrawing is everybody's who may edit.
        (
            "approves",
            "variables.approve != '' && (variables.approve != variables.approveBefore || variables.approvedBy != variables.approvedByBefore)".to_string(),
        ),
    ]
    .map(|(name, expression)| (name.to_string(), expression))
    .to_vec()
}

/// Whether the caller has this verb on the service.
fn may(verb: &str) -> String {
    format!(
        "authorizer.group('{GROUP}').resource('visiobookservices').namespace(request.namespace).name(request.name).check('{verb}').allowed()"
    )
}

pub(super) fn approval() -> Policy {
    let (approve, update) = (may("approve"), may("update"));
    let user = "request.userInfo.username";
    let validation = |holds: &str, message: String, rule: &str| {
        (holds.to_string(), format!("'metadata.annotations: {message} [{rule}]'"))
    };
    Policy {
        name: "visiobook-approval",
        about: "Who may approve the release of a service, and under whose name; and that this right alone changes no spec.",
        governed: Governed::Always,
        matched: SERVICES,
        conditions: vec![],
        variables: [approvals(), glass()].concat(),
        validations: vec![
            validation(
                &format!("!variables.approves || {approve}"),
                format!(
                    "' + {user} + ' may not approve ' + request.name + ': ask somebody with the verb approve, such as a group in spec.access.approve of the environment"
                ),
                "approval-right",
            ),
            validation(
                &format!("!variables.approves || variables.approvedBy == {user}"),
                format!(
                    "{APPROVED_BY} records who approves: set it to ' + {user} + ' together with {APPROVE}"
                ),
                "approval-name",
            ),
            validation(
                "variables.approve != '' || variables.approvedBy == '' || variables.approvedBy == variables.approvedByBefore",
                format!("{APPROVED_BY} belongs to an approval: set it together with {APPROVE}"),
                "approval-name",
            ),
            validation(
                "!variables.approves || (oldObject != null && object.spec == oldObject.spec)",
                format!(
                    "what is approved is what was there to be looked at: change spec first, and set {APPROVE} in a request of its own"
                ),
                "approval-alone",
            ),
            // An annotation takes the right to patch, which would change spec as well: together with an order, the rules
            // of that order say so.
            (
                format!(
                    "oldObject == null || object.spec == oldObject.spec || variables.approves || variables.breaksGlass || {update}"
                ),
                format!(
                    "'spec: ' + {user} + ' may not change ' + request.name + ': that takes the verb update, which a group in spec.access.edit of the environment has [edit-right]'"
                ),
            ),
        ],
    }
}

fn glass() -> Vec<(String, String)> {
    [
        ("breakGlass", annotation("object", BREAK_GLASS)),
        ("breakGlassBy", annotation("object", BREAK_GLASS_BY)),
        ("breakGlassReason", annotation("object", BREAK_GLASS_REASON)),
        ("breakGlassBefore", annotation("oldObject", BREAK_GLASS)),
        ("breakGlassByBefore", annotation("oldObject", BREAK_GLASS_BY)),
        ("breakGlassReasonBefore", annotation("oldObject", BREAK_GLASS_REASON)),
        // Taking it back is everybody's who may edit.
        (
            "breaksGlass",
            "variables.breakGlass != '' && (variables.breakGlass != variables.breakGlassBefore || variables.breakGlassBy != variables.breakGlassByBefore || variables.breakGlassReason != variables.breakGlassReasonBefore)".to_string(),
        ),
    ]
    .map(|(name, expression)| (name.to_string(), expression))
    .to_vec()
}

pub(super) fn break_glass() -> Policy {
    let break_glass = may("break-glass");
    let user = "request.userInfo.username";
    let validation = |holds: &str, message: String, rule: &str| {
        (holds.to_string(), format!("'metadata.annotations: {message} [{rule}]'"))
    };
    Policy {
        name: "visiobook-break-glass",
        about: "Who may release a service in a freeze, under whose name, and why.",
        governed: Governed::Always,
        matched: SERVICES,
        conditions: vec![],
        variables: glass(),
        validations: vec![
            validation(
                &format!("!variables.breaksGlass || {break_glass}"),
                format!(
                    "' + {user} + ' may not release ' + request.name + ' in a freeze: ask somebody with the verb break-glass, such as a group in spec.access.approve of the environment"
                ),
                "break-glass-right",
            ),
            validation(
                &format!("!variables.breaksGlass || variables.breakGlassBy == {user}"),
                format!(
                    "{BREAK_GLASS_BY} records who releases in a freeze: set it to ' + {user} + ' together with {BREAK_GLASS}"
                ),
                "break-glass-name",
            ),
            validation(
                "!variables.breaksGlass || variables.breakGlassReason.trim() != ''",
                format!("{BREAK_GLASS_REASON} records why: set it together with {BREAK_GLASS}"),
                "break-glass-reason",
            ),
            validation(
                "variables.breakGlass != '' || ((variables.breakGlassBy == '' || variables.breakGlassBy == variables.breakGlassByBefore) && (variables.breakGlassReason == '' || variables.breakGlassReason == variables.breakGlassReasonBefore))",
                format!(
                    "{BREAK_GLASS_BY} and {BREAK_GLASS_REASON} belong to {BREAK_GLASS}: set them together"
                ),
                "break-glass-name",
            ),
            validation(
                "!variables.breaksGlass || (oldObject != null && object.spec == oldObject.spec)",
                format!(
                    "what is released in a freeze is what was there to be looked at: change spec first, and set {BREAK_GLASS} in a request of its own"
                ),
                "break-glass-alone",
            ),
        ],
    }
}

pub(super) fn attestation() -> Policy {
    let user = "request.userInfo.username";
    let all = |object: &str| {
        format!(
            "{object} != null && has({object}.metadata.annotations) ? {object}.metadata.annotations : {{}}"
        )
    };
    let validation = |holds: &str, message: String, rule: &str| {
        (holds.to_string(), format!("'metadata.annotations: {message} [{rule}]'"))
    };
    Policy {
        name: "visiobook-attestation",
        about: "Under whose name something of a release is attested, and with what evidence.",
        governed: Governed::Always,
        matched: SERVICES,
        conditions: vec![],
        variables: vec![
            ("annotations".into(), all("object")),
            ("before".into(), all("oldObject")),
            // Taking one back is everybody's who may edit.
            (
                "attested".into(),
                format!(
                    "variables.annotations.filter(name, name.startsWith('{ATTEST}') && variables.annotations[name] != '' && (!(name in variables.before) || variables.before[name] != variables.annotations[name])).map(name, variables.annotations[name].split(' ', 3))"
                ),
            ),
        ],
        validations: vec![
            validation(
                "variables.attested.all(words, words.size() == 3 && words[2].trim() != '')",
                format!(
                    "an attestation ({ATTEST}ITEM) is the attempt, who attests and the evidence, with a space between them"
                ),
                "attestation-evidence",
            ),
            validation(
                &format!("variables.attested.all(words, words.size() < 2 || words[1] == {user})"),
                format!("an attestation records who attests: say ' + {user} + ' there"),
                "attestation-name",
            ),
            validation(
                "variables.attested.size() == 0 || (oldObject != null && object.spec == oldObject.spec)",
                "what is attested is what was there to be looked at: change spec first, and attest in a request of its own".into(),
                "attestation-alone",
            ),
        ],
    }
}

/// Whether the caller is a service account.
const ACCOUNT: &str = "request.userInfo.username.startsWith('system:serviceaccount:')";
const ACCOUNT_REFUSED: &str = "'metadata.annotations: ' + request.userInfo.username + ' is a service account, which approves, and releases in a freeze, only where the environment names it in spec.access.approverAccounts [approval-account]'";

pub(super) fn approval_accounts() -> Policy {
    let mut variables = [approvals(), glass()].concat();
    variables.push((
        "accounts".into(),
        "has(variables.environment.access) && has(variables.environment.access.approverAccounts) ? variables.environment.access.approverAccounts : []".into(),
    ));
    let named = format!(
        "!(variables.approves || variables.breaksGlass) || !{ACCOUNT} || variables.accounts.exists(a, request.userInfo.username == 'system:serviceaccount:' + a.namespace + ':' + a.name)"
    );
    Policy {
        name: "visiobook-approval-accounts",
        about: "Service accounts approve, and release in a freeze, only where the environment names them: whoever merges must not approve by that alone.",
        governed: Governed::ByEnvironment,
        matched: SERVICES,
        conditions: vec![],
        variables,
        validations: vec![(named, ACCOUNT_REFUSED.into())],
    }
}

pub(super) fn approval_accounts_development() -> Policy {
    Policy {
        name: "visiobook-approval-accounts-development",
        about: "No environment, so no service account that may approve.",
        governed: Governed::BuiltIn,
        variables: [approvals(), glass()].concat(),
        validations: vec![(
            format!("!(variables.approves || variables.breaksGlass) || !{ACCOUNT}"),
            ACCOUNT_REFUSED.into(),
        )],
        ..approval_accounts()
    }
}
