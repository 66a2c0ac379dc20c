#include "tests/lib/raw_client.h"

#include "tests/lib/malformed.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/un.h>

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    abort();
}

static int dial(const struct sockaddr *address, socklen_t size)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    must(fd >= 0, "socket");
    must(connect(fd, address, size) == 0, "connect");
    return fd;
}

int raw_dial(uint16_t port)
{
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    return dial((const struct sockaddr *)&address, sizeof(address));
}

int raw_dial_unix(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    must((size_t)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path) <
             sizeof(address.sun_path),
         path);
    return dial((const struct sockaddr *)&address, sizeof(address));
}

uint16_t raw_port_of(const char *url)
{
    return (uint16_t)strtoul(strrchr(url, ':') + 1, NULL, 10);
}

bool raw_send(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);

        if (sent <= 0)
            return false;
        bytes += sent;
        size -= (size_t)sent;
    }
    return true;
}

void raw_say(int fd, const char *text)
{
    must(raw_send(fd, text, strlen(text)), "send");
}

char *raw_hear(int fd, const char *until, bool *ret_reset)
{
    char *text = calloc(1, RAW_ANSWER_MAX);
    size_t used = 0;
    ssize_t count = 0;

    must(text != NULL, "calloc");
    while (until == NULL || strstr(text, until) == NULL) {
        struct pollfd ready = {fd, POLLIN, 0};

        must(poll(&ready, 1, RAW_PATIENCE_MS) == 1, "no answer");
        count = recv(fd, text + used, RAW_ANSWER_MAX - 1 - used, 0);
        if (count <= 0)
            break;
        used += (size_t)count;
    }
    if (ret_reset != NULL)
        *ret_reset = count < 0;
    return text;
}

/* libmicrohttpd sends the head of its own 400 for a bad length twice. */
static bool says_only_400(const char *answer)
{
    static const char start[] = "HTTP/1.1 400";

    if (strncmp(answer, start, strlen(start)) != 0)
        return false;
    while ((answer = strstr(answer + 1, "HTTP/1.1 ")) != NULL) {
        if (strncmp(answer, start, strlen(start)) != 0)
            return false;
    }
    return true;
}

char *raw_find_taken(int (*dial_server)(const void *context), const void *context)
{
    for (size_t i = 0; i < MALFORMED_REQUESTS; i++) {
        const struct malformed *row = &malformed_requests[i];
        int fd = dial_server(context);
        char *answer;
        char *text = NULL;

        must(raw_send(fd, row->bytes, row->size), row->name);
        (void)raw_send(fd, malformed_follower, strlen(malformed_follower)); /* it may be closed */
        answer = raw_hear(fd, NULL, NULL);
        if (!says_only_400(answer))
            must(asprintf(&text, "%s: '%s'", row->name, answer) >= 0, "asprintf");
        free(answer);
        (void)close(fd);
        if (text != NULL)
            return text;
    }
    return NULL;
}
