/* The steps of a configuration in order, and the copies and comparisons that a reload needs. */
#include "agent/config.h"

#include <stdlib.h>
#include <string.h>

#include "agent/config_internal.h"
#include "base/text_file.h"
#include "base/token_file.h"

/* Far above any real one: 32 sources of 16 URLs. */
enum { CONFIG_FILE_MAX_BYTES = 1024 * 1024 };

int config_set_string(char **at, const char *value)
{
    char *copy = strdup(value);

    if (copy == NULL)
        return E_NO_MEMORY;
    free(*at);
    *at = copy;
    return 0;
}

int config_load(const char *path, char *const *environment, struct config **ret, struct error *err)
{
    struct config *config = NULL;
    char *text;
    size_t size;
    int rc = text_file_read(path, CONFIG_FILE_MAX_BYTES, &text, &size, err);

    if (rc != 0)
        return rc;
    rc = config_parse(path, text, size, &config, err);
    free(text);
    if (rc != 0)
        return rc;
    rc = config_override(config, environment, err);
    if (rc == 0) {
        rc = config_complete(config, err);
        if (rc != 0)
            rc = error_context(err, "%s", path);
    }
    if (rc != 0) {
        config_free(config);
        return rc;
    }
    *ret = config;
    return 0;
}

/* ---- sources ---- */

bool config_source_equal(const struct config_source *a, const struct config_source *b)
{
    if (!config_table_equal(&config_table_source, a, b) || !config_same_text(a->token, b->token) ||
        a->urls_count != b->urls_count)
        return false;
    for (unsigned i = 0; i < a->urls_count; i++) {
        if (!config_same_text(a->urls[i], b->urls[i]))
            return false;
    }
    return true;
}

static int copy_text(const char *text, char **ret)
{
    *ret = NULL;
    return text != NULL ? config_set_string(ret, text) : 0;
}

static int copy_urls(const struct config_source *source, struct config_source *ret)
{
    int rc = 0;

    ret->urls = calloc(source->urls_count + 1, sizeof(*ret->urls));
    if (ret->urls == NULL)
        return E_NO_MEMORY;
    for (unsigned i = 0; i < source->urls_count && rc == 0; i++, ret->urls_count++)
        rc = copy_text(source->urls[i], &ret->urls[i]);
    return rc;
}

int config_source_copy(const struct config_source *source, struct config_source *ret)
{
    struct config_source copy = {
        .allow_plain_http = source->allow_plain_http,
        .token_is_public = source->token_is_public,
        .tls_warning = source->tls_warning,
    };
    int rc = copy_urls(source, &copy);

    if (rc == 0)
        rc = config_table_copy(&config_table_source, source, &copy);
    if (rc == 0)
        rc = copy_text(source->token, &copy.token);
    if (rc != 0) {
        config_source_finish(&copy);
        return rc;
    }
    *ret = copy;
    return 0;
}

void config_source_finish(struct config_source *source)
{
    for (unsigned i = 0; i < source->urls_count; i++)
        free(source->urls[i]);
    free(source->urls);
    config_table_free(&config_table_source, source);
    token_file_forget(source->token);
    *source = (struct config_source){.region = NULL};
}

void config_free(struct config *config)
{
    if (config == NULL)
        return;
    for (unsigned i = 0; i < config->sources_count; i++)
        config_source_finish(&config->sources[i]);
    free(config->sources);
    config_table_free(&config_table_top, config);
    config_table_free(&config_table_log, &config->log);
    free(config);
}
