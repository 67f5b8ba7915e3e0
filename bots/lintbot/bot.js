// lintbot checks each build against a policy, and publishes what it finds.

import { defineBot, expect, log, options, publish } from "../../sdk/javascript/index.js";
import { findings } from "./policy.js";

export const { describe, configure, handle, tick } = defineBot({
  name: "lintbot",
  version: "0.1.0",
  summary: "checks builds against a policy",
  options: [
    { name: "max-size", kind: "number", help: "Largest package, in MiB.", default: "100" },
    { name: "require", help: "A kind of file that each build must have: deb, dsc, changes, buildinfo.", repeatable: true },
    { name: "forbid-version", help: "A text that no version may hold, such as ~dirty.", repeatable: true },
  ],
  reads: [{ topic: "builds", group: "lintbot" }],
  publishes: ["lints"],

  handle(message) {
    const build = expect(message, "foundry.build.v1");
    const found = findings(build, {
      maxSize: Number(options.one("max-size")) * 1024 * 1024,
      require: options.all("require"),
      forbidVersion: options.all("forbid-version"),
    });
    for (const finding of found) {
      log.warn(`${build.source} ${build.version}: ${finding.file ?? build.source}: ${finding.what}`);
    }
    const { repository, branch, ref, source, version } = build;
    const subject = `${source} ${version}: ${found.length === 0 ? "no findings" : `${found.length} findings`}`;
    publish("lintbot.lint.v1", { repository, branch, ref, source, version, findings: found }, { topic: "lints", subject });
  },
});
