// {{name}} greets every commit, and counts the greetings of each branch.

import { defineBot, expect, log, options, publish, state } from "#foundry";

export const { describe, configure, handle, tick } = defineBot({
  name: "{{name}}",
  version: "0.1.0",
  summary: "greets every commit",
  options: [{ name: "greeting", help: "What it says.", default: "hello" }],
  reads: [{ topic: "commits", group: "{{name}}" }],
  publishes: ["greetings"],

  handle(message) {
    const commit = expect(message, "foundry.commit.v1");
    const count = (state.getJson(commit.branch) ?? 0) + 1;
    state.setJson(commit.branch, count);
    const text = `${options.one("greeting")}, ${commit.branch}`;
    log.info(`${text} (number ${count})`);
    publish("{{name}}.greeting.v1", { text, count }, { topic: "greetings", subject: message.subject });
  },
});
