/* config_table.h - every scalar setting of the agent, once.
 *
 *     X(member, key, fallback, flags)
 *
 * `member` is the owned string in struct config, config_log or config_source, as it was written,
 * `key` its name in the file; in the environment that is REALM_AGENT_ and the path in capitals.
 * From these lines come the members, the file's schema, the variables, the defaults, and how
 * everything is copied, compared and freed. What a value has to be is in config_check.c.
 */
#ifndef RS_AGENT_CONFIG_TABLE_H
#define RS_AGENT_CONFIG_TABLE_H

#include <stdbool.h>
#include <stddef.h>

enum config_flags {
    CONFIG_EMPTY_COUNTS = 1 << 0, /* "" says something; else it is "not given" */
    CONFIG_NOT_COMPARED = 1 << 1  /* a stream needs no restart when this alone is another one */
};

#define CONFIG_SCALARS(X)                                                                          \
    X(store_dir, "store_dir", "/var/lib/realm-agent", 0)                                           \
    X(reader_group, "reader_group", NULL, 0)                                                       \
    X(control_plane, "control_plane_id", NULL, 0)                                                  \
    X(host_name, "host_name", NULL, 0)                                                             \
    X(listen, "listen", "127.0.0.1:9464", CONFIG_EMPTY_COUNTS) /* "": no status server */          \
    X(retention, "retention_ms", "1000", 0)                                                        \
    X(guard, "guard_percent", "30", 0)

#define CONFIG_LOG_SCALARS(X)                                                                      \
    X(level_name, "level", "info", 0)                                                              \
    X(format_name, "format", "json", 0)

/* Of token_file its content is compared. */
#define CONFIG_SOURCE_SCALARS(X)                                                                   \
    X(region, "region", NULL, 0)                                                                   \
    X(token_file, "token_file", NULL, CONFIG_NOT_COMPARED)                                         \
    X(client_cert_file, "client_cert_file", NULL, 0)                                               \
    X(client_key_file, "client_key_file", NULL, 0)                                                 \
    X(ca_file, "ca_file", NULL, 0)

#define CONFIG_MEMBER(member, key, fallback, flags) char *member;

struct config_setting {
    const char *key;
    size_t offset; /* of the char * in its struct */
    const char *fallback;
    unsigned flags;
};

struct config_table {
    const struct config_setting *settings;
    size_t count;
};

extern const struct config_table config_table_top;    /* in struct config */
extern const struct config_table config_table_log;    /* in struct config_log */
extern const struct config_table config_table_source; /* in struct config_source */

/* The setting's string in `base`, the table's struct. */
char **config_at(const struct config_setting *setting, void *base);
const char *config_text(const struct config_setting *setting, const void *base);

/* Drops what is empty, then fills in the fallbacks. 0 or E_NO_MEMORY. */
int config_table_complete(const struct config_table *table, void *base);
/* E_NOT_FOUND: no setting is called so (in capitals). E_NO_MEMORY. */
int config_table_set(const struct config_table *table, void *base, const char *capitals,
                     const char *value);
/* Copies into members that are NULL. 0 or E_NO_MEMORY. */
int config_table_copy(const struct config_table *table, const void *from, void *to);
/* In all but those that are not compared. */
bool config_table_equal(const struct config_table *table, const void *a, const void *b);
void config_table_free(const struct config_table *table, void *base);

#endif
