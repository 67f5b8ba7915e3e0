// HTTP requests. The bot needs `uses = ["http"]` in its bot.toml, and the operator's --allow-http URL.

import { send } from "foundry:bot/http@0.1.1";
import { decode, encode } from "./utf8.js";

export class HttpError extends Error {
  constructor(message) {
    super(message);
    this.name = "HttpError";
  }
}

export class NotGranted extends HttpError {
  constructor(message) {
    super(message);
    this.name = "NotGranted";
  }
}

export function request(url, { method = "GET", headers = {}, body = "", json, timeout } = {}) {
  const fields = { ...headers };
  let content = body;
  if (json !== undefined) {
    content = JSON.stringify(json);
    fields["content-type"] ??= "application/json";
  }
  const bytes = typeof content === "string" ? encode(content) : content;
  try {
    const answer = send({ method, url, headers: Object.entries(fields), body: bytes, timeout });
    return {
      ...answer,
      ok: answer.status >= 200 && answer.status < 300,
      text: () => decode(answer.body),
      json: () => JSON.parse(decode(answer.body)),
    };
  } catch (thrown) {
    const { tag, val } = thrown?.payload ?? thrown ?? {};
    switch (tag) {
      case "not-granted":
        throw new NotGranted(`not granted: ${val}`);
      case "timed-out":
        throw new HttpError("no answer in time");
      case "too-large":
        throw new HttpError(`larger than ${val} bytes`);
      case "bad-request":
      case "unavailable":
        throw new HttpError(val);
      default:
        throw thrown;
    }
  }
}

export const get = (url, options = {}) => request(url, options);
export const post = (url, options = {}) => request(url, { ...options, method: "POST" });
