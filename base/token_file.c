/* token_file.c - see token_file.h. */
#include "base/token_file.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/grammar.h"
#include "base/text_file.h"

/* The longest token, and room to see that something follows it. */
enum { TOKEN_FILE_MAX = 8192 };

/* What may stand behind the token, as an editor or `echo` leaves it. */
static bool is_trailer(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static size_t token_file_trim(const char *text, size_t size)
{
    while (size > 0 && is_trailer(text[size - 1]))
        size--;
    return size;
}

static const char *describe(unsigned char c)
{
    switch (c) {
    case 0:
        return "a NUL";
    case '\n':
        return "a second line";
    case '\r':
        return "a carriage return";
    case ' ':
    case '\t':
        return "a blank";
    default:
        return "a character that no token has";
    }
}

static int check(const char *path, const char *text, size_t size, struct error *err)
{
    struct grammar_fault fault;

    switch (grammar_check(GRAMMAR_TOKEN, GRAMMAR_MADE, text, size, &fault)) {
    case GRAMMAR_GOOD:
        return 0;
    case GRAMMAR_MIN_LENGTH:
        return error_set(err, E_CONFIG, "%s is empty: it should hold one token", path);
    case GRAMMAR_MAX_LENGTH:
        return error_set(err, E_CONFIG, "%s is too long for one token", path);
    default:
        return error_set(
            err, E_CONFIG,
            "%s holds something else than one token: %s at byte %zu (one line of printable ASCII "
            "characters without blanks is expected)",
            path, describe((unsigned char)text[fault.at]), fault.at + 1);
    }
}

static int token_file_read_all(int fd, const char *path, char *text, size_t *ret_size,
                               struct error *err)
{
    size_t used = 0;

    while (used < TOKEN_FILE_MAX) {
        ssize_t got = read(fd, text + used, TOKEN_FILE_MAX - used);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_set_errno(err, errno, "cannot read %s", path);
        if (got == 0)
            break;
        used += (size_t)got;
    }
    *ret_size = used;
    return 0;
}

static int read_open(int fd, const char *path, char *text, mode_t *ret_mode, struct error *err)
{
    struct stat facts;
    size_t size = 0;
    int rc;

    if (fstat(fd, &facts) != 0)
        return error_set_errno(err, errno, "cannot read %s", path);
    rc = token_file_read_all(fd, path, text, &size, err);
    if (rc != 0)
        return rc;
    size = token_file_trim(text, size);
    rc = check(path, text, size, err);
    if (rc != 0)
        return rc;
    text[size] = 0;
    if (ret_mode != NULL)
        *ret_mode = facts.st_mode & 07777;
    return 0;
}

int token_file_read(const char *path, char **ret, mode_t *ret_mode, struct error *err)
{
    char text[TOKEN_FILE_MAX + 1] = "";
    char *token = NULL;
    int fd = -1;
    int rc = text_file_open(path, &fd, err);

    if (rc != 0)
        return rc;
    rc = read_open(fd, path, text, ret_mode, err);
    (void)close(fd); /* it was only read */
    if (rc == 0) {
        token = strdup(text);
        rc = token != NULL ? 0 : error_set(err, E_NO_MEMORY, "no memory to read %s", path);
    }
    explicit_bzero(text, sizeof(text));
    if (rc == 0)
        *ret = token;
    return rc;
}

void token_file_forget(char *token)
{
    if (token != NULL)
        explicit_bzero(token, strlen(token));
    free(token);
}
