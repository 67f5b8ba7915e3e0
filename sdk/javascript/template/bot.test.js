// Runs the built component in a world of its own: build it first.

import assert from "node:assert/strict";
import test from "node:test";
import { run } from "#foundry/testing";

const component = "build/{{name}}.wasm";

test("greets the branch", () => {
  const result = run(component, { event: "commit.json" });
  assert.equal(result.outcome, "done");
  assert.deepEqual(result.published[0].data, { text: "hello, main", count: 1 });
  assert.equal(result.state.main, "1");
});

test("counts on", () => {
  const options = { greeting: "good evening" };
  const result = run(component, { event: "commit.json", state: { main: "41" }, options });
  assert.deepEqual(result.published[0].data, { text: "good evening, main", count: 42 });
});

test("rejects what is no commit", () => {
  const result = run(component, { event: { type: "example.other.v1", data: {} } });
  assert.equal(result.outcome, "reject");
  assert.match(result.why, /example\.other\.v1/);
});
