// Does what every SDK's bot must be able to do, and misbehaves in every way that a bot can: as each message says.

import * as http from "#foundry/http";
import * as mail from "#foundry/mail";
import { PublishError, Reject, Retry, StateError, clock, defineBot, log, options, publish, state } from "#foundry";

const orders = {
  echo: ({ data }) => answer({ text: data.text }),
  message: ({ id, topic, type, source, subject = null, run, attempt }) =>
    answer({ id, topic, type, source, subject, run, attempt }),
  options: () => answer({ text: options.one("text"), many: options.all("many"), flag: options.flag("flag") }),
  log() {
    log.trace("a trace");
    log.debug("a debug");
    log.info("an info");
    log.warn("a warning: ünïcödé");
    log.error("an error");
  },
  state() {
    const before = state.getText("text") ?? "";
    state.set("text", "ünïcödé");
    state.set("bytes", Uint8Array.of(0, 255, 0));
    state.set("gone", "x");
    state.delete("gone");
    answer({ before, none: state.get("gone") === undefined });
  },
  "write, then retry"() {
    effects();
    throw new Retry("not yet", { after: 1500 });
  },
  "write, then reject"() {
    effects();
    throw new Reject("never");
  },
  "write, then fail"() {
    effects();
    throw new Error("told to fail");
  },
  "other topic": () => rejecting(PublishError, () => answer({}, { topic: "builds" })),
  "big state": () => rejecting(StateError, () => state.set("big", new Uint8Array(32 * 1024 * 1024))),
  loop() {
    for (;;);
  },
  memory() {
    const eaten = [];
    for (;;) {
      eaten.push(new Uint8Array(16 * 1024 * 1024).fill(1));
    }
  },
  recurse: () => recurse(1),
  ask(message) {
    try {
      const response = http.get(message.data.text, { timeout: 5 });
      answer({ status: response.status, text: response.text() });
    } catch (error) {
      if (error instanceof http.HttpError) {
        throw new Reject(error.message);
      }
      throw error;
    }
  },
  mail(message) {
    try {
      answer({ id: mail.send(message.data.text, "a subject", "ünïcödé") });
    } catch (error) {
      if (error instanceof mail.MailError) {
        throw error.temporary ? new Retry(error.message, { after: 1500 }) : new Reject(error.message);
      }
      throw error;
    }
  },
  print() {
    console.log("printed: %s", "ünïcödé");
    console.warn("a", "warning");
    console.info("no end");
  },
  "print badly"() {
    console.log("\ud800 café \u001b[31m");
  },
  "print 100 MB"() {
    const line = "x".repeat(1023);
    for (let number = 0; number < 100 * 1024; number++) {
      console.log(line);
    }
  },
  clock: () => answer({ now: Date.now() / 1000, host: clock.now().getTime() / 1000, text: new Date().toISOString() }),
  random: () => answer({ numbers: [Math.random(), Math.random(), Math.random()] }),
  flood() {
    for (let number = 0; number < 20_000; number++) {
      log.info(`line ${number}`);
    }
  },
};

function effects() {
  state.set("half", "done");
  answer({});
}

/** What the host refuses becomes the reason of a rejection, where a test can read it. */
function rejecting(kind, work) {
  try {
    work();
  } catch (thrown) {
    throw thrown instanceof kind ? new Reject(thrown.message) : thrown;
  }
}

function recurse(depth) {
  return recurse(depth + 1) + 1;
}

function answer(data, { topic = "answers", key } = {}) {
  publish("test.answer.v1", data, { topic, key, subject: "an answer" });
}

export const { describe, configure, handle, tick } = defineBot({
  name: "conformer",
  version: "1.2.3",
  summary: "does as it is told",
  messageTimeout: 77,
  options: [
    { name: "text", help: "A text.", default: "default" },
    { name: "many", help: "Texts.", repeatable: true },
    { name: "flag", help: "A flag.", kind: "flag" },
    { name: "interval", help: "Of the timer.", kind: "duration", default: "365d" },
  ],
  reads: [{ topic: "orders", group: "conformer" }],
  publishes: ["answers"],
  timers: [{ name: "beat", option: "interval" }],

  configure() {
    if (options.one("text") === "unacceptable") {
      throw new Reject("that text is unacceptable");
    }
  },
  handle(message) {
    const order = orders[message.data.do];
    if (!order) {
      throw new Reject(`don't know how to ${message.data.do}`);
    }
    order(message);
  },
  tick: (timer) => answer({ timer }, { key: "beat 1" }),
});
