//! What is new of a service's releases: the difference between what was published last and what is published now. A
//! status is published on the version that it was decided on, so each difference is seen by one operator, once.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::{Outcome, PastRelease, ReleaseState, RolloutStatus};

/// What is new. Spans are in seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct News {
    /// From its start until a release was ready for traffic.
    pub deployed: Option<i64>,
    /// From the change that asked for it until traffic moved to it.
    pub lead: Option<i64>,
    /// From the switch to what was bad until traffic returned.
    pub restored: Vec<i64>,
    /// Releases that have ended, the oldest first.
    pub ended: Vec<PastRelease>,
    /// Spans of those that had not ended before, with how they ended.
    pub took: Vec<(Outcome, i64)>,
}

/// What `now` says that `before` did not. A service of which nothing was told before has no news: what it says is
/// as old as its status was lost.
pub fn news(before: Option<&RolloutStatus>, now: Option<&RolloutStatus>) -> News {
    let (Some(before), Some(now)) = (before, now) else { return News::default() };
    let mut news = News { deployed: deployed(before, now), ..News::default() };
    let is_switch = now.switched.is_some()
        && (&before.attempt, &before.switched) != (&now.attempt, &now.switched)
        && !now.state.is_before_switch();
    if is_switch {
        match undone(now) {
            Some(undone) => news.restored.extend(span(undone.switched.as_ref(), now.switched.as_ref())),
            None => news.lead = span(asked(now), now.switched.as_ref()),
        }
    }
    for past in now.history.iter().rev() {
        let known = before.history.iter().find(|known| known.attempt == past.attempt);
        if known.is_some_and(|known| known.outcome == past.outcome) {
            continue;
        }
        if past.outcome.is_failure() && past.switched.is_some() {
            news.restored.extend(span(past.switched.as_ref(), past.ended.as_ref()));
        }
        // One that was promoted and is undone later took no longer than it did.
        if known.is_none() {
            let took = span(past.started.as_ref(), past.ended.as_ref());
            news.took.extend(took.map(|took| (past.outcome, took)));
        }
        news.ended.push(past.clone());
    }
    news
}

/// How long a release took to be ready for traffic, if it has just become so.
fn deployed(before: &RolloutStatus, now: &RolloutStatus) -> Option<i64> {
    use ReleaseState::{AwaitingApproval, Deploying, Soaking, Switching, Verifying};
    let is_ready = matches!(now.state, AwaitingApproval | Switching | Soaking);
    let was_ready = before.attempt == now.attempt && !matches!(before.state, Deploying | Verifying);
    (is_ready && !was_ready).then(|| span(now.started.as_ref(), now.since.as_ref())).flatten()
}

/// The release that an attempt brings the revision before of back for, if that is what it does.
fn undone(now: &RolloutStatus) -> Option<&PastRelease> {
    let undone =
        now.rejected_revision.as_deref().filter(|_| now.rejected_revision == now.previous_revision)?;
    let of = |past: &&PastRelease| past.attempt.rsplit_once('-').is_some_and(|(hash, _)| hash == undone);
    now.history.iter().find(|past| of(past) && past.outcome == Outcome::Promoted)
}

/// Since when the revision that serves was asked for.
fn asked(now: &RolloutStatus) -> Option<&Time> {
    let asked = now.asked.as_ref().filter(|asked| asked.revision == now.revision);
    asked.map(|asked| &asked.since).or(now.started.as_ref())
}

fn span(from: Option<&Time>, to: Option<&Time>) -> Option<i64> {
    Some((to?.0.as_second() - from?.0.as_second()).max(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn release(over: Value) -> RolloutStatus {
        let mut all = json!({
            "state": "Stable", "colour": "blue", "revision": "aaaaaaaaaa", "number": 7, "attempt": "bbbbbbbbbb-7",
            "started": "2026-11-21T10:00:00Z", "since": "2026-11-21T10:00:00Z",
        });
        crate::plan::merge(&mut all, over);
        serde_json::from_value(all).expect("a release")
    }

    fn past(outcome: &str) -> Value {
        json!([{
            "attempt": "bbbbbbbbbb-7", "outcome": outcome, "started": "2026-11-21T10:00:00Z",
            "switched": "2026-11-21T10:02:00Z", "ended": "2026-11-21T10:05:00Z",
        }])
    }

    /// What is new at each of these, one after the other.
    fn told(steps: &[Value]) -> Vec<News> {
        let steps: Vec<RolloutStatus> = steps.iter().map(|step| release(step.clone())).collect();
        steps.windows(2).map(|pair| news(Some(&pair[0]), Some(&pair[1]))).collect()
    }

    #[test]
    fn each_span_of_a_release_is_told_once_and_waiting_for_a_person_is_no_deploying() {
        let asked = json!({ "revision": "bbbbbbbbbb", "since": "2026-11-21T09:00:00Z" });
        let switched = json!({ "state": "Soaking", "revision": "bbbbbbbbbb", "asked": asked,
            "since": "2026-11-21T10:02:00Z", "switched": "2026-11-21T10:02:00Z" });
        let promoted = json!({ "state": "Retiring", "revision": "bbbbbbbbbb", "outcome": "Promoted",
            "switched": "2026-11-21T10:02:00Z", "history": past("Promoted") });
        let waiting = json!({ "state": "AwaitingApproval", "since": "2026-11-21T10:01:00Z", "asked": asked });
        let told = told(&[
            json!({ "state": "Deploying" }),
            waiting.clone(),
            json!({ "state": "Switching", "since": "2026-11-21T10:01:50Z", "asked": asked }),
            waiting,
            switched.clone(),
            switched,
            promoted.clone(),
            promoted,
        ]);
        let deployed: Vec<_> = told.iter().map(|news| news.deployed).collect();
        assert_eq!(deployed, [Some(60), None, None, None, None, None, None]);
        let lead: Vec<_> = told.iter().map(|news| news.lead).collect();
        assert_eq!(lead, [None, None, None, Some(3720), None, None, None]);
        let took: Vec<_> = told.iter().map(|news| news.took.clone()).collect();
        assert_eq!(took, [vec![], vec![], vec![], vec![], vec![], vec![(Outcome::Promoted, 300)], vec![]]);
        assert!(told.iter().all(|news| news.restored.is_empty()));
    }

    #[test]
    fn a_return_is_measured_from_the_switch_whoever_asked_for_it_and_however_late() {
        let soaking = json!({ "state": "Soaking", "switched": "2026-11-21T10:02:00Z" });
        let back = json!({ "outcome": "RolledBack", "switched": "2026-11-21T10:02:00Z", "history": past("RolledBack") });
        let returned = &told(&[soaking.clone(), back.clone()])[0];
        assert_eq!((returned.restored.clone(), returned.took.len()), (vec![180], 1));
        // Undone while warm: the release had ended already.
        let promoted = json!({ "state": "Retiring", "outcome": "Promoted",
            "switched": "2026-11-21T10:02:00Z", "history": past("Promoted") });
        let undone = &told(&[promoted, back])[0];
        assert_eq!((undone.restored.clone(), undone.took.len(), undone.ended.len()), (vec![180], 0, 1));
        // Undone by a release of its own.
        let undo = json!({ "attempt": "aaaaaaaaaa-8", "rejectedRevision": "bbbbbbbbbb", "history": past("Promoted") });
        let mut after = undo.clone();
        let moved = json!({ "state": "Soaking", "previousRevision": "bbbbbbbbbb", "switched": "2026-11-21T10:12:00Z" });
        crate::plan::merge(&mut after, moved);
        let undone = &told(&[undo, after])[0];
        assert_eq!((undone.restored.clone(), undone.lead), (vec![600], None));
    }

    #[test]
    fn what_never_reached_anybody_was_not_restored_and_a_lost_status_is_no_news() {
        let mut late = past("DeadlineExceeded");
        late[0].as_object_mut().expect("an object").remove("switched");
        let ended = json!({ "outcome": "DeadlineExceeded", "history": late });
        let given_up = &told(&[json!({ "state": "Deploying" }), ended.clone()])[0];
        assert_eq!(given_up.took, [(Outcome::DeadlineExceeded, 300)]);
        assert!(given_up.restored.is_empty() && given_up.lead.is_none());
        assert_eq!(news(None, Some(&release(ended))), News::default());
    }
}
