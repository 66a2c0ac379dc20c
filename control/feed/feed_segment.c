/* feed_segment.c - the repository's changes as the bytes of one transaction.
 *
 * A segment holds the change lines, the digest lines and the commit line. The begin line names the
 * version that a follower's feed carried before, which differs between followers, so it is not part
 * of it; that is what lets all of them share the rest.
 */
#include "control/feed/feed_internal.h"

#include <stdlib.h>

static int encode(void *context, const struct change *change)
{
    return change_encode(change, context);
}

static int encode_digest(void *context, const struct feed_digest *digest)
{
    const struct feed_line line = {.kind = FEED_LINE_DIGEST, .digest = *digest};

    return feed_line_encode(&line, context);
}

static bool wants_all(const struct feed_wish *wish)
{
    return wish != NULL && wish->kind == FEED_WISH_DIGESTS;
}

static int append_commit(struct buffer *out, const struct repo_delta *delta,
                         const struct feed_wish *wish)
{
    const struct feed_line line = {.kind = FEED_LINE_COMMIT,
                                   .commit = {.version = delta->version,
                                              .changes = delta->changes,
                                              .all_scopes = wants_all(wish)}};

    return feed_line_encode(&line, out);
}

/* Takes the buffer's bytes, without the room it had to grow. */
static void take_bytes(struct feed_segment *segment, struct buffer *out)
{
    unsigned char *fitting;

    segment->bytes = buffer_take(out, &segment->size);
    fitting = realloc(segment->bytes, segment->size);
    if (fitting != NULL)
        segment->bytes = fitting;
}

static struct feed_segment *segment_new(uint64_t from, const struct repo_delta *delta)
{
    struct feed_segment *segment = calloc(1, sizeof(*segment));

    if (segment == NULL)
        return NULL;
    segment->refs = 1;
    segment->low = segment->base = from;
    segment->to = delta->version;
    segment->time_ms = delta->time_ms;
    segment->too_large = delta->outcome == REPO_DELTA_TOO_LARGE;
    return segment;
}

/* Turns the answer into a segment, if there is anything to tell. */
static int make(const struct repo_transaction_query *query, struct buffer *out,
                struct feed_delta *ret, struct error *err)
{
    const struct repo_delta *delta = &ret->repo;
    bool lines = delta->outcome == REPO_DELTA_OK && (delta->changes > 0 || query->wish != NULL);
    int rc = lines ? append_commit(out, delta, query->wish) : 0;

    if (rc == E_TOO_LARGE) {
        ret->repo.outcome = REPO_DELTA_TOO_LARGE;
        lines = false;
    } else if (rc != 0) {
        return error_set(err, rc, NULL);
    }
    if (!lines && delta->outcome != REPO_DELTA_TOO_LARGE)
        return 0;
    ret->segment = segment_new(query->from, delta);
    if (ret->segment == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    if (lines)
        take_bytes(ret->segment, out);
    return 0;
}

/* A repair comes once in a long while, to one host, which bounds what it asks for: room for the
 * buckets of a scope of ten million. */
enum { REPAIR_FACTOR = 3 };

int feed_segment_make(struct feed *feed, const struct repo_transaction_query *query,
                      struct feed_delta *ret, struct error *err)
{
    bool is_repair = query->wish != NULL && query->wish->kind == FEED_WISH_CONTENT;
    struct repo *repo = feed->repo;
    struct buffer out;
    const struct repo_transaction_sink sink = {encode, encode_digest, &out};
    int rc;

    ret->segment = NULL;
    buffer_init(&out, feed->transaction_max_bytes * (is_repair ? REPAIR_FACTOR : 1));
    rc = repo_transaction(repo, query, &sink, &ret->repo, err);
    if (rc == 0)
        rc = make(query, &out, ret, err);
    buffer_finish(&out);
    return rc;
}

void feed_segment_unref(struct feed_segment *segment)
{
    if (segment == NULL || --segment->refs > 0)
        return;
    free(segment->bytes);
    free(segment);
}
