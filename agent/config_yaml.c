/* The configuration file's schema. libcyaml refuses unknown and repeated keys and wrong types;
 * base/yaml_complaint.h makes a message of what it says.
 *
 * The loaded struct comes from libcyaml through plain malloc (cyaml_mem), so config_free() frees
 * it.
 */
#include "agent/config_internal.h"

#include <stdlib.h>
#include <cyaml/cyaml.h>

#include "base/yaml_complaint.h"

#define FIELD_OF(structure, member, key)                                                           \
    CYAML_FIELD_STRING_PTR((key), CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, structure, member, 0,  \
                           CYAML_UNLIMITED),

static const cyaml_schema_value_t url_schema = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, CYAML_UNLIMITED)};

/* libcyaml's own booleans take any other word for true. */
static const cyaml_strval_t booleans[] = {{"false", 0}, {"true", 1}, {"no", 0}, {"yes", 1}};

static const cyaml_schema_field_t source_fields[] = {
#define X(member, key, fallback, flags) FIELD_OF(struct config_source, member, key)
    CONFIG_SOURCE_SCALARS(X)
#undef X
        CYAML_FIELD_SEQUENCE("urls", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config_source,
                             urls, &url_schema, 0, CONFIG_URLS_MAX),
    CYAML_FIELD_ENUM("allow_plain_http", CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT,
                     struct config_source, allow_plain_http, booleans, CYAML_ARRAY_LEN(booleans)),
    CYAML_FIELD_END};

static const cyaml_schema_value_t source_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct config_source, source_fields)};

static const cyaml_schema_field_t log_fields_schema[] = {
#define X(member, key, fallback, flags) FIELD_OF(struct config_log, member, key)
    CONFIG_LOG_SCALARS(X)
#undef X
        CYAML_FIELD_END};

static const cyaml_schema_field_t config_fields[] = {
#define X(member, key, fallback, flags) FIELD_OF(struct config, member, key)
    CONFIG_SCALARS(X)
#undef X
        CYAML_FIELD_SEQUENCE("sources", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct config,
                             sources, &source_schema, 0, CONFIG_SOURCES_MAX),
    CYAML_FIELD_MAPPING("log", CYAML_FLAG_OPTIONAL, struct config, log, log_fields_schema),
    CYAML_FIELD_END};

static const cyaml_schema_value_t config_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct config, config_fields)};

static void on_complaint(cyaml_log_t level, void *context, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));

static void on_complaint(cyaml_log_t level, void *context, const char *format, va_list args)
{
    (void)level; /* errors only, as asked */
    yaml_complaint_add(context, format, args);
}

int config_parse(const char *path, const char *text, size_t size, struct config **ret,
                 struct error *err)
{
    struct yaml_complaint complaint = {.line = 0};
    cyaml_config_t how = {.log_fn = on_complaint,
                          .log_ctx = &complaint,
                          .mem_fn = cyaml_mem,
                          .log_level = CYAML_LOG_ERROR};
    struct config *config = NULL;
    cyaml_err_t code = cyaml_load_data((const uint8_t *)text, size, &how, &config_schema,
                                       (cyaml_data_t **)&config, NULL);

    if (code == CYAML_ERR_OOM)
        return error_set(err, E_NO_MEMORY, "no memory to read %s", path);
    if (code != CYAML_OK)
        return yaml_complaint_explain(&complaint, path, text, cyaml_strerror(code), err);
    if (config == NULL) /* an empty document */
        config = calloc(1, sizeof(*config));
    if (config == NULL)
        return error_set(err, E_NO_MEMORY, "no memory to read %s", path);
    *ret = config;
    return 0;
}
