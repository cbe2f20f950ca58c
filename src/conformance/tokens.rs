//! Judges of what a protected route says to bad tokens (D65).

use serde_json::Value;

use super::catalog::Check;
use super::client::Asked;
use super::survey::{Survey, Tokens};
use super::verdict::{Verdict, failed, skipped};

pub const CHECKS: &[Check] = &[
    Check {
        id: "tokens/missing",
        requirements: &["D65", "X24"],
        expected: "without a token: 401 \"Authorization header required\"",
        way_out: "answer exactly this, in the error envelope; 403 is for those who are known",
        judge: |survey| expect_refusal(survey, |tokens| &tokens.missing, "Authorization header required"),
    },
    Check {
        id: "tokens/malformed",
        requirements: &["D65", "X24"],
        expected: "with another scheme than Bearer: 401 \"Invalid authorization format\"",
        way_out: "answer exactly this, in the error envelope",
        judge: |survey| expect_refusal(survey, |tokens| &tokens.malformed, "Invalid authorization format"),
    },
    Check {
        id: "tokens/invalid",
        requirements: &["D65", "X24"],
        expected: "with a token that is none: 401 \"Invalid token\"",
        way_out: "answer exactly this, in the error envelope, whatever is wrong with the token",
        judge: |survey| expect_refusal(survey, |tokens| &tokens.invalid, "Invalid token"),
    },
];

fn expect_refusal(survey: &Survey, which: fn(&Tokens) -> &Asked, message: &str) -> Verdict {
    let Some(tokens) = &survey.tokens else { return skipped("the spec names no protectedRoute") };
    let answer = which(tokens).as_ref().or_else(|reason| failed(reason.clone()))?;
    let body = answer.json().unwrap_or_default();
    if answer.status == 401 && body.pointer("/error/message").and_then(Value::as_str) == Some(message) {
        Ok(format!("401 {message:?}"))
    } else {
        failed(answer.told())
    }
}
