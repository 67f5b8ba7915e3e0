// `console` as other engines have it: what it prints is in the bot's log. The bots' JavaScript engine has none.

import { log as hostLog } from "foundry:bot/log@0.1.1";
import { describeError } from "./errors.js";

/** Lines that are kept of what a module prints while the bot is built. */
const MOST_EARLY = 100;

/** Characters that one call prints, and elements that it shows of a value. */
const MOST_CHARACTERS = 8000;
const MOST_ELEMENTS = 100;

/** How deep values are shown that are in values. */
const DEPTH = 3;

/** What modules printed while the bot was built, where there is no log; undefined once it runs. */
let early = [];

/** Write to the bot's log. What half a surrogate pair is to the host, nobody knows: it is replaced. */
export function write(level, text) {
  const line = String(text).toWellFormed();
  if (!early) {
    hostLog(level, line);
  } else if (early.length < MOST_EARLY) {
    early.push([level, line]);
  }
}

/** The bot runs now. Whoever asks what it is sees what it printed before. */
export function begin({ shown = false } = {}) {
  const before = early ?? [];
  early = undefined;
  if (shown) {
    for (const [level, line] of before) {
      hostLog(level, line);
    }
  }
}

let indent = "";
const counts = new Map();
const timers = new Map();

function print(level, values) {
  write(level, indent + format(values).replaceAll("\n", `\n${indent}`));
}

globalThis.console = {
  debug: (...values) => print("debug", values),
  log: (...values) => print("info", values),
  info: (...values) => print("info", values),
  dir: (value) => print("info", [value]),
  table: (value) => print("info", [value]),
  warn: (...values) => print("warn", values),
  error: (...values) => print("error", values),
  trace(...values) {
    const { stack } = new Error(format(values));
    print("debug", [`Trace: ${format(values)}\n${stack ?? ""}`.trimEnd()]);
  },
  assert(holds, ...values) {
    if (!holds) {
      print("error", ["Assertion failed", ...values]);
    }
  },
  count(label = "default") {
    counts.set(label, (counts.get(label) ?? 0) + 1);
    print("info", [`${label}: ${counts.get(label)}`]);
  },
  countReset: (label = "default") => counts.delete(label),
  group(...values) {
    if (values.length > 0) {
      print("info", values);
    }
    indent += "  ";
  },
  groupEnd() {
    indent = indent.slice(2);
  },
  time: (label = "default") => timers.set(label, Date.now()),
  timeLog: (label = "default") => print("info", [`${label}: ${Date.now() - timers.get(label)}ms`]),
  timeEnd(label = "default") {
    console.timeLog(label);
    timers.delete(label);
  },
};

/** What a call prints: texts as they are, values as they are written, `%s` and its like as in other engines. */
export function format(values) {
  const rest = [...values];
  let text = "";
  if (typeof rest[0] === "string") {
    text = rest.shift().replace(/%[sdifjoOc%]/g, (directive) => {
      if (directive === "%%") {
        return "%";
      }
      if (rest.length === 0) {
        return directive;
      }
      return directed(directive, rest.shift());
    });
    if (rest.length > 0) {
      text += " ";
    }
  }
  text += rest.map((value) => (typeof value === "string" ? value : inspect(value))).join(" ");
  return text.length > MOST_CHARACTERS ? `${text.slice(0, MOST_CHARACTERS)}…` : text;
}

function directed(directive, value) {
  try {
    return converted(directive, value);
  } catch {
    // What is no number or no JSON, such as a symbol or an object that holds itself: printing must not fail for it.
    return inspect(value);
  }
}

function converted(directive, value) {
  switch (directive) {
    case "%s":
      return typeof value === "object" ? inspect(value) : String(value);
    case "%d":
      return String(Number(value));
    case "%i":
      return String(Number.parseInt(value));
    case "%f":
      return String(Number.parseFloat(value));
    case "%j":
      return JSON.stringify(value);
    case "%c":
      return "";
    default:
      return inspect(value);
  }
}

/** A value as a program would write it. */
export function inspect(value, depth = 0, above = []) {
  try {
    return inspected(value, depth, above);
  } catch (error) {
    // A getter or a proxy: printing must not fail for it.
    return unprintable(error);
  }
}

function unprintable(error) {
  try {
    return `[${error?.message ?? "unprintable"}]`;
  } catch {
    return "[unprintable]";
  }
}

function inspected(value, depth, above) {
  switch (typeof value) {
    case "string":
      return JSON.stringify(value);
    case "bigint":
      return `${value}n`;
    case "symbol":
      return String(value);
    case "function":
      return `[Function: ${value.name || "(anonymous)"}]`;
    case "object":
      return value === null ? "null" : inspectObject(value, depth, above);
    default:
      return Object.is(value, -0) ? "-0" : String(value);
  }
}

function inspectObject(value, depth, above) {
  if (value instanceof Error) {
    return describeError(value);
  }
  if (value instanceof Date) {
    return Number.isNaN(value.getTime()) ? "Invalid Date" : value.toISOString();
  }
  if (value instanceof RegExp) {
    return String(value);
  }
  if (above.includes(value)) {
    return "[Circular]";
  }
  const name = value.constructor?.name ?? "Object";
  const isList = Array.isArray(value) || (ArrayBuffer.isView(value) && "length" in value);
  if (depth >= DEPTH) {
    return isList ? "[Array]" : `[${name}]`;
  }
  const inner = (part) => inspect(part, depth + 1, [...above, value]);
  const some = (parts, show) => {
    const shown = [];
    for (const part of parts) {
      if (shown.length === MOST_ELEMENTS) {
        shown.push("…");
        break;
      }
      shown.push(show(part));
    }
    return shown.join(", ");
  };
  if (isList) {
    return `${Array.isArray(value) ? "" : `${name} `}[${some(value, inner)}]`;
  }
  if (value instanceof Map) {
    return `Map { ${some(value, ([key, part]) => `${inner(key)} => ${inner(part)}`)} }`;
  }
  if (value instanceof Set) {
    return `Set { ${some(value, inner)} }`;
  }
  const properties = some(Object.keys(value), (key) => {
    const shown = /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(key) ? key : JSON.stringify(key);
    return `${shown}: ${inner(value[key])}`;
  });
  const prefix = name === "Object" ? "" : `${name} `;
  return properties ? `${prefix}{ ${properties} }` : `${prefix}{}`;
}
