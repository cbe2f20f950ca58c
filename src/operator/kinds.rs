//! Optional kinds: watched and written while the cluster offers them. Their CustomResourceDefinitions come and go
//! while the operator runs, and it follows.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams, PartialObjectMeta};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use tokio::sync::watch;

use super::context::Context;
use super::watches::{self, Scope, Watching};
use crate::api::kinds::Kind;
use crate::facts::Missing;

/// From the arrival of a definition until its kind is first asked for; each further try waits twice as long.
const FIRST_TRY: Duration = Duration::from_millis(250);
/// Longest time between two tries.
const LAST_TRY: Duration = Duration::from_secs(60);
/// A kind that is not served after such a wait is told to be missing: until then it may be on its way.
const GIVEN: Duration = Duration::from_secs(4);

/// What is known of a definition: nothing yet, that it is not there, or its uid.
type Definition = Option<Option<String>>;

/// Follow one optional kind for ever. `known` is told once it is sure whether the kind is offered, and what there is
/// of it.
pub(super) async fn follow(
    client: Client,
    kind: Kind,
    scopes: Vec<Scope>,
    context: Arc<Context>,
    known: watch::Sender<bool>,
) {
    let (told, mut definition) = watch::channel(None);
    let offer = async {
        loop {
            let now = match definition.wait_for(Option::is_some).await {
                Ok(now) => now.clone(),
                Err(_) => return,
            };
            let changes = definition.wait_for(|next| *next != now);
            if matches!(now, Some(None)) {
                context.see_kind(kind, Some(Missing::NotInstalled));
                known.send_replace(true);
                let _ = changes.await;
                continue;
            }
            tokio::select! {
                _ = changes => {}
                () = watch_while_installed(&client, kind, &scopes, &context, &known) => {}
            }
            // Told first, so that nobody takes what is forgotten for deleted.
            context.see_kind(kind, Some(Missing::NotInstalled));
            for scope in &scopes {
                context.cache.begin_list(kind, scope);
                context.cache.end_list(kind, scope);
            }
        }
    };
    tokio::join!(watch_definition(&client, kind, told), offer);
}

/// Tell whether the definition of a kind is there. One that is being deleted takes its objects along and lets nobody
/// make new ones, so it is gone already.
async fn watch_definition(client: &Client, kind: Kind, told: watch::Sender<Definition>) {
    let api: Api<PartialObjectMeta<CustomResourceDefinition>> = Api::all(client.clone());
    let select = watcher::Config::default().fields(&format!("metadata.name={}", kind.definition()));
    let uid = |definition: &PartialObjectMeta<CustomResourceDefinition>| {
        definition.uid().filter(|_| definition.metadata.deletion_timestamp.is_none())
    };
    let tell = |definition: Option<String>| {
        told.send_if_modified(|known| known.replace(definition.clone()) != Some(definition));
    };
    let mut listed = None;
    watches::each(watcher(api, select).default_backoff(), "CustomResourceDefinition", |event| match event {
        watcher::Event::Init => listed = None,
        watcher::Event::InitApply(definition) => listed = uid(&definition),
        watcher::Event::InitDone => tell(listed.take()),
        watcher::Event::Apply(definition) => tell(uid(&definition)),
        watcher::Event::Delete(_) => tell(None),
    })
    .await;
}

/// Watch a kind whose definition is there, in every scope, as soon as the API server serves it.
async fn watch_while_installed(
    client: &Client,
    kind: Kind,
    scopes: &[Scope],
    context: &Arc<Context>,
    known: &watch::Sender<bool>,
) {
    let mut wait = FIRST_TRY;
    for scope in scopes {
        let api = watches::children_api(client, kind, scope);
        while let Err(error) = api.list(&ListParams::default().limit(1)).await {
            if wait > GIVEN {
                context.see_kind(kind, Some(Missing::NotServed(error.to_string())));
                known.send_replace(true);
            }
            tokio::time::sleep(wait).await;
            wait = LAST_TRY.min(wait * 2);
        }
    }
    let (filled, watching): (Vec<_>, Vec<_>) = scopes.iter().map(|_| watch::channel(false)).unzip();
    let watches = scopes.iter().zip(filled).map(|(scope, filled)| {
        watches::children(client.clone(), kind, scope.clone(), context.clone(), filled)
    });
    let offered = async {
        Watching::of(watching).synced().await;
        context.see_kind(kind, None);
        known.send_replace(true);
        pending::<()>().await;
    };
    tokio::select! {
        _ = join_all(watches) => {}
        () = offered => {}
    }
}
