/** There is no answer; the message says why. */
export class HttpError extends Error {}
/** The URL, or one that it redirects to, isn't granted to this bot. */
export class NotGranted extends HttpError {}

/** A server's answer, whatever its status. */
export interface Response {
  status: number;
  ok: boolean;
  /** Names in lower case. */
  headers: [string, string][];
  body: Uint8Array;
  text(): string;
  json(): unknown;
}

export interface Options {
  headers?: Record<string, string>;
  /** As it is. */
  body?: string | Uint8Array;
  /** Instead of a body. */
  json?: unknown;
  /** Seconds that it may take. */
  timeout?: number;
}

/** Send any request. Redirects of GET and HEAD are followed as far as they are granted. */
export function request(url: string, options?: Options & { method?: string }): Response;
export function get(url: string, options?: Options): Response;
export function post(url: string, options?: Options): Response;
