//! `visiobook rollout`: where the releases of a service stand, and what people order of them.

mod telling;

use std::time::Duration;

use clap::Subcommand;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use super::Failed;
use super::cluster::{Cluster, block_on, explain};
use crate::api::names;
use crate::api::{Outcome, ReleaseState, RolloutStatus, VisiobookService};
use crate::check::image;
use crate::contract::{self, evidence::Evidence};
use telling::{checklist, describe, history, list};

/// How often `watch` looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Arguments of `visiobook rollout`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  visiobook rollout get users\n  visiobook rollout watch users --namespace shop\n  visiobook rollout approve users\n  visiobook rollout attest users --item database-backup --evidence https://backups.example/4711\n  visiobook rollout undo users\n\nAn order names the release that the status tells at that moment, unless --attempt names it: a newer release is never meant. See docs/releases.md."
)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Tell where the release stands, what it waits for, and what can be done.
    Get(On),
    /// Follow a release until it has ended. Exits with 1 if what was asked for does not serve.
    Watch(On),
    /// Let a release that waits for it go on, under your own name.
    Approve(Order),
    /// Say that something has been done for a release which its environment asks for, under your own name.
    Attest(Attest),
    /// Let a release that waits for the end of a freeze go on, under your own name.
    BreakGlass(Glass),
    /// Stop a release. Traffic that has moved returns.
    Abort(Order),
    /// Try again what failed.
    Retry(Order),
    /// Bring back what served before.
    Undo(Order),
    /// Tell what the release has passed before and after traffic moved, and on what evidence. Exits with 1 if anything has
    /// failed or is unknown.
    Checklist(On),
    /// Tell the last ten releases.
    History(On),
    /// Print the signed evidence that the image which serves was promoted here, for an environment that asks for it.
    Evidence(Proof),
}

#[derive(Debug, clap::Args)]
struct On {
    /// Name of the VisiobookService.
    #[arg(value_name = "NAME")]
    name: String,
    /// Its namespace. Default: what the kubeconfig says.
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    #[command(flatten)]
    cluster: Cluster,
}

#[derive(Debug, clap::Args)]
struct Order {
    #[command(flatten)]
    on: On,
    /// Release that is meant, such as 3f9c2a7be1-7. Default: the one that the status tells.
    #[arg(long, value_name = "ATTEMPT")]
    attempt: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Glass {
    #[command(flatten)]
    order: Order,
    /// Why it cannot wait, in a sentence. It is kept with the release.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(Debug, clap::Args)]
struct Attest {
    #[command(flatten)]
    order: Order,
    /// What has been done, as the environment calls it, such as database-backup.
    #[arg(long, value_name = "ITEM")]
    item: String,
    /// Where it can be seen, in at most 256 characters. It is kept with the release.
    #[arg(long, value_name = "TEXT")]
    evidence: String,
}

#[derive(Debug, clap::Args)]
struct Proof {
    #[command(flatten)]
    on: On,
    /// File with the private key to sign with: PEM (PKCS #8), P-256.
    #[arg(long, value_name = "FILE")]
    key: std::path::PathBuf,
}

/// What somebody orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Approve,
    Attest,
    BreakGlass,
    Abort,
    Retry,
    Undo,
}

impl Wish {
    /// Where it is said; an attestation adds its item.
    fn annotation(self) -> &'static str {
        match self {
            Wish::Approve => names::APPROVE,
            Wish::Attest => names::ATTEST,
            Wish::BreakGlass => names::BREAK_GLASS,
            Wish::Abort => names::ABORT,
            Wish::Retry => names::RETRY,
            Wish::Undo => names::UNDO,
        }
    }

    /// Whether a release takes the order in its state.
    fn is_taken(self, release: &RolloutStatus) -> bool {
        let state = release.state;
        match self {
            Wish::Approve | Wish::Attest => state.is_before_switch(),
            Wish::BreakGlass => state.is_before_switch() || waits_to_begin(release).is_some(),
            Wish::Abort => state.is_before_switch() || state == ReleaseState::Soaking,
            Wish::Retry => state == ReleaseState::Stable && release.outcome.is_some_and(Outcome::is_failure),
            Wish::Undo => {
                matches!(state, ReleaseState::Retiring | ReleaseState::Stable)
                    && release.outcome == Some(Outcome::Promoted)
                    && release.previous_revision.is_some()
            }
        }
    }

    fn word(self) -> &'static str {
        match self {
            Wish::Approve => "approve",
            Wish::Attest => "attest",
            Wish::BreakGlass => "break-glass",
            Wish::Abort => "abort",
            Wish::Retry => "retry",
            Wish::Undo => "undo",
        }
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    match &args.action {
        Action::Get(on) => block_on(async {
            let (_, _, release) = on.look().await?;
            anstream::print!("{}", describe(&on.name, &release, Timestamp::now()));
            Ok(())
        }),
        Action::Checklist(on) => block_on(async {
            let (_, services, release) = on.look().await?;
            let status = services.get(&on.name).await.map_err(explain)?.status.unwrap_or_default();
            let items = checklist(&status, &release);
            anstream::print!("{}", list(&items));
            match items.iter().all(|item| item.passed == Some(true)) {
                true => Ok(()),
                false => Err(Failed::verdict("not all of it has passed").into()),
            }
        }),
        Action::History(on) => block_on(async {
            let (_, _, release) = on.look().await?;
            anstream::print!("{}", history(&release));
            Ok(())
        }),
        Action::Evidence(proof) => block_on(async {
            let (_, services, _) = proof.on.look().await?;
            let service = services.get(&proof.on.name).await.map_err(explain)?;
            let evidence = evidence(&service).map_err(Failed::verdict)?;
            let key = std::fs::read(&proof.key)
                .map_err(|error| anyhow::anyhow!("{} cannot be read: {error}", proof.key.display()))?;
            let signed = contract::evidence::sign(&key, &evidence).map_err(|error| {
                anyhow::anyhow!("{} is no P-256 key as PEM (PKCS #8): {error}", proof.key.display())
            })?;
            anstream::println!("{}: {signed}", names::EVIDENCE);
            Ok(())
        }),
        Action::Watch(on) => block_on(watch(on)),
        Action::Approve(order) => block_on(order.give(Wish::Approve, None)),
        Action::BreakGlass(glass) => block_on(glass.order.give(Wish::BreakGlass, Some(&glass.reason))),
        Action::Attest(attest) => block_on(attest.give()),
        Action::Abort(order) => block_on(order.give(Wish::Abort, None)),
        Action::Retry(order) => block_on(order.give(Wish::Retry, None)),
        Action::Undo(order) => block_on(order.give(Wish::Undo, None)),
    }
}

impl On {
    /// The service's releases, and the client to order with.
    async fn look(&self) -> anyhow::Result<(Client, Api<VisiobookService>, RolloutStatus)> {
        let (client, own) = self.cluster.connect().await?;
        let namespace = self.namespace.as_ref().unwrap_or(&own);
        let services = Api::namespaced(client.clone(), namespace);
        let release = self.release(&services).await?;
        Ok((client, services, release))
    }

    async fn release(&self, services: &Api<VisiobookService>) -> anyhow::Result<RolloutStatus> {
        let service = services.get(&self.name).await.map_err(explain)?;
        let release = service.status.and_then(|status| status.rollout);
        release.ok_or_else(|| {
            Failed::verdict(format!(
                "{} was never released blue-green: set spec.rollout.strategy to BlueGreen, or look at kubectl rollout status",
                self.name
            ))
            .into()
        })
    }
}

impl Attest {
    async fn give(&self) -> anyhow::Result<()> {
        let name = &self.order.on.name;
        let (client, services, release) = self.order.on.look().await?;
        let attempt = meant(Wish::Attest, name, &release, self.order.attempt.as_deref());
        let attempt = attempt.map_err(Failed::verdict)?;
        let value = attestation(&attempt, &who(client).await?, &self.evidence).map_err(Failed::verdict)?;
        let annotation = format!("{}{}", Wish::Attest.annotation(), self.item);
        let patch = Patch::Merge(json!({ "metadata": { "annotations": { annotation: value } } }));
        services.patch(name, &PatchParams::default(), &patch).await.map_err(explain)?;
        anstream::println!(
            "attest {} {attempt}: ordered; visiobook rollout get {name} tells what is missing",
            self.item
        );
        Ok(())
    }
}

/// What an attestation says, as the operator reads it.
fn attestation(attempt: &str, who: &str, evidence: &str) -> Result<String, String> {
    if who.contains(' ') {
        return Err(format!("the API server knows you as \"{who}\", and a name with a space cannot attest"));
    }
    match evidence.trim() {
        "" => Err("--evidence is empty: say where it can be seen".into()),
        evidence if evidence.chars().count() > 256 => {
            Err("--evidence is longer than 256 characters: name a place where the rest is".into())
        }
        evidence => Ok(format!("{attempt} {who} {evidence}")),
    }
}

impl Order {
    async fn give(&self, wish: Wish, reason: Option<&str>) -> anyhow::Result<()> {
        let (client, services, release) = self.on.look().await?;
        let attempt =
            meant(wish, &self.on.name, &release, self.attempt.as_deref()).map_err(Failed::verdict)?;
        let mut annotations = json!({ wish.annotation(): attempt });
        if wish == Wish::Approve {
            annotations[names::APPROVED_BY] = who(client).await?.into();
        } else if wish == Wish::BreakGlass {
            annotations[names::BREAK_GLASS_BY] = who(client).await?.into();
            annotations[names::BREAK_GLASS_REASON] = reason.into();
        }
        let patch = Patch::Merge(json!({ "metadata": { "annotations": annotations } }));
        services.patch(&self.on.name, &PatchParams::default(), &patch).await.map_err(explain)?;
        anstream::println!(
            "{} {attempt}: ordered; visiobook rollout watch {} follows it",
            wish.word(),
            self.on.name
        );
        Ok(())
    }
}

/// The release that an order is for, or why it would do nothing.
fn meant(wish: Wish, name: &str, release: &RolloutStatus, said: Option<&str>) -> Result<String, String> {
    let next = waits_to_begin(release).filter(|_| wish == Wish::BreakGlass);
    let known = next.as_deref().or(release.attempt.as_deref());
    if let Some(said) = said.filter(|said| Some(*said) != known) {
        let known = known.unwrap_or("none");
        return Err(format!(
            "the release of {name} is {known}, not {said}: an order for another one does nothing"
        ));
    }
    match known.filter(|_| wish.is_taken(release)) {
        Some(attempt) => Ok(attempt.to_string()),
        None => Err(format!(
            "there is nothing to {} in state {}: {}",
            wish.word(),
            release.state.as_str(),
            release.reason
        )),
    }
}

/// What can be said of the image that serves; or why nothing can.
fn evidence(service: &VisiobookService) -> Result<Evidence, String> {
    let name = service.metadata.name.clone().unwrap_or_default();
    let status = service.status.clone().unwrap_or_default();
    let release = status.rollout.ok_or_else(|| format!("{name} was never released blue-green"))?;
    let is_current = status.observed_generation == service.metadata.generation;
    let serves = matches!(release.state, ReleaseState::Stable | ReleaseState::Retiring)
        && release.rejected_revision.is_none()
        && release.asked.is_none();
    let promoted = release
        .history
        .first()
        .filter(|past| past.outcome == Outcome::Promoted && release.attempted() == Some(&*release.revision));
    let Some(promoted) = promoted.filter(|_| is_current && serves) else {
        return Err(format!(
            "what {name} asks for is not promoted: visiobook rollout get {name} tells where it stands"
        ));
    };
    let reference = service.spec.image.as_deref().unwrap_or_default();
    let digest = image::parse(reference).and_then(|image| image.digest);
    let digest = digest.ok_or_else(|| {
        format!("{name} names its image by a tag, which may mean another one tomorrow: name it by its digest, and release that")
    })?;
    Ok(Evidence {
        service: name,
        digest: digest.to_string(),
        environment: status.environment.unwrap_or_default(),
        attempt: promoted.attempt.clone(),
        at: promoted.ended.as_ref().map_or(0, |at| at.0.as_second()),
    })
}

/// The attempt that waits for the end of a freeze before it begins.
fn waits_to_begin(release: &RolloutStatus) -> Option<String> {
    let asked = release.asked.as_ref().filter(|asked| {
        matches!(release.state, ReleaseState::Stable | ReleaseState::Retiring)
            && release.rejected_revision.as_ref() != Some(&asked.revision)
    })?;
    // Without a freeze it has begun, and nothing but one gives the first of these states an end.
    release.deadline.as_ref()?;
    Some(format!("{}-{}", asked.revision, release.number + 1))
}

/// The name under which the API server knows who asks.
async fn who(client: Client) -> anyhow::Result<String> {
    let reviews: Api<SelfSubjectReview> = Api::all(client);
    let answer =
        reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await.map_err(explain)?;
    let name = answer.status.and_then(|status| status.user_info).and_then(|user| user.username);
    name.ok_or_else(|| anyhow::anyhow!("the API server does not say who you are"))
}

/// Print what is new, until no release is under way.
async fn watch(on: &On) -> anyhow::Result<()> {
    let (_, services, mut release) = on.look().await?;
    let mut told = String::new();
    loop {
        // The clock is no news.
        let still = RolloutStatus { deadline: None, ..release.clone() };
        let news = describe(&on.name, &still, Timestamp::now());
        if news != told {
            anstream::print!("{}", describe(&on.name, &release, Timestamp::now()));
            told = news;
        }
        match release.state {
            ReleaseState::Stable if release.rejected_revision.as_ref() == Some(&release.revision) => {
                return Err(Failed::verdict("the undo failed").into());
            }
            ReleaseState::Stable if release.rejected_revision.is_some() => {
                return Err(Failed::verdict("what the resource asks for does not serve").into());
            }
            _ if waits_to_begin(&release).is_some() => tokio::time::sleep(PAUSE).await,
            ReleaseState::Stable | ReleaseState::Retiring => return Ok(()),
            _ => tokio::time::sleep(PAUSE).await,
        }
        release = on.release(&services).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn release(state: ReleaseState, outcome: Option<Outcome>) -> RolloutStatus {
        serde_json::from_value(json!({
            "state": state, "colour": "blue", "revision": "aaaaaaaaaa", "number": 7, "attempt": "bbbbbbbbbb-7",
            "previousRevision": "0000000000", "previewRevision": "bbbbbbbbbb", "outcome": outcome,
            "reason": "waits for somebody to approve", "deadline": "2026-11-21T10:00:30Z",
        }))
        .expect("a release")
    }

    #[test]
    fn an_order_is_given_only_where_it_does_something_and_for_the_release_that_is_meant() {
        let waiting = release(ReleaseState::AwaitingApproval, None);
        assert_eq!(meant(Wish::Approve, "users", &waiting, None).as_deref(), Ok("bbbbbbbbbb-7"));
        let past = meant(Wish::Approve, "users", &waiting, Some("bbbbbbbbbb-6")).expect_err("the past");
        assert!(past.contains("bbbbbbbbbb-7, not bbbbbbbbbb-6"), "{past}");
        let nothing = meant(Wish::Undo, "users", &waiting, None).expect_err("not promoted");
        assert!(nothing.contains("nothing to undo in state AwaitingApproval"), "{nothing}");
        for (state, outcome, taken) in [
            (ReleaseState::Stable, Some(Outcome::RolledBack), vec![Wish::Retry]),
            (ReleaseState::Stable, Some(Outcome::Promoted), vec![Wish::Undo]),
            (ReleaseState::Retiring, Some(Outcome::Promoted), vec![Wish::Undo]),
            (ReleaseState::Soaking, None, vec![Wish::Abort]),
            (ReleaseState::Deploying, None, vec![Wish::Approve, Wish::Abort]),
        ] {
            let release = release(state, outcome);
            let all = [Wish::Approve, Wish::Abort, Wish::Retry, Wish::Undo];
            let now: Vec<Wish> = all.into_iter().filter(|wish| wish.is_taken(&release)).collect();
            assert_eq!(now, taken, "{state:?} {outcome:?}");
        }
    }

    #[test]
    fn an_attestation_names_the_release_the_person_and_the_evidence() {
        let said = attestation("bbbbbbbbbb-7", "ada", " https://backups.example/4711 of 03:00 ");
        assert_eq!(said.as_deref(), Ok("bbbbbbbbbb-7 ada https://backups.example/4711 of 03:00"));
        assert!(attestation("b-7", "ada", " ").expect_err("nothing").contains("--evidence is empty"));
        assert!(attestation("b-7", "ada", &"x".repeat(257)).expect_err("long").contains("256 characters"));
        assert!(attestation("b-7", "Ada L", "x").expect_err("two words").contains("a space"));
        let mut waiting = release(ReleaseState::AwaitingApproval, None);
        waiting.attested.push(crate::api::Attestation {
            item: "database-backup".into(),
            by: "ada".into(),
            evidence: "https://backups.example/4711".into(),
        });
        let told = describe("users", &waiting, "2026-11-21T10:00:00Z".parse().expect("a time"));
        assert!(told.contains("  attested database-backup by ada: https://backups.example/4711\n"), "{told}");
    }

    #[test]
    fn the_glass_is_broken_for_the_release_that_waits_to_begin() {
        let frozen = RolloutStatus {
            asked: serde_json::from_value(
                json!({ "revision": "cccccccccc", "since": "2026-11-21T09:00:00Z" }),
            )
            .expect("a revision"),
            ..release(ReleaseState::Stable, Some(Outcome::Promoted))
        };
        assert_eq!(meant(Wish::BreakGlass, "users", &frozen, None).as_deref(), Ok("cccccccccc-8"));
        assert_eq!(meant(Wish::Undo, "users", &frozen, None).as_deref(), Ok("bbbbbbbbbb-7"));
        let thawed = RolloutStatus { deadline: None, ..frozen };
        assert!(meant(Wish::BreakGlass, "users", &thawed, None).is_err());
    }

    #[test]
    fn evidence_is_given_of_what_was_promoted_and_serves_and_is_known_by_its_digest() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let service = |image: &str, over: serde_json::Value| {
            let mut rollout = json!({
                "state": "Retiring", "colour": "green", "revision": "bbbbbbbbbb", "number": 7, "attempt": "bbbbbbbbbb-7",
                "outcome": "Promoted", "history": [{ "attempt": "bbbbbbbbbb-7", "outcome": "Promoted", "ended": "2026-11-21T10:00:00Z" }],
            });
            crate::plan::merge(&mut rollout, over);
            let service: VisiobookService = serde_json::from_value(json!({
                "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookService",
                "metadata": { "name": "users", "generation": 3 }, "spec": { "image": image },
                "status": { "observedGeneration": 3, "environment": "staging", "rollout": rollout },
            }))
            .expect("a service");
            evidence(&service)
        };
        let image = format!("ghcr.io/visiobook/users:1.2@{digest}");
        let given = service(&image, json!({})).expect("evidence");
        assert_eq!(
            given,
            Evidence {
                service: "users".into(),
                digest,
                environment: "staging".into(),
                attempt: "bbbbbbbbbb-7".into(),
                at: 1_795_255_200,
            }
        );
        for over in [
            json!({ "state": "Soaking" }),
            json!({ "rejectedRevision": "cccccccccc" }),
            json!({ "asked": { "revision": "cccccccccc", "since": "2026-11-21T10:00:00Z" } }),
            json!({ "revision": "aaaaaaaaaa" }),
            json!({ "history": [] }),
        ] {
            let refused = service(&image, over.clone()).expect_err("not promoted");
            assert!(refused.contains("is not promoted"), "{over}: {refused}");
        }
        assert!(service("ghcr.io/visiobook/users:1.2", json!({})).expect_err("a tag").contains("by a tag"));
    }
}
