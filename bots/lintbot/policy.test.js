import assert from "node:assert/strict";
import test from "node:test";
import { findings } from "./policy.js";

const policy = { maxSize: 1000, require: [], forbidVersion: [] };
const build = (artifacts, version = "1.0-1") => ({ source: "hello", version, artifacts });

test("a good build has no findings", () => {
  const good = build([{ name: "hello_1.0-1_amd64.deb", size: 1000 }]);
  assert.deepEqual(findings(good, { ...policy, require: ["deb"] }), []);
});

test("each fault is found once", () => {
  const bad = build(
    [
      { name: "Hello.deb", size: 10 },
      { name: "hello_1.0_amd64.deb", size: 1001 },
      { name: "hello_1.0.dsc", size: 0 },
    ],
    "1.0~dirty",
  );
  const found = findings(bad, { maxSize: 1000, require: ["changes"], forbidVersion: ["~dirty"] });
  assert.deepEqual(
    found.map(({ file, what }) => [file, what.split(" ")[1]]),
    [
      ["Hello.deb", "no"],
      ["hello_1.0_amd64.deb", "1001"],
      ["hello_1.0.dsc", "empty"],
      [undefined, "no"],
      [undefined, '"~dirty"'],
    ],
  );
});
