/* Does what every SDK's bot must be able to do, and misbehaves in every way that a bot can: as each message says. */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "foundry.h"

void foundry_describe(foundry_description *bot) {
    foundry_bot(bot, "conformer", "1.2.3", "does as it is told");
    foundry_accepts(bot, (foundry_option_spec){.name = "text", .help = "A text.", .default_value = "default"});
    foundry_accepts(bot, (foundry_option_spec){.name = "many", .help = "Texts.", .repeatable = true});
    foundry_accepts(bot, (foundry_option_spec){.name = "flag", .help = "A flag.", .kind = FOUNDRY_FLAG});
    foundry_accepts(bot, (foundry_option_spec){.name = "interval",
                                               .help = "Of the timer.",
                                               .kind = FOUNDRY_DURATION,
                                               .default_value = "365d"});
    foundry_reads(bot, "watch", "orders", "conformer");
    foundry_publishes(bot, "publish-to", "answers");
    foundry_timer(bot, "beat", "interval");
    foundry_message_timeout(bot, 77);
}

const char *foundry_configure(void) {
    const char *text = foundry_option("text", 0);
    return text && strcmp(text, "unacceptable") == 0 ? "that text is unacceptable" : NULL;
}

static const char *answer_on(const char *topic, const char *data, const char *key) {
    return foundry_publish((foundry_event){
        .topic = topic, .type = "test.answer.v1", .subject = "an answer", .data = data, .key = key});
}

static const char *answer(const char *data) {
    return answer_on("answers", data, NULL);
}

/* What must not be seen unless the outcome is done. */
static void effects(void) {
    foundry_state_set("half", "done", 4);
    answer("{}");
}

static const char *quote_or_null(const char *text) {
    return text ? foundry_json_quote(text) : "null";
}

static const char *message_as_json(const foundry_message *message) {
    return foundry_format("{\"id\": %s, \"topic\": %s, \"type\": %s, \"source\": %s, \"subject\": %s, \"run\": %s, "
                          "\"attempt\": %u}",
                          foundry_json_quote(message->id), foundry_json_quote(message->topic),
                          foundry_json_quote(message->type), foundry_json_quote(message->source),
                          quote_or_null(message->subject), foundry_json_quote(message->run),
                          (unsigned)message->attempt);
}

static const char *options_as_json(void) {
    const char *many = "";
    for (size_t index = 0; foundry_option("many", index); index++) {
        many = foundry_format("%s%s%s", many, index ? ", " : "", foundry_json_quote(foundry_option("many", index)));
    }
    return foundry_format("{\"text\": %s, \"many\": [%s], \"flag\": %s}", quote_or_null(foundry_option("text", 0)), many,
                          foundry_option("flag", 0) ? "true" : "false");
}

static const char *use_state(void) {
    const char *before, *gone;
    const char *error = foundry_state_get("text", &before, NULL);
    if (error) {
        return error;
    }
    foundry_state_set("text", "ünïcödé", strlen("ünïcödé"));
    foundry_state_set("bytes", "\0\377\0", 3);
    foundry_state_set("gone", "x", 1);
    foundry_state_delete("gone");
    error = foundry_state_get("gone", &gone, NULL);
    if (error) {
        return error;
    }
    return answer(foundry_format("{\"before\": %s, \"none\": %s}", foundry_json_quote(before ? before : ""),
                                 gone ? "false" : "true"));
}

static void loop(void) {
    for (volatile unsigned n = 0;; n++) {
    }
}

static void eat_memory(void) {
    for (;;) {
        volatile char *eaten = malloc(16 * 1024 * 1024);
        if (!eaten) {
            abort();
        }
        eaten[0] = 1;
    }
}

static int recurse(volatile int depth) {
    volatile char room[256];
    room[depth % 256] = 1;
    return recurse(depth + 1) + room[0];
}

static void print_much(void) {
    static char line[1024];
    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = '\n';
    for (int number = 0; number < 100 * 1024; number++) {
        fwrite(line, 1, sizeof line, stdout);
    }
}

static const char *clock_as_json(void) {
    struct timespec now, before, after;
    clock_gettime(CLOCK_REALTIME, &now);
    double host = (double)foundry_now() / 1000;
    clock_gettime(CLOCK_MONOTONIC, &before);
    nanosleep(&(struct timespec){.tv_nsec = 60 * 1000 * 1000}, NULL);
    clock_gettime(CLOCK_MONOTONIC, &after);
    double slept = (double)(after.tv_sec - before.tv_sec) + (double)(after.tv_nsec - before.tv_nsec) / 1e9;
    return foundry_format("{\"now\": %.3f, \"host\": %.3f, \"slept\": %f, \"time\": %lld}",
                          (double)now.tv_sec + (double)now.tv_nsec / 1e9, host, slept, (long long)time(NULL));
}

static const char *numbers_as_json(void) {
    unsigned long long numbers[3];
    if (getentropy(numbers, sizeof numbers)) {
        foundry_fail("no numbers: %s", strerror(errno));
    }
    return foundry_format("{\"numbers\": [\"%llx\", \"%llx\", \"%llx\"]}", numbers[0], numbers[1], numbers[2]);
}

static const char *why_not(const char *path, const char *mode) {
    FILE *file = fopen(path, mode);
    return file ? "none" : strerror(errno);
}

foundry_outcome foundry_handle(const foundry_message *message) {
    const char *what = foundry_json_text(message->data, "do");
    const char *error = NULL;
    if (!what) {
        return foundry_reject("there is no order");
    } else if (strcmp(what, "echo") == 0) {
        const char *text = foundry_json_text(message->data, "text");
        error = answer(foundry_format("{\"text\": %s}", quote_or_null(text)));
    } else if (strcmp(what, "message") == 0) {
        error = answer(message_as_json(message));
    } else if (strcmp(what, "options") == 0) {
        error = answer(options_as_json());
    } else if (strcmp(what, "log") == 0) {
        foundry_log(FOUNDRY_TRACE, "a trace");
        foundry_log(FOUNDRY_DEBUG, "a debug");
        foundry_log(FOUNDRY_INFO, "an info");
        foundry_log(FOUNDRY_WARN, "a warning: ünïcödé");
        foundry_log(FOUNDRY_ERROR, "an error");
    } else if (strcmp(what, "state") == 0) {
        error = use_state();
    } else if (strcmp(what, "write, then retry") == 0) {
        effects();
        return foundry_retry(1500, "not yet");
    } else if (strcmp(what, "write, then reject") == 0) {
        effects();
        return foundry_reject("never");
    } else if (strcmp(what, "write, then fail") == 0) {
        effects();
        foundry_fail("told to %s", "fail");
    } else if (strcmp(what, "other topic") == 0) {
        error = answer_on("builds", "{}", NULL);
    } else if (strcmp(what, "big state") == 0) {
        size_t size = 32 * 1024 * 1024;
        error = foundry_state_set("big", calloc(size, 1), size);
    } else if (strcmp(what, "loop") == 0) {
        loop();
    } else if (strcmp(what, "memory") == 0) {
        eat_memory();
    } else if (strcmp(what, "recurse") == 0) {
        return foundry_reject("%d", recurse(1));
    } else if (strcmp(what, "ask") == 0) {
        foundry_http_response response;
        const char *url = foundry_json_text(message->data, "text");
        const char *why = foundry_http((foundry_http_request){.url = url, .timeout = 5}, &response);
        if (why) {
            return foundry_reject("%s", why);
        }
        answer(foundry_format("{\"status\": %u, \"text\": %s}", (unsigned)response.status,
                              foundry_json_quote(response.body)));
    } else if (strcmp(what, "mail") == 0) {
        const char *to[] = {foundry_json_text(message->data, "text"), NULL};
        foundry_mail_result sent =
            foundry_mail((foundry_mail_message){.to = to, .subject = "a subject", .text = "ünïcödé"});
        if (sent.why) {
            return sent.temporary ? foundry_retry(1500, "%s", sent.why) : foundry_reject("%s", sent.why);
        }
        answer(foundry_format("{\"id\": %s}", foundry_json_quote(sent.message_id)));
    } else if (strcmp(what, "print") == 0) {
        printf("printed: %s\n", "ünïcödé");
        fprintf(stderr, "a %s\n", "warning");
        printf("no end");
    } else if (strcmp(what, "print badly") == 0) {
        printf("\xff café \x1b[31m\n");
    } else if (strcmp(what, "print 100 MB") == 0) {
        print_much();
    } else if (strcmp(what, "clock") == 0) {
        answer(clock_as_json());
    } else if (strcmp(what, "random") == 0) {
        answer(numbers_as_json());
    } else if (strcmp(what, "files") == 0) {
        answer(foundry_format("{\"read\": %s, \"write\": %s}", foundry_json_quote(why_not("/etc/passwd", "r")),
                              foundry_json_quote(why_not("new.txt", "w"))));
    } else if (strcmp(what, "assert") == 0) {
        assert(!"told to assert");
    } else if (strcmp(what, "exit") == 0) {
        fprintf(stderr, "leaving\n");
        exit(3);
    } else if (strcmp(what, "sleep") == 0) {
        printf("going to sleep\n");
        sleep(3600);
    } else if (strcmp(what, "flood") == 0) {
        for (int number = 0; number < 20000; number++) {
            foundry_log(FOUNDRY_INFO, "line %d", number);
        }
    } else {
        return foundry_reject("don't know how to %s", what);
    }
    return error ? foundry_reject("%s", error) : foundry_done();
}

foundry_outcome foundry_tick(const char *timer) {
    const char *error = answer_on("answers", foundry_format("{\"timer\": %s}", foundry_json_quote(timer)), "beat 1");
    return error ? foundry_reject("%s", error) : foundry_done();
}
