/* What a gateway's client and its agent send to the NGINX module: parameters, JSON bodies, answers.
 *
 * The module's parsers by themselves; of NGINX there are the few functions that they call.
 */
#include <jansson.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "gateway/nginx/realm_auth.h"
#include "tests/fuzz/fuzz.h"

/* ---- what stands in for NGINX: memory that is given back after each input ---- */

enum { BLOCKS_MAX = 4096 };

static void *blocks[BLOCKS_MAX];
static size_t n_blocks;

void *ngx_pnalloc(ngx_pool_t *pool, size_t size)
{
    void *block = malloc(size);

    (void)pool;
    FUZZ_REQUIRE(block != NULL && n_blocks < BLOCKS_MAX);
    blocks[n_blocks++] = block;
    return block;
}

void *ngx_palloc(ngx_pool_t *pool, size_t size)
{
    return ngx_pnalloc(pool, size);
}

static void free_blocks(void)
{
    while (n_blocks > 0)
        free(blocks[--n_blocks]);
}

ngx_int_t ngx_strncasecmp(u_char *a, u_char *b, size_t n)
{
    return strncasecmp((char *)a, (char *)b, n);
}

u_char *ngx_strnstr(u_char *text, char *wanted, size_t size)
{
    return memmem(text, size, wanted, strlen(wanted));
}

ngx_int_t ngx_atoi(u_char *text, size_t size)
{
    ngx_int_t value = 0;

    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9' || value > 100000000)
            return NGX_ERROR;
        value = value * 10 + text[i] - '0';
    }
    return size > 0 ? value : NGX_ERROR;
}

/* ---- properties ---- */

static const struct gate_text name = {"apikey", 6};
static const struct gate_names names = {&name, 1};

static void try_args(const ngx_str_t *text)
{
    enum gate_value kind;
    ngx_str_t value;
    ngx_str_t cut;

    FUZZ_REQUIRE(realm_auth_args_find(NULL, text, name, &kind, &value) == NGX_OK);
    FUZZ_REQUIRE(realm_auth_args_cut(NULL, text, names, &cut) == NGX_OK);
    FUZZ_REQUIRE(gate_args_may_have(realm_auth_text(text), names) || cut.data == text->data);
    FUZZ_REQUIRE(cut.len <= text->len && !gate_args_may_have(realm_auth_text(&cut), names));
    FUZZ_REQUIRE(realm_auth_args_find(NULL, &cut, name, &kind, &value) == NGX_OK);
    FUZZ_REQUIRE(kind == GATE_VALUE_NONE);
}

/* What is logged holds nothing of a value that the query has, and the same is logged again. */
static void try_redact(const ngx_str_t *text)
{
    struct gate_text whole = realm_auth_text(text);
    struct gate_text once = {malloc(text->len + 1), 0};
    struct gate_text twice = {malloc(text->len + 1), 0};
    struct gate_text value;

    FUZZ_REQUIRE(once.data != NULL && twice.data != NULL);
    once.size = gate_redact(whole, names, (char *)(uintptr_t)once.data);
    twice.size = gate_redact(once, names, (char *)(uintptr_t)twice.data);
    FUZZ_REQUIRE(once.size <= whole.size && gate_text_is(once, twice));
    FUZZ_REQUIRE(gate_redact_is_needed(whole, names) || gate_text_is(once, whole));
    if (memchr(whole.data, '"', whole.size) == NULL &&
        memchr(whole.data, '\r', whole.size) == NULL &&
        memchr(whole.data, '\n', whole.size) == NULL &&
        memchr(whole.data, ' ', whole.size) == NULL &&
        gate_args_find(once, name, &value) == GATE_VALUE_STRING)
        FUZZ_REQUIRE(value.size <= 3 && memcmp(value.data, "***", value.size) == 0);
    free((void *)(uintptr_t)once.data);
    free((void *)(uintptr_t)twice.data);
}

static json_t *parse(const ngx_str_t *text)
{
    return json_loadb((const char *)text->data, text->len, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL,
                      NULL);
}

static void delete_members(json_t *object)
{
    const char *key;
    json_t *value;
    void *next;

    json_object_foreach_safe(object, next, key, value)
    {
        if (strcasecmp(key, "apikey") == 0)
            (void)json_object_del(object, key);
    }
}

/* The object without the members, in any case, is what jansson makes of it. */
static void try_json(const ngx_str_t *text)
{
    json_t *whole = parse(text);
    json_t *rest;
    enum gate_value kind;
    ngx_str_t value;
    ngx_str_t cut;

    FUZZ_REQUIRE(realm_auth_json_find(NULL, text, name, &kind, &value) == NGX_OK);
    FUZZ_REQUIRE(realm_auth_json_cut(NULL, text, names, &cut) ==
                 (whole != NULL ? NGX_OK : NGX_DECLINED));
    if (json_is_object(whole)) {
        delete_members(whole);
        rest = parse(&cut);
        FUZZ_REQUIRE(json_equal(whole, rest));
        json_decref(rest);
    } else {
        FUZZ_REQUIRE(kind == GATE_VALUE_NONE && cut.data == text->data);
    }
    json_decref(whole);
}

static void try_answer(const ngx_str_t *text)
{
    ngx_buf_t buf = {.pos = text->data, .last = text->data + text->len};
    realm_auth_consumer_t consumer;
    ngx_str_t body;

    for (ngx_uint_t at_end = 0; at_end < 2; at_end++) {
        ngx_int_t rc = realm_auth_answer_find(&buf, at_end, &body);

        FUZZ_REQUIRE(rc == NGX_OK || rc == NGX_DECLINED || rc == NGX_ABORT ||
                     (rc == NGX_AGAIN && !at_end));
        FUZZ_REQUIRE(rc != NGX_OK || (body.data >= buf.pos && body.data + body.len <= buf.last));
        if (rc == NGX_OK && realm_auth_answer_read(NULL, &body, &consumer) == RS_FOUND)
            FUZZ_REQUIRE(consumer.id.len > 0 && consumer.id.data[consumer.id.len] == '\0');
    }
}

/* The first byte chooses. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const targets[])(const ngx_str_t *) = {try_args, try_json, try_answer,
                                                         try_redact};
    unsigned char *copy; /* of the exact size, so that one byte too many is seen */
    ngx_str_t text;

    if (size == 0)
        return 0;
    copy = malloc(size);
    FUZZ_REQUIRE(copy != NULL);
    memcpy(copy, data + 1, size - 1);
    text.data = copy;
    text.len = size - 1;
    targets[data[0] % 4](&text);
    free_blocks();
    free(copy);
    return 0;
}
