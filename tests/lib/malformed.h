/* malformed.h - requests that two readers can take for different things; no server of ours takes
 * one.
 */
#ifndef RS_TESTS_LIB_MALFORMED_H
#define RS_TESTS_LIB_MALFORMED_H

#include <stddef.h>

struct malformed {
    const char *name;
    const char *bytes; /* with NULs in some */
    size_t size;
};

#define MALFORMED(name, bytes)                                                                     \
    {                                                                                              \
        name, bytes, sizeof(bytes) - 1                                                             \
    }
#define START "GET /healthz HTTP/1.1\r\n"
#define HOST  "Host: x\r\n"
#define POST  "POST /healthz HTTP/1.1\r\n" HOST

static const struct malformed malformed_requests[] = {
    MALFORMED("two lengths", POST "Content-Length: 0\r\nContent-Length: 2\r\n\r\nok"),
    MALFORMED("the same length twice", POST "Content-Length: 2\r\nContent-Length: 2\r\n\r\nok"),
    MALFORMED("two lengths in one", POST "Content-Length: 2, 2\r\n\r\nok"),
    MALFORMED("a length and an encoding",
              POST "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    MALFORMED("an encoding and a length",
              POST "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n"),
    MALFORMED("a signed length", POST "Content-Length: +2\r\n\r\nok"),
    MALFORMED("a negative length", POST "Content-Length: -1\r\n\r\n"),
    MALFORMED("a hexadecimal length", POST "Content-Length: 0x2\r\n\r\nok"),
    MALFORMED("an empty length", POST "Content-Length:\r\n\r\n"),
    MALFORMED("a length of two words", POST "Content-Length: 1 1\r\n\r\nok"),
    MALFORMED("chunked twice", POST "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    MALFORMED("two encodings",
              POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    MALFORMED("another encoding", POST "Transfer-Encoding: gzip\r\n\r\n"),
    MALFORMED("an encoding around chunked",
              POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    MALFORMED("identity", POST "Transfer-Encoding: identity\r\n\r\n"),
    MALFORMED("chunked with a blank behind", POST "Transfer-Encoding: chunked \r\n\r\n0\r\n\r\n"),
    MALFORMED("chunked with a tab before", POST "Transfer-Encoding: \x0b"
                                                "chunked\r\n\r\n0\r\n\r\n"),
    MALFORMED("an encoding in HTTP/1.0",
              "POST /healthz HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    MALFORMED("no host", START "\r\n"),
    MALFORMED("two hosts", START HOST "Host: y\r\n\r\n"),
    MALFORMED("a host with a path", START "Host: x/y\r\n\r\n"),
    MALFORMED("a host with a blank", START "Host: x y\r\n\r\n"),
    MALFORMED("two credentials", START HOST "Authorization: Bearer a\r\nAuthorization: b\r\n\r\n"),
    MALFORMED("a blank before the colon", START HOST "Content-Length : 2\r\n\r\nok"),
    MALFORMED("a tab before the colon", START HOST "Transfer-Encoding\t: chunked\r\n\r\n"),
    MALFORMED("a blank before the name", START " Host: x\r\n\r\n"),
    MALFORMED("a blank in the name", START HOST "X Y: z\r\n\r\n"),
    MALFORMED("no name", START HOST ": x\r\n\r\n"),
    MALFORMED("no colon", START HOST "nothing\r\n\r\n"),
    MALFORMED("a folded line", START HOST "X: a\r\n b\r\n\r\n"),
    MALFORMED("a folded length", POST "Content-Length:\r\n 2\r\n\r\nok"),
    MALFORMED("a line folded with a tab", START HOST "X: a\r\n\tb\r\nY: c\r\n\r\n"),
    MALFORMED("a bare LF behind the first line", "GET /healthz HTTP/1.1\nHost: x\r\n\r\n"),
    MALFORMED("a bare LF between headers", START "Host: x\nX: y\r\n\r\n"),
    MALFORMED("a bare LF behind the last header", START HOST "X: y\n\r\n"),
    MALFORMED("a bare LF for the empty line", START HOST "\n"),
    MALFORMED("bare LFs only", "GET /healthz HTTP/1.1\nHost: x\n\n"),
    MALFORMED("a bare CR in a value", START HOST "X: a\rb\r\n\r\n"),
    MALFORMED("a CR too many", START HOST "X: a\r\r\n\r\n"),
    MALFORMED("NUL in a value", START HOST "X: a\0b\r\nY: c\r\n\r\n"),
    MALFORMED("NUL in the last value", START HOST "X: a\0b\r\n\r\n"),
    MALFORMED("NUL at a value's end", START HOST "X: a\0\r\nY: b\r\n\r\n"),
    MALFORMED("NUL in a name", START HOST "X\0Y: b\r\n\r\n"),
    MALFORMED("a line that begins with NUL", START HOST "\0: b\r\n\r\n"),
    MALFORMED("NUL in the target", "GET /heal\0thz HTTP/1.1\r\n" HOST "\r\n"),
    MALFORMED("NUL behind the target", "GET /healthz\0 HTTP/1.1\r\n" HOST "\r\n"),
    MALFORMED("a control in the target", "GET /heal\x01thz HTTP/1.1\r\n" HOST "\r\n"),
    MALFORMED("a blank in the target", "GET /heal thz HTTP/1.1\r\n" HOST "\r\n"),
    MALFORMED("a tab before the version", "GET /healthz\tx HTTP/1.1\r\n" HOST "\r\n"),
    MALFORMED("two blanks before the target", "GET  /healthz HTTP/1.1\r\n" HOST "\r\n"),
    MALFORMED("two blanks before the version", "GET /healthz  HTTP/1.1\r\n" HOST "\r\n"),
    MALFORMED("a target without a slash", "GET healthz HTTP/1.1\r\n" HOST "\r\n"),
    MALFORMED("another scheme", "GET ftp://x/healthz HTTP/1.1\r\n" HOST "\r\n"),
    MALFORMED("a tab in the method", "G\tET /healthz HTTP/1.1\r\n" HOST "\r\n"),
    MALFORMED("NUL in the method", "G\0ET /healthz HTTP/1.1\r\n" HOST "\r\n"),
    MALFORMED("a quote in the method", "G\"ET /healthz HTTP/1.1\r\n" HOST "\r\n"),
    MALFORMED("a control in a value", START HOST "X: a\x02\r\n\r\n"),
    MALFORMED("an odd version", "GET /healthz HTTP/1.7\r\n" HOST "\r\n"),
};
enum { MALFORMED_REQUESTS = sizeof(malformed_requests) / sizeof(malformed_requests[0]) };

#undef MALFORMED
#undef START
#undef HOST
#undef POST

/* What follows on the same connection, and must not be answered. */
static const char malformed_follower[] = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";

#endif
