/* reader_copy.c - rs_lookup_copy(), rs_find_copy(): a whole request in one call.
 *
 * Begin, ask, copy what was found into the caller's buffer, check that the pages were still there
 * when it was copied, end; and again, a bounded number of times, where the agent was faster or the
 * map has to grow. Nothing that is returned points into the store.
 *
 * The copy is laid out twice: first counted, then, if it fits, written. A page that changes in
 * between can only make the second pass longer: it is bounded by the buffer, and rs_check() tells.
 */
#include "store/reader_internal.h"

#include <sched.h>
#include <stdalign.h>
#include <string.h>

enum {
    OVERTAKEN_ATTEMPTS = 4,
    GROW_ATTEMPTS = 200, /* the map moves when no other thread is in a snapshot, which are short */
    ALIGNMENT = alignof(const char *)
};

/* ---- laying an answer out ---- */

struct layout_out {
    char *bytes; /* NULL: only counted */
    size_t size;
    size_t used; /* may pass `size`; then nothing beyond it was written */
};

static char *take(struct layout_out *out, size_t size)
{
    size_t at = out->used;

    out->used += size;
    return out->bytes != NULL && out->used <= out->size ? out->bytes + at : NULL;
}

/* `room` bytes are there to be read: the end of a string may be gone from a page that was used
 * again. */
static const char *put_text(struct layout_out *out, const char *text, size_t room)
{
    size_t length;
    char *at;

    if (text == NULL)
        return NULL;
    length = strnlen(text, room);
    at = take(out, length + 1);
    if (at == NULL)
        return NULL;
    memcpy(at, text, length);
    at[length] = 0;
    return at;
}

/* A string of a record, one of whose lists is at hand. */
static const char *reader_copy_put_string(struct layout_out *out, const struct record_strings *of,
                                          const char *text)
{
    if (text == NULL)
        return NULL;
    return put_text(out, text, (size_t)((const char *)of->record + of->size - text));
}

static const char *put_id(struct layout_out *out, const struct uuid *id)
{
    char text[UUID_TEXT_SIZE];

    return put_text(out, uuid_format(id, text), sizeof(text));
}

/* The realm's groups, then the consumer's own. */
static void put_groups(struct layout_out *out, const struct consumer_view *view, const char **list)
{
    const rs_consumer *consumer = (const rs_consumer *)view;
    size_t count = rs_consumer_group_count(consumer);

    for (size_t i = 0; i < count; i++) {
        const struct record_strings *of =
            i < view->realm.groups.count ? &view->realm.groups : &view->consumer.groups;
        const char *text = reader_copy_put_string(out, of, rs_consumer_group(consumer, i));

        if (list != NULL)
            list[i] = text;
    }
}

static void put_tags(struct layout_out *out, const struct consumer_view *view, const char **list)
{
    const struct record_strings *tags = &view->consumer.tags;

    for (size_t i = 0; i < tags->count; i++) {
        const char *text = reader_copy_put_string(out, tags, record_strings_get(tags, i));

        if (list != NULL)
            list[i] = text;
    }
}

/* The lists come first, where they are aligned; the slack for that is always counted in full. */
static void put_answer(struct layout_out *out, const struct consumer_view *view, rs_answer *ret)
{
    size_t n_groups = rs_consumer_group_count((const rs_consumer *)view);
    size_t n_tags = view->consumer.tags.count;
    size_t slack = (size_t)(-(uintptr_t)out->bytes % ALIGNMENT);
    char *lists = take(out, ALIGNMENT - 1 + (n_groups + n_tags) * sizeof(const char *));
    const char **list = lists != NULL ? (const char **)(void *)(lists + slack) : NULL;
    const struct record_strings *strings = &view->consumer.groups;

    ret->groups = list;
    ret->n_groups = n_groups;
    ret->tags = list != NULL ? list + n_groups : NULL;
    ret->n_tags = n_tags;
    put_groups(out, view, list);
    put_tags(out, view, list != NULL ? list + n_groups : NULL);
    ret->id = put_id(out, &view->consumer.id);
    ret->username = reader_copy_put_string(out, strings, view->consumer.username);
    ret->custom_id = reader_copy_put_string(out, strings, view->consumer.custom_id);
    ret->credential_id = uuid_is_nil(&view->key_id) ? NULL : put_id(out, &view->key_id);
    ret->scope = RS_SCOPE_CP;
    if (view->realm.number == MODEL_SCOPE_CP)
        return;
    ret->scope = RS_SCOPE_REALM;
    ret->realm_id = put_id(out, &view->realm.id);
    ret->realm_name = reader_copy_put_string(out, &view->realm.groups, view->realm.name);
}

/* ---- one attempt ---- */

/* What is asked of a snapshot, and where the answer goes. */
struct question {
    int (*ask)(rs_snapshot *snapshot, const struct question *question, rs_consumer *ret);
    const rs_source *sources;
    size_t n;
    const void *key;
    size_t key_size;
    const char *region;
    const char *name;
    void *buffer;
    size_t buffer_size;
};

static int copy_found(const struct question *question, const rs_consumer *consumer, rs_answer *ret)
{
    const struct consumer_view *view = (const struct consumer_view *)consumer;
    struct layout_out count = {NULL, 0, 0};
    struct layout_out out = {question->buffer, question->buffer_size, 0};

    *ret = (rs_answer){.age_ms = view->age_ms};
    if (view->consumer.record == NULL)
        return 0;
    put_answer(&count, view, ret);
    if (count.used <= out.size)
        put_answer(&out, view, ret);
    if (count.used <= out.size && out.used <= out.size)
        return 0;
    *ret = (rs_answer){.needed = count.used > out.used ? count.used : out.used};
    return RS_E_TOO_SMALL;
}

static int answer_once(rs_store *store, const struct question *question, rs_answer *ret)
{
    rs_snapshot *snapshot;
    rs_consumer consumer;
    int checked;
    int copied = 0;
    int rc = rs_begin(store, &snapshot);

    if (rc != 0)
        return rc;
    rc = question->ask(snapshot, question, &consumer);
    if (rc >= 0)
        copied = copy_found(question, &consumer, ret);
    ret->stale = rc == RS_STALE;
    checked = rc >= 0 ? rs_check(snapshot) : 0;
    rs_end(snapshot);
    if (checked != 0)
        return checked;
    return copied != 0 ? copied : rc;
}

/* ---- the calls ---- */

static bool is_suspect(const rs_store *store)
{
    return atomic_load_explicit(&store->suspect, memory_order_relaxed);
}

static int reader_copy_answer(rs_store *store, const struct question *question, rs_answer *ret)
{
    rs_answer copy = {.needed = 0};
    bool looked = store == NULL || is_suspect(store);
    int overtaken = 0;
    int rc = RS_E_OVERTAKEN;

    for (int i = 0; i < GROW_ATTEMPTS; i++) {
        rc = answer_once(store, question, &copy);
        if (!looked && rc != RS_E_FORKED && is_suspect(store)) {
            looked = true; /* once more, behind a look whether this is the store still */
            continue;
        }
        if (rc == RS_E_MAP_RESIZED)
            (void)sched_yield(); /* cannot fail on Linux */
        else if (rc != RS_E_OVERTAKEN || ++overtaken >= OVERTAKEN_ATTEMPTS)
            break;
    }
    if (rc >= 0)
        *ret = copy;
    else
        *ret = (rs_answer){.needed = rc == RS_E_TOO_SMALL ? copy.needed : 0, .age_ms = -1};
    return rc;
}

static int ask_key(rs_snapshot *snapshot, const struct question *question, rs_consumer *ret)
{
    return rs_lookup(snapshot, question->sources, question->n, question->key, question->key_size,
                     ret);
}

static int ask_name(rs_snapshot *snapshot, const struct question *question, rs_consumer *ret)
{
    return rs_find(snapshot, question->region, question->name, ret);
}

int rs_lookup_copy(rs_store *store, const rs_source *sources, size_t n, const void *key,
                   size_t key_size, void *buffer, size_t buffer_size, rs_answer *ret)
{
    const struct question question = {
        .ask = ask_key,
        .sources = sources,
        .n = n,
        .key = key,
        .key_size = key_size,
        .buffer = buffer,
        .buffer_size = buffer_size,
    };

    if (ret == NULL || (buffer == NULL && buffer_size > 0))
        return RS_E_INVALID;
    return reader_copy_answer(store, &question, ret);
}

int rs_find_copy(rs_store *store, const char *region, const char *name, void *buffer,
                 size_t buffer_size, rs_answer *ret)
{
    const struct question question = {
        .ask = ask_name,
        .region = region,
        .name = name,
        .buffer = buffer,
        .buffer_size = buffer_size,
    };

    if (ret == NULL || (buffer == NULL && buffer_size > 0))
        return RS_E_INVALID;
    return reader_copy_answer(store, &question, ret);
}
