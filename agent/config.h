/* config.h - the agent's configuration: a YAML file, then the environment, then checks.
 *
 * Every scalar of the file can be overridden by REALM_AGENT_<PATH>: REALM_AGENT_STORE_DIR,
 * REALM_AGENT_LOG_LEVEL, REALM_AGENT_SOURCES_0_URLS_1. An unknown key or variable is an error, but
 * for those that Kubernetes makes of a service with our name (REALM_AGENT_PORT=tcp://...);
 * messages name the file with the line and the key, or the variable. Tokens are read here and never
 * printed.
 */
#ifndef RS_AGENT_CONFIG_H
#define RS_AGENT_CONFIG_H

#include <stdbool.h>

#include "agent/config_table.h"
#include "base/error.h"
#include "base/log.h"
#include "base/tls_files.h"
#include "base/uuid.h"

enum {
    CONFIG_SOURCES_MAX = 32, /* as many as the store's status page has room for */
    CONFIG_URLS_MAX = 16,    /* of one source */
    CONFIG_HOST_NAME_MAX = 255,
    CONFIG_RETENTION_MIN_MS = 100,   /* shorter, and a busy host's readers would be overtaken */
    CONFIG_RETENTION_MAX_MS = 10000, /* the file grows by what is written in this time */
    CONFIG_GUARD_OFF = 100           /* no snapshot can take more away */
};

/* All strings are owned; NULL: not given. Those of the table (config_table.h) are as written. */
struct config_source {
    CONFIG_SOURCE_SCALARS(CONFIG_MEMBER)
    char **urls;
    unsigned urls_count;
    bool allow_plain_http;
    char *token;          /* contents of token_file; secret */
    bool token_is_public; /* the file can be read by everyone */
    struct tls_warning tls_warning;
};

struct config_log {
    CONFIG_LOG_SCALARS(CONFIG_MEMBER)
    enum log_level level;
    enum log_format format;
};

struct config {
    CONFIG_SCALARS(CONFIG_MEMBER)
    struct uuid control_plane_id;
    unsigned retention_ms;  /* 0: readers need slots */
    unsigned guard_percent; /* of a scope's consumers that a snapshot may drop unexplained */
    struct config_source *sources;
    unsigned sources_count;
    struct config_log log;
    unsigned service_variables; /* of the environment that were Kubernetes's: passed over */
};

/* E_CONFIG (the message says what, where and what to do), E_NOT_FOUND, E_PERMISSION, E_IO,
 * E_NO_MEMORY. `environment` is environ, or a test's own. */
int config_load(const char *path, char *const *environment, struct config **ret, struct error *err);
void config_free(struct config *config); /* NULL allowed; wipes the tokens */

/* True when a stream that was started with `a` needs no restart for `b`. */
bool config_source_equal(const struct config_source *a, const struct config_source *b);
/* 0 or E_NO_MEMORY; *ret is free of `source`. */
int config_source_copy(const struct config_source *source, struct config_source *ret);
void config_source_finish(struct config_source *source); /* frees the members */

#endif
