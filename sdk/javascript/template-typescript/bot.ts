// {{name}} greets every commit, and counts the greetings of each branch.

import { type Commit, type Message, defineBot, expect, log, options, publish, state } from "#foundry";

interface Greeting {
  text: string;
  count: number;
}

function greet(commit: Commit): Greeting {
  const count = ((state.getJson(commit.branch) as number | undefined) ?? 0) + 1;
  state.setJson(commit.branch, count);
  return { text: `${options.one("greeting")}, ${commit.branch}`, count };
}

export const { describe, configure, handle, tick } = defineBot({
  name: "{{name}}",
  version: "0.1.0",
  summary: "greets every commit",
  options: [{ name: "greeting", help: "What it says.", default: "hello" }],
  reads: [{ topic: "commits", group: "{{name}}" }],
  publishes: ["greetings"],

  handle(message: Message) {
    const greeting = greet(expect(message, "foundry.commit.v1"));
    log.info(`${greeting.text} (number ${greeting.count})`);
    publish("{{name}}.greeting.v1", greeting, { topic: "greetings", subject: message.subject });
  },
});
