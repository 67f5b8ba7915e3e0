#include "foundry.h"

/* `foundry-host build` defines this for bots with uses = ["mail"]: others have no such bindings. */
#ifdef FOUNDRY_USES_MAIL

#include <stdlib.h>
#include <string.h>

#include "bot.h"

/* Memory is never given back: the instance ends with its message. */
static const char *copy(bot_string_t from) {
    char *text = malloc(from.len + 1);
    if (!text) {
        abort();
    }
    if (from.len) {
        memcpy(text, from.ptr, from.len);
    }
    text[from.len] = '\0';
    return text;
}

static bot_string_t lend(const char *text) {
    return (bot_string_t){(uint8_t *)text, strlen(text)};
}

static foundry_mail_result failed(const char *why, bool temporary) {
    return (foundry_mail_result){.why = why, .temporary = temporary};
}

static foundry_mail_result refusal(const foundry_bot_mail_error_t *error) {
    switch (error->tag) {
        case FOUNDRY_BOT_MAIL_ERROR_NOT_GRANTED:
            return failed(foundry_format("not granted: %s", copy(error->val.not_granted)), false);
        case FOUNDRY_BOT_MAIL_ERROR_BAD_REQUEST:
            return failed(copy(error->val.bad_request), false);
        case FOUNDRY_BOT_MAIL_ERROR_TOO_LARGE:
            return failed(foundry_format("larger than %llu bytes", (unsigned long long)error->val.too_large), false);
        case FOUNDRY_BOT_MAIL_ERROR_TOO_MANY:
            return failed(foundry_format("too many mails: the next one may go in %u s", (unsigned)error->val.too_many),
                          true);
        case FOUNDRY_BOT_MAIL_ERROR_REFUSED_ADDRESS:
            return failed(foundry_format("the server refuses %s: %s", copy(error->val.refused_address.f0),
                                         copy(error->val.refused_address.f1)),
                          false);
        case FOUNDRY_BOT_MAIL_ERROR_REFUSED:
            return failed(foundry_format("the server refuses the mail: %s", copy(error->val.refused)), false);
        case FOUNDRY_BOT_MAIL_ERROR_TRY_LATER:
            return failed(foundry_format("the server refuses the mail for now: %s", copy(error->val.try_later)), true);
        case FOUNDRY_BOT_MAIL_ERROR_UNAVAILABLE:
            return failed(copy(error->val.unavailable), true);
    }
    return failed("not sent", true);
}

foundry_mail_result foundry_mail(foundry_mail_message mail) {
    size_t count = 0;
    while (mail.to && mail.to[count]) {
        count++;
    }
    bot_string_t *to = calloc(count + 1, sizeof *to);
    if (!to) {
        abort();
    }
    for (size_t index = 0; index < count; index++) {
        to[index] = lend(mail.to[index]);
    }
    foundry_bot_mail_message_t message = {
        .to = {to, count},
        .subject = lend(mail.subject),
        .text = lend(mail.text),
        .key = {.is_some = mail.key != NULL},
    };
    if (mail.key) {
        message.key.val = lend(mail.key);
    }
    bot_string_t id;
    foundry_bot_mail_error_t error;
    if (!foundry_bot_mail_send(&message, &id, &error)) {
        return refusal(&error);
    }
    return (foundry_mail_result){.message_id = copy(id)};
}

#endif
