//! Watches: what they tell goes into the caches, and the services that it concerns are looked at.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, DynamicObject, PartialObjectMeta};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Config;
use super::context::{Context, Guarded};
use super::replicas;
use crate::api::VisiobookEnvironment;
use crate::api::kinds::Kind;
use crate::api::names;
use crate::apply::{Live, SecretIndex, Seen, resource};
use crate::check;

/// Objects that one list request may answer with: bounds the memory of a re-list.
const PAGE: u32 = 100;

/// Watches that run, each with whether it has seen everything once.
pub(super) struct Watching(Vec<watch::Receiver<bool>>);

impl Watching {
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
        for kind in Kind::ALL.into_iter().chain(Kind::GOVERNANCE) {
            let (client, context, scope) = (client.clone(), context.clone(), scope.clone());
            run(Box::new(move |synced| Box::pin(children(client, kind, scope, context, synced))));
        }
        let (client, context, index) = (client.clone(), context.clone(), index.clone());
        run(Box::new(move |synced| Box::pin(secrets(client, scope, context, index, synced))));
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
) -> (impl Stream<Item = Result<Guarded, watcher::Error>> + Send + 'static, Store<Guarded>) {
    let (store, writer) = reflector::store();
    let (noting, reading, filtering) = (context.clone(), context.clone(), context.clone());
    let stream = events::<Guarded>(api(client, scope), "")
        .inspect_ok(move |event| {
            if let watcher::Event::Delete(gone) = event
                && let Ok(service) = &gone.0
            {
                noting.forget(service);
            }
        })
        .modify(move |service| {
            let uid = service.uid().unwrap_or_default();
            reading.note_replicas(&uid, replicas::applied_by(service.meta()));
            service.managed_fields_mut().clear();
            service.annotations_mut().remove("kubectl.kubernetes.io/last-applied-configuration");
        })
        .reflect(writer)
        .touched_objects()
        .try_filter(move |guarded| {
            let news = guarded.0.as_ref().map_or(true, |service| !filtering.is_own_write(service));
            futures::future::ready(news)
        });
    (stream, store)
}

/// The namespaces to watch, one by one, or all at once.
pub(super) fn scopes(config: &Config) -> Vec<Option<String>> {
    if config.namespaces.is_empty() {
        vec![None]
    } else {
        config.namespaces.iter().cloned().map(Some).collect()
    }
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
async fn each<K>(
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

async fn children(
    client: Client,
    kind: Kind,
    scope: Option<String>,
    context: Arc<Context>,
    synced: watch::Sender<bool>,
) {
    let api: Api<DynamicObject> = match &scope {
        Some(namespace) => Api::namespaced_with(client, namespace, &resource(kind)),
        None => Api::all_with(client, &resource(kind)),
    };
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
            let mounted = check::mounted(service.spec.sidecar.as_ref());
            service.namespace().as_deref() == Some(namespace)
                && service.spec.secrets.values().chain(mounted).any(|reference| reference.name == name)
        });
    };
    let mut listed = BTreeSet::new();
    each(events(api, ""), "Secret", |event| match event {
        watcher::Event::Init => listed.clear(),
        watcher::Event::InitApply(secret) | watcher::Event::Apply(secret) => {
            let (namespace, name) = (secret.namespace().unwrap_or_default(), secret.name_any());
            let version = secret.resource_version().and_then(|version| version.parse().ok()).unwrap_or(0);
            listed.insert((namespace.clone(), name.clone()));
            if index.see(&namespace, &name, version) {
                concern(&namespace, &name);
            }
        }
        watcher::Event::InitDone => {
            let within = |namespace: &String| scope.as_ref().is_none_or(|scope| scope == namespace);
            for (namespace, name) in index.keep_only(&listed, within) {
                concern(&namespace, &name);
            }
            listed.clear();
            synced.send_replace(true);
        }
        watcher::Event::Delete(secret) => {
            let (namespace, name) = (secret.namespace().unwrap_or_default(), secret.name_any());
            index.forget(&namespace, &name);
            concern(&namespace, &name);
        }
    })
    .await;
}

async fn namespaces(client: Client, context: Arc<Context>, synced: watch::Sender<bool>) {
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(client);
    each(events(api, ""), "Namespace", |event| match event {
        watcher::Event::Init => {}
        watcher::Event::InitApply(namespace) | watcher::Event::Apply(namespace) => {
            context.see_namespace(&namespace.name_any(), Some(namespace.meta()));
        }
        watcher::Event::InitDone => {
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
            context.see_environment(&environment.name_any(), Some(environment.spec.clone()));
            context.governance.see(&environment.name_any(), Some(environment));
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
