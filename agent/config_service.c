/* Variables that Kubernetes puts into every container of a namespace for each of its services: a
 * service `realm-agent`, or `realm-agent-metrics`, makes some with our prefix. They are nobody's
 * setting. Only names *and* values of exactly their shapes count, so that a misspelt setting stays
 * an error.
 *
 *     NAME_SERVICE_HOST=10.0.0.11            NAME_PORT=tcp://10.0.0.11:9464
 *     NAME_SERVICE_PORT=9464                 NAME_PORT_9464_TCP=tcp://10.0.0.11:9464
 *     NAME_SERVICE_PORT_METRICS=9464         NAME_PORT_9464_TCP_PROTO=tcp, _PORT=9464,
 * _ADDR=10.0.0.11
 */
#include "agent/config_internal.h"

#include <arpa/inet.h>
#include <string.h>

static bool is_number(const char *text, size_t length)
{
    return length > 0 && length <= 5 && strspn(text, "0123456789") == length && text[length] == 0;
}

static bool is_port(const char *value)
{
    return is_number(value, strlen(value));
}

static bool is_address(const char *value)
{
    unsigned char bytes[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, value, bytes) == 1 || inet_pton(AF_INET6, value, bytes) == 1;
}

static bool is_protocol(const char *value)
{
    return strcmp(value, "tcp") == 0 || strcmp(value, "udp") == 0 || strcmp(value, "sctp") == 0;
}

/* tcp://10.0.0.11:9464 */
static bool is_url(const char *value)
{
    const char *colon = strrchr(value, ':');

    return (strncmp(value, "tcp://", 6) == 0 || strncmp(value, "udp://", 6) == 0 ||
            strncmp(value, "sctp://", 7) == 0) &&
           is_port(colon + 1);
}

/* What follows "PORT_": 9464_TCP, and perhaps one more word. */
static bool is_port_variable(const char *rest, const char *value)
{
    static const struct {
        const char *name;
        bool (*is)(const char *value);
    } tails[] = {{"", is_url}, {"_PROTO", is_protocol}, {"_PORT", is_port}, {"_ADDR", is_address}};
    static const char *const protocols[] = {"_TCP", "_UDP", "_SCTP"};
    size_t digits = strspn(rest, "0123456789");

    if (digits == 0 || digits > 5)
        return false;
    rest += digits;
    for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++) {
        size_t length = strlen(protocols[i]);

        if (strncmp(rest, protocols[i], length) != 0)
            continue;
        for (size_t j = 0; j < sizeof(tails) / sizeof(tails[0]); j++) {
            if (strcmp(rest + length, tails[j].name) == 0)
                return tails[j].is(value);
        }
    }
    return false;
}

static bool is_host_tail(const char *rest, const char *value)
{
    return *rest == 0 && is_address(value);
}

static bool is_service_port_tail(const char *rest, const char *value)
{
    return (*rest == 0 || *rest == '_') && is_port(value);
}

static bool is_port_tail(const char *rest, const char *value)
{
    return *rest == '_' ? is_port_variable(rest + 1, value) : *rest == 0 && is_url(value);
}

/* Whether `word` stands at the start of the path or behind a "_", which ends the service's name,
 * with a tail and a value that belong to it. */
static bool has_word(const char *path, const char *word, const char *value,
                     bool (*is_tail)(const char *rest, const char *value))
{
    for (const char *at = strstr(path, word); at != NULL; at = strstr(at + 1, word)) {
        if ((at == path || at[-1] == '_') && is_tail(at + strlen(word), value))
            return true;
    }
    return false;
}

bool config_is_service_variable(const char *path, const char *value)
{
    return has_word(path, "SERVICE_HOST", value, is_host_tail) ||
           has_word(path, "SERVICE_PORT", value, is_service_port_tail) ||
           has_word(path, "PORT", value, is_port_tail);
}
