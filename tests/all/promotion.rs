//! What another environment has verified: an image by its digest, said by whoever has the key.

use serde_json::{Value, json};
use visiobook::api::names;
use visiobook::contract::evidence::{self, Evidence};
use visiobook::facts::EnvironmentFact;

use crate::cases::Case;

struct Keys {
    private: String,
    public: String,
}

fn keys() -> Keys {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    Keys { private: pair.serialize_pem(), public: pair.public_key_pem() }
}

fn digest(of: &str) -> String {
    format!("sha256:{}", of.repeat(64))
}

fn verified() -> Evidence {
    Evidence {
        service: "users".into(),
        digest: digest("a"),
        environment: "staging".into(),
        attempt: "3f9c2a7be1-7".into(),
        at: 1_795_000_000,
    }
}

/// The rules that a service breaks in an environment that asks for evidence.
fn refused(key: &Keys, image: &str, signed: Option<&str>) -> Vec<(&'static str, String)> {
    let annotations = signed.map_or(Value::Null, |signed| json!({ names::EVIDENCE: signed }));
    let service = json!({
        "apiVersion": "platform.visiobook.com/v1alpha1", "kind": "VisiobookService",
        "metadata": { "name": "users", "annotations": annotations }, "spec": { "image": image },
    });
    let promotion = json!({ "from": ["staging"], "keys": [keys().public, key.public] });
    let spec = json!({ "type": "production", "rollout": { "promotion": promotion } });
    let case = Case {
        service: serde_json::from_value(service).unwrap(),
        environment: EnvironmentFact::Governed {
            name: "production".into(),
            spec: serde_json::from_value(spec).unwrap(),
        },
    };
    let refusals = case.verdict().err().unwrap_or_default();
    refusals.into_iter().map(|refusal| (refusal.rule, refusal.message)).collect()
}

#[test]
fn production_runs_only_the_digest_that_staging_has_verified() {
    let key = keys();
    let image = format!("ghcr.io/visiobook/users@{}", digest("a"));
    let sign = |evidence: &Evidence| evidence::sign(key.private.as_bytes(), evidence).unwrap();
    let good = sign(&verified());
    assert_eq!(refused(&key, &image, Some(&good)), []);
    // A tag beside the digest says nothing, nor does the end of a line.
    assert_eq!(refused(&key, &image.replace('@', ":1.2@"), Some(&format!("{good}\n"))), []);
    let foreign = evidence::sign(keys().private.as_bytes(), &verified()).unwrap();
    // As somebody would write it who has no key: another digest under a signature that was given.
    let [head, _, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let other = sign(&Evidence { digest: digest("b"), ..verified() });
    let forged = format!("{head}.{}.{signature}", other.split('.').nth(1).unwrap());
    for (signed, why) in [
        (None, "there is no evidence"),
        (Some(foreign), "none of the keys"),
        (Some(forged), "none of the keys"),
        (Some("nonsense".into()), "none of the keys"),
        (Some(sign(&Evidence { service: "books".into(), ..verified() })), "for the service books"),
        (Some(sign(&Evidence { digest: digest("b"), ..verified() })), "the evidence is for sha256:bbbb"),
        (Some(sign(&Evidence { environment: "development".into(), ..verified() })), "from development"),
    ] {
        let refusals = refused(&key, &image, signed.as_deref());
        let [("promotion-evidence", message)] = &refusals[..] else { panic!("{why}: {refusals:?}") };
        assert!(message.contains(why) && message.contains("visiobook rollout evidence users"), "{message}");
    }
    let by_tag = refused(&key, "ghcr.io/visiobook/users:1.2", Some(&good));
    assert_eq!(by_tag.iter().map(|(rule, _)| *rule).collect::<Vec<_>>(), ["promotion-digest"]);
}

#[test]
fn other_signed_words_are_no_evidence() {
    use visiobook::contract::service_token::{Grant, mint};
    let key = keys();
    let grant = Grant { namespace: "shop", name: "users", calls: &[], issued: 1, expires: u64::MAX / 2 };
    let token = mint(&key.private, "k", &grant).unwrap();
    assert_eq!(evidence::verify(&key.public, &token), None);
}
