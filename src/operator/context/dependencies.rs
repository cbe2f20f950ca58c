//! Services that others depend on: how they are, and who is to look when that changes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::{Context, Watched, lock};
use crate::api::VisiobookService;
use crate::apply::{self, Error};
use crate::facts::{ServiceName, Standing};
use crate::gate::{self, Graph};

/// For so long it is believed that a Service has a name, or none: no watch tells when one of somebody else's comes or goes.
/// Who waits for one asks again then; everybody else with the next pass.
pub(in crate::operator) const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Who depends on whom.
#[derive(Default)]
pub(super) struct Dependencies {
    /// As the resources say.
    declared: Mutex<Graph>,
    /// As revisions say of which pods run.
    running: Mutex<Graph>,
    /// Names that no VisiobookService has: when was looked, and whether a Service has it.
    strangers: Mutex<HashMap<ServiceName, (Instant, Stranger)>>,
}

/// A Service of somebody else, as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stranger {
    There,
    /// It was there when it was looked for before: whoever makes one anew takes it away for a moment.
    Doubtful,
    Away,
}

impl Context {
    /// What a service that was seen depends on.
    pub(super) fn see_needs(&self, seen: &Watched) {
        let Ok(service) = seen.open() else { return };
        let own = (service.namespace().unwrap_or_default(), service.name_any());
        let depends_on = service.spec.is_gated().then_some(&service.spec.depends_on);
        let needs = depends_on.into_iter().flatten().map(|one| gate::service_of(one, &own.0)).collect();
        let concerned = lock(&self.dependencies.declared).see(&own, needs);
        self.trigger_all(concerned);
    }

    /// A service is gone.
    pub(in crate::operator) fn forget_needs(&self, service: &ServiceName) {
        lock(&self.dependencies.running).forget(service);
        let concerned = lock(&self.dependencies.declared).forget(service);
        self.trigger_all(concerned);
    }

    /// A complete list of services was seen.
    pub(in crate::operator) fn keep_needs(&self, scope: &Option<String>, seen: &BTreeSet<ServiceName>) {
        let within = |namespace: &str| scope.as_ref().is_none_or(|scope| scope == namespace);
        let concerned = lock(&self.dependencies.declared).keep_only(seen, within);
        self.trigger_all(concerned);
    }

    /// Pods of a service wait for these.
    pub(in crate::operator) fn note_needs(&self, service: &ServiceName, needs: BTreeSet<ServiceName>) {
        lock(&self.dependencies.running).see(service, needs);
    }

    /// Have those looked at that depend on a service.
    pub(in crate::operator) fn trigger_dependants(&self, service: &ServiceName) {
        let mut dependants = lock(&self.dependencies.declared).dependants(service);
        dependants.extend(lock(&self.dependencies.running).dependants(service));
        self.trigger_all(dependants);
    }

    fn trigger_all(&self, services: impl IntoIterator<Item = ServiceName>) {
        services.into_iter().for_each(|(namespace, name)| self.trigger(&namespace, &name));
    }

    /// The way from a service back to itself, where services wait for each other: by one that is `lacking`, if there is
    /// such a way.
    pub(in crate::operator) fn cycle(
        &self,
        service: &ServiceName,
        lacking: impl Fn(&ServiceName) -> bool,
    ) -> Vec<ServiceName> {
        let declared = lock(&self.dependencies.declared);
        let stuck = declared.cycle_by(service, lacking);
        if stuck.is_empty() { declared.cycle(service) } else { stuck }
    }

    /// How a service is that another one depends on. Only where no VisiobookService has the name, and seldom then, the
    /// API server is asked.
    pub(in crate::operator) async fn standing(&self, name: &ServiceName) -> Result<Standing, Error> {
        let strangers = &self.dependencies.strangers;
        if let Some(standing) = self.find(name) {
            lock(strangers).remove(name);
            return Ok(standing);
        }
        let known = lock(strangers).get(name).copied();
        let exists = match believed(known, Instant::now()) {
            Some(exists) => exists,
            None => {
                let found = match (apply::service_exists(&self.writer, &name.0, &name.1).await, known) {
                    // What may not be looked at is somebody else's.
                    (Ok(found), known) => seen(found.unwrap_or(true), known),
                    (Err(_), Some((_, before))) => before,
                    (Err(error), None) => return Err(error),
                };
                lock(strangers).insert(name.clone(), (Instant::now(), found));
                found != Stranger::Away
            }
        };
        Ok(if exists { Standing::Foreign } else { Standing::Missing })
    }

    /// How a VisiobookService is, as the watch or our own last write knows it.
    fn find(&self, (namespace, name): &ServiceName) -> Option<Standing> {
        let watched = self.stored(&ObjectRef::new(name).within(namespace))?;
        Some(match self.newest(&watched) {
            Ok(service) => standing(&service),
            // It is there, and nothing is known of it.
            Err(_) => Standing::NotReady { since: None },
        })
    }
}

/// Whether a Service has the name, as it was found so lately that nobody is asked again.
fn believed(known: Option<(Instant, Stranger)>, now: Instant) -> Option<bool> {
    known.filter(|(at, _)| now.duration_since(*at) < LOOK_AGAIN).map(|(_, found)| found != Stranger::Away)
}

fn seen(exists: bool, known: Option<(Instant, Stranger)>) -> Stranger {
    match known {
        _ if exists => Stranger::There,
        Some((_, Stranger::There)) => Stranger::Doubtful,
        _ => Stranger::Away,
    }
}

fn standing(service: &VisiobookService) -> Standing {
    if service.metadata.deletion_timestamp.is_some() {
        return Standing::Leaving;
    }
    let conditions = service.status.iter().flat_map(|status| &status.conditions);
    let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready");
    let since = ready.map(|ready| ready.last_transition_time.0.as_second());
    match ready {
        Some(ready) if ready.status == "True" => Standing::Ready { since: since.unwrap_or_default() },
        Some(ready) if ready.status == "False" => Standing::NotReady { since },
        _ => Standing::NotReady { since: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_of_somebody_else_is_believed_in_for_a_while_whether_it_is_there_or_not() {
        let asked = Instant::now();
        for (found, exists) in [(Stranger::There, true), (Stranger::Doubtful, true), (Stranger::Away, false)]
        {
            let known = Some((asked, found));
            assert_eq!(believed(known, asked + Duration::from_secs(29)), Some(exists));
            assert_eq!(believed(known, asked + LOOK_AGAIN), None, "asked again");
            assert_eq!(seen(true, known), Stranger::There);
        }
        assert_eq!(believed(None, asked), None);
        // One that was there is gone once it is missed twice.
        let missed = seen(false, Some((asked, Stranger::There)));
        assert_eq!((missed, seen(false, Some((asked, missed)))), (Stranger::Doubtful, Stranger::Away));
        assert_eq!(seen(false, None), Stranger::Away);
    }
}
