#include "foundry.h"

/* `foundry-host build` defines this for bots with uses = ["http"]: others have no such bindings. */
#ifdef FOUNDRY_USES_HTTP

#include <stdlib.h>
#include <string.h>

#include "bot.h"

/* Memory is never given back: the instance ends with its message. */
static char *copy(const uint8_t *bytes, size_t size) {
    char *text = malloc(size + 1);
    if (!text) {
        abort();
    }
    if (size) {
        memcpy(text, bytes, size);
    }
    text[size] = '\0';
    return text;
}

static const char *why_of(const foundry_bot_http_error_t *error) {
    switch (error->tag) {
        case FOUNDRY_BOT_HTTP_ERROR_NOT_GRANTED:
            return foundry_format("not granted: %s", copy(error->val.not_granted.ptr, error->val.not_granted.len));
        case FOUNDRY_BOT_HTTP_ERROR_BAD_REQUEST:
            return copy(error->val.bad_request.ptr, error->val.bad_request.len);
        case FOUNDRY_BOT_HTTP_ERROR_TIMED_OUT:
            return "no answer in time";
        case FOUNDRY_BOT_HTTP_ERROR_TOO_LARGE:
            return foundry_format("larger than %llu bytes", (unsigned long long)error->val.too_large);
        case FOUNDRY_BOT_HTTP_ERROR_UNAVAILABLE:
            return copy(error->val.unavailable.ptr, error->val.unavailable.len);
    }
    return "no answer";
}

static bot_string_t lend(const char *text) {
    return (bot_string_t){(uint8_t *)text, strlen(text)};
}

const char *foundry_http(foundry_http_request request, foundry_http_response *response) {
    size_t count = 0;
    while (request.headers && request.headers[count].name) {
        count++;
    }
    bot_tuple2_string_string_t *headers = calloc(count + 1, sizeof *headers);
    if (!headers) {
        abort();
    }
    for (size_t index = 0; index < count; index++) {
        headers[index].f0 = lend(request.headers[index].name);
        headers[index].f1 = lend(request.headers[index].value);
    }
    foundry_bot_http_request_t asked = {
        .method = lend(request.method ? request.method : "GET"),
        .url = lend(request.url),
        .headers = {headers, count},
        .body = {(uint8_t *)request.body, request.body_size},
        .timeout = {.is_some = request.timeout != 0, .val = request.timeout},
    };
    foundry_bot_http_response_t answer;
    foundry_bot_http_error_t error;
    if (!foundry_bot_http_send(&asked, &answer, &error)) {
        return why_of(&error);
    }
    response->status = answer.status;
    response->body = copy(answer.body.ptr, answer.body.len);
    response->body_size = answer.body.len;
    foundry_http_header *fields = calloc(answer.headers.len + 1, sizeof *fields);
    if (!fields) {
        abort();
    }
    for (size_t index = 0; index < answer.headers.len; index++) {
        bot_tuple2_string_string_t field = answer.headers.ptr[index];
        fields[index].name = copy(field.f0.ptr, field.f0.len);
        fields[index].value = copy(field.f1.ptr, field.f1.len);
    }
    response->headers = fields;
    return NULL;
}

#endif
