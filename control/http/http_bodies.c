/* http_bodies.c - see http_internal.h. A share exists while its caller holds bytes, so that there
 * are never more of them than requests with a body.
 */
#include <stdlib.h>

#include "control/http/http_internal.h"

enum { BUCKETS = sizeof(((struct http_bodies *)NULL)->shares) / sizeof(struct http_shares) };

struct http_share {
    uint64_t caller;
    enum http_class class;
    size_t used;
    LIST_ENTRY(http_share) next;
};

void http_bodies_init(struct http_bodies *bodies, const size_t max[HTTP_CLASSES])
{
    pthread_mutex_init(&bodies->mutex, NULL);
    for (size_t i = 0; i < HTTP_CLASSES; i++)
        bodies->max[i] = max[i];
}

void http_bodies_finish(struct http_bodies *bodies)
{
    pthread_mutex_destroy(&bodies->mutex);
}

static struct http_shares *http_bodies_bucket_of(struct http_bodies *bodies,
                                                 const struct http_admission *who)
{
    return &bodies->shares[who->caller % BUCKETS];
}

static struct http_share *http_bodies_find(struct http_bodies *bodies,
                                           const struct http_admission *who)
{
    struct http_share *share;

    for (share = LIST_FIRST(http_bodies_bucket_of(bodies, who)); share != NULL;
         share = LIST_NEXT(share, next)) {
        if (share->caller == who->caller && share->class == who->class)
            return share;
    }
    return NULL;
}

static struct http_share *make(struct http_bodies *bodies, const struct http_admission *who)
{
    struct http_share *share = calloc(1, sizeof(*share));

    if (share == NULL)
        return NULL;
    share->caller = who->caller;
    share->class = who->class;
    LIST_INSERT_HEAD(http_bodies_bucket_of(bodies, who), share, next);
    return share;
}

static enum http_room take(struct http_bodies *bodies, const struct http_admission *who,
                           size_t size)
{
    const size_t max = bodies->max[who->class];
    struct http_share *share = http_bodies_find(bodies, who);
    const size_t held = share != NULL ? share->used : 0;

    if (size > max - bodies->used[who->class])
        return HTTP_ROOM_NOT_FOR_CLASS;
    if (size > max / 2 - held)
        return HTTP_ROOM_NOT_FOR_CALLER;
    if (share == NULL)
        share = make(bodies, who);
    if (share == NULL)
        return HTTP_ROOM_NOT_FOR_CLASS;
    share->used += size;
    bodies->used[who->class] += size;
    return HTTP_ROOM;
}

enum http_room http_bodies_take(struct http_bodies *bodies, const struct http_admission *who,
                                size_t size)
{
    enum http_room room;

    if (size == 0)
        return HTTP_ROOM;
    pthread_mutex_lock(&bodies->mutex);
    room = take(bodies, who, size);
    pthread_mutex_unlock(&bodies->mutex);
    return room;
}

void http_bodies_give(struct http_bodies *bodies, const struct http_admission *who, size_t size)
{
    struct http_share *share;

    if (size == 0)
        return;
    pthread_mutex_lock(&bodies->mutex);
    bodies->used[who->class] -= size;
    share = http_bodies_find(bodies, who); /* is there: it holds at least `size` */
    share->used -= size;
    if (share->used == 0) {
        LIST_REMOVE(share, next);
        free(share);
    }
    pthread_mutex_unlock(&bodies->mutex);
}

size_t http_bodies_used(struct http_bodies *bodies)
{
    size_t used = 0;

    pthread_mutex_lock(&bodies->mutex);
    for (size_t i = 0; i < HTTP_CLASSES; i++)
        used += bodies->used[i];
    pthread_mutex_unlock(&bodies->mutex);
    return used;
}
