/* {{name}} greets every commit, and counts the greetings of each branch. */

#include <stdlib.h>
#include <string.h>

#include "foundry.h"

void foundry_describe(foundry_description *bot) {
    foundry_bot(bot, "{{name}}", "0.1.0", "greets every commit");
    foundry_accepts(bot, (foundry_option_spec){.name = "greeting", .help = "What it says.", .default_value = "hello"});
    foundry_reads(bot, "watch", "commits", "{{name}}");
    foundry_publishes(bot, "publish-to", "greetings");
}

foundry_outcome foundry_handle(const foundry_message *message) {
    if (strcmp(message->type, "foundry.commit.v1") != 0) {
        return foundry_reject("a message of type %s, not foundry.commit.v1", message->type);
    }
    const char *branch = foundry_json_text(message->data, "branch");

    const char *before;
    const char *error = foundry_state_get(branch, &before, NULL);
    if (error) {
        return foundry_retry(1000, "cannot read the state: %s", error);
    }
    long count = 1 + (before ? strtol(before, NULL, 10) : 0);
    const char *after = foundry_format("%ld", count);
    error = foundry_state_set(branch, after, strlen(after));
    if (error) {
        return foundry_reject("cannot count: %s", error);
    }

    const char *text = foundry_format("%s, %s", foundry_option("greeting", 0), branch);
    foundry_log(FOUNDRY_INFO, "%s (number %ld)", text, count);
    error = foundry_publish((foundry_event){
        .topic = "greetings",
        .type = "{{name}}.greeting.v1",
        .subject = message->subject,
        .data = foundry_format("{\"text\": %s, \"count\": %ld}", foundry_json_quote(text), count),
    });
    return error ? foundry_reject("%s", error) : foundry_done();
}
