//! Why pods are not ready, from what the kubelet tells of their containers, with the way out.

use crate::contract::{METRICS_PORT, SIDECAR_PORT};
use crate::facts::{ContainerFact, ending};

/// Longest part of what a kubelet or a sidecar says.
const LONGEST: usize = 300;
/// Words of a kubelet for a container that has ended, and for one that has yet to start.
const NO_NEWS: [&str; 3] = ["CrashLoopBackOff", "ContainerCreating", "PodInitializing"];

/// The first trouble in the order of names; none where containers only need time. The same trouble is told in the same
/// words, whatever has been counted up meanwhile.
pub(super) fn trouble(containers: &[ContainerFact]) -> Option<String> {
    let mut sorted: Vec<&ContainerFact> = containers.iter().collect();
    // A sidecar first: the application may only follow it.
    sorted.sort_by_key(|container| (container.name != "sidecar", &container.pod));
    let ports = format!(
        "ports {METRICS_PORT} and {SIDECAR_PORT} are the sidecar's, so let the application listen on others, or set spec.sidecar.mode to Off"
    );
    sorted.into_iter().find_map(|container| {
        let of = format!("container {} of pod {}", container.name, container.pod);
        let news = container.waiting.as_deref().filter(|word| !NO_NEWS.contains(word));
        if let Some(word) = news {
            let message = super::cut(container.message.as_deref().unwrap_or_default(), LONGEST);
            return Some(format!("{of}: {word}: {message}"));
        }
        let code = container.ended?;
        if let Some(said) = container.said.as_ref().filter(|_| container.name != "sidecar") {
            let said = ending(said);
            let taken = if said.contains(" in use") { format!("; {ports}") } else { String::new() };
            return Some(format!("{of} ended with code {code}: {said}{taken}"));
        }
        if let Some(said) = &container.said {
            return Some(format!("{of} ended: {}", super::cut(said.trim(), LONGEST)));
        }
        if container.name == "sidecar" {
            return Some(format!("{of} ended with code {code}: kubectl logs {} -c sidecar --previous says why", container.pod));
        }
        Some(format!(
            "{of} ended with code {code}: kubectl logs {} -c {} --previous says why; if it is an address in use: {ports}",
            container.pod, container.name
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(name: &str, pod: &str) -> ContainerFact {
        ContainerFact { name: name.into(), pod: pod.into(), ..ContainerFact::default() }
    }

    #[test]
    fn what_needs_time_is_no_trouble() {
        let starting = ContainerFact { waiting: Some("ContainerCreating".into()), ..container("app", "a") };
        assert_eq!(trouble(&[container("app", "a"), starting]), None);
        assert_eq!(trouble(&[]), None);
    }

    #[test]
    fn an_application_that_ends_is_told_with_its_log_and_the_ports_that_are_taken() {
        let ended = ContainerFact {
            waiting: Some("CrashLoopBackOff".into()),
            message: Some("back-off 10s restarting failed container".into()),
            ended: Some(1),
            ..container("app", "users-blue-1")
        };
        let told = trouble(std::slice::from_ref(&ended)).unwrap();
        for word in
            ["users-blue-1 ended with code 1", "kubectl logs users-blue-1 -c app --previous", "9090", "15080"]
        {
            assert!(told.contains(word), "{word}: {told}");
        }
        assert!(!told.contains("10s"), "it would change with every restart");
        let again = ContainerFact { message: Some("back-off 5m0s".into()), ..ended.clone() };
        assert_eq!(trouble(&[again]), Some(told));
    }

    #[test]
    fn of_an_application_that_says_why_it_ends_the_last_words_are_told() {
        let said = Some(format!("{}\nno database\n", "x".repeat(4000)));
        let ended = ContainerFact { ended: Some(1), said, ..container("app", "a") };
        let told = trouble(&[ended]).unwrap();
        assert!(told.starts_with("container app of pod a ended with code 1: …x"), "{told}");
        assert!(told.ends_with("x no database") && told.len() < 400, "{told}");
    }

    #[test]
    fn a_sidecar_says_itself_why_it_ends_and_comes_first() {
        let app = ContainerFact { ended: Some(1), ..container("app", "a") };
        let sidecar = ContainerFact {
            ended: Some(1),
            said: Some("port 9090 is taken\n".into()),
            ..container("sidecar", "b")
        };
        assert_eq!(trouble(&[app, sidecar]).unwrap(), "container sidecar of pod b ended: port 9090 is taken");
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_told_in_the_kubelets_words() {
        let waiting = ContainerFact {
            waiting: Some("ImagePullBackOff".into()),
            message: Some("Back-off pulling image \"a:1\"".into()),
            ..container("app", "a")
        };
        assert_eq!(
            trouble(&[waiting]).unwrap(),
            "container app of pod a: ImagePullBackOff: Back-off pulling image \"a:1\""
        );
    }
}
