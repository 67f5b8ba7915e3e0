// Write Foundry bots in JavaScript or TypeScript. Types and documentation are in index.d.ts.

import * as hostClock from "foundry:bot/clock@0.1.1";
import * as hostConfig from "foundry:bot/config@0.1.1";
import { send } from "foundry:bot/publish@0.1.1";
import * as hostState from "foundry:bot/state@0.1.1";
import { begin as beginConsole, write as writeLog } from "./console.js";
import { describeError } from "./errors.js";
import { begin as beginRandom } from "./random.js";
import { decode, encode } from "./utf8.js";

export class Retry extends Error {
  constructor(why, { after = 0 } = {}) {
    super(why);
    this.name = "Retry";
    this.after = after;
  }
}

export class Reject extends Error {
  constructor(why) {
    super(why);
    this.name = "Reject";
  }
}

export class PublishError extends Error {
  constructor(message) {
    super(message);
    this.name = "PublishError";
  }
}

export class StateError extends Error {
  constructor(message) {
    super(message);
    this.name = "StateError";
  }
}

export const log = {
  trace: (line) => writeLog("trace", line),
  debug: (line) => writeLog("debug", line),
  info: (line) => writeLog("info", line),
  warn: (line) => writeLog("warn", line),
  error: (line) => writeLog("error", line),
};

export const options = {
  all: (name) => hostConfig.get(name),
  one: (name) => hostConfig.get(name)[0],
  flag: (name) => hostConfig.get(name)[0] === "true",
};

export const clock = {
  now: () => new Date(Number(hostClock.now())),
};

export const state = {
  // What the contract calls none comes as null.
  get: (key) => ask(() => hostState.get(key)) ?? undefined,
  getText(key) {
    const value = state.get(key);
    return value === undefined ? undefined : decode(value);
  },
  getJson(key) {
    const text = state.getText(key);
    return text === undefined ? undefined : JSON.parse(text);
  },
  set: (key, value) => ask(() => hostState.set(key, typeof value === "string" ? encode(value) : value)),
  setJson: (key, value) => state.set(key, JSON.stringify(value)),
  delete: (key) => ask(() => hostState.delete(key)),
  keys: (prefix = "") => ask(() => hostState.keys(prefix)),
};

export function publish(type, data, { topic = USUAL_TOPICS[type], subject, key } = {}) {
  if (topic === undefined) {
    throw new PublishError(`an event of type ${type} has no usual topic: give one`);
  }
  try {
    return send({ topic, eventType: type, subject, data: JSON.stringify(data), key });
  } catch (thrown) {
    const { tag, val } = refusal(thrown);
    switch (tag) {
      case "not-granted":
        throw new PublishError(`may not publish to ${val}`);
      case "invalid":
        throw new PublishError(`invalid event: ${val}`);
      case "too-large":
        throw new PublishError(`event larger than ${val} bytes`);
      default:
        throw thrown;
    }
  }
}

const USUAL_TOPICS = {
  "foundry.commit.v1": "commits",
  "foundry.build.v1": "builds",
  "foundry.sign.v1": "signs",
  "foundry.dist.v1": "dists",
  "foundry.failure.v1": "failures",
};

const PLACEHOLDERS = {
  "git-url": "URL[#BRANCH]",
  key: "KEYID",
  site: "DIR",
  file: "FILE",
  number: "N",
  duration: "TIME",
};

/** Data of a message of one type; any other is rejected, since it would be so at each attempt. */
export function expect(message, type) {
  if (message.type !== type) {
    throw new Reject(`a message of type ${message.type}, not ${type}`);
  }
  return message.data;
}

export function defineBot(bot) {
  return {
    describe: () => logged(() => ({
      name: bot.name,
      version: bot.version,
      summary: bot.summary,
      options: (bot.options ?? []).map((option) => ({
        name: option.name,
        kind: option.kind ?? "text",
        repeatable: option.repeatable ?? false,
        required: option.required ?? false,
        default: option.default,
        placeholder: option.placeholder ?? PLACEHOLDERS[option.kind] ?? "TEXT",
        help: option.help,
      })),
      inputs: (bot.reads ?? []).map(({ topic, group, option = "watch" }) => ({ option, topic, endpoint: group })),
      outputs: (bot.publishes ?? []).map((output) =>
        typeof output === "string"
          ? { option: "publish-to", topic: output }
          : { option: output.option ?? "publish-to", topic: output.topic },
      ),
      timers: (bot.timers ?? []).map(({ name, option }) => ({ name, option })),
      messageTimeout: bot.messageTimeout,
    }), { shown: true }),
    configure() {
      const refusal = logged(() => {
        try {
          bot.configure?.();
        } catch (thrown) {
          if (!(thrown instanceof Reject)) {
            throw thrown;
          }
          return { why: thrown.message };
        }
      });
      if (refusal) {
        throw refusal.why;
      }
    },
    handle(message) {
      const { eventType, data, subject, ...rest } = message;
      return outcome(() => {
        if (!bot.handle) {
          throw new Reject(`this bot does not handle messages (${eventType})`);
        }
        return bot.handle({ ...rest, type: eventType, subject: subject ?? undefined, data: JSON.parse(data) });
      });
    },
    tick: (timer) => outcome(() => bot.tick?.(timer)),
  };
}

/** Every call begins here; what it throws is in the log before the instance traps. */
function logged(work, options) {
  beginConsole(options);
  beginRandom();
  try {
    return work();
  } catch (thrown) {
    log.error(describeError(thrown));
    throw thrown;
  }
}

function outcome(work) {
  return logged(() => {
    try {
      const result = work();
      if (typeof result?.then === "function") {
        throw new TypeError("a handler must not be async: host calls wait by themselves");
      }
    } catch (thrown) {
      if (thrown instanceof Retry) {
        return { tag: "retry", val: { afterMs: Math.max(0, Math.round(thrown.after)), why: thrown.message } };
      }
      if (thrown instanceof Reject) {
        return { tag: "reject", val: thrown.message };
      }
      throw thrown;
    }
    return { tag: "done" };
  });
}

function ask(call) {
  try {
    return call();
  } catch (thrown) {
    const { tag, val } = refusal(thrown);
    switch (tag) {
      case "too-large":
        throw new StateError(`the state would become larger than ${val} bytes`);
      case "bad-key":
        throw new StateError("the key is empty, or longer than 1024 bytes");
      case "unavailable":
        throw new StateError(val);
      default:
        throw thrown;
    }
  }
}

/** The error variant of a host call: thrown as it is, or as the payload of an Error. */
function refusal(thrown) {
  return thrown?.payload ?? thrown ?? {};
}
