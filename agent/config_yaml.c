/* The configuration file's schema and its errors.
 *
 * libcyaml refuses unknown and repeated keys and wrong types, and tells its log function, not its
 * caller, what and where. The first complaint and the first position are kept and become the
 * message. libcyaml knows the position of the event before an unknown key only, so that key is
 * looked for from there on.
 *
 * The loaded struct comes from libcyaml through plain malloc (cyaml_mem), so config_free() frees
 * it.
 */
#include "agent/config_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cyaml/cyaml.h>

#define OPTIONAL_STRING(key, structure, member)                                                    \
    CYAML_FIELD_STRING_PTR((key), CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, structure, member, 0,  \
                           CYAML_UNLIMITED)

static const cyaml_schema_value_t url_schema = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, CYAML_UNLIMITED)};

/* libcyaml's own booleans take any other word for true. */
static const cyaml_strval_t booleans[] = {{"false", 0}, {"true", 1}, {"no", 0}, {"yes", 1}};

static const cyaml_schema_field_t source_fields[] = {
    OPTIONAL_STRING("region", struct config_source, region),
    CYAML_FIELD_SEQUENCE("urls", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config_source,
                         urls, &url_schema, 0, CONFIG_URLS_MAX),
    OPTIONAL_STRING("token_file", struct config_source, token_file),
    OPTIONAL_STRING("client_cert_file", struct config_source, client_cert_file),
    OPTIONAL_STRING("client_key_file", struct config_source, client_key_file),
    OPTIONAL_STRING("ca_file", struct config_source, ca_file),
    CYAML_FIELD_ENUM("allow_plain_http", CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT,
                     struct config_source, allow_plain_http, booleans, CYAML_ARRAY_LEN(booleans)),
    CYAML_FIELD_END};

static const cyaml_schema_value_t source_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct config_source, source_fields)};

static const cyaml_schema_field_t log_fields_schema[] = {
    OPTIONAL_STRING("level", struct config_log, level_name),
    OPTIONAL_STRING("format", struct config_log, format_name), CYAML_FIELD_END};

static const cyaml_schema_field_t config_fields[] = {
    OPTIONAL_STRING("store_dir", struct config, store_dir),
    OPTIONAL_STRING("reader_group", struct config, reader_group),
    OPTIONAL_STRING("control_plane_id", struct config, control_plane),
    OPTIONAL_STRING("host_name", struct config, host_name),
    OPTIONAL_STRING("listen", struct config, listen),
    OPTIONAL_STRING("retention_ms", struct config, retention),
    OPTIONAL_STRING("guard_percent", struct config, guard),
    CYAML_FIELD_SEQUENCE("sources", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config,
                         sources, &source_schema, 0, CONFIG_SOURCES_MAX),
    CYAML_FIELD_MAPPING("log", CYAML_FLAG_OPTIONAL, struct config, log, log_fields_schema),
    CYAML_FIELD_END};

static const cyaml_schema_value_t config_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct config, config_fields)};

/* What libcyaml said. */
struct complaint {
    char text[256];
    unsigned line; /* 0: not said yet */
};

static void keep_text(struct complaint *complaint, const char *text)
{
    static const char prefix[] = "Load: ";
    size_t length;

    if (strncmp(text, prefix, sizeof(prefix) - 1) == 0)
        text += sizeof(prefix) - 1;
    length = strcspn(text, "\n");
    (void)snprintf(complaint->text, sizeof(complaint->text), "%.*s", (int)length, text);
}

static void on_complaint(cyaml_log_t level, void *context, const char *format, va_list args)
{
    struct complaint *complaint = context;
    char text[512];
    const char *position;

    (void)level;
    (void)vsnprintf(text, sizeof(text), format, args);
    position = strstr(text, "line: ");
    if (complaint->text[0] == 0)
        keep_text(complaint, text);
    if (position != NULL && complaint->line == 0)
        complaint->line = (unsigned)strtoul(position + strlen("line: "), NULL, 10);
}

/* Does this line have the key where a key can stand? */
static bool line_has_key(const char *line, size_t length, const char *key)
{
    size_t key_length = strlen(key);

    for (size_t at = 0; at + key_length < length; at++) {
        size_t after = at + key_length;

        if (memcmp(line + at, key, key_length) != 0 ||
            (at > 0 && strchr(" \t-{,\"'", line[at - 1]) == NULL))
            continue;
        after += line[after] == '"' || line[after] == '\'';
        while (after < length && line[after] == ' ')
            after++;
        if (after < length && line[after] == ':')
            return true;
    }
    return false;
}

/* The first line from `line` on that has the key; `line` itself when none has. */
static unsigned find_key(const char *text, unsigned line, const char *key)
{
    unsigned number = 1;

    for (const char *at = text; *at != 0; number++) {
        size_t length = strcspn(at, "\n");

        if (number >= line && line_has_key(at, length, key))
            return number;
        at += length;
        at += *at == '\n';
    }
    return line;
}

static int translate(cyaml_err_t code, const char *path, const char *text,
                     struct complaint *complaint, struct error *err)
{
    static const char unknown[] = "Unexpected key: ";
    static const char repeated[] = "Mapping field already seen: ";
    const char *said = complaint->text;

    if (code == CYAML_ERR_OOM)
        return error_set(err, E_NO_MEMORY, "no memory to read %s", path);
    if (strncmp(said, unknown, sizeof(unknown) - 1) == 0) {
        said += sizeof(unknown) - 1;
        return error_set(err, E_CONFIG, "%s: line %u: unknown key \"%s\"", path,
                         find_key(text, complaint->line, said), said);
    }
    if (strncmp(said, repeated, sizeof(repeated) - 1) == 0) {
        said += sizeof(repeated) - 1;
        return error_set(err, E_CONFIG, "%s: line %u: key \"%s\" for the second time", path,
                         find_key(text, complaint->line + 1, said), said);
    }
    return error_set(err, E_CONFIG, "%s: line %u: %s", path, complaint->line,
                     complaint->text[0] != 0 ? complaint->text : cyaml_strerror(code));
}

int config_parse(const char *path, const char *text, size_t size, struct config **ret,
                 struct error *err)
{
    struct complaint complaint = {.line = 0};
    cyaml_config_t how = {.log_fn = on_complaint,
                          .log_ctx = &complaint,
                          .mem_fn = cyaml_mem,
                          .log_level = CYAML_LOG_ERROR};
    struct config *config = NULL;
    cyaml_err_t code = cyaml_load_data((const uint8_t *)text, size, &how, &config_schema,
                                       (cyaml_data_t **)&config, NULL);

    if (code != CYAML_OK)
        return translate(code, path, text, &complaint, err);
    if (config == NULL) /* an empty document */
        config = calloc(1, sizeof(*config));
    if (config == NULL)
        return error_set(err, E_NO_MEMORY, "no memory to read %s", path);
    *ret = config;
    return 0;
}
