/* delta.c - see delta.h. */
#include "control/repo/delta.h"

#include <stdlib.h>
#include <string.h>

#include "control/repo/errors.h"
#include "control/repo/scopes.h"
#include "control/repo/touched.h"

struct delta {
    struct repo_view *view;
    const struct repo_transaction_query *query;
    const struct repo_transaction_sink *sink;
    struct repo_touched touched;
    uint64_t changes;
    bool has_content; /* the content of buckets is wished for, and their scope is visible: */
    struct repo_numbered_scope content;
};

/* The touched items of one consumer; its keys are the last ones. */
struct touched_consumer {
    const struct repo_touched_item *items;
    size_t count;
    bool changed; /* touched itself */
    bool moved;   /* appeared by a move */
    bool exists;
    uint32_t number; /* of its scope */
};

static int emit(struct delta *delta, const struct change *change)
{
    delta->changes++;
    return delta->sink->change(delta->sink->context, change);
}

/* ---- entities as they are now ---- */

static int emit_realm(struct delta *delta, const struct uuid *id, struct error *err)
{
    struct change change = {.kind = CHANGE_REALM};
    struct repo_realm_view realm;
    struct repo_labels labels;
    int rc = delta->view->ops->realm(delta->view, id, &realm, err);

    if (rc == 0)
        rc = repo_realm_borrow(&realm.record, &labels, &change.realm, err);
    if (rc != 0)
        return rc;
    change.scope = change.realm.number;
    return emit(delta, &change);
}

/* Consumers or keys that are to be sent, gathered so that they are read many at a time. */
enum { BATCH_MAX = 256 };
struct batch {
    struct delta *delta;
    bool keys;
    const struct set_hash_marks *buckets; /* NULL: all */
    struct repo_path paths[BATCH_MAX];
    uint32_t numbers[BATCH_MAX]; /* of their scopes */
    size_t count;
};

static int emit_record(void *context, size_t at, const struct repo_record *record,
                       struct error *err)
{
    const struct batch *batch = context;
    struct change change = {.kind = batch->keys ? CHANGE_KEY : CHANGE_CONSUMER,
                            .scope = batch->numbers[at]};
    struct repo_labels labels;
    int rc = batch->keys ? repo_key_borrow(record, &labels, &change.key, err)
                         : repo_consumer_borrow(record, &labels, &change.consumer, err);

    return rc == 0 ? emit(batch->delta, &change) : rc;
}

static int batch_send(struct batch *batch, struct error *err)
{
    const struct repo_selection selection = {
        .paths = batch->paths, .count = batch->count, .buckets = batch->buckets};
    struct repo_view *view = batch->delta->view;

    batch->count = 0;
    if (selection.count == 0)
        return 0;
    return batch->keys ? view->ops->keys(view, &selection, emit_record, batch, err)
                       : view->ops->consumers(view, &selection, emit_record, batch, err);
}

static int batch_add(struct batch *batch, uint32_t number, const struct repo_path *path,
                     struct error *err)
{
    batch->paths[batch->count] = *path;
    batch->numbers[batch->count] = number;
    batch->count++;
    return batch->count == BATCH_MAX ? batch_send(batch, err) : 0;
}

/* All of the realms that appeared. */
static int add_scopes(struct batch *batch, struct error *err)
{
    const struct repo_touched *touched = &batch->delta->touched;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < touched->n_realms; i++) {
        const struct repo_touched_realm *realm = &touched->realms[i];
        const struct repo_path path = {.scope = {REPO_SCOPE_REALM, realm->id}};

        if (realm->now && !realm->was)
            rc = batch_add(batch, realm->number, &path, err);
    }
    return rc;
}

/* What the buckets hold that were wished for. */
static int send_content(struct delta *delta, bool keys, struct error *err)
{
    struct batch batch = {.delta = delta, .keys = keys};
    const struct repo_path path = {.scope = delta->content.id};
    int rc;

    if (!delta->has_content)
        return 0;
    batch.buckets = &delta->query->wish->buckets;
    rc = batch_add(&batch, delta->content.number, &path, err);
    return rc == 0 ? batch_send(&batch, err) : rc;
}

static bool wants_content(const struct delta *delta)
{
    return delta->query->wish != NULL && delta->query->wish->kind == FEED_WISH_CONTENT;
}

/* ---- consumers that were touched ---- */

/* The consumer whose items begin at `at`. */
static int next_consumer(struct delta *delta, size_t at, struct touched_consumer *ret,
                         struct error *err)
{
    const struct repo_touched_item *items = delta->touched.items + at;
    const size_t left = delta->touched.n_items - at;
    struct touched_consumer consumer = {.items = items, .exists = items->consumer_exists};
    struct repo_scope_view view;
    int rc;

    while (consumer.count < left &&
           repo_scope_equal(&items->path.scope, &items[consumer.count].path.scope) &&
           uuid_equal(&items->path.consumer_id, &items[consumer.count].path.consumer_id)) {
        consumer.changed |= items[consumer.count].kind == REPO_TOUCH_CONSUMER;
        consumer.moved |= items[consumer.count].kind == REPO_TOUCH_CONSUMER_WHOLE;
        consumer.count++;
    }
    rc = repo_viewer_look(&delta->touched.viewer, &items->path.scope, &view, err);
    consumer.number = view.number;
    *ret = consumer;
    return rc;
}

typedef int (*consumer_fn)(void *context, const struct touched_consumer *consumer,
                           struct error *err);

static int each_consumer(struct delta *delta, consumer_fn visit, void *context, struct error *err)
{
    struct touched_consumer consumer;

    for (size_t at = 0; at < delta->touched.n_items; at += consumer.count) {
        int rc = next_consumer(delta, at, &consumer, err);

        if (rc == 0)
            rc = visit(context, &consumer, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int consumer_key_deletes(void *delta, const struct touched_consumer *consumer,
                                struct error *err)
{
    (void)err;
    for (size_t i = 0; consumer->exists && !consumer->moved && i < consumer->count; i++) {
        const struct repo_touched_item *item = &consumer->items[i];
        const struct change change = {
            .kind = CHANGE_KEY_DELETE,
            .scope = consumer->number,
            .key = {.id = item->path.key_id, .consumer_id = item->path.consumer_id}};
        int rc = 0;

        if (item->kind == REPO_TOUCH_KEY && !item->key_exists)
            rc = emit(delta, &change);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int consumer_delete(void *delta, const struct touched_consumer *consumer, struct error *err)
{
    const struct change change = {.kind = CHANGE_CONSUMER_DELETE,
                                  .scope = consumer->number,
                                  .id = consumer->items->path.consumer_id};

    (void)err;
    return consumer->changed && (!consumer->exists || consumer->moved) ? emit(delta, &change) : 0;
}

static int consumer_itself(void *batch, const struct touched_consumer *consumer, struct error *err)
{
    struct repo_path path = consumer->items->path;

    memset(&path.key_id, 0, sizeof(path.key_id));
    if (!consumer->exists || !(consumer->changed || consumer->moved))
        return 0;
    return batch_add(batch, consumer->number, &path, err);
}

static int consumer_keys(void *batch, const struct touched_consumer *consumer, struct error *err)
{
    struct repo_path all = consumer->items->path;
    int rc = 0;

    if (!consumer->exists)
        return 0;
    memset(&all.key_id, 0, sizeof(all.key_id));
    if (consumer->moved)
        return batch_add(batch, consumer->number, &all, err);
    for (size_t i = 0; rc == 0 && i < consumer->count; i++) {
        const struct repo_touched_item *item = &consumer->items[i];

        if (item->kind == REPO_TOUCH_KEY && item->key_exists)
            rc = batch_add(batch, consumer->number, &item->path, err);
    }
    return rc;
}

/* ---- the passes, one for each kind of change ---- */

static int pass_realm_deletes(struct delta *delta, struct error *err)
{
    int rc = 0;

    (void)err;
    for (size_t i = 0; rc == 0 && i < delta->touched.n_realms; i++) {
        const struct repo_touched_realm *realm = &delta->touched.realms[i];
        const struct change change = {.kind = CHANGE_REALM_DELETE, .scope = realm->number};

        if (realm->was && !realm->now)
            rc = emit(delta, &change);
    }
    return rc;
}

static int pass_key_deletes(struct delta *delta, struct error *err)
{
    return each_consumer(delta, consumer_key_deletes, delta, err);
}

static int pass_consumer_deletes(struct delta *delta, struct error *err)
{
    return each_consumer(delta, consumer_delete, delta, err);
}

static int pass_buckets(struct delta *delta, struct error *err)
{
    int rc = 0;

    (void)err;
    for (unsigned bucket = 0; rc == 0 && wants_content(delta) && bucket < SET_HASH_BUCKETS;
         bucket++) {
        const struct change change = {
            .kind = CHANGE_BUCKET, .scope = delta->query->wish->scope, .bucket = bucket};

        if (set_hash_marked(&delta->query->wish->buckets, bucket))
            rc = emit(delta, &change);
    }
    return rc;
}

static int pass_realms(struct delta *delta, struct error *err)
{
    int rc = 0;

    if (delta->has_content && delta->content.number != MODEL_SCOPE_CP &&
        set_hash_marked(&delta->query->wish->buckets, SET_HASH_BUCKET_OF_REALM))
        rc = emit_realm(delta, &delta->content.id.id, err);

    for (size_t i = 0; rc == 0 && i < delta->touched.n_realms; i++) {
        if (delta->touched.realms[i].now)
            rc = emit_realm(delta, &delta->touched.realms[i].id, err);
    }
    return rc;
}

static int pass_records(struct delta *delta, bool keys, consumer_fn add_consumer, struct error *err)
{
    struct batch batch = {.delta = delta, .keys = keys};
    int rc = add_scopes(&batch, err);

    if (rc == 0)
        rc = batch_send(&batch, err);
    if (rc == 0)
        rc = send_content(delta, keys, err);
    if (rc == 0)
        rc = each_consumer(delta, add_consumer, &batch, err);
    return rc == 0 ? batch_send(&batch, err) : rc;
}

static int pass_consumers(struct delta *delta, struct error *err)
{
    return pass_records(delta, false, consumer_itself, err);
}

static int pass_keys(struct delta *delta, struct error *err)
{
    return pass_records(delta, true, consumer_keys, err);
}

/* The realms that appear, whose content is sent whole. */
static int find_appearing(const struct delta *delta, struct repo_scopes *ret, struct error *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < delta->touched.n_realms; i++) {
        const struct repo_touched_realm *realm = &delta->touched.realms[i];
        const struct repo_scope scope = {.kind = REPO_SCOPE_REALM, .id = realm->id};

        if (realm->now && !realm->was)
            rc = repo_scopes_add(ret, &scope, realm->number, err);
    }
    return rc;
}

/* Counters tell at once when realms that appear are too large to be sent as lines. */
static int check_size(const struct delta *delta, struct error *err)
{
    struct repo_scopes appearing = {.items = NULL};
    struct repo_counts counts = {0};
    int rc = find_appearing(delta, &appearing, err);

    if (rc == 0 && appearing.count > 0)
        rc = delta->view->ops->counts(delta->view, appearing.items, appearing.count, &counts, err);
    repo_scopes_finish(&appearing);
    if (rc != 0 || delta->touched.n_items + counts.consumers + counts.keys <= REPO_TOUCHED_MAX)
        return rc;
    return error_set(err, E_TOO_LARGE, "the changes are larger than a transaction may be");
}

static int emit_all(struct delta *delta, struct error *err)
{
    static int (*const passes[CHANGE_KINDS])(struct delta *, struct error *) = {
        [CHANGE_REALM_DELETE] = pass_realm_deletes,
        [CHANGE_KEY_DELETE] = pass_key_deletes,
        [CHANGE_CONSUMER_DELETE] = pass_consumer_deletes,
        [CHANGE_BUCKET] = pass_buckets,
        [CHANGE_REALM] = pass_realms,
        [CHANGE_CONSUMER] = pass_consumers,
        [CHANGE_KEY] = pass_keys,
    };
    int rc = check_size(delta, err);

    for (int kind = 0; rc == 0 && kind < CHANGE_KINDS; kind++)
        rc = passes[kind](delta, err);
    return rc;
}

/* ---- digests ---- */

static int emit_digest(const struct delta *delta, const struct repo_numbered_scope *scope,
                       const struct set_hash *hash, bool with_buckets, struct error *err)
{
    struct feed_scope_hash digest = {.scope = scope->number, .hash = *hash};
    struct set_hash buckets[SET_HASH_BUCKETS];
    int rc = 0;

    if (with_buckets) {
        rc = delta->view->ops->buckets(delta->view, &scope->id, buckets, err);
        digest.buckets = buckets;
    }
    return rc == 0 ? delta->sink->digest(delta->sink->context, &digest) : rc;
}

/* A scope that is asked for and not visible holds nothing. */
static int emit_empty_digest(const struct delta *delta, uint32_t number)
{
    static const struct set_hash buckets[SET_HASH_BUCKETS];
    const struct feed_scope_hash digest = {.scope = number, .buckets = buckets};

    return delta->sink->digest(delta->sink->context, &digest);
}

static int add_touched(struct delta *delta, struct repo_scopes *scopes, struct error *err)
{
    struct touched_consumer consumer;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < delta->touched.n_realms; i++) {
        const struct repo_touched_realm *realm = &delta->touched.realms[i];
        const struct repo_scope id = {.kind = REPO_SCOPE_REALM, .id = realm->id};

        if (realm->now)
            rc = repo_scopes_add(scopes, &id, realm->number, err);
    }
    for (size_t at = 0; rc == 0 && at < delta->touched.n_items; at += consumer.count) {
        rc = next_consumer(delta, at, &consumer, err);
        if (rc == 0 && (at == 0 || !repo_scope_equal(&consumer.items->path.scope,
                                                     &consumer.items[-1].path.scope)))
            rc = repo_scopes_add(scopes, &consumer.items->path.scope, consumer.number, err);
    }
    repo_scopes_sort(scopes);
    return rc;
}

static bool names_scope(const struct feed_wish *wish)
{
    return wish != NULL && (wish->kind == FEED_WISH_BUCKETS || wish->kind == FEED_WISH_CONTENT);
}

/* The touched ones, all when that is wished for, and the one that is asked for by its number. */
static int find_digests(struct delta *delta, struct repo_scopes *scopes, struct error *err)
{
    const struct feed_wish *wish = delta->query->wish;
    struct repo_scopes visible = {.items = NULL};
    int rc;

    if (wish != NULL && wish->kind == FEED_WISH_DIGESTS)
        return repo_scopes_visible(delta->view, delta->query->control_plane_id, scopes, err);
    rc = add_touched(delta, scopes, err);
    if (rc != 0 || wish == NULL || !names_scope(wish))
        return rc;
    rc = repo_scopes_visible(delta->view, delta->query->control_plane_id, &visible, err);
    if (rc == 0) {
        const struct repo_numbered_scope *asked = repo_scopes_find(&visible, wish->scope);

        if (asked != NULL)
            rc = repo_scopes_add(scopes, &asked->id, asked->number, err);
        delta->has_content = asked != NULL && wants_content(delta);
        if (delta->has_content)
            delta->content = *asked;
    }
    repo_scopes_finish(&visible);
    repo_scopes_sort(scopes);
    return rc;
}

static int emit_sorted(struct delta *delta, const struct repo_scopes *scopes,
                       const struct set_hash *hashes, struct error *err)
{
    bool asked = names_scope(delta->query->wish);
    uint32_t number = asked ? delta->query->wish->scope : 0;
    bool missing = asked && repo_scopes_find(scopes, number) == NULL;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < scopes->count; i++) {
        const struct repo_numbered_scope *scope = &scopes->items[i];

        if (missing && scope->number > number) {
            rc = emit_empty_digest(delta, number);
            missing = false;
        }
        if (rc == 0)
            rc = emit_digest(delta, scope, &hashes[i], asked && scope->number == number, err);
    }
    return rc == 0 && missing ? emit_empty_digest(delta, number) : rc;
}

static int emit_digests(struct delta *delta, const struct repo_scopes *scopes, struct error *err)
{
    struct set_hash *hashes = calloc(scopes->count + 1, sizeof(*hashes));
    int rc;

    if (hashes == NULL)
        return repo_no_memory(err);
    rc = delta->view->ops->digests(delta->view, scopes->items, scopes->count, hashes, err);
    if (rc == 0)
        rc = emit_sorted(delta, scopes, hashes, err);
    free(hashes);
    return rc;
}

/* ---- the operation ---- */

static int emit_transaction(struct delta *delta, struct error *err)
{
    struct repo_scopes scopes = {.items = NULL};
    int rc = delta->sink->digest != NULL ? find_digests(delta, &scopes, err) : 0;

    if (rc == 0)
        rc = emit_all(delta, err);
    if (rc == 0 && delta->sink->digest != NULL)
        rc = emit_digests(delta, &scopes, err);
    repo_scopes_finish(&scopes);
    return rc;
}

static int read_range(struct delta *delta, const struct repo_view_head *head,
                      struct repo_delta *ret, struct error *err)
{
    int rc = repo_touched_collect(delta->view, delta->query->control_plane_id, delta->query->from,
                                  head->version, &delta->touched, err);

    if (rc == 0) {
        if (delta->touched.time_ms != 0)
            ret->time_ms = delta->touched.time_ms;
        rc = emit_transaction(delta, err);
        repo_touched_finish(&delta->touched);
    }
    ret->changes = delta->changes;
    if (rc != E_TOO_LARGE)
        return rc;
    ret->outcome = REPO_DELTA_TOO_LARGE;
    return 0;
}

int repo_delta_read(struct repo_view *view, const struct repo_transaction_query *query,
                    const struct repo_transaction_sink *sink, struct repo_delta *ret,
                    struct error *err)
{
    struct delta delta = {.view = view, .query = query, .sink = sink};
    struct repo_view_head head;
    int rc = view->ops->head(view, &head, err);

    if (rc != 0)
        return rc;
    *ret = (struct repo_delta){
        .outcome = REPO_DELTA_OK, .version = head.version, .time_ms = head.time_ms};
    if (query->from > head.version)
        ret->outcome = REPO_DELTA_FUTURE;
    else if (query->from < head.oldest)
        ret->outcome = REPO_DELTA_TOO_OLD;
    else
        rc = read_range(&delta, &head, ret, err);
    return rc;
}
