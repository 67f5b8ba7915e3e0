/* Write Foundry bots in C.
 *
 * A bot implements foundry_describe and foundry_handle, and foundry_configure and foundry_tick if it likes.
 *
 * Each message is handled by a fresh instance of the bot: nothing stays in memory, and what has to last goes into the
 * state. So nothing has to be freed either: every string and buffer that these functions return lives as long as the
 * message does. Text is UTF-8 and ends with a NUL.
 *
 * What the bot prints is in its log: printf as info, what goes to stderr as warnings, a line at a time. There are no files
 * and no sockets: fopen and socket fail, and errno says why. getentropy and arc4random give numbers that follow from the
 * message, the same in every attempt at it: they are unfit for secrets.
 */
#ifndef FOUNDRY_H
#define FOUNDRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FOUNDRY_PRINTF(at, first) __attribute__((format(printf, at, first)))

/* One event, already verified and checked against its schema. */
typedef struct {
    const char *id;      /* two deliveries of the same event carry the same id */
    const char *topic;   /* without the prefix: "commits" */
    const char *type;    /* the CloudEvents type: "foundry.commit.v1" */
    const char *source;  /* the bot that published it, as "host/bot" */
    const char *subject; /* what it is about, for people; NULL if it doesn't say */
    const char *time;    /* when it was published, RFC 3339 */
    const char *run;     /* the run (one commit's way through the pipeline) that it belongs to */
    uint32_t attempt;    /* how many times it has been attempted here before; 0 at first */
    const char *data;    /* a JSON object */
} foundry_message;

/* What became of a message. */
typedef struct {
    enum { FOUNDRY_DONE, FOUNDRY_RETRY, FOUNDRY_REJECT } kind;
    uint64_t after_ms;
    const char *why;
} foundry_outcome;

/* What was published and written takes effect. */
foundry_outcome foundry_done(void);
/* Nothing takes effect; the message is handled again, at least so many milliseconds later. */
foundry_outcome foundry_retry(uint64_t after_ms, const char *why, ...) FOUNDRY_PRINTF(2, 3);
/* Nothing takes effect; the message becomes a dead letter. */
foundry_outcome foundry_reject(const char *why, ...) FOUNDRY_PRINTF(1, 2);

/* What a bot says about itself. */
typedef struct foundry_description foundry_description;

typedef enum {
    FOUNDRY_TEXT,
    FOUNDRY_FLAG,
    FOUNDRY_NUMBER,
    FOUNDRY_DURATION,
    FOUNDRY_GIT_URL,
    FOUNDRY_KEY,
    FOUNDRY_SITE,
    FOUNDRY_FILE
} foundry_option_kind;

/* An option on the command line and in foundry.toml. */
typedef struct {
    const char *name; /* long name without dashes */
    const char *help; /* one sentence */
    foundry_option_kind kind;
    bool repeatable;
    bool required;
    const char *default_value; /* NULL for none */
    const char *placeholder;   /* NULL for one that fits the kind */
} foundry_option_spec;

/* To be called by foundry_describe. */
void foundry_bot(foundry_description *, const char *name, const char *version, const char *summary);
/* It reads a topic, which --OPTION can change, as a member of a group, which --endpoint can change. */
void foundry_reads(foundry_description *, const char *option, const char *topic, const char *group);
/* It publishes to a topic, which --OPTION can change. */
void foundry_publishes(foundry_description *, const char *option, const char *topic);
/* It accepts an option. */
void foundry_accepts(foundry_description *, foundry_option_spec);
/* It has a timer, whose interval is the value of an option. */
void foundry_timer(foundry_description *, const char *name, const char *option);

/* Handling one message may take so many seconds. */
void foundry_message_timeout(foundry_description *, uint32_t seconds);

/* The bot: implement the first two, and the others if need be. */
void foundry_describe(foundry_description *);
foundry_outcome foundry_handle(const foundry_message *);
foundry_outcome foundry_tick(const char *timer);
/* Check the options, once, before the first message: NULL, or why the bot can't work with them. */
const char *foundry_configure(void);

/* The bot's log. */
typedef enum { FOUNDRY_TRACE, FOUNDRY_DEBUG, FOUNDRY_INFO, FOUNDRY_WARN, FOUNDRY_ERROR } foundry_level;
void foundry_log(foundry_level, const char *line, ...) FOUNDRY_PRINTF(2, 3);

/* A fault of the code: logs where and why, and traps. The message is attempted again. assert() and abort() do the same. */
#define foundry_fail(...) foundry_fail_at(__FILE__, __LINE__, __VA_ARGS__)
_Noreturn void foundry_fail_at(const char *file, int line, const char *why, ...) FOUNDRY_PRINTF(3, 4);

/* The value number `index` of an option; NULL beyond the last. A flag that was given is "true". */
const char *foundry_option(const char *name, size_t index);

/* An event to publish. */
typedef struct {
    const char *topic;   /* as foundry_publishes names it, or "failures" */
    const char *type;    /* the CloudEvents type */
    const char *subject; /* what it is about, for people; or NULL */
    const char *data;    /* a JSON object */
    const char *key;     /* what makes it the same as an earlier one; NULL for the message in hand */
} foundry_event;
/* Publish when the message is done: NULL, or why the host refuses it. */
const char *foundry_publish(foundry_event);

/* The bot's own state. Writes take effect when the message is done, or not at all. Both return NULL, or what is wrong.
 * A key without a value reads as NULL; a value that is no text may hold NULs, and has its size in *size. */
const char *foundry_state_get(const char *key, const char **value, size_t *size);
const char *foundry_state_set(const char *key, const void *value, size_t size);
const char *foundry_state_delete(const char *key);

/* The host's clock: milliseconds since 1970. time(), clock() and clock_gettime() read the same one. */
uint64_t foundry_now(void);

/* HTTP, made by the host: for bots with uses = ["http"] in their bot.toml, as far as --allow-http goes. */
typedef struct {
    const char *name; /* NULL after the last */
    const char *value;
} foundry_http_header;

typedef struct {
    const char *method; /* NULL for GET */
    const char *url;
    const foundry_http_header *headers; /* NULL for none */
    const void *body;
    size_t body_size;
    uint32_t timeout; /* seconds, redirects included; 0 for 30 */
} foundry_http_request;

typedef struct {
    uint16_t status;
    const foundry_http_header *headers; /* names in lower case */
    const char *body;                   /* a NUL follows it */
    size_t body_size;
} foundry_http_response;

/* NULL and a response, whatever its status; or why there is none: "not granted: …", "no answer in time". */
const char *foundry_http(foundry_http_request, foundry_http_response *);

/* E-mail, sent by the host: for bots with uses = ["mail"] in their bot.toml, as far as --allow-mail goes. */
typedef struct {
    const char *const *to; /* addresses, NULL after the last: all of them get it, or none does */
    const char *subject;
    const char *text;
    const char *key; /* tells it from other mails where no message is in hand; NULL otherwise */
} foundry_mail_message;

typedef struct {
    const char *message_id;
    const char *why; /* NULL if it was sent: "not granted: …", "the server refuses …" */
    bool temporary;  /* another attempt may do better */
} foundry_mail_result;

/* Send a mail at once, whatever becomes of the message in hand. */
foundry_mail_result foundry_mail(foundry_mail_message);

/* Like printf, into a new string. */
const char *foundry_format(const char *format, ...) FOUNDRY_PRINTF(1, 2);

/* JSON. A path is made of members and indices: "ref", "artifacts.0.name". */
/* The text at a path; NULL if there is no string. */
const char *foundry_json_text(const char *json, const char *path);
/* The number at a path; the fallback if there is none. */
double foundry_json_number(const char *json, const char *path, double fallback);
/* A text as a JSON string, in quotes. */
const char *foundry_json_quote(const char *text);

#endif
