// Run a built bot against a world of its own, from node's test runner or any other.
//
// Runs the program `foundry-host test`: the one that FOUNDRY_HOST names, or that is in PATH.

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export function run(component, { event, tick, state, world, options = {}, attempt = 0, args = [] } = {}) {
  const scratch = mkdtempSync(join(tmpdir(), "foundry-test-"));
  try {
    const write = (name, value) => {
      const path = join(scratch, name);
      writeFileSync(path, JSON.stringify(value));
      return path;
    };
    const words = ["test", "--json", "--attempt", String(attempt)];
    if (event !== undefined) {
      words.push("--event", typeof event === "string" ? event : write("event.json", event));
    }
    if (tick !== undefined) {
      words.push("--tick", tick);
    }
    if (state !== undefined) {
      words.push("--with-state", write("state.json", state));
    }
    if (world !== undefined) {
      words.push("--world", typeof world === "string" ? world : write("world.json", world));
    }
    words.push(...args, component);
    for (const [name, values] of Object.entries(options)) {
      words.push(...[values].flat().map((value) => `--${name}=${value}`));
    }
    const ended = spawnSync(process.env.FOUNDRY_HOST ?? "foundry-host", words, { encoding: "utf8" });
    if (ended.error) {
      throw ended.error;
    }
    try {
      return JSON.parse(ended.stdout);
    } catch {
      throw new Error(`foundry-host ${words.join(" ")}: ${ended.stderr.trim()}`);
    }
  } finally {
    rmSync(scratch, { recursive: true });
  }
}
