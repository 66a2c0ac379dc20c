/* listen.c - see listen.h. */
#include "agent/listen.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>

enum { BACKLOG = 128 };

static bool parse_port(const char *text, in_port_t *ret)
{
    char *end;
    unsigned long port;

    if (!isdigit((unsigned char)*text))
        return false;
    port = strtoul(text, &end, 10);
    if (*end != 0 || port > 65535)
        return false;
    *ret = htons((uint16_t)port);
    return true;
}

static bool parse_v4(const char *host, in_port_t port, struct sockaddr_storage *ret)
{
    struct sockaddr_in *address = (struct sockaddr_in *)(void *)ret;

    memset(ret, 0, sizeof(*ret));
    address->sin_family = AF_INET;
    address->sin_port = port;
    return inet_pton(AF_INET, host, &address->sin_addr) == 1;
}

static bool parse_v6(char *host, in_port_t port, struct sockaddr_storage *ret)
{
    struct sockaddr_in6 *address = (struct sockaddr_in6 *)(void *)ret;
    size_t length = strlen(host);

    if (length < 2 || host[0] != '[' || host[length - 1] != ']')
        return false;
    host[length - 1] = 0;
    memset(ret, 0, sizeof(*ret));
    address->sin6_family = AF_INET6;
    address->sin6_port = port;
    return inet_pton(AF_INET6, host + 1, &address->sin6_addr) == 1;
}

int listen_parse(const char *text, struct sockaddr_storage *ret, struct error *err)
{
    char host[INET6_ADDRSTRLEN + 2];
    const char *colon = strrchr(text, ':');
    in_port_t port;

    if (colon != NULL && (size_t)(colon - text) < sizeof(host) && parse_port(colon + 1, &port)) {
        memcpy(host, text, (size_t)(colon - text));
        host[colon - text] = 0;
        if (parse_v4(host, port, ret) || parse_v6(host, port, ret))
            return 0;
    }
    return error_set(err, E_CONFIG,
                     "listen: \"%s\" is not ADDRESS:PORT (127.0.0.1:9464, [::1]:9464)", text);
}

static int setup(int fd, const struct sockaddr_storage *address)
{
    const int on = 1;
    const socklen_t size =
        address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);

    /* Not SO_REUSEPORT: two agents would share the port, and each answer for half of the probes. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        (address->ss_family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) != 0) ||
        bind(fd, (const struct sockaddr *)address, size) != 0)
        return -1;
    return listen(fd, BACKLOG);
}

int listen_open(const char *text, int *ret_fd, int *ret_family, struct error *err)
{
    struct sockaddr_storage address;
    int fd;

    if (listen_parse(text, &address, err) != 0)
        return err->code;
    fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || setup(fd, &address) != 0) {
        (void)error_set_errno(err, errno, "listen: cannot listen on %s", text);
        if (fd >= 0)
            (void)close(fd); /* it was never used */
        return err->code;
    }
    *ret_fd = fd;
    *ret_family = address.ss_family;
    return 0;
}

int listen_check(const char *text, struct error *err)
{
    struct sockaddr_storage address;

    return *text == 0 ? 0 : listen_parse(text, &address, err);
}
