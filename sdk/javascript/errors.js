// What was thrown, as a text whose places are those of the sources: `foundry-host build` leaves a source map in the bundle.

/** The file that rolldown makes, as stacks name it. */
const BUNDLE = /[^\s(]*bundle\.js:(\d+)(?::(\d+))?/g;

/** The error, its stack, and what caused it. */
export function describeError(thrown) {
  if (!(thrown instanceof Error)) {
    return `thrown: ${typeof thrown === "string" ? thrown : JSON.stringify(thrown)}`;
  }
  const frames = (thrown.stack ?? "").replace(BUNDLE, inSource).trimEnd().split("\n");
  // The way from the host to the bot says nothing.
  while (frames.length > 1 && frames.at(-1).includes("/foundry-sdk/")) {
    frames.pop();
  }
  let text = `${thrown}\n${frames.join("\n")}`.trimEnd();
  if (thrown.cause instanceof Error && thrown.cause !== thrown) {
    text = `${describeError(thrown.cause)}\nwhich led to\n${text}`;
  }
  return text;
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
