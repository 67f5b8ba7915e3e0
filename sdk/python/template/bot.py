"""{{name}} greets every commit, and counts the greetings of each branch."""

from foundry_sdk import Bot, Commit, Description, Option, export, log, options, publish, state


class Greeter(Bot):
    description = (
        Description("{{name}}", "0.1.0", "greets every commit")
        .option(Option("greeting", "What it says.", default="hello"))
        .reads("commits", group="{{name}}")
        .publishes("greetings")
    )

    def handle(self, message):
        commit = message.event(Commit)
        count = state.get_json(commit.branch, 0) + 1
        state.set_json(commit.branch, count)
        text = f"{options.one('greeting')}, {commit.branch}"
        log.info(f"{text} (number {count})")
        publish({"text": text, "count": count}, type="{{name}}.greeting.v1", topic="greetings", subject=message.subject)


WitWorld = export(Greeter)
