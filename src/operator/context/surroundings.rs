//! What governs a service: its namespace, that namespace's environment, and which kinds the cluster offers.

use std::collections::HashSet;
use std::sync::PoisonError;

use kube::ResourceExt;
use kube::api::ObjectMeta;

use super::Context;
use crate::api::kinds::Kind;
use crate::api::{PodSecurityLevel, VisiobookEnvironmentSpec, VisiobookService, names};
use crate::apply::Surroundings;
use crate::facts::{EnvironmentFact, Missing};
use crate::operator::governance::enforced;

/// A namespace that was seen.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place {
    /// The environment that its label names.
    environment: Option<String>,
    /// Whether it is being deleted: nothing can be made in it any more.
    terminating: bool,
    /// What its Pod Security label enforces.
    enforces: PodSecurityLevel,
    /// Its uid.
    uid: String,
}

impl Context {
    /// Who governs a service; `None` while its namespace has not been seen, for it may yet turn out to have a label.
    pub(in crate::operator) fn surroundings(&self, service: &VisiobookService) -> Option<Surroundings> {
        let namespace = service.namespace().unwrap_or_default();
        let place =
            self.namespaces.read().unwrap_or_else(PoisonError::into_inner).get(&namespace).cloned()?;
        let environment = match place.environment {
            None => EnvironmentFact::Unlabelled,
            Some(name) => match self.environments.read().unwrap_or_else(PoisonError::into_inner).get(&name) {
                Some(spec) => EnvironmentFact::Governed { name, spec: Box::new(spec.clone()) },
                None => EnvironmentFact::Missing { name },
            },
        };
        let notes = self.replicas_applied_by.read().unwrap_or_else(PoisonError::into_inner);
        Some(Surroundings {
            environment,
            replicas_applied_by: notes.get(&service.uid().unwrap_or_default()).cloned(),
            operator: self.operator.clone(),
            missing_kinds: self.missing_kinds.read().unwrap_or_else(PoisonError::into_inner).clone(),
            signing: self.ring.signing(),
            gated_pods: self.gated_pods.of(&namespace, &service.name_any()),
            leading_since: self.leading_since(),
            now: jiff::Timestamp::now().as_second(),
        })
    }

    /// An optional kind is offered by the cluster from now on, or is not.
    pub(in crate::operator) fn see_kind(&self, kind: Kind, missing: Option<Missing>) {
        {
            let mut kinds = self.missing_kinds.write().unwrap_or_else(PoisonError::into_inner);
            let before = match &missing {
                Some(missing) => kinds.insert(kind, missing.clone()),
                None => kinds.remove(&kind),
            };
            if before == missing {
                return;
            }
        }
        let kind = kind.as_str();
        match missing {
            None => tracing::info!(kind, "a kind that may be missing is there"),
            Some(missing) => tracing::info!(kind, ?missing, "a kind that may be missing is not there"),
        }
        self.trigger_where(|_| true);
    }

    /// Have the services looked at whose environment copies a Secret of the operator's own namespace.
    pub(in crate::operator) fn see_own_secret(&self, namespace: &str, name: &str) {
        if namespace != self.operator.namespace {
            return;
        }
        let copying: HashSet<String> = {
            let environments = self.environments.read().unwrap_or_else(PoisonError::into_inner);
            let copies = |spec: &VisiobookEnvironmentSpec| {
                let defaults = spec.defaults.as_ref();
                defaults
                    .is_some_and(|defaults| defaults.copied_pull_secrets.iter().any(|copied| copied == name))
            };
            environments.iter().filter(|(_, spec)| copies(spec)).map(|(name, _)| name.clone()).collect()
        };
        if copying.is_empty() {
            return;
        }
        let governed: HashSet<String> = {
            let namespaces = self.namespaces.read().unwrap_or_else(PoisonError::into_inner);
            let is_governed = |place: &Place| {
                place.environment.as_ref().is_some_and(|environment| copying.contains(environment))
            };
            namespaces.iter().filter(|(_, place)| is_governed(place)).map(|(name, _)| name.clone()).collect()
        };
        self.trigger_where(|service| {
            service.namespace().is_some_and(|namespace| governed.contains(&namespace))
        });
    }

    /// An environment was seen, or is gone.
    pub(in crate::operator) fn see_environment(&self, name: &str, spec: Option<VisiobookEnvironmentSpec>) {
        {
            let mut environments = self.environments.write().unwrap_or_else(PoisonError::into_inner);
            let changed = match spec {
                Some(spec) => environments.insert(name.to_string(), spec.clone()).as_ref() != Some(&spec),
                None => {
                    self.metrics.forget_wave(name);
                    environments.remove(name).is_some()
                }
            };
            if !changed {
                return;
            }
        }
        let governed: HashSet<String> = {
            let namespaces = self.namespaces.read().unwrap_or_else(PoisonError::into_inner);
            namespaces
                .iter()
                .filter(|(_, place)| place.environment.as_deref() == Some(name))
                .map(|(namespace, _)| namespace.clone())
                .collect()
        };
        self.trigger_where(|service| {
            service.namespace().is_some_and(|namespace| governed.contains(&namespace))
        });
    }

    /// Environments that a complete list no longer shows are gone.
    pub(in crate::operator) fn keep_environments(&self, seen: &HashSet<String>) {
        let known: Vec<String> =
            self.environments.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        for name in known.iter().filter(|name| !seen.contains(*name)) {
            self.see_environment(name, None);
            self.governance.see(name, None);
        }
    }

    /// The environment that the label of a namespace names.
    pub(in crate::operator) fn environment_of(&self, namespace: &str) -> Option<String> {
        let namespaces = self.namespaces.read().unwrap_or_else(PoisonError::into_inner);
        namespaces.get(namespace).and_then(|place| place.environment.clone())
    }

    /// Have the environment of a namespace looked at.
    pub(in crate::operator) fn trigger_governance(&self, namespace: &str) {
        let namespaces = self.namespaces.read().unwrap_or_else(PoisonError::into_inner);
        let environment = namespaces.get(namespace).and_then(|place| place.environment.as_ref());
        environment.into_iter().for_each(|environment| self.governance.trigger(environment));
    }

    /// The namespaces that this operator looks after and whose label names an environment, in order, with what they
    /// enforce and their uids.
    pub(in crate::operator) fn places_of(
        &self,
        environment: &str,
    ) -> Vec<(String, PodSecurityLevel, String)> {
        let within = |namespace: &String| {
            let scopes = self.lanes.get().into_iter().flatten().map(|lane| lane.scope.as_ref());
            scopes.into_iter().any(|scope| scope.is_none_or(|scope| scope == namespace))
        };
        let namespaces = self.namespaces.read().unwrap_or_else(PoisonError::into_inner);
        let mut places: Vec<_> = namespaces
            .iter()
            .filter(|(name, place)| {
                place.environment.as_deref() == Some(environment) && !place.terminating && within(name)
            })
            .map(|(name, place)| (name.clone(), place.enforces, place.uid.clone()))
            .collect();
        places.sort();
        places
    }

    /// Whether a namespace is being deleted.
    pub(in crate::operator) fn is_terminating(&self, namespace: &str) -> bool {
        let namespaces = self.namespaces.read().unwrap_or_else(PoisonError::into_inner);
        namespaces.get(namespace).is_some_and(|place| place.terminating)
    }

    /// Namespaces that a complete list no longer shows are gone.
    pub(in crate::operator) fn keep_namespaces(&self, seen: &HashSet<String>) {
        let known: Vec<String> =
            self.namespaces.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        for name in known.iter().filter(|name| !seen.contains(*name)) {
            self.see_namespace(name, None);
        }
    }

    /// A namespace was seen, or is gone.
    pub(in crate::operator) fn see_namespace(&self, namespace: &str, seen: Option<&ObjectMeta>) {
        {
            let mut namespaces = self.namespaces.write().unwrap_or_else(PoisonError::into_inner);
            let place = seen.map(|meta| Place {
                environment: meta.labels.as_ref().and_then(|labels| labels.get(names::ENVIRONMENT)).cloned(),
                terminating: meta.deletion_timestamp.is_some(),
                enforces: enforced(meta.labels.as_ref()),
                uid: meta.uid.clone().unwrap_or_default(),
            });
            let before = match &place {
                Some(place) => namespaces.insert(namespace.to_string(), place.clone()),
                None => namespaces.remove(namespace),
            };
            if before == place {
                return;
            }
            let concerned =
                [&before, &place].into_iter().flatten().filter_map(|place| place.environment.as_ref());
            concerned.for_each(|environment| self.governance.trigger(environment));
        }
        self.trigger_where(|service| service.namespace().as_deref() == Some(namespace));
    }
}
