/* request_head.c - see request_head.h. */
#include "base/request_head.h"

#include <string.h>
#include <strings.h>

/* ---- characters ---- */

/* RFC 9110, section 5.6.2. */
static bool is_token(const char *text, size_t size)
{
    static const char allowed[] = "!#$%&'*+-.^_`|~0123456789"
                                  "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

    if (size == 0)
        return false;
    for (size_t i = 0; i < size; i++) {
        if (text[i] == 0 || strchr(allowed, text[i]) == NULL)
            return false;
    }
    return true;
}

/* Bytes from 0x80 are allowed: obsolete, and of one meaning to all. */
static bool is_value(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        const unsigned char c = (unsigned char)text[i];

        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

static bool is_host(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        const unsigned char c = (unsigned char)text[i];

        if (c <= 0x20 || c >= 0x7f || strchr("/\\?#@,\"<>{}|^`", c) != NULL)
            return false;
    }
    return true;
}

static bool is_number(const char *text, size_t size)
{
    enum { DIGITS_MAX = 18 }; /* of what 64 bits hold for sure */

    return size > 0 && size <= DIGITS_MAX && strspn(text, "0123456789") == size;
}

static bool is_target(const char *target)
{
    const char *scheme_end = strstr(target, "://");

    for (const char *at = target; *at != 0; at++) {
        if ((unsigned char)*at <= 0x20 || *at == 0x7f)
            return false;
    }
    return target[0] == '/' || strcmp(target, "*") == 0 ||
           (scheme_end != NULL &&
            (strncasecmp(target, "http", (size_t)(scheme_end - target)) == 0 ||
             strncasecmp(target, "https", (size_t)(scheme_end - target)) == 0) &&
            scheme_end - target >= 4);
}

void request_target_note(struct request_target *target, const char *text)
{
    *target = (struct request_target){text, strlen(text), is_target(text)};
}

/* ---- headers ---- */

static bool is_named(const struct request_header *header, const char *name)
{
    return header->name_size == strlen(name) &&
           strncasecmp(header->name, name, header->name_size) == 0;
}

static const struct request_header *request_head_find(const struct request_head *head,
                                                      const char *name, size_t *ret_count)
{
    const struct request_header *found = NULL;

    *ret_count = 0;
    for (size_t i = 0; i < head->count; i++) {
        if (!is_named(&head->headers[i], name))
            continue;
        found = &head->headers[i];
        (*ret_count)++;
    }
    return found;
}

/* The value without the blanks around it. */
static size_t trimmed(const struct request_header *header)
{
    size_t size = header->value_size;

    while (size > 0 && (header->value[size - 1] == ' ' || header->value[size - 1] == '\t'))
        size--;
    return size;
}

bool request_is_chunked(const struct request_head *head)
{
    size_t count;

    return request_head_find(head, "Transfer-Encoding", &count) != NULL;
}

/* ---- faults ---- */

static const char *start_fault(const struct request_head *head)
{
    if (!is_token(head->method, strlen(head->method)))
        return "The request's method is malformed.";
    if (!head->target.plain)
        return "The request's target is malformed.";
    if (strcmp(head->version, "HTTP/1.1") != 0 && strcmp(head->version, "HTTP/1.0") != 0)
        return "The request's HTTP version must be 1.0 or 1.1.";
    return NULL;
}

static const char *host_fault(const struct request_head *head)
{
    size_t count;
    const struct request_header *host = request_head_find(head, "Host", &count);

    if (count == 0)
        return strcmp(head->version, "HTTP/1.0") == 0 ? NULL : "The Host header is missing.";
    if (count > 1)
        return "There is more than one Host header.";
    return is_host(host->value, trimmed(host)) ? NULL : "The Host header is malformed.";
}

static const char *framing_fault(const struct request_head *head)
{
    size_t lengths;
    size_t encodings;
    const struct request_header *length = request_head_find(head, "Content-Length", &lengths);
    const struct request_header *encoding =
        request_head_find(head, "Transfer-Encoding", &encodings);

    if (lengths > 1)
        return "There is more than one Content-Length header.";
    if (encodings > 1)
        return "There is more than one Transfer-Encoding header.";
    if (lengths > 0 && encodings > 0)
        return "Content-Length and Transfer-Encoding exclude each other.";
    if (lengths > 0 && !is_number(length->value, length->value_size))
        return "The Content-Length header is not a number.";
    if (encodings > 0 && strcmp(head->version, "HTTP/1.0") == 0)
        return "HTTP/1.0 has no Transfer-Encoding.";
    /* To the letter: with a blank behind it, libmicrohttpd would read the body to the end of
     * time. */
    if (encodings > 0 && (encoding->value_size != strlen("chunked") ||
                          strncasecmp(encoding->value, "chunked", encoding->value_size) != 0))
        return "Transfer-Encoding must be 'chunked'.";
    return NULL;
}

static const char *line_fault(const struct request_head *head)
{
    size_t credentials;

    if (head->too_many)
        return "There are too many headers.";
    for (size_t i = 0; i < head->count; i++) {
        if (!is_token(head->headers[i].name, head->headers[i].name_size))
            return "A header's name is malformed.";
        if (!is_value(head->headers[i].value, head->headers[i].value_size))
            return "A header's value holds control characters.";
    }
    (void)request_head_find(head, "Authorization", &credentials);
    return credentials > 1 ? "There is more than one Authorization header." : NULL;
}

/* Whether each string begins where it should, from its predecessor's end on. */
static bool is_in_order(const struct request_head *head)
{
    enum { BLANK = 1, COLON = 1, CRLF = 2 };
    const char *at = head->method + strlen(head->method) + BLANK;

    if (head->target.at != at || head->version != at + head->target.size + BLANK)
        return false;
    at = head->version + strlen(head->version) + CRLF;
    for (size_t i = 0; i < head->count; i++) {
        const struct request_header *header = &head->headers[i];

        if (header->name != at || header->value < at + header->name_size + COLON)
            return false;
        at = header->value + header->value_size + CRLF;
    }
    return at + CRLF == head->method + head->size;
}

const char *request_head_fault(const struct request_head *head)
{
    const char *fault = start_fault(head);

    if (fault == NULL)
        fault = line_fault(head);
    if (fault == NULL)
        fault = framing_fault(head);
    if (fault == NULL)
        fault = host_fault(head);
    if (fault == NULL && head->in_place && !is_in_order(head))
        fault =
            "The request's head is malformed: lines end in CRLF, are not folded and hold no NUL.";
    return fault;
}
