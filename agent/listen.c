#include "agent/listen.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>

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

int listen_check(const char *text, struct error *err)
{
    struct sockaddr_storage address;

    return *text == 0 ? 0 : listen_parse(text, &address, err);
}
