//! Where secrets may come from. What kind an environment allows is governed; here each that is of another is named.

use super::{Broken, Subject};
use crate::api::SecretKind;

pub(super) fn sources(it: &Subject<'_>, broken: &mut Broken) {
    let environment = &it.environment.name;
    let said = it.environment.said.secrets.as_ref();
    let kind = said.and_then(|secrets| secrets.kind);
    let has_store = said.is_some_and(|secrets| secrets.store.is_some());
    let has_remote = it.spec.secrets.values().any(|source| source.remote.is_some());
    if kind == Some(SecretKind::External) && !has_store && !has_remote {
        let field = format!("VisiobookEnvironment {environment}: spec.secrets.store");
        broken.tell("secret-store", field, "is missing, and spec.secrets.kind is External: name the store");
    }
    for (variable, source) in &it.spec.secrets {
        let field = format!("spec.secrets.{variable}");
        let whole = match &source.remote {
            Some(_) => source.name.is_none() && source.key.is_none(),
            None => source.name.is_some() && source.key.is_some(),
        };
        if !whole {
            let message = "write either name and key, of a Secret of the namespace, or remote, a key of the environment's store";
            broken.tell("secret-source", &field, message);
        }
        if source.remote.is_some() && !has_store {
            let message = format!(
                "is kept in a store, and VisiobookEnvironment {environment} names none: set its secrets.store, or name a Secret and a key"
            );
            broken.tell("secret-store", &field, message);
        }
        match (kind, source.remote.is_some()) {
            (Some(SecretKind::External), false) => {
                let message = format!(
                    "is a Secret of the namespace, and VisiobookEnvironment {environment} allows keys of its store only: write remote.key in place of name and key"
                );
                broken.tell("secret-kind", &field, message);
            }
            (Some(kind @ (SecretKind::Plain | SecretKind::Sealed)), true) => {
                let message = format!(
                    "is kept in a store, and VisiobookEnvironment {environment} allows {kind:?} secrets only: name a Secret of the namespace and a key"
                );
                broken.tell("secret-kind", &field, message);
            }
            _ => {}
        }
    }
}
