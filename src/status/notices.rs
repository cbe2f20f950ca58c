//! What people are told of releases, in the words of each way to tell them.

use serde_json::{Value, json};

use crate::api::{Notification, NotificationEvent, Outcome, PastRelease, ReleaseState, RolloutStatus};

/// Something that people are told.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// Namespace of the service.
    pub namespace: String,
    /// Its name.
    pub service: String,
    /// Name of its environment.
    pub environment: String,
    /// What happened.
    pub event: NotificationEvent,
    /// To which release.
    pub attempt: String,
    /// Why, and what follows.
    pub reason: String,
    /// Who approved it.
    pub approved_by: Option<String>,
    /// When, as RFC 3339.
    pub at: String,
}

/// What `now` says that `before` did not, and that people are told of. Who and where is filled in by whoever knows.
pub fn notices(before: Option<&RolloutStatus>, now: Option<&RolloutStatus>) -> Vec<Notice> {
    let mut notices: Vec<Notice> = super::news(before, now).ended.iter().map(ended).collect();
    let (Some(before), Some(now)) = (before, now) else { return notices };
    let waits = |release: &RolloutStatus| release.state == ReleaseState::AwaitingApproval;
    if waits(now) && (!waits(before) || before.attempt != now.attempt) {
        notices.push(Notice {
            event: NotificationEvent::AwaitingApproval,
            attempt: now.attempt.clone().unwrap_or_default(),
            reason: now.reason.clone(),
            at: now.since.as_ref().map(|at| at.0.to_string()).unwrap_or_default(),
            ..Notice::blank()
        });
    }
    notices
}

fn ended(past: &PastRelease) -> Notice {
    let event = match past.outcome {
        Outcome::Promoted => NotificationEvent::Promoted,
        Outcome::Aborted => NotificationEvent::Aborted,
        Outcome::RolledBack => NotificationEvent::RolledBack,
        Outcome::Superseded => NotificationEvent::Superseded,
        Outcome::DeadlineExceeded => NotificationEvent::DeadlineExceeded,
        Outcome::Failed => NotificationEvent::Failed,
    };
    let glass = past.break_glass.as_ref();
    let glass = glass.map(|glass| format!("released in a freeze by {}: {}", glass.by, glass.reason));
    let reason = [Some(past.reason.clone()).filter(|reason| !reason.is_empty()), glass];
    Notice {
        event,
        attempt: past.attempt.clone(),
        reason: reason.into_iter().flatten().collect::<Vec<_>>().join("; "),
        approved_by: past.approved_by.clone(),
        at: past.ended.as_ref().map(|at| at.0.to_string()).unwrap_or_default(),
        ..Notice::blank()
    }
}

/// Whether somebody wants to be told of an event.
pub fn wants(notification: &Notification, event: NotificationEvent) -> bool {
    if notification.events.is_empty() {
        return event != NotificationEvent::Superseded;
    }
    notification.events.contains(&event)
}

impl Notice {
    fn blank() -> Notice {
        Notice {
            namespace: String::new(),
            service: String::new(),
            environment: String::new(),
            event: NotificationEvent::Promoted,
            attempt: String::new(),
            reason: String::new(),
            approved_by: None,
            at: String::new(),
        }
    }

    /// The word that pipelines know (C20, C29).
    pub fn word(&self) -> &'static str {
        match self.event {
            NotificationEvent::AwaitingApproval => "WAITING",
            NotificationEvent::Promoted => "SUCCESS",
            NotificationEvent::Superseded => "SUPERSEDED",
            _ => "FAILED",
        }
    }

    /// What happened, in a sentence.
    pub fn message(&self) -> String {
        let what = match self.event {
            NotificationEvent::AwaitingApproval => "is ready and waits",
            NotificationEvent::Promoted => "serves",
            NotificationEvent::Aborted => "was aborted",
            NotificationEvent::RolledBack => "was taken back",
            NotificationEvent::Superseded => "gave way to a newer one",
            NotificationEvent::DeadlineExceeded => "was not ready in time",
            NotificationEvent::Failed => "failed before traffic moved",
        };
        let Notice { namespace, service, environment, attempt, .. } = self;
        let mut text = format!("release {attempt} of {namespace}/{service} in {environment} {what}");
        if let Some(who) = &self.approved_by {
            text += &format!(", approved by {who}");
        }
        if !self.reason.is_empty() {
            text += &format!(": {}", self.reason);
        }
        text
    }

    /// What Slack takes (C29). What others wrote calls nobody and hides no link.
    pub fn slack(&self) -> Value {
        let text = format!("[{}] {}: {}", self.service, self.word(), self.message());
        json!({ "text": text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;") })
    }

    /// A document for programs. `id` is that of the transition, whoever sends it.
    pub fn document(&self) -> Value {
        json!({
            "id": format!("{}/{}/{}/{}", self.namespace, self.service, self.attempt, json!(self.event).as_str().unwrap_or_default()),
            "event": self.event,
            "status": self.word(),
            "namespace": self.namespace,
            "service": self.service,
            "environment": self.environment,
            "attempt": self.attempt,
            "message": self.message(),
            "reason": self.reason,
            "approvedBy": self.approved_by,
            "at": self.at,
        })
    }

    /// Subject and text of an e-mail (C29).
    pub fn mail(&self) -> (String, String) {
        let subject = format!("[{}] Déploiement {}", self.service, self.word());
        let (namespace, service) = (&self.namespace, &self.service);
        (subject, format!("{}.\n\nkubectl describe vbs -n {namespace} {service}\n", self.message()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(state: ReleaseState, history: Value) -> RolloutStatus {
        serde_json::from_value(json!({
            "state": state, "colour": "blue", "revision": "aaaaaaaaaa", "attempt": "bbbbbbbbbb-7", "number": 7,
            "since": "2026-11-21T10:00:00Z", "reason": "waits for somebody to approve", "history": history,
        }))
        .expect("a release")
    }

    #[test]
    fn each_transition_is_told_once_and_in_the_words_of_pipelines() {
        let past = json!([{ "attempt": "bbbbbbbbbb-7", "outcome": "RolledBack", "reason": "0 of 2 <!channel> & more",
            "ended": "2026-11-21T10:05:00Z" }]);
        let steps = [
            release(ReleaseState::Deploying, json!([])),
            release(ReleaseState::AwaitingApproval, json!([])),
            release(ReleaseState::AwaitingApproval, json!([])),
            release(ReleaseState::Soaking, json!([])),
            release(ReleaseState::Stable, past.clone()),
            release(ReleaseState::Stable, past),
        ];
        let told: Vec<Notice> =
            steps.windows(2).flat_map(|pair| notices(Some(&pair[0]), Some(&pair[1]))).collect();
        let words: Vec<_> = told.iter().map(|notice| (notice.event, notice.word(), &*notice.at)).collect();
        assert_eq!(
            words,
            [
                (NotificationEvent::AwaitingApproval, "WAITING", "2026-11-21T10:00:00Z"),
                (NotificationEvent::RolledBack, "FAILED", "2026-11-21T10:05:00Z"),
            ]
        );
        let place = |notice: &Notice| Notice {
            namespace: "shop".into(),
            service: "users".into(),
            environment: "production".into(),
            ..notice.clone()
        };
        assert_eq!(
            place(&told[1]).slack(),
            json!({ "text": "[users] FAILED: release bbbbbbbbbb-7 of shop/users in production was taken back: 0 of 2 &lt;!channel&gt; &amp; more" })
        );
        assert_eq!(place(&told[0]).mail().0, "[users] Déploiement WAITING");
        assert_eq!(place(&told[1]).document()["id"], "shop/users/bbbbbbbbbb-7/RolledBack");
        assert!(notices(None, Some(&steps[4])).is_empty(), "a lost status tells the past again");
    }

    #[test]
    fn who_says_nothing_is_told_all_but_what_a_newer_release_replaced() {
        let all = Notification::default();
        assert!(wants(&all, NotificationEvent::Promoted) && !wants(&all, NotificationEvent::Superseded));
        let few = Notification { events: vec![NotificationEvent::Superseded], ..all };
        assert!(!wants(&few, NotificationEvent::Promoted) && wants(&few, NotificationEvent::Superseded));
    }
}
