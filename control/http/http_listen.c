/* http_listen.c - addresses and sockets: "address:port" to a listening socket and back to a URL. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control/http/http_internal.h"

enum { LISTEN_BACKLOG = 4096, PORT_MAX = 65535 };

struct host_port {
    char host[NI_MAXHOST];
    char port[8];
};

/* getaddrinfo() would take 65537 for 1. */
static bool is_port(const char *text)
{
    size_t length = strlen(text);

    return length > 0 && length < 6 && strspn(text, "0123456789") == length &&
           strtoul(text, NULL, 10) <= PORT_MAX;
}

/* "127.0.0.1:8080", "[::1]:8080", "localhost:8080". */
static bool split_address(const char *address, struct host_port *ret)
{
    const char *colon = strrchr(address, ':');
    const char *host = address;
    size_t size;

    if (colon == NULL || colon == address || !is_port(colon + 1))
        return false;
    size = (size_t)(colon - address);
    if (host[0] == '[') {
        if (colon[-1] != ']')
            return false;
        host++;
        size -= 2;
    } else if (memchr(host, ':', size) != NULL) {
        return false; /* IPv6 needs its brackets: which colon ends the host? */
    }
    if (size == 0 || size >= sizeof(ret->host))
        return false;
    memcpy(ret->host, host, size);
    ret->host[size] = 0;
    memcpy(ret->port, colon + 1, strlen(colon + 1) + 1);
    return true;
}

static int resolve(const char *address, struct addrinfo **ret, struct error *err)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct host_port parts;
    int rc;

    if (!split_address(address, &parts))
        return error_set(err, E_CONFIG, "'%s' is not ADDRESS:PORT", address);
    rc = getaddrinfo(parts.host, parts.port, &hints, ret);
    if (rc != 0)
        return error_set(err, E_CONFIG, "cannot listen on '%s': %s", address, gai_strerror(rc));
    return 0;
}

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 == 127;
    return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

bool http_address_is_loopback(const char *address)
{
    struct error ignored = ERROR_INIT; /* http_listen() reports the same */
    struct addrinfo *found;
    bool loopback;

    if (resolve(address, &found, &ignored) != 0)
        return true;
    loopback = is_loopback(found->ai_addr);
    freeaddrinfo(found);
    return loopback;
}

/* Connections inherit the timeout. A feed always has bytes under way, its heartbeats, so that a
 * host that went without a word is found out; TCP by itself would take a quarter of an hour. On
 * a link that is down at this end the kernel fails each packet at once, and may not count. */
static int socket_setup(int fd, const struct addrinfo *address, unsigned dead_timeout_s)
{
    const unsigned dead_timeout_ms = dead_timeout_s * 1000;
    const int on = 1;

    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0)
        return -1;
    if (address->ai_family == AF_INET6 &&
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) != 0)
        return -1;
    if (setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead_timeout_ms, sizeof(dead_timeout_ms)) !=
        0)
        return -1;
    if (bind(fd, address->ai_addr, address->ai_addrlen) != 0)
        return -1;
    return listen(fd, LISTEN_BACKLOG);
}

int http_socket_open(const char *address, unsigned dead_timeout_s, int *ret_fd, int *ret_family,
                     struct error *err)
{
    struct addrinfo *found;
    int rc = resolve(address, &found, err);
    int fd;

    if (rc != 0)
        return rc;
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || socket_setup(fd, found, dead_timeout_s) != 0) {
        rc = error_set_errno(err, errno, "cannot listen on '%s'", address);
        if (fd >= 0)
            (void)close(fd); /* nothing was written */
    } else {
        *ret_fd = fd;
        *ret_family = found->ai_family;
    }
    freeaddrinfo(found);
    return rc;
}

int http_socket_url(int fd, bool tls, char ret_url[HTTP_URL_SIZE], struct error *err)
{
    struct sockaddr_storage bound = {0};
    socklen_t size = sizeof(bound);
    char host[HTTP_URL_SIZE / 2];
    char port[8];
    bool v6;

    if (getsockname(fd, (struct sockaddr *)&bound, &size) != 0)
        return error_set_errno(err, errno, "asking for the bound address");
    if (getnameinfo((struct sockaddr *)&bound, size, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return error_set(err, E_IO, "the bound address has no text form");
    v6 = bound.ss_family == AF_INET6;
    (void)snprintf(ret_url, HTTP_URL_SIZE, "%s://%s%s%s:%s", tls ? "https" : "http", v6 ? "[" : "",
                   host, v6 ? "]" : "", port);
    return 0;
}
