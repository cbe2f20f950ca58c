//! Who waits for whom.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use crate::facts::ServiceName;

/// What each service depends on, and who depends on each.
#[derive(Debug, Default)]
pub struct Graph {
    needs: HashMap<ServiceName, BTreeSet<ServiceName>>,
    dependants: HashMap<ServiceName, BTreeSet<ServiceName>>,
}

impl Graph {
    /// A service was seen. Tells who may find it otherwise now: those that depend on it, where it is new, and those
    /// that wait for each other through it, before or after.
    pub fn see(&mut self, service: &ServiceName, needs: BTreeSet<ServiceName>) -> BTreeSet<ServiceName> {
        if self.needs.get(service) == Some(&needs) {
            return BTreeSet::new();
        }
        let mut concerned = BTreeSet::new();
        if !self.needs.contains_key(service) {
            concerned.extend(self.dependants(service));
        }
        concerned.extend(self.cycle(service));
        self.replace(service, needs);
        concerned.extend(self.cycle(service));
        concerned.remove(service);
        concerned
    }

    /// A service is gone. Tells who may find it otherwise now.
    pub fn forget(&mut self, service: &ServiceName) -> BTreeSet<ServiceName> {
        let mut concerned: BTreeSet<ServiceName> = self.dependants(service).into_iter().collect();
        concerned.extend(self.cycle(service));
        self.replace(service, BTreeSet::new());
        self.needs.remove(service);
        concerned.remove(service);
        concerned
    }

    /// A complete list was seen of the namespaces that are `within`: what it lacks is gone.
    pub fn keep_only(
        &mut self,
        seen: &BTreeSet<ServiceName>,
        within: impl Fn(&str) -> bool,
    ) -> BTreeSet<ServiceName> {
        let gone: Vec<ServiceName> =
            self.needs.keys().filter(|name| within(&name.0) && !seen.contains(*name)).cloned().collect();
        gone.iter().flat_map(|name| self.forget(name)).collect()
    }

    /// Those that depend on a service.
    pub fn dependants(&self, service: &ServiceName) -> Vec<ServiceName> {
        self.dependants.get(service).into_iter().flatten().cloned().collect()
    }

    /// The shortest way from a service back to itself, both ends included; empty where there is none.
    pub fn cycle(&self, service: &ServiceName) -> Vec<ServiceName> {
        self.cycle_by(service, |_| true)
    }

    /// The same, by one of those that `first` takes as its first step.
    pub fn cycle_by(&self, service: &ServiceName, first: impl Fn(&ServiceName) -> bool) -> Vec<ServiceName> {
        let mut came_from: BTreeMap<&ServiceName, &ServiceName> = BTreeMap::new();
        let mut queue = VecDeque::from([service]);
        while let Some(at) = queue.pop_front() {
            let needs = self.needs.get(at).into_iter().flatten();
            for next in needs.filter(|next| at != service || first(next)) {
                if next == service {
                    let mut way = vec![service.clone(), at.clone()];
                    let mut at = at;
                    while let Some(before) = came_from.get(at) {
                        way.push((*before).clone());
                        at = before;
                    }
                    // One that waits for itself has no step between.
                    way.dedup();
                    if way.len() == 1 {
                        way.push(service.clone());
                    }
                    way.reverse();
                    return way;
                }
                if let std::collections::btree_map::Entry::Vacant(entry) = came_from.entry(next) {
                    entry.insert(at);
                    queue.push_back(next);
                }
            }
        }
        Vec::new()
    }

    fn replace(&mut self, service: &ServiceName, needs: BTreeSet<ServiceName>) {
        for before in self.needs.get(service).into_iter().flatten() {
            if let Some(dependants) = self.dependants.get_mut(before) {
                dependants.remove(service);
                if dependants.is_empty() {
                    self.dependants.remove(before);
                }
            }
        }
        for need in &needs {
            self.dependants.entry(need.clone()).or_default().insert(service.clone());
        }
        self.needs.insert(service.clone(), needs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(service: &str) -> ServiceName {
        ("shop".into(), service.into())
    }

    fn graph(edges: &[(&str, &[&str])]) -> Graph {
        let mut graph = Graph::default();
        for (service, needs) in edges {
            graph.see(&name(service), needs.iter().map(|need| name(need)).collect());
        }
        graph
    }

    fn words(names: impl IntoIterator<Item = ServiceName>) -> Vec<String> {
        names.into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn a_cycle_is_told_whole_from_whoever_is_in_it_and_from_nobody_else() {
        let graph =
            graph(&[("a", &["b", "x"]), ("b", &["c"]), ("c", &["a"]), ("x", &[]), ("outside", &["a"])]);
        assert_eq!(words(graph.cycle(&name("a"))), ["a", "b", "c", "a"]);
        assert_eq!(words(graph.cycle(&name("c"))), ["c", "a", "b", "c"]);
        for service in ["x", "outside", "unknown"] {
            assert_eq!(words(graph.cycle(&name(service))), [""; 0], "{service}");
        }
        assert_eq!(words(self::graph(&[("a", &["a"])]).cycle(&name("a"))), ["a", "a"]);
        let two = self::graph(&[("a", &["b", "c", "x"]), ("b", &["a"]), ("c", &["d"]), ("d", &["a"])]);
        assert_eq!(words(two.cycle(&name("a"))), ["a", "b", "a"]);
        assert_eq!(words(two.cycle_by(&name("a"), |first| first.1 == "c")), ["a", "c", "d", "a"]);
        assert_eq!(words(two.cycle_by(&name("a"), |first| first.1 == "x")), [""; 0]);
        assert_eq!(words(self::graph(&[("a", &["b"]), ("b", &["a"])]).cycle(&name("b"))), ["b", "a", "b"]);
    }

    #[test]
    fn who_closes_or_opens_a_cycle_wakes_all_who_are_in_it() {
        let mut graph = graph(&[("a", &["b"]), ("b", &["c"])]);
        assert_eq!(words(graph.see(&name("c"), [name("a")].into())), ["a", "b"]);
        assert_eq!(words(graph.see(&name("c"), [name("a")].into())), [""; 0], "no news");
        assert_eq!(words(graph.see(&name("c"), BTreeSet::new())), ["a", "b"]);
        assert_eq!(words(graph.see(&name("c"), [name("d")].into())), [""; 0]);
    }

    #[test]
    fn who_comes_and_who_goes_wakes_those_that_depend_on_it() {
        let mut graph = graph(&[("a", &["b"]), ("c", &["b"])]);
        assert_eq!(words(graph.see(&name("b"), BTreeSet::new())), ["a", "c"]);
        assert_eq!(words(graph.dependants(&name("b"))), ["a", "c"]);
        graph.forget(&name("c"));
        assert_eq!(words(graph.dependants(&name("b"))), ["a"]);
        let seen = [name("a")].into();
        assert_eq!(words(graph.keep_only(&seen, |namespace| namespace == "other")), [""; 0]);
        assert_eq!(words(graph.keep_only(&seen, |namespace| namespace == "shop")), ["a"]);
        assert_eq!(words(graph.dependants(&name("b"))), ["a"], "who is gone may come back");
    }
}
