//! Runs the built component in a world of its own: build it first.

use foundry_sdk::testing::Trial;
use serde_json::json;

const COMPONENT: &str = "build/{{name}}.wasm";

#[test]
fn greets_the_branch() {
    let result = Trial::of(COMPONENT).event_file("commit.json").run();
    assert_eq!(result.outcome, "done");
    assert_eq!(result.published[0].data, json!({ "text": "hello, main", "count": 1 }));
    assert_eq!(result.state["main"], "1");
}

#[test]
fn counts_on() {
    let trial = Trial::of(COMPONENT).state("main", "41").option("greeting", "good evening");
    let result = trial.event_file("commit.json").run();
    assert_eq!(result.published[0].data, json!({ "text": "good evening, main", "count": 42 }));
}

#[test]
fn rejects_what_is_no_commit() {
    let result = Trial::of(COMPONENT).event("example.other.v1", &json!({})).run();
    assert_eq!(result.outcome, "reject");
    assert!(result.why.unwrap().contains("example.other.v1"));
}
