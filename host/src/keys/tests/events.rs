//! Signed events.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::keys::{NotCanonical, SIGNATURE_MEMBER, SIGNER_MEMBER, VerifyError};

fn event() -> Value {
    json!({
        "specversion": "1.0",
        "id": "0191c0de",
        "source": "foundry://host-a/watchbot",
        "type": "foundry.commit.v1",
        "time": "2026-11-23T08:50:43Z",
        "run": "r-1",
        "data": {"repository": "https://example.org/tree.git", "branch": "main", "size": 12345678, "ratio": 0.1, "names": ["Ünï", "\u{1F600}", "a\"b\\c\n/\u{7}"], "none": null, "yes": true}
    })
}

#[test]
fn a_signed_event_is_accepted_after_a_trip_as_text() {
    let bench = Bench::new();
    let (signer, trusted) = signer_and_trust(&bench, Role::Messages);
    let mut event = event();
    signer.sign_event(&mut event).unwrap();
    assert_eq!(event[SIGNER_MEMBER], signer.fingerprint().to_string());
    for text in [event.to_string(), serde_json::to_string_pretty(&event).unwrap()] {
        let received: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(trusted.verify_event(&received), Ok(signer.fingerprint()));
    }
    // Signing again replaces the signature.
    signer.sign_event(&mut event).unwrap();
    assert_eq!(trusted.verify_event(&event), Ok(signer.fingerprint()));
}

#[test]
fn every_altered_member_of_an_event_is_noticed() {
    let bench = Bench::new();
    let (signer, trusted) = signer_and_trust(&bench, Role::Messages);
    let mut event = event();
    signer.sign_event(&mut event).unwrap();
    let members: Vec<String> = event.as_object().unwrap().keys().cloned().collect();
    for member in members.iter().filter(|member| *member != SIGNATURE_MEMBER) {
        let mut altered = event.clone();
        altered[member] = json!("other");
        assert!(
            matches!(trusted.verify_event(&altered), Err(VerifyError::Bad { .. })),
            "{member}"
        );
        let mut without = event.clone();
        without.as_object_mut().unwrap().remove(member);
        assert!(
            matches!(trusted.verify_event(&without), Err(VerifyError::Bad { .. })),
            "{member}"
        );
    }
    let mut more = event.clone();
    more["extra"] = json!(1);
    assert!(matches!(trusted.verify_event(&more), Err(VerifyError::Bad { .. })));
}

#[test]
fn unsigned_and_foreign_events_are_refused() {
    let bench = Bench::new();
    let (signer, trusted) = signer_and_trust(&bench, Role::Messages);
    assert_eq!(trusted.verify_event(&event()), Err(VerifyError::Unsigned));
    assert_eq!(trusted.verify_event(&json!([1])), Err(VerifyError::Unsigned));
    let mut signed = event();
    signer.sign_event(&mut signed).unwrap();
    let nobody = TrustedKeys::default();
    assert!(matches!(
        nobody.verify_event(&signed),
        Err(VerifyError::UnknownSigner { .. })
    ));
    for signature in [json!("!"), json!(1), json!("AAAA")] {
        signed[SIGNATURE_MEMBER] = signature;
        assert!(matches!(
            trusted.verify_event(&signed),
            Err(VerifyError::Malformed { .. })
        ));
    }
}

#[test]
fn an_event_that_names_another_signer_is_refused() {
    let bench = Bench::new();
    let (signer, trusted) = signer_and_trust(&bench, Role::Messages);
    let mut event = event();
    event[SIGNER_MEMBER] = json!("0000000000000000000000000000000000000000");
    // A signer that does not use `sign_event`, but lies about itself.
    let signature = signer
        .detach_sign(&crate::keys::canonical_event(&event).unwrap()[..])
        .unwrap();
    event[SIGNATURE_MEMBER] = json!(base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        signature
    ));
    assert!(matches!(
        trusted.verify_event(&event),
        Err(VerifyError::OtherSigner { .. })
    ));
}

#[test]
fn numbers_that_would_be_rounded_are_refused() {
    let bench = Bench::new();
    let (signer, trusted) = signer_and_trust(&bench, Role::Messages);
    for number in [
        json!(9_007_199_254_740_993_u64),
        json!(-9_007_199_254_740_993_i64),
        json!(9_007_199_254_740_993e0),
    ] {
        let mut event = json!({"data": {"deep": [number]}});
        let refused = signer.sign_event(&mut event).unwrap_err().to_string();
        assert!(
            refused.contains("900719925474099") && refused.contains("as a string"),
            "{refused}"
        );
    }
    // What is canonically the same number must not be one event signed and another one read.
    let mut event = json!({"data": 9_007_199_254_740_991_u64});
    signer.sign_event(&mut event).unwrap();
    assert!(trusted.verify_event(&event).is_ok());
    event["data"] = json!(9_007_199_254_740_993_u64);
    assert!(matches!(
        trusted.verify_event(&event),
        Err(VerifyError::Event(NotCanonical::InexactNumber { .. }))
    ));
}

#[test]
fn a_signed_event_can_be_checked_by_hand_with_jq_and_gpgv() {
    let bench = Bench::new();
    let (store, key) = store_with_key(&bench, Role::Messages);
    let mut event = event();
    signer(&store, &key, Role::Messages).sign_event(&mut event).unwrap();
    bench.write("event.json", event.to_string());
    bench.write("hosts.gpg", store.export_keyring(Role::Messages).unwrap());
    // As in docs/keys.md.
    let script = "jq -cjS 'del(.signature)' event.json > event.canonical\n\
                  jq -r .signature event.json | base64 -d > event.sig\n\
                  gpgv --keyring ./hosts.gpg event.sig event.canonical";
    let ran = run(bench.command("sh").args(["-ec", script]), b"");
    assert!(ran.ok && ran.said.contains("Good signature"), "{}", ran.said);
    bench.write("event.json", event.to_string().replace("main", "next"));
    let ran = run(bench.command("sh").args(["-ec", script]), b"");
    assert!(!ran.ok && ran.said.contains("BAD signature"), "{}", ran.said);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("others are refused", |number| number.abs() < 9e15)
            .prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map(".{0,6}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Needs serde_json's `float_roundtrip`: otherwise some numbers change on the way.
    #[test]
    fn the_canonical_form_survives_any_trip_as_text(data in any_json()) {
        let event = json!({"data": data});
        let canonical = crate::keys::canonical_event(&event).unwrap();
        let received: Value = serde_json::from_str(&serde_json::to_string_pretty(&event).unwrap()).unwrap();
        prop_assert_eq!(&canonical, &crate::keys::canonical_event(&received).unwrap());
        let again: Value = serde_json::from_slice(&canonical).unwrap();
        prop_assert_eq!(&canonical, &crate::keys::canonical_event(&again).unwrap());
    }
}
