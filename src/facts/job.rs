//! A Job of a release, as the cluster shows it.

use super::ContainerFact;
use crate::api::Phase;
use crate::api::names::Colour;

/// Kubernetes stops a Job so many seconds after the operator would have, for want of an operator: whoever looks first
/// still finds its pods, and can say why.
pub const SPARE_SECONDS: i64 = 60;

/// A Job of ours that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFact {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub phase: Phase,
    /// The attempt that it is run for.
    pub attempt: String,
    /// The revision that it is run for.
    pub revision: String,
    /// When it was made, in Unix seconds.
    pub made: i64,
    /// When it has to have ended, in Unix seconds.
    pub deadline: i64,
    /// Whether its containers run, so that it only needs time.
    pub ready: bool,
    /// How it ended; `None` while it runs.
    pub end: Option<JobEnd>,
}

/// How a Job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobEnd {
    /// Whether it did its work.
    pub succeeded: bool,
    /// What Kubernetes says of it.
    pub message: String,
}

/// Pods that are looked at to learn why they do not do what they should.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spot {
    /// Those of a Job, by its name.
    Job(String),
    /// Those of a colour.
    Colour(Colour),
}

/// Longest part of what a kubelet or a container says.
const LONGEST: usize = 300;
/// Words of a kubelet for a container that has ended, and for one that has yet to start.
const NO_NEWS: [&str; 3] = ["CrashLoopBackOff", "ContainerCreating", "PodInitializing"];

/// Why pods do not do what they should: the first trouble in the order of names; `None` where they only need time.
pub fn trouble(containers: &[ContainerFact]) -> Option<String> {
    let mut sorted: Vec<&ContainerFact> = containers.iter().collect();
    sorted.sort_by_key(|container| (&container.pod, &container.name));
    sorted.into_iter().find_map(|container| {
        let of = match container.name.as_str() {
            "" => format!("pod {}", container.pod),
            name => format!("container {name} of pod {}", container.pod),
        };
        if let Some(word) = container.waiting.as_deref().filter(|word| !NO_NEWS.contains(word)) {
            return Some(format!(
                "{of}: {word}: {}",
                ending(container.message.as_deref().unwrap_or_default())
            ));
        }
        let code = container.ended.filter(|code| *code != 0)?;
        Some(match container.said.as_deref().map(ending) {
            Some(said) => format!("{of} ended with code {code}: {said}"),
            None => format!("{of} ended with code {code} and said nothing"),
        })
    })
}

/// The end of a text: what a program says last mostly says why.
pub fn ending(text: &str) -> String {
    let text = text.trim();
    let skipped = text.chars().count().saturating_sub(LONGEST);
    let line: String =
        text.chars().skip(skipped).map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if skipped > 0 { format!("…{line}") } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(name: &str) -> ContainerFact {
        ContainerFact { name: name.into(), pod: "users-1".into(), ..ContainerFact::default() }
    }

    #[test]
    fn the_first_container_that_cannot_go_on_says_why() {
        let done =
            ContainerFact { ended: Some(0), said: Some("61 passed".into()), ..container("conformance") };
        let starting = ContainerFact { waiting: Some("PodInitializing".into()), ..container("check") };
        assert_eq!(trouble(&[done.clone(), starting]), None);
        let failed = ContainerFact { ended: Some(3), said: Some("no\nway\n".into()), ..container("check") };
        assert_eq!(
            trouble(&[done, failed]).unwrap(),
            "container check of pod users-1 ended with code 3: no way"
        );
        let homeless = ContainerFact {
            waiting: Some("Unschedulable".into()),
            message: Some("0/1 nodes are available".into()),
            ..container("")
        };
        assert_eq!(trouble(&[homeless]).unwrap(), "pod users-1: Unschedulable: 0/1 nodes are available");
    }

    #[test]
    fn of_a_long_text_the_end_is_told() {
        let told = ending(&format!("{}the end", "é".repeat(LONGEST)));
        assert!(told.starts_with('…') && told.ends_with("the end") && told.chars().count() == LONGEST + 1);
    }
}
