/* Defaults and checks: what a configuration must be before anything is started with it.
 *
 * Each message names the key, says what is wrong with it and what would be right; config_load()
 * puts the file's name in front.
 */
#include "agent/config_internal.h"

#include <assert.h>
#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/listen.h"
#include "base/clock.h"
#include "base/text_file.h"
#include "base/token_file.h"
#include "base/wipe.h"
#include "sync/url.h"

static int need(const char *key, const char *value, struct error *err)
{
    if (value != NULL)
        return 0;
    return error_set(err, E_CONFIG, "%s is missing", key);
}

int config_check_text(const char *key, enum grammar_kind kind, const char *text, struct error *err)
{
    struct grammar_fault fault;
    char why[GRAMMAR_TEXT_SIZE];

    if (grammar_check(kind, GRAMMAR_MADE, text, strlen(text), &fault) == GRAMMAR_GOOD)
        return 0;
    return error_set(err, E_CONFIG, "%s %s", key, grammar_explain(kind, &fault, why));
}

static int complete_host_name(struct config *config, struct error *err)
{
    char name[CONFIG_HOST_NAME_MAX + 1] = "";

    if (config->host_name == NULL && gethostname(name, sizeof(name) - 1) != 0)
        return error_set(err, E_CONFIG, "host_name is missing and this host has no name");
    if (config->host_name == NULL && config_set_string(&config->host_name, name) != 0)
        return error_set(err, E_NO_MEMORY, NULL);
    return config_check_text("host_name", GRAMMAR_HOST, config->host_name, err);
}

static int complete_log(struct config_log *log, struct error *err)
{
    if (config_table_complete(&config_table_log, log) != 0)
        return error_set(err, E_NO_MEMORY, NULL);
    if (!log_level_parse(log->level_name, &log->level))
        return error_set(err, E_CONFIG, "log.level: \"%s\" is not error, warning, info or debug",
                         log->level_name);
    if (!log_format_parse(log->format_name, &log->format))
        return error_set(err, E_CONFIG, "log.format: \"%s\" is not json or text", log->format_name);
    return 0;
}

/* ---- one source ---- */

static int check_region(const char *region, struct error *err)
{
    if (need("region", region, err) != 0)
        return err->code;
    return config_check_text("region", GRAMMAR_REGION, region, err);
}

static int check_urls(const struct config_source *source, struct error *err)
{
    if (source->urls_count == 0)
        return error_set(err, E_CONFIG, "urls is missing: at least one is needed");
    for (unsigned i = 0; i < source->urls_count; i++) {
        if (source->urls[i] == NULL || source->urls[i][0] == 0)
            return error_set(err, E_CONFIG, "urls[%u] is empty", i);
        if (url_check(source->urls[i], source->allow_plain_http, err) != 0)
            return error_context(err, "urls[%u]", i);
    }
    return 0;
}

/* ---- files ---- */

enum { PEM_MAX_BYTES = 1024 * 1024 };

static int read_pem(const char *key, const char *path, struct tls_file *ret, struct error *err)
{
    char *text = NULL;
    int rc;

    *ret = (struct tls_file){path, NULL, 0};
    if (path == NULL)
        return 0;
    rc = text_file_read(path, PEM_MAX_BYTES, &text, &ret->size, err);
    if (rc != 0)
        return error_context(err, "%s", key);
    ret->pem = text;
    return 0;
}

static void forget_pem(struct tls_file *file)
{
    wipe_free((char *)(uintptr_t)file->pem); /* ours, and perhaps a private key */
}

/* What TLS would find wrong at the first connection. */
static int check_tls_files(struct config_source *source, struct error *err)
{
    struct tls_file cert;
    struct tls_file key = {NULL, NULL, 0};
    struct tls_file authorities = {NULL, NULL, 0};
    struct tls_warning warning;
    int rc = read_pem("client_cert_file", source->client_cert_file, &cert, err);

    if (rc == 0)
        rc = read_pem("client_key_file", source->client_key_file, &key, err);
    if (rc == 0)
        rc = read_pem("ca_file", source->ca_file, &authorities, err);
    if (rc == 0 && authorities.pem != NULL) {
        rc = tls_check_authorities(&authorities, clock_wall_ms(), &source->tls_warning, err);
        if (rc != 0)
            rc = error_context(err, "ca_file");
    }
    if (rc == 0 && cert.pem != NULL) {
        rc = tls_check_pair(&cert, &key, TLS_CLIENT, clock_wall_ms(), &warning, err);
        if (rc != 0)
            rc = error_context(err, "client_cert_file, client_key_file");
        else if (warning.text[0] != 0)
            source->tls_warning = warning;
    }
    forget_pem(&cert);
    forget_pem(&key);
    forget_pem(&authorities);
    return rc;
}

static int check_credentials(struct config_source *source, struct error *err)
{
    bool has_cert = source->client_cert_file != NULL;
    bool has_key = source->client_key_file != NULL;

    if (has_cert != has_key)
        return error_set(err, E_CONFIG, "client_cert_file and client_key_file go together");
    if (source->token_file == NULL && !has_cert)
        return error_set(err, E_CONFIG,
                         "token_file is missing (or client_cert_file and client_key_file)");
    if (source->token_file != NULL && has_cert)
        return error_set(err, E_CONFIG,
                         "token_file and client_cert_file are both given; one is needed");
    return check_tls_files(source, err);
}

static int read_token(struct config_source *source, struct error *err)
{
    mode_t mode = 0;

    if (source->token_file == NULL)
        return 0;
    if (token_file_read(source->token_file, &source->token, &mode, err) != 0)
        return error_context(err, "token_file");
    source->token_is_public = (mode & S_IRWXO) != 0;
    return 0;
}

static int complete_source(struct config_source *source, struct error *err)
{
    if (config_table_complete(&config_table_source, source) != 0)
        return error_set(err, E_NO_MEMORY, NULL);
    if (check_region(source->region, err) != 0 || check_urls(source, err) != 0 ||
        check_credentials(source, err) != 0 || read_token(source, err) != 0)
        return err->code;
    return 0;
}

static int check_duplicates(const struct config *config, struct error *err)
{
    for (unsigned i = 0; i < config->sources_count; i++) {
        assert(config->sources[i].region != NULL); /* check_region() saw to it */
        for (unsigned j = 0; j < i; j++) {
            if (strcmp(config->sources[i].region, config->sources[j].region) == 0)
                return error_set(err, E_CONFIG, "sources[%u]: region \"%s\" is that of sources[%u]",
                                 i, config->sources[i].region, j);
        }
    }
    return 0;
}

static int complete_sources(struct config *config, struct error *err)
{
    if (config->sources_count == 0)
        return error_set(err, E_CONFIG, "sources is missing: at least one is needed");
    for (unsigned i = 0; i < config->sources_count; i++) {
        if (complete_source(&config->sources[i], err) != 0) {
            (void)error_context(err, "sources[%u]", i);
            err->code = err->code == E_NO_MEMORY ? E_NO_MEMORY : E_CONFIG;
            return err->code;
        }
    }
    return check_duplicates(config, err);
}

static int complete_control_plane(struct config *config, struct error *err)
{
    if (need("control_plane_id", config->control_plane, err) != 0)
        return err->code;
    if (!uuid_parse(config->control_plane, &config->control_plane_id) ||
        uuid_is_nil(&config->control_plane_id))
        return error_set(err, E_CONFIG, "control_plane_id: \"%s\" is not a UUID",
                         config->control_plane);
    return 0;
}

static bool read_number(const char *text, unsigned long max, unsigned long *ret)
{
    char *end;

    *ret = strtoul(text, &end, 10);
    return isdigit((unsigned char)text[0]) && *end == 0 && *ret <= max;
}

static int complete_guard(struct config *config, struct error *err)
{
    unsigned long value;

    if (!read_number(config->guard, CONFIG_GUARD_OFF, &value))
        return error_set(err, E_CONFIG, "guard_percent: \"%s\" is not 0 to %d (off)", config->guard,
                         CONFIG_GUARD_OFF);
    config->guard_percent = (unsigned)value;
    return 0;
}

static int complete_retention(struct config *config, struct error *err)
{
    unsigned long value;

    if (!read_number(config->retention, CONFIG_RETENTION_MAX_MS, &value) ||
        (value != 0 && value < CONFIG_RETENTION_MIN_MS))
        return error_set(err, E_CONFIG, "retention_ms: \"%s\" is not 0 (off) or %d to %d",
                         config->retention, CONFIG_RETENTION_MIN_MS, CONFIG_RETENTION_MAX_MS);
    config->retention_ms = (unsigned)value;
    return 0;
}

int config_complete(struct config *config, struct error *err)
{
    if (config_table_complete(&config_table_top, config) != 0)
        return error_set(err, E_NO_MEMORY, NULL);
    if (complete_control_plane(config, err) != 0 || complete_host_name(config, err) != 0 ||
        complete_log(&config->log, err) != 0 || complete_retention(config, err) != 0 ||
        complete_guard(config, err) != 0 || listen_check(config->listen, err) != 0)
        return err->code;
    return complete_sources(config, err);
}
