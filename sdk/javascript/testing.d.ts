/** What became of a message. */
export interface Result {
  outcome: "done" | "retry" | "reject" | "fault";
  /** The reason, unless it is done. */
  why?: string;
  /** Events, in the order of their sending. */
  published: { id: string; topic: string; type: string; subject?: string; data: Record<string, unknown> }[];
  /** The bot's whole state afterwards; what is no text is in base64, after `base64:`. */
  state: Record<string, string>;
  log: { level: "trace" | "debug" | "info" | "warn" | "error"; line: string }[];
}

/** Let a built bot handle one event (a file, or an object with `type` and `data`), or one tick of a timer. */
export function run(
  component: string,
  what: {
    event?: string | { type: string; data: object; topic?: string; subject?: string };
    tick?: string;
    state?: Record<string, string>;
    /** What git, builds and HTTP answer: a file that `foundry-host test --record` wrote, or its content. */
    world?: string | object;
    options?: Record<string, string | string[]>;
    attempt?: number;
    /** More arguments of `foundry-host test`, such as `--allow-artifacts`. */
    args?: string[];
  },
): Result;
