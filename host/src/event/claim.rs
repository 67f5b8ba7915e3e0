//! What a refused message says of itself, for a failure event. None of it is proved.

use serde_json::{Map, Value};

use super::envelope::{MAX_EVENT, is_plain};
use super::schema;

/// Longest text that is taken out of a refused message.
const LONGEST: usize = 255;

/// What a refused message says of itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Claim {
    /// The run that it says it belongs to.
    pub(crate) run: String,
    /// Its id.
    pub(crate) id: Option<String>,
    /// Its type.
    pub(crate) event_type: String,
    /// Its source.
    pub(crate) source: String,
    /// Its subject.
    pub(crate) subject: Option<String>,
    /// The key that it names as its signer.
    pub(crate) key: String,
    /// Repository, branch and commit, if they can be some.
    pub(crate) about: Map<String, Value>,
}

impl Claim {
    /// None if the message belongs to no run.
    pub(crate) fn of(payload: &[u8]) -> Option<Self> {
        let payload = Some(payload).filter(|payload| payload.len() <= MAX_EVENT)?;
        let event: Value = serde_json::from_slice(payload).ok()?;
        let text = |name: &str| {
            event
                .get(name)
                .and_then(Value::as_str)
                .filter(|text| text.len() <= LONGEST)
        };
        let plain = |name: &str| text(name).filter(|text| is_plain(text)).map(ToOwned::to_owned);
        let owned = |name: &str| text(name).unwrap_or_default().to_owned();
        Some(Self {
            run: plain("run")?,
            id: plain("id"),
            event_type: owned("type"),
            source: owned("source"),
            subject: text("subject").map(ToOwned::to_owned),
            key: owned("signkey"),
            about: about(&event),
        })
    }
}

fn about(event: &Value) -> Map<String, Value> {
    commit_of(event.get("data").and_then(Value::as_object))
}

/// What a failure may say of its commit: repository, branch and commit of an event's data, if they can be some.
pub(crate) fn commit_of(data: Option<&Map<String, Value>>) -> Map<String, Value> {
    let members = ["repository", "branch", "ref"].into_iter().filter_map(|name| {
        let value = data?.get(name).filter(|value| value.is_string())?;
        Some((name.to_owned(), value.clone()))
    });
    let about: Map<String, Value> = members.collect();
    let mut failure = about.clone();
    failure.extend(["stage", "reason"].map(|name| (name.to_owned(), Value::from("x"))));
    match schema::check("foundry.failure.v1", &failure) {
        Ok(()) => about,
        Err(_) => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claim(event: &Value) -> Option<Claim> {
        Claim::of(event.to_string().as_bytes())
    }

    #[test]
    fn a_message_of_no_run_claims_nothing() {
        for bad in [
            json!({}),
            json!([]),
            json!({ "run": 1 }),
            json!({ "run": "../x" }),
            json!({ "run": "r".repeat(65) }),
        ] {
            assert_eq!(claim(&bad), None, "{bad}");
        }
        assert_eq!(Claim::of(b"{"), None);
        let large = json!({ "run": "r1", "data": "x".repeat(MAX_EVENT) });
        assert_eq!(claim(&large), None);
    }

    #[test]
    fn what_cannot_be_true_is_left_out() {
        let about =
            json!({ "repository": "https://example.org/x", "branch": "main", "ref": "a".repeat(40), "more": 1 });
        let good = claim(&json!({ "run": "r1", "id": "i1", "source": "b1/build", "data": about })).unwrap();
        assert_eq!((good.run.as_str(), good.id.as_deref()), ("r1", Some("i1")));
        let names: Vec<_> = good.about.keys().cloned().collect();
        assert_eq!(names, ["branch", "ref", "repository"]);
        let bad =
            json!({ "run": "r1", "id": "../", "source": "s".repeat(300), "data": { "ref": "HEAD", "branch": "main" } });
        let bad = claim(&bad).unwrap();
        assert_eq!((bad.id, bad.source.as_str(), bad.about.len()), (None, "", 0));
    }
}
