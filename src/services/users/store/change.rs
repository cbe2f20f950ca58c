//! What a change makes of a user, and what differs then.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::super::types::{Profile, UpdateUser, User};

/// `before` with what `change` says.
pub(super) fn changed(before: &User, change: &UpdateUser) -> User {
    let mut after = before.clone();
    let fields = [(&change.email, &mut after.email), (&change.username, &mut after.username)];
    for (given, field) in fields {
        if let Some(given) = given {
            field.clone_from(given);
        }
    }
    if let Some(preferences) = &change.preferences {
        after.preferences.clone_from(preferences);
    }
    let given = [&change.first_name, &change.last_name, &change.avatar, &change.bio];
    if given.iter().any(|given| given.is_some()) {
        // Its id is the database's to choose.
        let profile = after.profile.get_or_insert(Profile {
            id: Uuid::nil(),
            first_name: None,
            last_name: None,
            avatar: None,
            bio: None,
        });
        let fields = [&mut profile.first_name, &mut profile.last_name, &mut profile.avatar, &mut profile.bio];
        for (given, field) in given.into_iter().zip(fields) {
            if let Some(given) = given {
                field.clone_from(given);
            }
        }
    }
    after
}

/// What differs, field by field, as it was and as it is.
pub(super) fn differences(before: &User, after: &User) -> Map<String, Value> {
    let flat = |user: &User| {
        let mut fields = serde_json::to_value(user).unwrap_or_default();
        let profile = fields.as_object_mut().and_then(|fields| fields.remove("profile"));
        let mut fields = fields.as_object().cloned().unwrap_or_default();
        fields.extend(profile.and_then(|profile| profile.as_object().cloned()).unwrap_or_default());
        fields.remove("id");
        fields
    };
    let (before, after) = (flat(before), flat(after));
    let names: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| (name.clone(), json!([before.get(name), after.get(name)])))
        .collect()
}
