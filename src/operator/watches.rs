//! Watches: what they tell goes into the caches, and the services that it concerns are looked at.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, DynamicObject, PartialObjectMeta, TypeMeta};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Config;
use super::context::{Context, place};
use super::kinds;
use super::watched::Watched;
use crate::api::VisiobookEnvironment;
use crate::api::kinds::Kind;
use crate::api::names;
use crate::apply::{Live, SecretIndex, Seen, resource, watched_pods};

/// Objects that one list request may answer with: bounds the memory of a re-list.
const PAGE: u32 = 100;

/// A namespace that is watched; `None` for all of them.
pub(super) type Scope = Option<String>;

/// Watches that run, each with whether it has seen everything once.
pub(super) struct Watching(Vec<watch::Receiver<bool>>);

impl Watching {
    /// These watches.
    pub(super) fn of(watches: Vec<watch::Receiver<bool>>) -> Watching {
        Watching(watches)
    }

    /// Wait until every watch has seen everything once.
    pub(super) async fn synced(mut self) {
        for synced in &mut self.0 {
            // A sender that is gone was stopped, and with it the operator.
            let _ = synced.wait_for(|synced| *synced).await;
        }
    }
}

/// Start every watch but that of the services themselves.
pub(super) fn start(
    client: &Client,
    config: &Config,
    context: &Arc<Context>,
    index: &Arc<SecretIndex>,
    stop: &CancellationToken,
) -> Watching {
    let mut watching = Vec::new();
    let mut run = |task: Box<dyn FnOnce(watch::Sender<bool>) -> futures::future::BoxFuture<'static, ()>>| {
        let (synced, receiver) = watch::channel(false);
        let (task, stop) = (task(synced), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
        watching.push(receiver);
    };
    for scope in scopes(config) {
        // Of Secrets the one watch of all metadata tells.
        let always = Kind::ALL.into_iter().filter(|kind| !kind.is_optional() && *kind != Kind::Secret);
        for kind in always.chain(Kind::GOVERNANCE) {
            let (client, context, scope) = (client.clone(), context.clone(), scope.clone());
            run(Box::new(move |synced| Box::pin(children(client, kind, scope, context, synced))));
        }
    }
    for scope in secret_scopes(config) {
        let (client, context, index) = (client.clone(), context.clone(), index.clone());
        run(Box::new(move |synced| Box::pin(secrets(client, scope, context, index, synced))));
    }
    for scope in scopes(config) {
        let (client, context) = (client.clone(), context.clone());
        run(Box::new(move |synced| Box::pin(gated_pods(client, scope, context, synced))));
    }
    for kind in Kind::OPTIONAL {
        let (client, context, scopes) = (client.clone(), context.clone(), scopes(config));
        run(Box::new(move |known| Box::pin(kinds::follow(client, kind, scopes, context, known))));
    }
    let (of_client, of_context) = (client.clone(), context.clone());
    run(Box::new(move |synced| Box::pin(namespaces(of_client, of_context, synced))));
    let (of_client, of_context) = (client.clone(), context.clone());
    run(Box::new(move |synced| Box::pin(environments(of_client, of_context, synced))));
    Watching(watching)
}

/// The stream of services that a controller runs on, and the store it fills.
pub(super) fn services(
    client: &Client,
    scope: &Option<String>,
    context: &Arc<Context>,
) -> (impl Stream<Item = Result<Watched, watcher::Error>> + Send + 'static, Store<Watched>) {
    let (store, writer) = reflector::store();
    let (noting, filtering, before) = (context.clone(), context.clone(), store.clone());
    let (within, mut listed, mut shown) = (scope.clone(), BTreeSet::new(), Vec::new());
    let stream = events::<Watched>(api(client, scope), "")
        .inspect_ok(move |event| match event {
            watcher::Event::Delete(gone) => noting.forget(gone),
            watcher::Event::Apply(seen) => noting.see(seen),
            watcher::Event::Init => listed.clear(),
            watcher::Event::InitApply(seen) => {
                listed.insert(place(seen));
                noting.see(seen);
            }
            watcher::Event::InitDone => {
                // Nobody told that these were deleted.
                for gone in before.state() {
                    let (namespace, name) = place(&*gone);
                    if !listed.contains(&(namespace.clone(), name.clone())) {
                        noting.forget(&gone);
                        noting.trigger(&namespace, &name);
                    }
                }
                noting.keep_needs(&within, &listed);
            }
        })
        .reflect(writer)
        .map_ok(move |event| stream::iter(touched(event, &mut shown).into_iter().map(Ok)))
        .try_flatten()
        .try_filter(move |service| {
            let is_news = !filtering.is_own_write(service);
            if is_news {
                // A status that was written and not heard of is told by this alone.
                filtering.trigger_dependants(&place(service));
            }
            futures::future::ready(is_news)
        });
    (stream, store)
}

/// The services that an event tells of. Those of a list are told of once the store has all of it: a pass before that would
/// look at one as it was, or find none.
fn touched(event: watcher::Event<Watched>, shown: &mut Vec<Watched>) -> Vec<Watched> {
    match event {
        watcher::Event::Apply(service) | watcher::Event::Delete(service) => return vec![service],
        watcher::Event::Init => shown.clear(),
        watcher::Event::InitApply(service) => shown.push(service),
        watcher::Event::InitDone => return std::mem::take(shown),
    }
    Vec::new()
}

/// The namespaces to watch, one by one, or all at once.
pub(super) fn scopes(config: &Config) -> Vec<Scope> {
    if config.namespaces.is_empty() {
        vec![None]
    } else {
        config.namespaces.iter().cloned().map(Some).collect()
    }
}

/// Those, and the operator's own, whose pull secrets are copied.
fn secret_scopes(config: &Config) -> Vec<Option<String>> {
    let own = Some(config.election.namespace.clone());
    let mut scopes = scopes(config);
    if !scopes.contains(&None) && !scopes.contains(&own) {
        scopes.push(own);
    }
    scopes
}

fn api<K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>>(
    client: &Client,
    scope: &Option<String>,
) -> Api<K> {
    match scope {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn events<K>(
    api: Api<K>,
    labels: &str,
) -> impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send + use<K>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let config = watcher::Config::default().labels(labels).page_size(PAGE);
    watcher(api, config).default_backoff()
}

/// Run a watch for ever; its errors are retried with back-off, and told once a minute at most.
pub(super) async fn each<K>(
    stream: impl Stream<Item = watcher::Result<watcher::Event<K>>>,
    of: &str,
    mut see: impl FnMut(watcher::Event<K>),
) {
    futures::pin_mut!(stream);
    let mut told: Option<std::time::Instant> = None;
    while let Some(event) = stream.next().await {
        match event {
            Ok(event) => see(event),
            Err(error) => {
                if told.is_none_or(|told| told.elapsed() > Duration::from_secs(60)) {
                    tracing::warn!(of, %error, "a watch is interrupted and tries again");
                    told = Some(std::time::Instant::now());
                }
            }
        }
    }
}

/// Where a kind is read in a scope.
pub(super) fn children_api(client: &Client, kind: Kind, scope: &Scope) -> Api<DynamicObject> {
    match scope {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource(kind)),
        None => Api::all_with(client.clone(), &resource(kind)),
    }
}

/// Watch the children of a kind.
pub(super) async fn children(
    client: Client,
    kind: Kind,
    scope: Scope,
    context: Arc<Context>,
    synced: watch::Sender<bool>,
) {
    let api = children_api(&client, kind, &scope);
    let labels = format!("{}={}", names::MANAGED_BY, names::MANAGED_BY_VALUE);
    let tell = |seen: Seen| {
        if let Seen::News(Some((namespace, name))) = seen {
            wake(&context, &namespace, &name);
        }
    };
    each(events(api, &labels), kind.as_str(), |event| match event {
        watcher::Event::Init => context.cache.begin_list(kind, &scope),
        watcher::Event::InitApply(object) | watcher::Event::Apply(object) => {
            tell(context.cache.see(Live::keep(kind, object)).0)
        }
        watcher::Event::InitDone => {
            for (namespace, name) in context.cache.end_list(kind, &scope) {
                wake(&context, &namespace, &name);
            }
            synced.send_replace(true);
        }
        watcher::Event::Delete(object) => tell(context.cache.forget(&Live::keep(kind, object), true)),
    })
    .await;
}

/// Watch the pods with the readiness gate, and no others.
async fn gated_pods(client: Client, scope: Scope, context: Arc<Context>, synced: watch::Sender<bool>) {
    let api = watched_pods(client, scope.as_deref());
    let pods = &context.gated_pods;
    each(events(api, names::GATE), "Pod", |event| match event {
        watcher::Event::Init => pods.begin_list(&scope),
        watcher::Event::InitApply(pod) | watcher::Event::Apply(pod) => {
            if let Some((namespace, service)) = pods.see(&pod) {
                context.trigger(&namespace, &service);
            }
        }
        watcher::Event::InitDone => {
            pods.end_list(&scope);
            synced.send_replace(true);
        }
        watcher::Event::Delete(pod) => pods.forget(&pod),
    })
    .await;
}

/// Have looked at what a child belongs to.
fn wake(context: &Context, namespace: &str, name: &str) {
    if name == names::GOVERNOR {
        context.trigger_governance(namespace)
    } else {
        context.trigger(namespace, name)
    }
}

async fn secrets(
    client: Client,
    scope: Option<String>,
    context: Arc<Context>,
    index: Arc<SecretIndex>,
    synced: watch::Sender<bool>,
) {
    let api: Api<PartialObjectMeta<Secret>> = api(&client, &scope);
    let concern = |namespace: &str, name: &str| {
        context.trigger_where(|service| {
            service.namespace().as_deref() == Some(namespace) && service.asks_for(name)
        });
        context.see_own_secret(namespace, name);
    };
    // Those that are ours are children too.
    let child = |secret: &PartialObjectMeta<Secret>, gone: bool| {
        let is_ours = secret.labels().get(names::MANAGED_BY).is_some_and(|by| by == names::MANAGED_BY_VALUE);
        let was_ours = context
            .cache
            .get(Kind::Secret, &secret.namespace().unwrap_or_default(), &secret.name_any())
            .is_some();
        if !is_ours && !was_ours {
            return Seen::Known;
        }
        let (metadata, types) = (secret.metadata.clone(), Some(TypeMeta::resource::<Secret>()));
        let live = Live::keep(Kind::Secret, DynamicObject { types, metadata, data: Value::Null });
        if is_ours && !gone { context.cache.see(live).0 } else { context.cache.forget(&live, true) }
    };
    let tell = |seen: Seen| {
        if let Seen::News(Some((namespace, name))) = seen {
            context.trigger(&namespace, &name);
        }
    };
    let mut listed = BTreeSet::new();
    each(events(api, ""), "Secret", |event| match event {
        watcher::Event::Init => {
            listed.clear();
            context.cache.begin_list(Kind::Secret, &scope);
        }
        watcher::Event::InitApply(secret) | watcher::Event::Apply(secret) => {
            tell(child(&secret, false));
            let (namespace, name) = (secret.namespace().unwrap_or_default(), secret.name_any());
            listed.insert((namespace.clone(), name.clone()));
            if index.see(secret.meta()) {
                concern(&namespace, &name);
            }
        }
        watcher::Event::InitDone => {
            let within = |namespace: &String| scope.as_ref().is_none_or(|scope| scope == namespace);
            for (namespace, name) in index.keep_only(&listed, within) {
                concern(&namespace, &name);
            }
            for (namespace, name) in context.cache.end_list(Kind::Secret, &scope) {
                context.trigger(&namespace, &name);
            }
            listed.clear();
            synced.send_replace(true);
        }
        watcher::Event::Delete(secret) => {
            tell(child(&secret, true));
            let (namespace, name) = (secret.namespace().unwrap_or_default(), secret.name_any());
            index.forget(&namespace, &name);
            concern(&namespace, &name);
        }
    })
    .await;
}

async fn namespaces(client: Client, context: Arc<Context>, synced: watch::Sender<bool>) {
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(client);
    let mut listed = HashSet::new();
    each(events(api, ""), "Namespace", |event| match event {
        watcher::Event::Init => listed.clear(),
        watcher::Event::InitApply(namespace) | watcher::Event::Apply(namespace) => {
            listed.insert(namespace.name_any());
            context.see_namespace(&namespace.name_any(), Some(namespace.meta()));
        }
        watcher::Event::InitDone => {
            context.keep_namespaces(&listed);
            synced.send_replace(true);
        }
        watcher::Event::Delete(namespace) => context.see_namespace(&namespace.name_any(), None),
    })
    .await;
}

async fn environments(client: Client, context: Arc<Context>, synced: watch::Sender<bool>) {
    let api: Api<VisiobookEnvironment> = Api::all(client);
    let mut listed = HashSet::new();
    each(events(api, ""), "VisiobookEnvironment", |event| match event {
        watcher::Event::Init => listed.clear(),
        watcher::Event::InitApply(environment) | watcher::Event::Apply(environment) => {
            listed.insert(environment.name_any());
            let (name, spec) = (environment.name_any(), environment.spec.clone());
            // First: whoever looks at a service because of it asks for its generation.
            context.governance.see(&name, Some(environment));
            context.see_environment(&name, Some(spec));
        }
        watcher::Event::InitDone => {
            context.keep_environments(&listed);
            synced.send_replace(true);
        }
        watcher::Event::Delete(environment) => {
            context.see_environment(&environment.name_any(), None);
            context.governance.see(&environment.name_any(), None);
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_list_shows_is_told_once_the_store_has_all_of_it() {
        let service = |name: &str| -> Watched {
            let spec = serde_json::json!({ "image": "shop:1" });
            let metadata = serde_json::json!({ "name": name, "namespace": "shop" });
            serde_json::from_value(serde_json::json!({ "metadata": metadata, "spec": spec }))
                .expect("a service")
        };
        let mut shown = Vec::new();
        let mut names =
            |event| -> Vec<String> { touched(event, &mut shown).iter().map(ResourceExt::name_any).collect() };
        assert_eq!(names(watcher::Event::Apply(service("a"))), ["a"]);
        for event in [
            watcher::Event::Init,
            watcher::Event::InitApply(service("a")),
            watcher::Event::InitApply(service("b")),
        ] {
            assert!(names(event).is_empty());
        }
        // A list that was cut off begins anew.
        assert!(names(watcher::Event::Init).is_empty());
        assert!(names(watcher::Event::InitApply(service("b"))).is_empty());
        assert_eq!(names(watcher::Event::InitDone), ["b"]);
        assert_eq!(names(watcher::Event::Delete(service("b"))), ["b"]);
    }
}
