/* The steps of a configuration in order, and the copies and comparisons that a reload needs. */
#include "agent/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/config_internal.h"

/* Far above any real one: 32 sources of 16 URLs. */
enum { CONFIG_FILE_MAX_BYTES = 1024 * 1024 };

static int read_all(int fd, char *text, size_t max_bytes, size_t *ret_size)
{
    size_t used = 0;

    while (used <= max_bytes) {
        ssize_t count = read(fd, text + used, max_bytes + 1 - used);

        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return errno;
        if (count == 0)
            break;
        used += (size_t)count;
    }
    *ret_size = used;
    return 0;
}

int config_read_file(const char *path, size_t max_bytes, char **ret, size_t *ret_size,
                     struct error *err)
{
    char *text = malloc(max_bytes + 2);
    int fd;
    int rc;

    if (text == NULL)
        return error_set(err, E_NO_MEMORY, "no memory to read %s", path);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        rc = error_set_errno(err, errno, "cannot open %s", path);
        free(text);
        return rc;
    }
    rc = read_all(fd, text, max_bytes, ret_size);
    (void)close(fd); /* it was only read */
    if (rc != 0)
        rc = error_set_errno(err, rc, "cannot read %s", path);
    else if (*ret_size > max_bytes)
        rc = error_set(err, E_CONFIG, "%s is larger than %zu bytes", path, max_bytes);
    if (rc != 0) {
        explicit_bzero(text, max_bytes + 2);
        free(text);
        return rc;
    }
    text[*ret_size] = 0;
    *ret = text;
    return 0;
}

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
    int rc = config_read_file(path, CONFIG_FILE_MAX_BYTES, &text, &size, err);

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

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

bool config_source_equal(const struct config_source *a, const struct config_source *b)
{
    if (!same_text(a->region, b->region) || !same_text(a->token, b->token) ||
        !same_text(a->client_cert_file, b->client_cert_file) ||
        !same_text(a->client_key_file, b->client_key_file) || !same_text(a->ca_file, b->ca_file) ||
        a->urls_count != b->urls_count)
        return false;
    for (unsigned i = 0; i < a->urls_count; i++) {
        if (!same_text(a->urls[i], b->urls[i]))
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
        rc = copy_text(source->region, &copy.region);
    if (rc == 0)
        rc = copy_text(source->token_file, &copy.token_file);
    if (rc == 0)
        rc = copy_text(source->client_cert_file, &copy.client_cert_file);
    if (rc == 0)
        rc = copy_text(source->client_key_file, &copy.client_key_file);
    if (rc == 0)
        rc = copy_text(source->ca_file, &copy.ca_file);
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
    free(source->region);
    free(source->token_file);
    free(source->client_cert_file);
    free(source->client_key_file);
    free(source->ca_file);
    if (source->token != NULL)
        explicit_bzero(source->token, strlen(source->token));
    free(source->token);
    *source = (struct config_source){.region = NULL};
}

void config_free(struct config *config)
{
    if (config == NULL)
        return;
    for (unsigned i = 0; i < config->sources_count; i++)
        config_source_finish(&config->sources[i]);
    free(config->sources);
    free(config->store_dir);
    free(config->reader_group);
    free(config->control_plane);
    free(config->host_name);
    free(config->listen);
    free(config->retention);
    free(config->guard);
    free(config->log.level_name);
    free(config->log.format_name);
    free(config);
}
