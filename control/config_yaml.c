/* config_yaml.c - the configuration file: one flat mapping. base/yaml_complaint.h makes a message
 * of what libcyaml says.
 */
#include <stdlib.h>

#include <cyaml/cyaml.h>

#include "base/text_file.h"
#include "base/yaml_complaint.h"
#include "control/config_text.h"

enum { CONFIG_FILE_MAX_BYTES = 1024 * 1024 };

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

static void on_log(cyaml_log_t level, void *context, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));

static void on_log(cyaml_log_t level, void *context, const char *format, va_list args)
{
    (void)level; /* errors only, as asked */
    yaml_complaint_add(context, format, args);
}

static int config_yaml_load(const char *path, const char *text, size_t size, cyaml_data_t **ret,
                            struct error *err)
{
    struct yaml_complaint complaint = {.line = 0};
    const cyaml_config_t config = {.log_fn = on_log,
                                   .log_ctx = &complaint,
                                   .log_level = CYAML_LOG_ERROR,
                                   .mem_fn = cyaml_mem,
                                   .flags = CYAML_CFG_NO_ALIAS};
    cyaml_err_t code = cyaml_load_data((const uint8_t *)text, size, &config, &schema, ret, NULL);

    if (code == CYAML_ERR_OOM)
        return error_set(err, E_NO_MEMORY, NULL);
    if (code != CYAML_OK)
        return yaml_complaint_explain(&complaint, path, text, cyaml_strerror(code), err);
    return 0;
}

int control_config_yaml_load(const char *path, struct control_config_text **ret, struct error *err)
{
    cyaml_data_t *loaded = NULL;
    char *text;
    size_t size;
    int rc = text_file_read(path, CONFIG_FILE_MAX_BYTES, &text, &size, err);

    if (rc != 0)
        return error_context(err, "configuration file");
    rc = config_yaml_load(path, text, size, &loaded, err);
    free(text);
    if (rc != 0)
        return rc;
    if (loaded == NULL) /* an empty file */
        loaded = calloc(1, sizeof(**ret));
    if (loaded == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    *ret = loaded;
    return 0;
}
