/* ask_store.c - see ask_store.h. */
#include "agent/ask_store.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "realmstore.h"

enum {
    OPEN_INTERVAL_MS = 1000, /* between attempts to open a store that cannot be read yet */
    LOG_INTERVAL_MS = 60 * 1000
};

struct ask_store {
    char *dir; /* owned */
    const struct log *log;
    unsigned retention_ms;
    rs_store *store;   /* owned; NULL: not open */
    int64_t opened_ms; /* boot time of the last attempt; 0: none */
    struct log_pace pace;
    char buffer[RS_ANSWER_MAX_BYTES];
};

struct ask_store *ask_store_create(const char *dir, unsigned retention_ms, const struct log *log)
{
    struct ask_store *store = calloc(1, sizeof(*store));

    if (store == NULL)
        return NULL;
    store->dir = strdup(dir);
    if (store->dir == NULL) {
        free(store);
        return NULL;
    }
    store->log = log;
    store->retention_ms = retention_ms;
    return store;
}

void ask_store_destroy(struct ask_store *store)
{
    if (store == NULL)
        return;
    rs_close(store->store);
    free(store->dir);
    free(store);
}

static void complain(struct ask_store *store, int code)
{
    char text[LOG_LEFT_OUT_SIZE];
    unsigned left_out;

    if (log_pace_due(&store->pace, LOG_INTERVAL_MS, &left_out))
        log_warning(store->log,
                    "questions on demand go to the control plane, since the store cannot be read "
                    "by the agent: %s%s",
                    rs_strerror(code), log_left_out(left_out, text));
}

static bool is_open(struct ask_store *store)
{
    rs_options options = RS_OPTIONS_INIT;
    int64_t now_ms = clock_boot_ms();
    int rc;

    if (store->store != NULL)
        return true;
    if (store->retention_ms == 0 ||
        (store->opened_ms != 0 && now_ms - store->opened_ms < OPEN_INTERVAL_MS))
        return false;
    store->opened_ms = now_ms;
    options.mode = RS_MODE_RETAINED;
    rc = rs_open(&store->store, store->dir, &options);
    if (rc != 0)
        complain(store, rc);
    return rc == 0;
}

static rs_source source_of(const struct ask_place *place)
{
    rs_source source = {.scope = place->is_realm ? RS_SCOPE_REALM : RS_SCOPE_CP};

    memcpy(source.realm_id, place->realm_id.bytes, UUID_BYTES);
    memcpy(source.region, place->region, sizeof(source.region));
    return source;
}

static char *answer_text(const struct ask_place *place, const rs_answer *answer)
{
    const struct ask_found found = {
        .id = answer->id,
        .username = answer->username,
        .custom_id = answer->custom_id,
        .credential_id = answer->credential_id,
        .realm_name = answer->realm_name,
    };
    json_t *groups = json_array();

    for (size_t i = 0; i < answer->n_groups; i++)
        (void)json_array_append_new(groups, json_string(answer->groups[i]));
    if (json_array_size(groups) != answer->n_groups) {
        json_decref(groups); /* out of memory: no answer rather than half of one */
        groups = NULL;
    }
    return ask_found_text(place, &found, groups);
}

static int ask_store_look_in(struct ask_store *store, const struct ask_place *place,
                             const char *secret, size_t secret_size, char **ret_text)
{
    const rs_source source = source_of(place);
    rs_answer answer;
    int rc = rs_lookup_copy(store->store, &source, 1, secret, secret_size, store->buffer,
                            sizeof(store->buffer), &answer);

    if (rc < 0 || answer.id == NULL)
        return rc == RS_STALE ? RS_NOT_FOUND : rc;
    *ret_text = answer_text(place, &answer);
    return *ret_text != NULL ? rc : RS_E_NO_MEMORY;
}

enum ask_store_result ask_store_look(struct ask_store *store, const struct ask_place *place,
                                     const char *secret, size_t secret_size, char **ret_text)
{
    int rc;

    *ret_text = NULL;
    if (!is_open(store))
        return ASK_STORE_UNKNOWN;
    rc = ask_store_look_in(store, place, secret, secret_size, ret_text);
    switch (rc) {
    case RS_FOUND:
        return ASK_STORE_FOUND;
    case RS_STALE:
        return ASK_STORE_STALE_FOUND;
    case RS_NOT_FOUND:
        return ASK_STORE_MISS;
    case RS_E_NOT_READY: /* the first copy is under way */
        return ASK_STORE_UNKNOWN;
    default:
        complain(store, rc);
        return ASK_STORE_UNKNOWN;
    }
}

void ask_store_follow(struct ask_store *store)
{
    rs_snapshot *snapshot;

    if (store->store != NULL && rs_begin(store->store, &snapshot) == 0)
        rs_end(snapshot);
}
