/* request_head.h - whether the head of an HTTP/1.x request says one thing only.
 *
 * libmicrohttpd 0.9 takes much that RFC 9112 forbids: two lengths, a length beside a transfer
 * encoding, blanks before a colon, lines that end in a bare LF, NUL bytes. Behind a proxy that
 * reads the same bytes otherwise, each of them can smuggle a request past it. So every request is
 * looked at again before anything is done with it.
 *
 * The library shows no raw bytes, but the strings that it hands out lie where they were received,
 * its NULs in the place of separators. So the head is exactly
 *
 *     METHOD SP TARGET SP VERSION CRLF (NAME ":" blanks VALUE CRLF)* CRLF
 *
 * if each string begins where the one before it ends, a separator later, and the last one ends four
 * bytes before the end of the head; a bare LF, a hidden NUL or a folded line moves one of them.
 * What cannot be told in this way is a NUL that makes up for a missing CR (NUL LF at the end of a
 * value or of the head, NUL CR LF LF at the end of both), and a line that begins with NUL before a
 * request, which the library passes over like an empty one.
 */
#ifndef RS_BASE_REQUEST_HEAD_H
#define RS_BASE_REQUEST_HEAD_H

#include <stdbool.h>
#include <stddef.h>

enum { REQUEST_HEADERS_MAX = 128 };

struct request_header {
    const char *name;
    size_t name_size;
    const char *value;
    size_t value_size;
};

/* Noted when the first line is there: later its bytes are decoded in their place. */
struct request_target {
    const char *at;
    size_t size;
    bool plain; /* of a form that servers take, without controls and blanks */
};

struct request_head {
    const char *method;
    struct request_target target;
    const char *version;
    struct request_header headers[REQUEST_HEADERS_MAX];
    size_t count;
    bool too_many;
    size_t size;   /* from the method to behind the empty line */
    bool in_place; /* the strings lie where they were received */
};

void request_target_note(struct request_target *target, const char *text);

/* What is wrong with the head, for the client to read; NULL: nothing. */
const char *request_head_fault(const struct request_head *head);

/* Whether the body comes in chunks; then the connection must be closed after the answer: how the
 * library reads chunks leaves room for two opinions on where the body ends. */
bool request_is_chunked(const struct request_head *head);

#endif
