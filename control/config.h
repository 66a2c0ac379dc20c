/* config.h - realm-control's settings: a YAML file, overridden by command-line options.
 *
 * Both have the same names (data_dir, --data-dir) and the same values; the table in config.c holds
 * each once.
 */
#ifndef RS_CONTROL_CONFIG_H
#define RS_CONTROL_CONFIG_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"
#include "base/log.h"

struct control_config_text;

struct control_config {
    struct control_config_text *text; /* owned; what the strings below point into */
    const char *const *listen;        /* at least one */
    size_t n_listen;
    const char *data_dir;
    const char *region;
    const char *admin_token_file;
    const char *tls_cert; /* files; NULL: plain HTTP */
    const char *tls_key;
    const char *client_ca; /* NULL: no client certificates */
    uint32_t heartbeat_ms;
    uint64_t keep_versions;
    unsigned max_connections;
    unsigned max_strangers;             /* 0: a part of max_connections, as is the next */
    unsigned max_strangers_per_address; /* 0 */
    unsigned auth_failures_per_minute;
    uint64_t max_feeds_per_token;
    uint64_t max_feeds_per_control_plane;
    uint64_t max_hosts_per_token;
    uint64_t max_hosts_per_control_plane;
    unsigned feed_max_mib;
    enum log_level log_level;
    enum log_format log_format;
};

enum control_config_action {
    CONTROL_CONFIG_RUN,
    CONTROL_CONFIG_CHECK, /* --check-config: all that can be known without running */
    CONTROL_CONFIG_HELP,
    CONTROL_CONFIG_VERSION
};

/* Reads the options, and the file that --config names. E_CONFIG with a message, or E_NO_MEMORY.
 * With HELP or VERSION, *ret holds nothing. */
int control_config_read(int argc, char **argv, struct control_config *ret,
                        enum control_config_action *ret_action, struct error *err);
void control_config_finish(struct control_config *config);

void control_config_print_help(FILE *out);

#endif
