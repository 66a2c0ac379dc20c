/* REALM_AGENT_<PATH> variables: the paths, and how a value gets to its place.
 *
 * A path is the file's, in capitals, with "_" between its parts and an index for a list's item. An
 * index beyond the end makes the list longer, so that a configuration can come from the environment
 * alone.
 */
#include "agent/config_internal.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const char prefix[] = "REALM_AGENT_";

static int unknown(const char *name, struct error *err)
{
    return error_set(err, E_CONFIG, "environment variable %s: no such setting", name);
}

static int no_memory(const char *name, struct error *err)
{
    return error_set(err, E_NO_MEMORY, "environment variable %s: out of memory", name);
}

/* "12_REST" to 12 and "REST"; false when there is no index below the limit. `rest` may be empty. */
static bool take_index(const char *path, unsigned limit, unsigned *ret_index, const char **ret_rest)
{
    char *end;
    unsigned long index;

    if (!isdigit((unsigned char)*path))
        return false;
    index = strtoul(path, &end, 10);
    if (index >= limit || (*end != '_' && *end != 0))
        return false;
    *ret_index = (unsigned)index;
    *ret_rest = *end == '_' ? end + 1 : end;
    return true;
}

/* Makes the array long enough for `index`; new items are zero. */
static int lengthen(void **items, unsigned *count, size_t item_size, unsigned index)
{
    char *longer;

    if (index < *count)
        return 0;
    longer = reallocarray(*items, index + 1, item_size);
    if (longer == NULL)
        return E_NO_MEMORY;
    memset(longer + *count * item_size, 0, (index + 1 - *count) * item_size);
    *items = longer;
    *count = index + 1;
    return 0;
}

static int set_url(struct config_source *source, const char *rest, const char *value)
{
    unsigned index;
    const char *end;
    int rc;

    if (!take_index(rest, CONFIG_URLS_MAX, &index, &end) || *end != 0)
        return E_NOT_FOUND;
    rc = lengthen((void **)&source->urls, &source->urls_count, sizeof(*source->urls), index);
    return rc != 0 ? rc : config_set_string(&source->urls[index], value);
}

static int set_bool(const char *name, bool *at, const char *value, struct error *err)
{
    if (strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
        return error_set(err, E_CONFIG, "environment variable %s: must be true or false", name);
    *at = strcmp(value, "true") == 0;
    return 0;
}

static int set_source(struct config *config, const char *name, const char *path, const char *value,
                      struct error *err)
{
    static const char urls[] = "URLS_";
    struct config_source *source;
    const char *rest;
    unsigned index;
    int rc;

    if (!take_index(path, CONFIG_SOURCES_MAX, &index, &rest))
        return unknown(name, err);
    if (lengthen((void **)&config->sources, &config->sources_count, sizeof(*config->sources),
                 index) != 0)
        return no_memory(name, err);
    source = &config->sources[index];
    if (strcmp(rest, "ALLOW_PLAIN_HTTP") == 0)
        return set_bool(name, &source->allow_plain_http, value, err);
    if (strncmp(rest, urls, sizeof(urls) - 1) == 0)
        rc = set_url(source, rest + sizeof(urls) - 1, value);
    else
        rc = config_table_set(&config_table_source, source, rest, value);
    if (rc == E_NOT_FOUND)
        return unknown(name, err);
    return rc != 0 ? no_memory(name, err) : 0;
}

static int set_variable(struct config *config, const char *name, const char *value,
                        struct error *err)
{
    static const char sources[] = "SOURCES_";
    static const char log_path[] = "LOG_";
    const char *path = name + sizeof(prefix) - 1;
    int rc;

    if (strncmp(path, sources, sizeof(sources) - 1) == 0)
        return set_source(config, name, path + sizeof(sources) - 1, value, err);
    if (strncmp(path, log_path, sizeof(log_path) - 1) == 0)
        rc = config_table_set(&config_table_log, &config->log, path + sizeof(log_path) - 1, value);
    else
        rc = config_table_set(&config_table_top, config, path, value);
    if (rc == E_NOT_FOUND)
        return unknown(name, err);
    return rc != 0 ? no_memory(name, err) : 0;
}

int config_override(struct config *config, char *const *environment, struct error *err)
{
    for (; *environment != NULL; environment++) {
        const char *equals = strchr(*environment, '=');
        char *name;
        int rc;

        if (equals == NULL || strncmp(*environment, prefix, sizeof(prefix) - 1) != 0)
            continue;
        name = strndup(*environment, (size_t)(equals - *environment));
        if (name == NULL)
            return error_set(err, E_NO_MEMORY, NULL);
        if (config_is_service_variable(name + sizeof(prefix) - 1, equals + 1)) {
            config->service_variables++;
            rc = 0;
        } else {
            rc = set_variable(config, name, equals + 1, err);
        }
        free(name);
        if (rc != 0)
            return rc;
    }
    return 0;
}
