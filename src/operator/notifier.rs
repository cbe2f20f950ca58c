//! Who is told of releases: a bounded queue between the passes, which never wait for it, and those who are told.
//!
//! A message is queued after the status that tells of its transition was published, which happens once. So whoever dies
//! before it is sent loses it, and nobody sends it twice.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Resource, ResourceExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::events::{self, Told};
use crate::api::{KeyRef, Notification, RolloutStatus, VisiobookService};
use crate::facts::EnvironmentFact;
use crate::notify::{self, Address, Failure};
use crate::status::{self, Notice};

/// Messages that wait at most. Those beyond it are told to be lost.
const QUEUE: usize = 256;
/// Messages that are sent at the same time: one that is slow holds few others up.
const AT_ONCE: usize = 8;
/// When a message that certainly did not arrive is sent again.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)];
/// Longest time for which an operator that ends in order goes on sending.
const LAST: Duration = Duration::from_secs(5);

/// A message, and whom it is for.
struct Letter {
    notification: Notification,
    notice: Notice,
    service: ObjectReference,
}

/// The queue.
pub(super) struct Notifier {
    letters: mpsc::Sender<Letter>,
    waiting: Mutex<Option<mpsc::Receiver<Letter>>>,
    /// Namespace of the operator, whose Secrets hold the addresses.
    home: String,
    /// No further message comes.
    ended: CancellationToken,
}

impl Notifier {
    pub(super) fn new(home: &str) -> Notifier {
        let (letters, waiting) = mpsc::channel(QUEUE);
        Notifier {
            letters,
            waiting: Mutex::new(Some(waiting)),
            home: home.to_string(),
            ended: CancellationToken::new(),
        }
    }

    /// Let what is queued go out, for a moment: this instance ends in order.
    pub(super) async fn finish(&self, delivery: JoinHandle<()>) {
        self.ended.cancel();
        let _ = tokio::time::timeout(LAST, delivery).await;
    }
}

/// Where a message goes. A Secret is read when it is needed, so a new address counts from the next message on.
async fn address(context: &Context, notification: &Notification) -> Result<Address, Failure> {
    if let Some(email) = &notification.email {
        let credentials = match &email.credentials {
            None => None,
            Some(secret) => {
                Some((read(context, secret, "username").await?, read(context, secret, "password").await?))
            }
        };
        return Ok(Address::Mail { email: Box::new(email.clone()), credentials });
    }
    let url = async |from: &KeyRef| read(context, &from.name, &from.key).await;
    match (&notification.slack, &notification.webhook) {
        (Some(slack), _) => Ok(Address::Slack { url: url(&slack.url_from).await? }),
        (_, Some(webhook)) => Ok(Address::Webhook { url: url(&webhook.url_from).await? }),
        _ => Err(Failure::Refused("it has none of slack, webhook and email".into())),
    }
}

/// A value of a Secret of the operator's own namespace.
async fn read(context: &Context, name: &str, key: &str) -> Result<String, Failure> {
    let home = &context.notifier.home;
    let place = format!("Secret {home}/{name}");
    let data = context
        .secrets
        .data(home, name)
        .await
        .map_err(|error| Failure::NotSent(format!("{place} cannot be read: {error}")))?
        .ok_or_else(|| Failure::Refused(format!("{place} does not exist: create it")))?;
    let value = data.get(key).ok_or_else(|| Failure::Refused(format!("{place} has no key {key}: add it")))?;
    String::from_utf8(value.0.clone())
        .map_err(|_| Failure::Refused(format!("{place}, key {key}, is no text")))
}

/// Tell of what a status that was just published says newly. Waits for nobody who is told.
pub(super) async fn tell(
    context: &Context,
    service: &VisiobookService,
    before: Option<&RolloutStatus>,
    now: Option<&RolloutStatus>,
) {
    let notices = status::notices(before, now);
    if notices.is_empty() {
        return;
    }
    let governing = context.surroundings(service).map(|surroundings| surroundings.environment);
    let Some(EnvironmentFact::Governed { name: environment, spec }) = governing else { return };
    for notice in notices {
        let notice = Notice {
            namespace: service.namespace().unwrap_or_default(),
            service: service.name_any(),
            environment: environment.clone(),
            ..notice
        };
        for notification in spec.notifications.iter().filter(|who| status::wants(who, notice.event)) {
            let letter = Letter {
                notification: notification.clone(),
                notice: notice.clone(),
                service: service.object_ref(&()),
            };
            if let Err(error) = context.notifier.letters.try_send(letter) {
                let letter = match error {
                    mpsc::error::TrySendError::Full(letter) | mpsc::error::TrySendError::Closed(letter) => {
                        letter
                    }
                };
                context.metrics.record_notification(kind(&letter.notification), "dropped");
                lost(context, &letter, &format!("more than {QUEUE} messages wait")).await;
            }
        }
    }
}

/// Send what is queued, for as long as this instance leads.
pub(super) async fn deliver(context: Arc<Context>) {
    let (context, notifier) = (&*context, &context.notifier);
    let waiting = notifier.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(waiting) = waiting else { return };
    futures::stream::unfold(waiting, |mut waiting| async move {
        let letter = tokio::select! {
            biased;
            letter = waiting.recv() => letter,
            () = notifier.ended.cancelled() => None,
        };
        Some((letter?, waiting))
    })
    .for_each_concurrent(AT_ONCE, |letter| async move {
        let outcome = send(context, &letter).await;
        let word = match &outcome {
            Ok(()) => "delivered",
            Err(Failure::Unknown(_)) => "unknown",
            Err(_) => "failed",
        };
        context.metrics.record_notification(kind(&letter.notification), word);
        if let Err(failure) = outcome {
            lost(context, &letter, &failure.to_string()).await;
        }
    })
    .await;
}

async fn send(context: &Context, letter: &Letter) -> Result<(), Failure> {
    let mut pauses = PAUSES.iter();
    loop {
        let sent = match address(context, &letter.notification).await {
            Ok(address) => notify::send(&address, &letter.notice).await,
            Err(failure) => Err(failure),
        };
        match (sent, pauses.next()) {
            (Err(Failure::NotSent(_)), Some(pause)) => tokio::time::sleep(*pause).await,
            (outcome, _) => return outcome,
        }
    }
}

/// Say that somebody was not told.
async fn lost(context: &Context, letter: &Letter, why: &str) {
    let name = &letter.notification.name;
    let note = format!("{name} was not told that {}: {why}", letter.notice.message());
    tracing::warn!(
        notification = name,
        service = letter.service.name,
        why,
        "somebody was not told of a release"
    );
    let told = Told { warning: true, reason: "NotificationFailed", note: &note, related: None };
    events::publish(context, &letter.service, told).await;
}

fn kind(notification: &Notification) -> &'static str {
    match notification {
        Notification { slack: Some(_), .. } => "slack",
        Notification { email: Some(_), .. } => "email",
        _ => "webhook",
    }
}
