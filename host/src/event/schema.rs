//! The JSON Schemas of the events' data, from `wit/schemas/`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Map, Value};

/// Data that isn't what its type's schema asks for.
#[derive(Debug, thiserror::Error)]
#[error("the data does not fit {event_type}: {why}")]
pub struct SchemaError {
    event_type: String,
    why: String,
}

const SCHEMAS: [(&str, &str); 5] = [
    (
        "foundry.commit.v1",
        include_str!("../../../wit/schemas/foundry.commit.v1.json"),
    ),
    (
        "foundry.build.v1",
        include_str!("../../../wit/schemas/foundry.build.v1.json"),
    ),
    (
        "foundry.sign.v1",
        include_str!("../../../wit/schemas/foundry.sign.v1.json"),
    ),
    (
        "foundry.dist.v1",
        include_str!("../../../wit/schemas/foundry.dist.v1.json"),
    ),
    (
        "foundry.failure.v1",
        include_str!("../../../wit/schemas/foundry.failure.v1.json"),
    ),
];

static VALIDATORS: LazyLock<BTreeMap<&str, Validator>> = LazyLock::new(|| {
    SCHEMAS
        .iter()
        .filter_map(|(name, text)| {
            let schema = serde_json::from_str(text).ok()?;
            Some((*name, jsonschema::validator_for(&schema).ok()?))
        })
        .collect()
});

/// Check an event's data. Types of other bots, which have no schema here, pass.
///
/// # Errors
/// [`SchemaError`], which says where the data differs.
pub fn check(event_type: &str, data: &Map<String, Value>) -> Result<(), SchemaError> {
    let Some(validator) = VALIDATORS.get(event_type) else {
        return Ok(());
    };
    validator
        .validate(&Value::Object(data.clone()))
        .map_err(|error| SchemaError {
            event_type: event_type.to_owned(),
            why: format!(
                "{error} (at {})",
                if error.instance_path().as_str().is_empty() {
                    "/"
                } else {
                    error.instance_path().as_str()
                }
            ),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            other => panic!("not an object: {other}"),
        }
    }

    #[test]
    fn every_schema_is_one() {
        assert_eq!(VALIDATORS.len(), SCHEMAS.len());
    }

    #[test]
    fn a_commit_needs_a_full_commit_id() {
        let commit = |id: &str| object(serde_json::json!({"repository": "r", "branch": "b", "ref": id}));
        check("foundry.commit.v1", &commit(&"a".repeat(40))).unwrap();
        let error = check("foundry.commit.v1", &commit("HEAD")).unwrap_err().to_string();
        assert!(error.contains("/ref"), "{error}");
    }

    #[test]
    fn an_artifact_named_like_a_path_is_refused() {
        let data = |name: &str| {
            let artifact = serde_json::json!({"name": name, "size": 1, "sha256": "0".repeat(64), "mediaType": ""});
            object(serde_json::json!({
                "repository": "r", "branch": "b", "ref": "a".repeat(40), "source": "hello", "version": "1-1",
                "architecture": "amd64", "artifacts": [artifact],
            }))
        };
        check("foundry.build.v1", &data("hello_1-1_amd64.deb")).unwrap();
        for bad in ["../x", "a/b", ".x", ""] {
            assert!(check("foundry.build.v1", &data(bad)).is_err(), "{bad:?}");
        }
    }
}
