#include "foundry.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bot.h"

/* The bindings call this to have an object file with the component's type linked. `foundry-host build` writes the type
 * into the module itself. */
void __component_type_object_force_link_bot(void);
void __component_type_object_force_link_bot(void) {}

/* The instance ends without exit(), which would write what a buffer still holds. So no more than the last line waits there,
 * and that is written when the call is over. */
__attribute__((constructor)) static void print_by_lines(void) {
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
}

static void end_of_call(void) {
    fflush(stdout);
}

struct foundry_description {
    bot_description_t wit;
};

/* Memory is never given back: the instance ends with its message. */
static void *grow(void *memory, size_t size) {
    void *grown = realloc(memory, size ? size : 1);
    if (!grown) {
        abort();
    }
    return grown;
}

static bot_string_t lend(const char *text) {
    return (bot_string_t){(uint8_t *)text, strlen(text)};
}

/* For the host to own, and its bindings to free. */
static bot_string_t give(const char *text) {
    bot_string_t given;
    bot_string_dup(&given, text);
    return given;
}

static bot_option_string_t lend_or_none(const char *text) {
    bot_option_string_t lent = {.is_some = text != NULL};
    if (text) {
        lent.val = lend(text);
    }
    return lent;
}

/* Strings of the host have a length and no NUL. */
static const char *text_of(const uint8_t *bytes, size_t size) {
    char *text = grow(NULL, size + 1);
    if (size) {
        memcpy(text, bytes, size);
    }
    text[size] = '\0';
    return text;
}

static const char *text_of_string(bot_string_t string) {
    return text_of(string.ptr, string.len);
}

/* The bytes of the UTF-8 character at the start of a text that ends with a NUL; 0 if it is none. */
static size_t character(const unsigned char *at) {
    size_t size = at[0] < 0x80 ? 1 : (at[0] & 0xe0) == 0xc0 ? 2 : (at[0] & 0xf0) == 0xe0 ? 3 : (at[0] & 0xf8) == 0xf0 ? 4 : 0;
    for (size_t i = 1; i < size; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    /* Longer than need be, a surrogate, or beyond the last. */
    bool is_wrong = (size == 2 && at[0] < 0xc2) || (size == 3 && at[0] == 0xe0 && at[1] < 0xa0) ||
                    (size == 3 && at[0] == 0xed && at[1] > 0x9f) || (size == 4 && at[0] == 0xf0 && at[1] < 0x90) ||
                    (size == 4 && (at[0] > 0xf4 || (at[0] == 0xf4 && at[1] > 0x8f)));
    return is_wrong ? 0 : size;
}

/* A text for the log, where bytes that are not UTF-8 are better shown than fatal. */
static bot_string_t lend_any(const char *text) {
    static const char replacement[] = "\xef\xbf\xbd";
    char *shown = grow(NULL, 3 * strlen(text) + 1);
    size_t length = 0;
    for (const unsigned char *at = (const unsigned char *)text; *at;) {
        size_t size = character(at);
        memcpy(shown + length, size ? (const char *)at : replacement, size ? size : 3);
        length += size ? size : 3;
        at += size ? size : 1;
    }
    return (bot_string_t){(uint8_t *)shown, length};
}

static const char *format_list(const char *format, va_list arguments) {
    va_list again;
    va_copy(again, arguments);
    int size = vsnprintf(NULL, 0, format, arguments);
    if (size < 0) {
        abort();
    }
    char *text = grow(NULL, (size_t)size + 1);
    vsnprintf(text, (size_t)size + 1, format, again);
    va_end(again);
    return text;
}

const char *foundry_format(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const char *text = format_list(format, arguments);
    va_end(arguments);
    return text;
}

foundry_outcome foundry_done(void) {
    return (foundry_outcome){.kind = FOUNDRY_DONE};
}

foundry_outcome foundry_retry(uint64_t after_ms, const char *why, ...) {
    va_list arguments;
    va_start(arguments, why);
    const char *text = format_list(why, arguments);
    va_end(arguments);
    return (foundry_outcome){.kind = FOUNDRY_RETRY, .after_ms = after_ms, .why = text};
}

foundry_outcome foundry_reject(const char *why, ...) {
    va_list arguments;
    va_start(arguments, why);
    const char *text = format_list(why, arguments);
    va_end(arguments);
    return (foundry_outcome){.kind = FOUNDRY_REJECT, .why = text};
}

void foundry_bot(foundry_description *bot, const char *name, const char *version, const char *summary) {
    bot->wit.name = give(name);
    bot->wit.version = give(version);
    bot->wit.summary = give(summary);
}

/* One more element at the end of a list. */
#define APPEND(list, ...)                                                          \
    do {                                                                           \
        (list).ptr = grow((list).ptr, ((list).len + 1) * sizeof *(list).ptr);      \
        (list).ptr[(list).len++] = __VA_ARGS__;                                    \
    } while (0)

void foundry_reads(foundry_description *bot, const char *option, const char *topic, const char *group) {
    APPEND(bot->wit.inputs, (foundry_bot_types_input_t){give(option), give(topic), give(group)});
}

void foundry_publishes(foundry_description *bot, const char *option, const char *topic) {
    APPEND(bot->wit.outputs, (foundry_bot_types_output_t){give(option), give(topic)});
}

void foundry_timer(foundry_description *bot, const char *name, const char *option) {
    APPEND(bot->wit.timers, (foundry_bot_types_timer_t){give(name), give(option)});
}

void foundry_message_timeout(foundry_description *bot, uint32_t seconds) {
    bot->wit.message_timeout = (bot_option_u32_t){true, seconds};
}

void foundry_accepts(foundry_description *bot, foundry_option_spec spec) {
    static const char *const placeholders[] = {
        [FOUNDRY_TEXT] = "TEXT", [FOUNDRY_FLAG] = "TEXT",
        [FOUNDRY_NUMBER] = "N", [FOUNDRY_DURATION] = "TIME",
        [FOUNDRY_GIT_URL] = "URL[#BRANCH]", [FOUNDRY_KEY] = "KEYID",
        [FOUNDRY_SITE] = "DIR", [FOUNDRY_FILE] = "FILE",
    };
    foundry_bot_types_option_spec_t option = {
        .name = give(spec.name),
        .kind = (foundry_bot_types_option_kind_t)spec.kind,
        .repeatable = spec.repeatable,
        .required = spec.required,
        .default_ = {.is_some = spec.default_value != NULL},
        .placeholder = give(spec.placeholder ? spec.placeholder : placeholders[spec.kind]),
        .help = give(spec.help ? spec.help : ""),
    };
    if (spec.default_value) {
        option.default_.val = give(spec.default_value);
    }
    APPEND(bot->wit.options, option);
}

void foundry_log(foundry_level level, const char *line, ...) {
    va_list arguments;
    va_start(arguments, line);
    bot_string_t text = lend_any(format_list(line, arguments));
    va_end(arguments);
    foundry_bot_log_log((foundry_bot_log_level_t)level, &text);
}

void foundry_fail_at(const char *file, int line, const char *why, ...) {
    va_list arguments;
    va_start(arguments, why);
    bot_string_t text = lend_any(foundry_format("%s:%d: %s", file, line, format_list(why, arguments)));
    va_end(arguments);
    end_of_call();
    foundry_bot_log_log(FOUNDRY_BOT_LOG_LEVEL_ERROR, &text);
    __builtin_trap();
}

const char *foundry_option(const char *name, size_t index) {
    bot_string_t wanted = lend(name);
    bot_list_string_t values;
    foundry_bot_config_get(&wanted, &values);
    return index < values.len ? text_of_string(values.ptr[index]) : NULL;
}

const char *foundry_publish(foundry_event event) {
    foundry_bot_publish_event_t wit = {
        .topic = lend(event.topic),
        .event_type = lend(event.type),
        .subject = lend_or_none(event.subject),
        .data = lend(event.data),
        .key = lend_or_none(event.key),
    };
    bot_string_t id;
    foundry_bot_publish_error_t error;
    if (foundry_bot_publish_send(&wit, &id, &error)) {
        return NULL;
    }
    switch (error.tag) {
    case FOUNDRY_BOT_PUBLISH_ERROR_NOT_GRANTED:
        return foundry_format("may not publish to %s", text_of_string(error.val.not_granted));
    case FOUNDRY_BOT_PUBLISH_ERROR_INVALID:
        return foundry_format("invalid event: %s", text_of_string(error.val.invalid));
    default:
        return foundry_format("event larger than %llu bytes", (unsigned long long)error.val.too_large);
    }
}

static const char *state_error(const foundry_bot_state_error_t *error) {
    switch (error->tag) {
    case FOUNDRY_BOT_STATE_ERROR_TOO_LARGE:
        return foundry_format("the state would become larger than %llu bytes",
                              (unsigned long long)error->val.too_large);
    case FOUNDRY_BOT_STATE_ERROR_BAD_KEY:
        return "the key is empty, or longer than 1024 bytes";
    default:
        return text_of_string(error->val.unavailable);
    }
}

const char *foundry_state_get(const char *key, const char **value, size_t *size) {
    bot_string_t wanted = lend(key);
    bot_option_list_u8_t found;
    foundry_bot_state_error_t error;
    if (!foundry_bot_state_get(&wanted, &found, &error)) {
        return state_error(&error);
    }
    *value = found.is_some ? text_of(found.val.ptr, found.val.len) : NULL;
    if (size) {
        *size = found.is_some ? found.val.len : 0;
    }
    return NULL;
}

const char *foundry_state_set(const char *key, const void *value, size_t size) {
    bot_string_t wanted = lend(key);
    bot_list_u8_t bytes = {(uint8_t *)value, size};
    foundry_bot_state_error_t error;
    return foundry_bot_state_set(&wanted, &bytes, &error) ? NULL : state_error(&error);
}

const char *foundry_state_delete(const char *key) {
    bot_string_t wanted = lend(key);
    foundry_bot_state_error_t error;
    return foundry_bot_state_delete(&wanted, &error) ? NULL : state_error(&error);
}

uint64_t foundry_now(void) {
    return foundry_bot_clock_now();
}

/* What the component exports. */

__attribute__((weak)) foundry_outcome foundry_tick(const char *timer) {
    (void)timer;
    return foundry_done();
}

__attribute__((weak)) const char *foundry_configure(void) {
    return NULL;
}

void exports_bot_describe(bot_description_t *ret) {
    foundry_description bot = {0};
    foundry_describe(&bot);
    *ret = bot.wit;
    end_of_call();
}

bool exports_bot_configure(bot_string_t *err) {
    const char *why = foundry_configure();
    end_of_call();
    if (why) {
        *err = give(why);
    }
    return why == NULL;
}

static void answer(foundry_outcome outcome, bot_outcome_t *ret) {
    end_of_call();
    switch (outcome.kind) {
    case FOUNDRY_DONE:
        ret->tag = FOUNDRY_BOT_TYPES_OUTCOME_DONE;
        break;
    case FOUNDRY_RETRY:
        ret->tag = FOUNDRY_BOT_TYPES_OUTCOME_RETRY;
        ret->val.retry = (foundry_bot_types_retry_t){outcome.after_ms, give(outcome.why)};
        break;
    case FOUNDRY_REJECT:
        ret->tag = FOUNDRY_BOT_TYPES_OUTCOME_REJECT;
        ret->val.reject = give(outcome.why);
        break;
    }
}

void exports_bot_handle(bot_message_t *wit, bot_outcome_t *ret) {
    foundry_message message = {
        .id = text_of_string(wit->id),
        .topic = text_of_string(wit->topic),
        .type = text_of_string(wit->event_type),
        .source = text_of_string(wit->source),
        .subject = wit->subject.is_some ? text_of_string(wit->subject.val) : NULL,
        .time = text_of_string(wit->time),
        .run = text_of_string(wit->run),
        .attempt = wit->attempt,
        .data = text_of_string(wit->data),
    };
    answer(foundry_handle(&message), ret);
}

void exports_bot_tick(bot_string_t *timer, bot_outcome_t *ret) {
    answer(foundry_tick(text_of_string(*timer)), ret);
}
