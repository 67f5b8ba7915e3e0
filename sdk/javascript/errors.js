// What was thrown, as a text whose places are those of the sources: `foundry-host build` leaves a source map in the bundle.

import { inspect } from "./console.js";

/** The file that rolldown makes, as stacks name it. */
const BUNDLE = /[^\s(]*bundle\.js:(\d+)(?::(\d+))?/g;

/** The error, its stack, and what caused it. Never fails: the author's error would be lost. */
export function describeError(thrown) {
  try {
    return thrown instanceof Error ? describeCauses(thrown) : `thrown: ${asText(thrown)}`;
  } catch {
    // A getter or a proxy that throws in turn.
    return "thrown: [unprintable]";
  }
}

/** From the first cause to the error itself. Causes may go round in a ring. */
function describeCauses(thrown) {
  const seen = new Set();
  const texts = [];
  for (let error = thrown; error instanceof Error && !seen.has(error); error = error.cause) {
    seen.add(error);
    texts.unshift(describeOne(error));
  }
  return texts.join("\nwhich led to\n");
}

function describeOne(error) {
  const frames = String(error.stack ?? "").replace(BUNDLE, inSource).trimEnd().split("\n");
  // The way from the host to the bot says nothing.
  while (frames.length > 1 && frames.at(-1).includes("/foundry-sdk/")) {
    frames.pop();
  }
  return `${error}\n${frames.join("\n")}`.trimEnd();
}

/** A text as it is, else JSON, or what comes near it for what has none. */
function asText(thrown) {
  if (typeof thrown === "string") {
    return thrown;
  }
  try {
    return JSON.stringify(thrown) ?? inspect(thrown);
  } catch {
    return inspect(thrown);
  }
}

/** Where a place of the bundle comes from; the place itself if that isn't known. */
function inSource(place, line, column = "1") {
  try {
    const map = globalThis.__foundrySources;
    return map ? (find(map, Number(line), Number(column) - 1) ?? place) : place;
  } catch {
    // A map that can't be read must not hide the error.
    return place;
  }
}

function find({ sources, mappings }, line, column) {
  const lines = mappings.split(";");
  let source = 0;
  let sourceLine = 0;
  let found;
  for (let at = 0; at < line && at < lines.length; at++) {
    let generated = 0;
    for (const segment of lines[at].split(",")) {
      const [toColumn, toSource, toLine] = decode(segment);
      generated += toColumn ?? 0;
      if (toSource === undefined) {
        continue;
      }
      source += toSource;
      sourceLine += toLine;
      // The last segment before the place, or else the first one of the line.
      if (at === line - 1 && (found === undefined || generated <= column)) {
        found = `${sources[source]}:${sourceLine + 1}`;
      }
    }
  }
  return found;
}

const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/** The numbers of a segment: base64, five bits a digit, the sign in the lowest bit. */
function decode(segment) {
  const numbers = [];
  let value = 0;
  let shift = 0;
  for (const character of segment) {
    const digit = DIGITS.indexOf(character);
    value |= (digit & 31) << shift;
    shift += 5;
    if (!(digit & 32)) {
      numbers.push(value & 1 ? -(value >>> 1) : value >>> 1);
      value = shift = 0;
    }
  }
  return numbers;
}
