// The artifact store. The bot needs `uses = ["artifacts"]` in its bot.toml, and the operator's --allow-artifacts.

import * as host from "foundry:bot/artifacts@0.1.1";

/** The host answers one call with at most this much. */
const CHUNK = 16 * 1024 * 1024;

export class ArtifactError extends Error {
  constructor(message) {
    super(message);
    this.name = "ArtifactError";
  }
}

export function read(artifact) {
  const bytes = new Uint8Array(artifact.size);
  let offset = 0;
  while (offset < artifact.size) {
    const length = Math.min(CHUNK, artifact.size - offset);
    const part = ask(() => host.read(artifact, offset, length));
    if (part.length === 0) {
      break;
    }
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes.subarray(0, offset);
}

export function store(name, bytes, mediaType = "application/octet-stream") {
  return ask(() => host.store(name, mediaType, bytes));
}

function ask(call) {
  try {
    return call();
  } catch (thrown) {
    const { tag, val } = thrown?.payload ?? thrown ?? {};
    if (typeof tag !== "string") {
      throw thrown;
    }
    throw new ArtifactError(val === undefined ? tag : `${tag}: ${val}`);
  }
}
