//! What is known of children, from watches and from the answers to our own writes, whichever is newer.
//!
//! A watch lags behind our own writes. Resource versions only grow, so an answer that is newer than what the watch
//! has told stands until the watch has caught up, and the watch's late news of it is no news.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Live;
use crate::api::kinds::Kind;
use crate::api::names;
use crate::plan::Owner;

type Key = (Kind, String, String);
/// The namespace that a watch looks at; `None` for all of them.
type Scope = Option<String>;

/// Children by name and by owner.
#[derive(Default)]
pub struct Cache(Mutex<Known>);

#[derive(Default)]
struct Known {
    objects: HashMap<Key, Held>,
    owned: HashMap<String, Vec<Arc<Live>>>,
    /// What a list that is under way has not shown yet.
    unseen: HashMap<(Kind, Scope), HashSet<Key>>,
    /// Deleted by us; the watch may still tell of their last days.
    buried: HashSet<String>,
}

/// An object, and what of it needed no write.
struct Held {
    live: Arc<Live>,
    /// By manager: the version of the object, and a digest of what was planned.
    settled: [Option<(u64, Box<str>)>; MANAGERS.len()],
}

const MANAGERS: [&str; 2] = [names::MANAGER, names::SWITCH_MANAGER];

/// What a watch event changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It told nothing new.
    Known,
    /// It did; this service, by namespace and name, should look.
    News(Option<(String, String)>),
}

impl Cache {
    /// An object was seen, in a watch or in an answer.
    pub fn see(&self, live: Live) -> (Seen, Arc<Live>) {
        let mut known = self.lock();
        let key = (live.kind, live.namespace.clone(), live.name.clone());
        for ((kind, _), unseen) in &mut known.unseen {
            if *kind == live.kind {
                unseen.remove(&key);
            }
        }
        if let Some(Held { live: old, .. }) = known.objects.get(&key)
            && old.resource_version >= live.resource_version
        {
            return (Seen::Known, old.clone());
        }
        let live = Arc::new(live);
        if known.buried.contains(&live.uid) {
            return (Seen::Known, live);
        }
        let news = Seen::News(owner_of(&live));
        known.insert(key, live.clone());
        (news, live)
    }

    /// An object is gone, as a watch or the answer to a deletion says.
    pub fn forget(&self, live: &Live, by_watch: bool) -> Seen {
        let mut known = self.lock();
        let key = (live.kind, live.namespace.clone(), live.name.clone());
        if by_watch {
            known.buried.remove(&live.uid);
        } else {
            known.buried.insert(live.uid.clone());
        }
        match known.objects.get(&key).map(|held| &held.live) {
            // Made again since.
            Some(current) if current.uid != live.uid && current.resource_version > live.resource_version => {
                Seen::Known
            }
            Some(current) => {
                let owner = owner_of(current);
                known.remove(&key);
                Seen::News(owner)
            }
            None => Seen::Known,
        }
    }

    /// An object that we deleted is wanted again while it is still there: its end will be news. Tells whether it is still
    /// to come.
    pub fn unbury(&self, live: &Arc<Live>) -> bool {
        let mut known = self.lock();
        let is_to_come = known.buried.remove(&live.uid);
        if is_to_come {
            known.insert((live.kind, live.namespace.clone(), live.name.clone()), live.clone());
        }
        is_to_come
    }

    /// A list of a kind begins: what it does not show is gone.
    pub fn begin_list(&self, kind: Kind, scope: &Scope) {
        let mut known = self.lock();
        let within = |namespace: &String| scope.as_ref().is_none_or(|scope| scope == namespace);
        let keys = known
            .objects
            .keys()
            .filter(|(of, namespace, _)| *of == kind && within(namespace))
            .cloned()
            .collect();
        known.unseen.insert((kind, scope.clone()), keys);
    }

    /// A list of a kind is complete. Tells the services whose children were gone.
    pub fn end_list(&self, kind: Kind, scope: &Scope) -> Vec<(String, String)> {
        let mut known = self.lock();
        let gone = known.unseen.remove(&(kind, scope.clone())).unwrap_or_default();
        known.buried.clear();
        let mut owners = Vec::new();
        for key in gone {
            let gone = known.remove(&key);
            owners.extend(gone.and_then(|held| owner_of(&held.live)));
        }
        owners
    }

    /// An object by name.
    pub fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<Arc<Live>> {
        let key = (kind, namespace.to_string(), name.to_string());
        self.lock().objects.get(&key).map(|held| held.live.clone())
    }

    /// Every object of a kind.
    pub fn all(&self, kind: Kind) -> Vec<Arc<Live>> {
        let known = self.lock();
        known.objects.values().map(|held| &held.live).filter(|live| live.kind == kind).cloned().collect()
    }

    /// Everything that is a service's, in order of kind and name.
    pub fn owned_by(&self, owner: &Owner) -> Vec<Arc<Live>> {
        let known = self.lock();
        let names = [owner.uid.clone(), format!("{}/{}", owner.namespace, owner.name)];
        let mut owned: Vec<_> =
            names.iter().filter_map(|name| known.owned.get(name)).flatten().cloned().collect();
        owned.sort_by(|one, other| (one.kind, &one.name).cmp(&(other.kind, &other.name)));
        owned
    }

    /// Remember that an object is as planned, so that nobody need look until one of the two changes.
    pub fn settle(&self, live: &Live, manager: &'static str, plan: &str) {
        if let Some(held) = self.lock().held(live)
            && let Some(slot) = slot(manager)
        {
            held.settled[slot] = Some((live.resource_version, plan.into()));
        }
    }

    /// Version and plan that an object was last known to be settled with.
    pub fn settled(&self, live: &Live, manager: &'static str) -> Option<(u64, Box<str>)> {
        self.lock().held(live)?.settled[slot(manager)?].clone()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn insert(&mut self, key: Key, live: Arc<Live>) {
        let settled = self.remove(&key).filter(|old| old.live.uid == live.uid).map(|old| old.settled);
        if let Some(owner) = index_of(&live) {
            self.owned.entry(owner).or_default().push(live.clone());
        }
        self.objects.insert(key, Held { live, settled: settled.unwrap_or_default() });
    }

    /// An object under its name, unless that is another's by now.
    fn held(&mut self, live: &Live) -> Option<&mut Held> {
        let key = (live.kind, live.namespace.clone(), live.name.clone());
        self.objects.get_mut(&key).filter(|held| held.live.uid == live.uid)
    }

    fn remove(&mut self, key: &Key) -> Option<Held> {
        let old = self.objects.remove(key)?;
        if let Some(owner) = index_of(&old.live)
            && let Some(owned) = self.owned.get_mut(&owner)
        {
            owned.retain(|live| !Arc::ptr_eq(live, &old.live));
            if owned.is_empty() {
                self.owned.remove(&owner);
            }
        }
        Some(old)
    }
}

fn slot(manager: &str) -> Option<usize> {
    MANAGERS.iter().position(|of| *of == manager)
}

/// What an object is found by among those of its owner.
fn index_of(live: &Live) -> Option<String> {
    let (uid, name) = live.owner.as_ref()?;
    Some(if uid.is_empty() { format!("{}/{name}", live.namespace) } else { uid.clone() })
}

fn owner_of(live: &Live) -> Option<(String, String)> {
    live.owner.as_ref().map(|(_, name)| (live.namespace.clone(), name.clone()))
}

#[cfg(test)]
mod tests;
