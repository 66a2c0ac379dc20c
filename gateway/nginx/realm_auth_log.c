/* realm_auth_log.c - no key in NGINX's logs.
 *
 * Every line of an error log passes one place: the log's writer. Ours takes the values of all key
 * names out and hands on the rest, whoever made the line and however early: NGINX's core about a
 * request line that it could not read, an upstream module, the debug level. Which logs there are is
 * gathered while locations are merged, and their writers are set when the configuration stands.
 *
 * Access logs are made of variables. $request comes from the request line, which is edited at the
 * first phase, and once more before the first handler of the log phase for requests that came to
 * no phase at all, because NGINX refused them.
 */
#include "realm_auth.h"

/* ---- error logs ---- */

static struct {
    struct gate_names names;  /* of the configuration that stands */
    ngx_log_writer_pt memory; /* NGINX's own, which has no name outside */
} redaction;

/* A line of a log without keys, in `out`, which has room for NGX_MAX_ERROR_STR. */
static ngx_str_t redact_line(const u_char *line, size_t size, u_char *out)
{
    ngx_str_t ret = {ngx_min(size, NGX_MAX_ERROR_STR), out};

    ret.len =
        gate_redact((struct gate_text){(const char *)line, ret.len}, redaction.names, (char *)out);
    return ret;
}

/* As ngx_log_error_core() writes to a file. */
static void write_to_file(ngx_log_t *log, ngx_uint_t level, u_char *line, size_t size)
{
    u_char out[NGX_MAX_ERROR_STR];
    ngx_str_t text = redact_line(line, size, out);

    if (ngx_time() == log->disk_full_time)
        return;
    if (log->file->fd == ngx_stderr && ngx_use_stderr && level <= NGX_LOG_WARN)
        return; /* which NGINX writes itself, while it starts */
    if (ngx_write_fd(log->file->fd, text.data, text.len) == -1 && ngx_errno == NGX_ENOSPC)
        log->disk_full_time = ngx_time();
}

static void write_to_syslog(ngx_log_t *log, ngx_uint_t level, u_char *line, size_t size)
{
    u_char out[NGX_MAX_ERROR_STR];
    ngx_str_t text = redact_line(line, size, out);

    ngx_syslog_writer(log, level, text.data, text.len);
}

static void write_to_memory(ngx_log_t *log, ngx_uint_t level, u_char *line, size_t size)
{
    u_char out[NGX_MAX_ERROR_STR];
    ngx_str_t text = redact_line(line, size, out);

    redaction.memory(log, level, text.data, text.len);
}

/* The module may be unloaded before NGINX writes its last lines. */
static void unset_writer(ngx_log_t *log)
{
    if (log->writer == write_to_file)
        log->writer = NULL;
    else if (log->writer == write_to_syslog)
        log->writer = ngx_syslog_writer;
    else if (log->writer == write_to_memory)
        log->writer = redaction.memory;
}

static void set_writer(ngx_log_t *log)
{
    if (log->writer == NULL) {
        log->writer = write_to_file;
    } else if (log->writer == ngx_syslog_writer) {
        log->writer = write_to_syslog;
    } else if (log->writer != write_to_file && log->writer != write_to_syslog &&
               log->writer != write_to_memory &&
               (redaction.memory == NULL || redaction.memory == log->writer)) {
        redaction.memory = log->writer;
        log->writer = write_to_memory;
    }
}

ngx_int_t realm_auth_log_know(realm_auth_main_conf_t *conf, ngx_log_t *log)
{
    ngx_log_t **logs = conf->logs.elts;
    ngx_log_t **place;

    for (ngx_uint_t i = 0; i < conf->logs.nelts; i++) {
        if (logs[i] == log)
            return NGX_OK;
    }
    place = ngx_array_push(&conf->logs);
    if (place == NULL)
        return NGX_ERROR;
    *place = log;
    return NGX_OK;
}

static void for_each_log(const realm_auth_main_conf_t *conf, void (*act)(ngx_log_t *log))
{
    ngx_log_t **logs = conf->logs.elts;

    for (ngx_uint_t i = 0; i < conf->logs.nelts; i++) {
        for (ngx_log_t *log = logs[i]; log != NULL; log = log->next)
            act(log);
    }
}

/* A socket that listens has a copy, from which its connections begin. */
static void for_each_socket(ngx_cycle_t *cycle, void (*act)(ngx_log_t *log))
{
    ngx_listening_t *sockets = cycle->listening.elts;

    for (ngx_uint_t i = 0; i < cycle->listening.nelts; i++) {
        if (sockets[i].handler == ngx_http_init_connection)
            act(&sockets[i].log);
    }
}

static void unset_writers(void *data)
{
    ngx_cycle_t *cycle = data;

    for_each_log(ngx_http_cycle_get_module_main_conf(cycle, ngx_http_realm_auth_module),
                 unset_writer);
    for_each_socket(cycle, unset_writer);
}

ngx_int_t realm_auth_log_init(ngx_cycle_t *cycle, realm_auth_main_conf_t *conf)
{
    ngx_pool_cleanup_t *cleanup;

    if (conf->key_names.nelts == 0)
        return NGX_OK;
    cleanup = ngx_pool_cleanup_add(cycle->pool, 0);
    if (cleanup == NULL || realm_auth_log_know(conf, cycle->log) != NGX_OK)
        return NGX_ERROR;
    cleanup->handler = unset_writers;
    cleanup->data = cycle;
    redaction.names = realm_auth_names(&conf->key_names);
    for_each_log(conf, set_writer);
    for_each_socket(cycle, set_writer);
    return NGX_OK;
}

/* ---- the request line ---- */

/* What there is of it when NGINX could not read all, as $request takes it. */
static void need_request_line(ngx_http_request_t *r)
{
    u_char *p;

    if (r->request_line.data != NULL || r->request_start == NULL)
        return;
    for (p = r->request_start; p < r->header_in->last && *p != CR && *p != LF; p++) {
    }
    r->request_line.data = r->request_start;
    r->request_line.len = (size_t)(p - r->request_start);
}

ngx_int_t realm_auth_log_edit_request_line(ngx_http_request_t *r)
{
    const realm_auth_main_conf_t *conf =
        ngx_http_get_module_main_conf(r, ngx_http_realm_auth_module);
    struct gate_names names = realm_auth_names(&conf->key_names);
    struct gate_text line;
    u_char *edited;

    need_request_line(r);
    line = realm_auth_text(&r->request_line);
    if (!gate_redact_is_needed(line, names))
        return NGX_OK;
    edited = ngx_pnalloc(r->pool, line.size);
    if (edited == NULL)
        return NGX_ERROR;
    r->request_line.len = gate_redact(line, names, (char *)edited);
    r->request_line.data = edited;
    return NGX_OK;
}
