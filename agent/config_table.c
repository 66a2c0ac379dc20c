/* config_table.c - see config_table.h. */
#include "agent/config_table.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "agent/config_internal.h"

#define SETTING_OF(structure, member, key, fallback, flags)                                        \
    {key, offsetof(struct structure, member), fallback, flags},

static const struct config_setting top[] = {
#define X(member, key, fallback, flags) SETTING_OF(config, member, key, fallback, flags)
    CONFIG_SCALARS(X)
#undef X
};
static const struct config_setting log_settings[] = {
#define X(member, key, fallback, flags) SETTING_OF(config_log, member, key, fallback, flags)
    CONFIG_LOG_SCALARS(X)
#undef X
};
static const struct config_setting source[] = {
#define X(member, key, fallback, flags) SETTING_OF(config_source, member, key, fallback, flags)
    CONFIG_SOURCE_SCALARS(X)
#undef X
};

#define TABLE(settings)                                                                            \
    {                                                                                              \
        settings, sizeof(settings) / sizeof((settings)[0])                                         \
    }

const struct config_table config_table_top = TABLE(top);
const struct config_table config_table_log = TABLE(log_settings);
const struct config_table config_table_source = TABLE(source);

char **config_at(const struct config_setting *setting, void *base)
{
    return (char **)(void *)((char *)base + setting->offset);
}

const char *config_text(const struct config_setting *setting, const void *base)
{
    return *(char *const *)(const void *)((const char *)base + setting->offset);
}

static void drop_empty(char **text)
{
    if (*text == NULL || **text != 0)
        return;
    free(*text);
    *text = NULL;
}

int config_table_complete(const struct config_table *table, void *base)
{
    int rc = 0;

    for (size_t i = 0; i < table->count && rc == 0; i++) {
        const struct config_setting *setting = &table->settings[i];
        char **at = config_at(setting, base);

        if ((setting->flags & CONFIG_EMPTY_COUNTS) == 0)
            drop_empty(at);
        if (*at == NULL && setting->fallback != NULL)
            rc = config_set_string(at, setting->fallback);
    }
    return rc;
}

/* Whether `capitals` is the key as a variable spells it. */
static bool is_called(const char *key, const char *capitals)
{
    for (; *key != 0 && toupper((unsigned char)*key) == *capitals; key++)
        capitals++;
    return *key == 0 && *capitals == 0;
}

int config_table_set(const struct config_table *table, void *base, const char *capitals,
                     const char *value)
{
    for (size_t i = 0; i < table->count; i++) {
        if (is_called(table->settings[i].key, capitals))
            return config_set_string(config_at(&table->settings[i], base), value);
    }
    return E_NOT_FOUND;
}

int config_table_copy(const struct config_table *table, const void *from, void *to)
{
    int rc = 0;

    for (size_t i = 0; i < table->count && rc == 0; i++) {
        const char *text = config_text(&table->settings[i], from);

        if (text != NULL)
            rc = config_set_string(config_at(&table->settings[i], to), text);
    }
    return rc;
}

bool config_same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

bool config_table_equal(const struct config_table *table, const void *a, const void *b)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct config_setting *setting = &table->settings[i];

        if ((setting->flags & CONFIG_NOT_COMPARED) == 0 &&
            !config_same_text(config_text(setting, a), config_text(setting, b)))
            return false;
    }
    return true;
}

void config_table_free(const struct config_table *table, void *base)
{
    for (size_t i = 0; i < table->count; i++) {
        free(*config_at(&table->settings[i], base));
        *config_at(&table->settings[i], base) = NULL;
    }
}
