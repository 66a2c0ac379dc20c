/* config_yaml.c - the configuration file: one flat mapping.
 *
 * libcyaml tells its log function, not its caller, what is wrong and where: the first line is kept
 * as the complaint, the first position as its place. For an unknown key it knows only the place
 * before it, so that the key is looked for in the file.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cyaml/cyaml.h>

#include "control/config_text.h"

static const cyaml_schema_value_t address_schema = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, CYAML_UNLIMITED)};

static const cyaml_schema_field_t fields[] = {
    CYAML_FIELD_SEQUENCE("listen", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL,
                         struct control_config_text, listen, &address_schema, 0,
                         CONTROL_CONFIG_LISTEN_MAX),
#define X(member, option, argument, help)                                                          \
    CYAML_FIELD_STRING_PTR(#member, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL,                      \
                           struct control_config_text, member, 0, CYAML_UNLIMITED),
    CONTROL_CONFIG_SCALARS(X)
#undef X
        CYAML_FIELD_END};

static const cyaml_schema_value_t schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct control_config_text, fields)};

struct complaint {
    char text[256];  /* without final newline; empty: none yet */
    char place[128]; /* "in mapping field 'listen'" */
    unsigned line;
};

static void on_log(cyaml_log_t level, void *context, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));

static void on_log(cyaml_log_t level, void *context, const char *format, va_list args)
{
    static const char prefix[] = "Load: ";
    static const char position[] = " (line: ";
    struct complaint *complaint = context;
    char text[sizeof(complaint->text)];
    const char *start = text;
    const char *found;

    (void)level; /* errors only, as asked */
    (void)vsnprintf(text, sizeof(text), format, args);
    text[strcspn(text, "\n")] = 0;
    if (strncmp(text, prefix, sizeof(prefix) - 1) == 0)
        start += sizeof(prefix) - 1;
    start += strspn(start, " ");
    if (complaint->text[0] == 0)
        (void)snprintf(complaint->text, sizeof(complaint->text), "%s", start);
    found = strstr(start, position);
    if (found != NULL && complaint->line == 0) {
        complaint->line = (unsigned)strtoul(found + sizeof(position) - 1, NULL, 10);
        (void)snprintf(complaint->place, sizeof(complaint->place), "%.*s", (int)(found - start),
                       start);
    }
}

/* The line on which the key stands; 0 when it cannot be found. */
static unsigned find_key(const char *path, const char *key)
{
    FILE *file = fopen(path, "re");
    size_t length = strlen(key);
    char *line = NULL;
    size_t capacity = 0;
    unsigned number = 0;
    unsigned found = 0;

    if (file == NULL)
        return 0;
    while (found == 0 && getline(&line, &capacity, file) >= 0) {
        const char *at = line + strspn(line, " \"'{");

        number++;
        if (strncmp(at, key, length) == 0 && strchr(":\"' ", at[length]) != NULL)
            found = number;
    }
    free(line);
    (void)fclose(file); /* only read from */
    return found;
}

static int explain(const char *path, const struct complaint *complaint, cyaml_err_t code,
                   struct error *err)
{
    static const char unexpected[] = "Unexpected key: ";
    unsigned line = complaint->line;

    if (code == CYAML_ERR_OOM)
        return error_set(err, E_NO_MEMORY, NULL);
    if (strncmp(complaint->text, unexpected, sizeof(unexpected) - 1) == 0) {
        const char *key = complaint->text + sizeof(unexpected) - 1;
        unsigned found = find_key(path, key);

        return error_set(err, E_CONFIG, "%s: line %u: unknown key '%s'", path,
                         found > 0 ? found : line, key);
    }
    return error_set(err, E_CONFIG, "%s: line %u: %s, %s", path, line,
                     complaint->text[0] != 0 ? complaint->text : cyaml_strerror(code),
                     complaint->place);
}

int control_config_yaml_load(const char *path, struct control_config_text **ret, struct error *err)
{
    struct complaint complaint = {.line = 0};
    const cyaml_config_t config = {.log_fn = on_log,
                                   .log_ctx = &complaint,
                                   .log_level = CYAML_LOG_ERROR,
                                   .mem_fn = cyaml_mem,
                                   .flags = CYAML_CFG_NO_ALIAS};
    cyaml_data_t *loaded = NULL;
    cyaml_err_t code;

    if (access(path, R_OK) != 0)
        return error_set_errno(err, errno, "configuration file '%s'", path);
    code = cyaml_load_file(path, &config, &schema, &loaded, NULL);
    if (code != CYAML_OK)
        return explain(path, &complaint, code, err);
    if (loaded == NULL) /* an empty file */
        loaded = calloc(1, sizeof(**ret));
    if (loaded == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    *ret = loaded;
    return 0;
}
