/* config_text.h - the settings as they are written, before their values are looked at. Shared by
 * config.c and config_yaml.c. */
#ifndef RS_CONTROL_CONFIG_TEXT_H
#define RS_CONTROL_CONFIG_TEXT_H

#include "base/error.h"

/* X(member, option, argument, help): the member's name is also the key of the file. */
#define CONTROL_CONFIG_SCALARS(X)                                                                  \
    X(data_dir, "data-dir", "DIR", "where the data is kept (/var/lib/realm-control)")              \
    X(database, "database", "URL", "a PostgreSQL database instead; not in this build")             \
    X(region, "region", "NAME", "of this control plane's realms (us)")                             \
    X(admin_token_file, "admin-token-file", "FILE",                                                \
      "holds the organisation administrator's token")                                              \
    X(tls_cert, "tls-cert", "FILE", "certificate chain, PEM; turns TLS on")                        \
    X(tls_key, "tls-key", "FILE", "its private key, PEM")                                          \
    X(client_ca, "client-ca", "FILE", "accept client certificates of this authority, PEM")         \
    X(heartbeat_ms, "heartbeat-ms", "N", "between heartbeats of a quiet feed (5000)")              \
    X(keep_versions, "keep-versions", "N", "changes kept for hosts that were away (1000000)")      \
    X(max_connections, "max-connections", "N", "of hosts, on all addresses together (20000)")      \
    X(max_strangers, "max-strangers", "N",                                                         \
      "besides, of callers not known yet (an eighth, 1024 at least)")                              \
    X(max_strangers_per_address, "max-strangers-per-address", "N",                                 \
      "of these, from one address (a quarter; loopback: all)")                                     \
    X(auth_failures_per_minute, "auth-failures-per-minute", "N",                                   \
      "of one address, before more are answered 429 (60)")                                         \
    X(max_feeds_per_token, "max-feeds-per-token", "N",                                             \
      "hosts connected with one token or certificate (three quarters of them)")                    \
    X(max_feeds_per_control_plane, "max-feeds-per-control-plane", "N",                             \
      "hosts connected of one control plane (the same)")                                           \
    X(max_hosts_per_token, "max-hosts-per-token", "N",                                             \
      "the same with those remembered for a day (20000)")                                          \
    X(max_hosts_per_control_plane, "max-hosts-per-control-plane", "N",                             \
      "the same with those remembered for a day (20000)")                                          \
    X(feed_max_mib, "feed-max-mib", "N", "memory for what single hosts are sent, MiB (256)")       \
    X(log_level, "log-level", "LEVEL", "error, warning, info or debug (info)")                     \
    X(log_format, "log-format", "FORMAT", "text or json (text)")

enum { CONTROL_CONFIG_LISTEN_MAX = 16 };

/* All owned, from malloc; NULL: not given. */
struct control_config_text {
    char **listen;
    unsigned listen_count;
#define X(member, option, argument, help) char *member;
    CONTROL_CONFIG_SCALARS(X)
#undef X
};

/* E_CONFIG with file, line and key; E_NO_MEMORY. */
int control_config_yaml_load(const char *path, struct control_config_text **ret, struct error *err);

#endif
