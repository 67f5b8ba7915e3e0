/**
 * Write Foundry bots in JavaScript or TypeScript.
 *
 * Each message is handled by a fresh instance: nothing stays in memory, and what has to last goes into {@link state}.
 * Returning from a handler is the outcome *done*: what was published and written takes effect, all of it or nothing.
 * Throw {@link Retry} or {@link Reject} for the other outcomes; anything else that is thrown reaches the bot's log with
 * its stack, and counts as a failure of the bot's code.
 */

/** What a bot is and does. */
export interface BotDefinition {
  name: string;
  version: string;
  /** One line for the help. */
  summary: string;
  options?: BotOption[];
  /** Topics that it reads, each as a member of a group. */
  reads?: { topic: string; group: string; /** changes the topic; `watch` by default */ option?: string }[];
  /** Topics that it publishes to; `failures` is always allowed. */
  publishes?: (string | { topic: string; /** changes the topic; `publish-to` by default */ option?: string })[];
  /** Timers; the interval is the value of an option. */
  timers?: { name: string; option: string }[];
  /** Seconds that handling one message may take. */
  messageTimeout?: number;
  /** Check the options, once, before the first message; throw {@link Reject} if the bot can't work with them. */
  configure?(): void;
  /** Handle one message. */
  handle?(message: Message): void;
  /** A timer went off. */
  tick?(timer: string): void;
}

/** An option on the command line and in `foundry.toml`. */
export interface BotOption {
  /** Long name without dashes. */
  name: string;
  /** One sentence for the help. */
  help: string;
  kind?: "text" | "flag" | "number" | "duration" | "git-url" | "key" | "site" | "file";
  default?: string;
  repeatable?: boolean;
  required?: boolean;
  placeholder?: string;
}

/** One event, already verified and checked against its schema. */
export interface Message<Data = Record<string, unknown>> {
  /** Two deliveries of the same event carry the same id. */
  id: string;
  /** Without the prefix: `commits`. */
  topic: string;
  /** The CloudEvents type: `foundry.commit.v1`. */
  type: string;
  /** The bot that published it, as `<host>/<bot>`. */
  source: string;
  subject?: string;
  /** When it was published, RFC 3339. */
  time: string;
  /** The run (one commit's way through the pipeline) that it belongs to. */
  run: string;
  /** How many times this message has been attempted here before; 0 at first. */
  attempt: number;
  data: Data;
}

/** A file, by reference into the artifact store. */
export interface Artifact {
  name: string;
  size: number;
  sha256: string;
  mediaType: string;
}

/** A commit was seen on a watched branch. */
export interface Commit {
  repository: string;
  branch: string;
  ref: string;
}

/** A commit's packages were built. */
export interface Build extends Commit {
  source: string;
  version: string;
  architecture: string;
  artifacts: Artifact[];
  log?: Artifact;
  durationMs?: number;
}

/** A build's packages were signed. */
export interface Sign extends Commit {
  source: string;
  version: string;
  architecture: string;
  /** Fingerprint of the key. */
  key: string;
  artifacts: Artifact[];
  /** A clear-signed text that names these files, by the same key. */
  statement?: string;
}

/** A commit's packages were published. */
export interface Dist extends Commit {
  /** The APT repository's name. */
  name: string;
  /** Codename. */
  distribution: string;
  source: string;
  version: string;
  packages: { package: string; version: string; architecture: string }[];
  artifacts: Artifact[];
  /** Files that stayed as they were published before, though this build of the same source has other bytes (SHA-256). */
  kept?: { name: string; published: string; offered: string }[];
}

/** A bot could not do its part for a run. */
export interface Failure extends Partial<Commit> {
  stage: string;
  phase?: string;
  reason: string;
  logTail?: string[];
  log?: Artifact;
}

/** The pipeline's events by their types. */
export interface Events {
  "foundry.commit.v1": Commit;
  "foundry.build.v1": Build;
  "foundry.sign.v1": Sign;
  "foundry.dist.v1": Dist;
  "foundry.failure.v1": Failure;
}

declare global {
  /** What is printed is in the bot's log. */
  interface Console {
    debug(...values: unknown[]): void;
    log(...values: unknown[]): void;
    info(...values: unknown[]): void;
    warn(...values: unknown[]): void;
    error(...values: unknown[]): void;
    trace(...values: unknown[]): void;
    dir(value: unknown): void;
    table(value: unknown): void;
    assert(holds?: boolean, ...values: unknown[]): void;
    count(label?: string): void;
    countReset(label?: string): void;
    group(...values: unknown[]): void;
    groupEnd(): void;
    time(label?: string): void;
    timeLog(label?: string): void;
    timeEnd(label?: string): void;
  }
  var console: Console;
}

/** What the component exports. */
export interface Exports {
  describe(): unknown;
  configure(): void;
  handle(message: unknown): unknown;
  tick(timer: string): unknown;
}

/** Make a component of a bot: `export const { describe, configure, handle, tick } = defineBot({ … })`. */
export function defineBot(bot: BotDefinition): Exports;

/** Data of a message of one type; a message of another is rejected. */
export function expect<Type extends keyof Events>(message: Message, type: Type): Events[Type];

/**
 * Publish an event when the message is done; returns its id. The pipeline's types have usual topics, others need one.
 * Events with one `key` have one id and are handled once; a timer's events need one.
 */
export function publish<Type extends keyof Events>(type: Type, data: Events[Type], where?: Where): string;
export function publish(type: string, data: object, where: Where & { topic: string }): string;

export interface Where {
  topic?: string;
  /** What it is about, for people. */
  subject?: string;
  key?: string;
}

/** Nothing takes effect; the message is handled again, at least `after` milliseconds later. */
export class Retry extends Error {
  constructor(why: string, when?: { after?: number });
}

/** Nothing takes effect; the message becomes a dead letter, with this reason. */
export class Reject extends Error {
  constructor(why: string);
}

/** The host refuses an event. */
export class PublishError extends Error {}

/** The host refuses a write, or cannot read. */
export class StateError extends Error {}

/** The bot's log. */
export const log: Record<"trace" | "debug" | "info" | "warn" | "error", (line: unknown) => void>;

/** The options that the operator gave, or their defaults. */
export const options: {
  all(name: string): string[];
  one(name: string): string | undefined;
  flag(name: string): boolean;
};

/** The host's clock. */
export const clock: { now(): Date };

/** The bot's own key-value state. Writes take effect when the message is done, or not at all. */
export const state: {
  get(key: string): Uint8Array | undefined;
  getText(key: string): string | undefined;
  getJson(key: string): unknown;
  /** Text is stored as UTF-8. */
  set(key: string, value: Uint8Array | string): void;
  setJson(key: string, value: unknown): void;
  /** The key need not exist. */
  delete(key: string): void;
  /** Sorted. */
  keys(prefix?: string): string[];
};
