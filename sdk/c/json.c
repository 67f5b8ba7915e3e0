/* Just enough JSON for events, which the host has parsed before: finding values, and writing strings. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "foundry.h"

static const char *skip_space(const char *at) {
    return at + strspn(at, " \t\r\n");
}

/* Past the string that begins at `at`. */
static const char *skip_string(const char *at) {
    for (at++; *at && *at != '"'; at++) {
        if (*at == '\\' && at[1]) {
            at++;
        }
    }
    return *at ? at + 1 : at;
}

/* Past the value that begins at `at`, however deep it is. */
static const char *skip_value(const char *at) {
    size_t depth = 0;
    do {
        at = skip_space(at);
        if (*at == '"') {
            at = skip_string(at);
        } else if (*at == '{' || *at == '[') {
            depth++;
            at++;
        } else if (*at == '}' || *at == ']') {
            if (depth == 0) {
                return at;
            }
            depth--;
            at++;
        } else if (*at == ',' || *at == ':') {
            if (depth == 0) {
                return at;
            }
            at++;
        } else if (*at) {
            at += strcspn(at, " \t\r\n\",:{}[]");
        }
    } while (depth > 0 && *at);
    return at;
}

static unsigned hex4(const char *at) {
    unsigned code = 0;
    for (int digit = 0; digit < 4; digit++) {
        char c = at[digit];
        unsigned value = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A' + 10)
                                                : 16;
        if (value == 16) {
            return 0xfffd;
        }
        code = code << 4 | value;
    }
    return code;
}

static char *put_utf8(char *to, unsigned code) {
    if (code < 0x80) {
        *to++ = (char)code;
    } else if (code < 0x800) {
        *to++ = (char)(0xc0 | code >> 6);
        *to++ = (char)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *to++ = (char)(0xe0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 0x3f));
        *to++ = (char)(0x80 | (code & 0x3f));
    } else {
        *to++ = (char)(0xf0 | code >> 18);
        *to++ = (char)(0x80 | (code >> 12 & 0x3f));
        *to++ = (char)(0x80 | (code >> 6 & 0x3f));
        *to++ = (char)(0x80 | (code & 0x3f));
    }
    return to;
}

/* What the escape at `at` stands for; moves `at` past it. */
static char *unescape(const char **at, char *to) {
    const char *escape = *at + 1;
    *at = escape + (*escape != '\0');
    switch (*escape) {
    case 'b': *to++ = '\b'; return to;
    case 'f': *to++ = '\f'; return to;
    case 'n': *to++ = '\n'; return to;
    case 'r': *to++ = '\r'; return to;
    case 't': *to++ = '\t'; return to;
    case 'u': break;
    case '\0': return to;
    default: *to++ = *escape; return to;
    }
    if (strlen(escape + 1) < 4) {
        return to;
    }
    unsigned code = hex4(escape + 1);
    *at = escape + 5;
    if (code >= 0xd800 && code < 0xdc00 && (*at)[0] == '\\' && (*at)[1] == 'u' && strlen(*at) >= 6) {
        unsigned low = hex4(*at + 2);
        if (low >= 0xdc00 && low < 0xe000) {
            *at += 6;
            return put_utf8(to, 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00));
        }
    }
    return put_utf8(to, code >= 0xd800 && code < 0xe000 ? 0xfffd : code);
}

/* The string that begins at `at`, unescaped: never longer than it was. */
static char *string_at(const char *at) {
    const char *end = skip_string(at);
    char *text = malloc((size_t)(end - at) + 1);
    if (!text) {
        abort();
    }
    char *to = text;
    at++;
    while (at < end && *at && *at != '"') {
        if (*at == '\\') {
            to = unescape(&at, to);
        } else {
            *to++ = *at++;
        }
    }
    *to = '\0';
    return text;
}

/* The member or element of the object or array at `at`; NULL if it hasn't got it. */
static const char *child(const char *at, const char *name, size_t length) {
    bool object = *at == '{';
    if (!object && *at != '[') {
        return NULL;
    }
    size_t number = 0;
    for (at = skip_space(at + 1); *at && *at != '}' && *at != ']'; number++) {
        const char *key;
        if (object) {
            if (*at != '"') {
                return NULL;
            }
            key = string_at(at);
            at = skip_space(skip_string(at));
            at = skip_space(*at == ':' ? at + 1 : at);
        } else {
            key = foundry_format("%zu", number);
        }
        if (strlen(key) == length && memcmp(key, name, length) == 0) {
            return at;
        }
        at = skip_space(skip_value(at));
        at = skip_space(*at == ',' ? at + 1 : at);
    }
    return NULL;
}

static const char *find(const char *json, const char *path) {
    const char *at = skip_space(json);
    while (at && *path) {
        size_t length = strcspn(path, ".");
        at = child(at, path, length);
        path += length + (path[length] == '.');
    }
    return at;
}

const char *foundry_json_text(const char *json, const char *path) {
    const char *at = find(json, path);
    return at && *at == '"' ? string_at(at) : NULL;
}

double foundry_json_number(const char *json, const char *path, double fallback) {
    const char *at = find(json, path);
    if (!at || !(*at == '-' || (*at >= '0' && *at <= '9'))) {
        return fallback;
    }
    return strtod(at, NULL);
}

const char *foundry_json_quote(const char *text) {
    char *quoted = malloc(strlen(text) * 6 + 3);
    if (!quoted) {
        abort();
    }
    char *to = quoted;
    *to++ = '"';
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') {
            *to++ = '\\';
            *to++ = (char)c;
        } else if (c < 0x20) {
            static const char digits[] = "0123456789abcdef";
            memcpy(to, "\\u00", 4);
            to += 4;
            *to++ = digits[c >> 4];
            *to++ = digits[c & 15];
        } else {
            *to++ = (char)c;
        }
    }
    *to++ = '"';
    *to = '\0';
    return quoted;
}
