/* error.h - the one table of error codes, and a message that grows on its way up.
 *
 * Fallible functions return 0 or a negative code of this table. Foreign codes (LMDB, curl, libuv,
 * errno) are translated where they enter, in one function per library. Where a code is not enough,
 * the function takes a `struct error *` (never NULL inside the programs) and fills its message;
 * each caller that knows more (which file, which source) adds it in front with error_context().
 *
 * Codes -1 to -99 are public (realmstore.h gives them the same numbers; store/reader.c asserts it).
 */
#ifndef RS_BASE_ERROR_H
#define RS_BASE_ERROR_H

#include <stddef.h>

/* X(name, number, text). Numbers are ABI: never reuse one. */
#define ERROR_TABLE(X)                                                                             \
    X(E_NO_MEMORY, -1, "out of memory")                                                            \
    X(E_INVALID, -2, "invalid argument")                                                           \
    X(E_NO_STORE, -3, "no store in this directory")                                                \
    X(E_FORMAT, -4, "the store has another format version")                                        \
    X(E_CORRUPT, -5, "the store is damaged")                                                       \
    X(E_PERMISSION, -6, "permission denied")                                                       \
    X(E_READ_ONLY_MOUNT, -7, "the store is on a read-only mount, where reader slots do not work")  \
    X(E_FORKED, -8, "the store was opened before fork; open it again in the child")                \
    X(E_READERS_FULL, -9,                                                                          \
      "no free reader slot in the store; `realmctl readers` names the holders")                    \
    X(E_PID_COLLISION, -10,                                                                        \
      "a process with our pid, in another PID namespace, has our reader slot")                     \
    X(E_NOT_READY, -11, "the store has no complete copy of this source yet")                       \
    X(E_IO, -12, "input/output error")                                                             \
    X(E_BUSY, -13, "snapshots are still open")                                                     \
    X(E_MAP_RESIZED, -14, "the store grew beyond this reader's map; end all snapshots, retry")     \
    X(E_UNSUPPORTED, -15, "not supported here")                                                    \
    X(E_OVERTAKEN, -16, "the snapshot outlived the retention time; begin another one")             \
    X(E_TOO_SMALL, -17, "the buffer is too small for the answer")                                  \
    X(E_NOT_FOUND, -100, "not found")                                                              \
    X(E_CONFLICT, -101, "already exists")                                                          \
    X(E_NOT_EMPTY, -102, "not empty")                                                              \
    X(E_TOO_LARGE, -103, "too large")                                                              \
    X(E_PROTOCOL, -104, "the peer broke the protocol")                                             \
    X(E_LOCKED, -105, "locked by another process")                                                 \
    X(E_NO_SPACE, -106, "no space left")                                                           \
    X(E_NETWORK, -107, "network failure")                                                          \
    X(E_TIMEOUT, -108, "timed out")                                                                \
    X(E_UNAUTHORIZED, -109, "not authorised")                                                      \
    X(E_CONFIG, -110, "bad configuration")                                                         \
    X(E_CANCELED, -111, "canceled")                                                                \
    X(E_EXISTS_ELSEWHERE, -112, "belongs to another control plane")                                \
    X(E_MISSING_REFERENCE, -113, "refers to something that does not exist")                        \
    X(E_TOO_OLD, -114, "older than the retained history")                                          \
    X(E_RESYNC, -115, "a new snapshot is needed")                                                  \
    X(E_REFUSED, -116, "refused: it would take too much away")                                     \
    X(E_TOO_MANY, -117, "too many at once")

enum error_code {
#define X(name, number, text) name = (number),
    ERROR_TABLE(X)
#undef X
};

struct error {
    int code;          /* 0 or one of the table */
    const char *field; /* borrowed, static: which input field is at fault, or NULL */
    char message[512]; /* complete sentence part without final stop; never holds a secret */
};

#define ERROR_INIT                                                                                 \
    {                                                                                              \
        0, NULL,                                                                                   \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }

/* Text of a code; "unknown error" for a number outside the table. Never NULL, static. */
const char *error_text(int code);

/* The functions behind the macros below. A NULL format takes the table's text. */
void error_write(struct error *err, int code, const char *field, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void error_write_errno(struct error *err, int errnum, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* error_set(err, code, format, ...) fills *err (may be NULL) and gives the code, so that
 * `return error_set(...)` reads well. A macro, so that whoever reads or analyses the caller sees
 * that its result is the code it was given, and not 0. */
#define error_set(err, code, ...) error_set_field(err, code, NULL, __VA_ARGS__)

/* The same, naming the input field at fault (a string literal). */
#define error_set_field(err, code, field, ...)                                                     \
    __extension__({                                                                                \
        const int error_code_ = (code);                                                            \
        error_write((err), error_code_, (field), __VA_ARGS__);                                     \
        error_code_;                                                                               \
    })

/* Translates an errno value to a code, never 0: EACCES, EPERM -> E_PERMISSION, ENOENT ->
 * E_NOT_FOUND, ENOMEM -> E_NO_MEMORY, ENOSPC, EDQUOT -> E_NO_SPACE, EROFS -> E_READ_ONLY_MOUNT,
 * else E_IO. */
int error_from_errno(int errnum);

/* error_set_errno(err, errnum, format, ...): the code from errnum, and ": strerror" after the
 * text. */
#define error_set_errno(err, errnum, ...)                                                          \
    __extension__({                                                                                \
        const int error_errnum_ = (errnum);                                                        \
        const int error_code_ = error_from_errno(error_errnum_);                                   \
        error_write_errno((err), error_errnum_, __VA_ARGS__);                                      \
        if (error_code_ == 0)                                                                      \
            __builtin_unreachable();                                                               \
        error_code_;                                                                               \
    })

/* Puts "context: " in front of the message; returns err->code (E_INVALID where err is NULL). */
int error_context(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
