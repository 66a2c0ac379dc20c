/* config_internal.h - the steps of config_load(), each in a file of its own. */
#ifndef RS_AGENT_CONFIG_INTERNAL_H
#define RS_AGENT_CONFIG_INTERNAL_H

#include "agent/config.h"
#include "base/grammar.h"

/* config_yaml.c: the file's text to a struct; nothing is checked but names and types. */
int config_parse(const char *path, const char *text, size_t size, struct config **ret,
                 struct error *err);

/* config_env.c: REALM_AGENT_* variables over it. */
int config_override(struct config *config, char *const *environment, struct error *err);

/* config_service.c: whether Kubernetes made this variable (`path`: behind REALM_AGENT_). */
bool config_is_service_variable(const char *path, const char *value);

/* config_check.c: defaults, ranges, files; reads the tokens. */
int config_complete(struct config *config, struct error *err);

/* E_CONFIG when the text breaks the grammar; the message says where. */
int config_check_text(const char *key, enum grammar_kind kind, const char *text, struct error *err);

/* Both NULL, or equal. */
bool config_same_text(const char *a, const char *b);

/* Replaces an owned string. */
int config_set_string(char **at, const char *value);

#endif
