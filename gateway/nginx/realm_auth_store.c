/* realm_auth_store.c - the store as this worker has it open.
 *
 * A worker opens the store once and keeps it. While that fails (no agent has run yet, no
 * permission) requests are answered with an error, and opening is tried again when a request comes,
 * at most once a second: an attempt is a few system calls on local files. Troubles are logged when
 * they begin, when they change and every now and then, with a count; never with a request, whose
 * text may hold a key.
 */
#include "realm_auth.h"

enum {
    RETRY_MS = 1000,      /* between attempts to open the store */
    LOG_EVERY_MS = 10000, /* of one and the same trouble */
    MESSAGE_SIZE = 512
};

/* What is logged when it begins or changes, and now and then while it lasts. */
typedef struct {
    const char *consequence;
    int code; /* what was logged last; 0: none */
    ngx_msec_t logged_at;
    ngx_uint_t unlogged;
} trouble_t;

static struct {
    rs_store *store; /* NULL: not open */
    ngx_uint_t tried;
    ngx_msec_t tried_at;
} worker;

static trouble_t store_trouble = {.consequence = "requests are answered 500 until it can"};
static trouble_t ask_trouble = {.consequence = "what is stale is denied, what is missing unknown"};

/* ---- troubles ---- */

static void complain(trouble_t *trouble, int code, const char *what, const char *why)
{
    if (trouble->code == code && ngx_current_msec - trouble->logged_at < LOG_EVERY_MS) {
        trouble->unlogged++;
        return;
    }
    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                  "realm_auth: cannot %s: %s; %s (%ui more since the last such line)", what, why,
                  trouble->consequence, trouble->unlogged);
    trouble->code = code;
    trouble->logged_at = ngx_current_msec;
    trouble->unlogged = 0;
}

static void all_is_well(void)
{
    if (store_trouble.code == 0)
        return;
    ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0, "realm_auth: the store answers again");
    store_trouble.code = 0;
    store_trouble.unlogged = 0;
}

void realm_auth_cannot_ask(const char *why)
{
    complain(&ask_trouble, RS_E_IO, "ask the control plane", why);
}

/* ---- opening ---- */

static int open_store(const ngx_str_t *dir)
{
    char message[MESSAGE_SIZE] = "";
    rs_options options = RS_OPTIONS_INIT;
    int rc;

    options.message = message;
    options.message_size = sizeof(message);
    worker.tried = 1;
    worker.tried_at = ngx_current_msec;
    rc = rs_open(&worker.store, (const char *)dir->data, &options);
    if (rc != 0) {
        worker.store = NULL;
        complain(&store_trouble, rc, "open the store",
                 message[0] != '\0' ? message : rs_strerror(rc));
    }
    return rc;
}

/* NULL: it cannot be opened, or was tried just now. */
static rs_store *opened_store(const ngx_str_t *dir)
{
    if (worker.store == NULL && (!worker.tried || ngx_current_msec - worker.tried_at >= RETRY_MS))
        (void)open_store(dir); /* it has told why */
    return worker.store;
}

void realm_auth_store_init(const ngx_str_t *dir)
{
    (void)opened_store(dir);
}

void realm_auth_store_close(void)
{
    rs_close(worker.store);
    ngx_memzero(&worker, sizeof(worker));
}

/* ---- copying an answer ---- */

static ngx_int_t copy(ngx_pool_t *pool, const char *text, ngx_str_t *ret)
{
    ngx_str_set(ret, "");
    if (text == NULL)
        return NGX_OK;
    ret->len = ngx_strlen(text);
    ret->data = ngx_pnalloc(pool, ret->len + 1);
    if (ret->data == NULL)
        return NGX_ERROR;
    ngx_memcpy(ret->data, text, ret->len + 1);
    return NGX_OK;
}

static ngx_int_t copy_groups(ngx_pool_t *pool, const rs_answer *found, realm_auth_consumer_t *ret)
{
    ret->groups = ngx_palloc(pool, (found->n_groups + 1) * sizeof(*ret->groups));
    if (ret->groups == NULL)
        return NGX_ERROR;
    for (ret->n_groups = 0; ret->n_groups < found->n_groups; ret->n_groups++) {
        ngx_str_t text;

        if (copy(pool, found->groups[ret->n_groups], &text) != NGX_OK)
            return NGX_ERROR;
        ret->groups[ret->n_groups] = realm_auth_text(&text);
    }
    return NGX_OK;
}

static int copy_consumer(ngx_pool_t *pool, const rs_answer *found, realm_auth_consumer_t *ret)
{
    ngx_memzero(ret, sizeof(*ret));
    ret->age_ms = found->age_ms;
    if (copy(pool, found->id, &ret->id) != NGX_OK ||
        copy(pool, found->username, &ret->username) != NGX_OK ||
        copy(pool, found->custom_id, &ret->custom_id) != NGX_OK ||
        copy(pool, found->credential_id, &ret->credential_id) != NGX_OK ||
        copy(pool, found->realm_name, &ret->realm_name) != NGX_OK ||
        copy_groups(pool, found, ret) != NGX_OK || realm_auth_join_groups(pool, ret) != NGX_OK)
        return RS_E_NO_MEMORY;
    return 0;
}

/* ---- lookup ---- */

/* Room for any answer; a worker has one thread. */
static char answer_buffer[RS_ANSWER_MAX_BYTES];

/* What there is to do with the store's answer. */
static int finish_query(ngx_pool_t *pool, int answer, const rs_answer *found,
                        realm_auth_consumer_t *ret)
{
    int rc = answer < 0 ? answer : copy_consumer(pool, found, ret);

    if (rc < 0) {
        complain(&store_trouble, rc, "read the store", rs_strerror(rc));
        return rc;
    }
    all_is_well();
    return answer;
}

int realm_auth_store_look_up(ngx_pool_t *pool, const realm_auth_main_conf_t *conf,
                             const ngx_array_t *sources, const ngx_str_t *key,
                             realm_auth_consumer_t *ret)
{
    rs_answer found;
    int answer;

    if (opened_store(&conf->store_dir) == NULL)
        return RS_E_NO_STORE;
    answer = rs_lookup_copy(worker.store, sources->elts, sources->nelts, key->data, key->len,
                            answer_buffer, sizeof(answer_buffer), &found);
    return finish_query(pool, answer, &found, ret);
}

/* ---- the anonymous consumer ---- */

static int find_named(ngx_pool_t *pool, const realm_auth_main_conf_t *conf, const ngx_str_t *name,
                      realm_auth_consumer_t *ret)
{
    rs_answer found;
    int answer;

    if (opened_store(&conf->store_dir) == NULL)
        return RS_E_NO_STORE;
    answer = rs_find_copy(worker.store, NULL, (const char *)name->data, answer_buffer,
                          sizeof(answer_buffer), &found);
    return finish_query(pool, answer, &found, ret);
}

static ngx_uint_t is_named(const realm_auth_consumer_t *consumer, const ngx_str_t *name)
{
    return (consumer->username.len == name->len &&
            ngx_memcmp(consumer->username.data, name->data, name->len) == 0) ||
           (consumer->id.len == name->len &&
            ngx_strncasecmp(consumer->id.data, name->data, name->len) == 0);
}

/* A number that changes with the store's contents. */
static uint64_t contents(void)
{
    rs_status_info info;
    uint64_t sum = 0;

    if (worker.store == NULL || rs_status(worker.store, &info) != 0)
        return 0;
    for (size_t i = 0; i < info.n_sources; i++)
        sum = sum * 31 + info.sources[i].version * 31 + info.sources[i].generation;
    return sum;
}

static ngx_uint_t is_known_miss(const realm_auth_anonymous_t *anonymous)
{
    return anonymous->missed && (ngx_current_msec - anonymous->missed_at < RETRY_MS ||
                                 anonymous->missed_in == contents());
}

static int search_anonymous(ngx_pool_t *pool, const realm_auth_main_conf_t *conf,
                            realm_auth_anonymous_t *anonymous, realm_auth_consumer_t *ret)
{
    uint64_t searched = contents();
    int rc = find_named(pool, conf, &anonymous->name, ret);

    anonymous->missed = rc == RS_NOT_FOUND;
    anonymous->missed_at = ngx_current_msec;
    anonymous->missed_in = searched;
    anonymous->id.len = 0;
    if (rc == RS_FOUND && ret->id.len < sizeof(anonymous->id_text)) {
        ngx_memcpy(anonymous->id_text, ret->id.data, ret->id.len + 1);
        anonymous->id.data = anonymous->id_text;
        anonymous->id.len = ret->id.len;
    }
    return rc;
}

int realm_auth_store_find(ngx_pool_t *pool, const realm_auth_main_conf_t *conf,
                          realm_auth_anonymous_t *anonymous, realm_auth_consumer_t *ret)
{
    int rc = RS_NOT_FOUND;

    if (anonymous->id.len > 0)
        rc = find_named(pool, conf, &anonymous->id, ret);
    if (rc < 0 || (rc == RS_FOUND && is_named(ret, &anonymous->name)))
        return rc;
    if (is_known_miss(anonymous))
        return RS_NOT_FOUND;
    return search_anonymous(pool, conf, anonymous, ret);
}

/* ---- age ---- */

int64_t realm_auth_store_age_ms(const realm_auth_main_conf_t *conf)
{
    rs_status_info info;
    int64_t oldest = -1;

    if (opened_store(&conf->store_dir) == NULL || rs_status(worker.store, &info) != 0)
        return -1;
    for (size_t i = 0; i < info.n_sources; i++) {
        if (info.sources[i].age_ms < 0)
            return -1;
        if (info.sources[i].age_ms > oldest)
            oldest = info.sources[i].age_ms;
    }
    return oldest;
}
