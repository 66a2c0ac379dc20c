/* The flow of a question; ask.h has the picture.
 *
 *     asking   a question under way: at one of its places, waiting for one flight
 *     flight   a request to a control plane, with everybody who waits for it
 *
 * Failure: a control plane that cannot be asked ends the question as "unavailable", since a place
 * that comes first must not be passed over; so does the end of its time. The flight goes on, for
 * the cache and for others. What the gateway does then is its operator's choice. A region that did
 * not answer is left alone for a moment, so that an outage costs gateways no waiting in a queue;
 * one that refused a question was no outage, and answers the next one.
 */
#include "agent/ask.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "agent/ask_cache.h"
#include "agent/ask_store.h"
#include "agent/ask_upstream.h"
#include "base/grammar.h"

enum { LOG_INTERVAL_MS = 60 * 1000 };

const struct ask_limits ask_limits_default = {
    .total_ms = 3000,
    .try_ms = 1500,
    .connect_ms = 1000,
    .rest_ms = 1000,
    .flights_max = 64,
    .cache_bytes = (size_t)4 * 1024 * 1024,
};

/* One region that is followed. */
struct region {
    const struct config_source *source; /* borrowed */
    struct model_cursor reached;        /* nil epoch: nothing yet */
    unsigned url;                       /* the one that answered last */
    uint64_t rests_until_ms;            /* loop time: no URL of it has answered */
};

struct asking {
    struct ask_question *question; /* owned; every place has its region */
    size_t at;                     /* the place it is at */
    struct flight *flight;         /* it waits for; NULL: none */
    uint64_t deadline_ms;          /* loop time */
    ask_answer_fn answered;
    void *context;
    TAILQ_ENTRY(asking) all;
    TAILQ_ENTRY(asking) waiting; /* in its flight's list */
};

TAILQ_HEAD(askings, asking);

struct flight {
    struct ask *ask;
    uint8_t digest[DIGEST_BYTES];
    char region[MODEL_REGION_MAX + 1];
    struct ask_upstream *upstream;
    struct askings waiting;
    int64_t started_ms;
    LIST_ENTRY(flight) entry;
};

struct ask {
    struct ask_options options;
    struct ask_cache *cache; /* owned */
    struct ask_store *store; /* owned */
    struct region *regions;  /* owned */
    unsigned n_regions;
    struct askings askings; /* by deadline: all have the same time */
    LIST_HEAD(flight_list, flight) flights;
    unsigned n_flights;
    uv_timer_t timer; /* the first deadline's */
    struct ask_metrics metrics;
    struct log_pace pace;
    void (*closed)(void *context);
    void *closed_context;
};

static void go_on(struct ask *ask, struct asking *asking);
static void on_deadline(uv_timer_t *timer);

/* ---- figures ---- */

static void ask_publish(struct ask *ask)
{
    struct ask_cache_stats stats = ask_cache_stats(ask->cache);

    ask->metrics.cache_entries = stats.entries;
    ask->metrics.cache_bytes = stats.bytes;
    ask->metrics.superseded = stats.superseded;
    ask->metrics.evicted = stats.evicted;
    board_publish_ask(ask->options.board, &ask->metrics);
}

/* ---- the end of a question ---- */

static void arm(struct ask *ask)
{
    const struct asking *first = TAILQ_FIRST(&ask->askings);
    uint64_t now_ms = uv_now(ask->options.loop);

    if (first == NULL)
        (void)uv_timer_stop(&ask->timer); /* these two fail on a closing handle only */
    else
        (void)uv_timer_start(&ask->timer, on_deadline,
                             first->deadline_ms > now_ms ? first->deadline_ms - now_ms : 0, 0);
}

static void ask_finish(struct ask *ask, struct asking *asking, enum ask_result result,
                       const char *text)
{
    ask_answer_fn answered = asking->answered;
    void *context = asking->context;

    if (asking->flight != NULL)
        TAILQ_REMOVE(&asking->flight->waiting, asking, waiting);
    TAILQ_REMOVE(&ask->askings, asking, all);
    ask_question_destroy(asking->question);
    free(asking);
    ask->metrics.results[result]++;
    ask_publish(ask);
    answered(context, result, text);
}

static void finish_not_found(struct ask *ask, struct asking *asking)
{
    char *text = ask_not_found_text();

    if (text != NULL)
        ask_finish(ask, asking, ASK_NOT_FOUND, text);
    else
        ask_finish(ask, asking, ASK_UNAVAILABLE, "out of memory");
    free(text);
}

static void on_deadline(uv_timer_t *timer)
{
    struct ask *ask = timer->data;
    uint64_t now_ms = uv_now(ask->options.loop);
    struct asking *asking;

    while ((asking = TAILQ_FIRST(&ask->askings)) != NULL && asking->deadline_ms <= now_ms)
        ask_finish(ask, asking, ASK_UNAVAILABLE, "no control plane has answered in time");
    arm(ask);
}

/* ---- regions ---- */

static struct region *find_region(const struct ask *ask, const char *name)
{
    for (unsigned i = 0; i < ask->n_regions; i++) {
        if (strcmp(ask->regions[i].source->region, name) == 0)
            return &ask->regions[i];
    }
    return NULL;
}

static bool has_reached(const struct region *region, const struct model_cursor *cursor)
{
    return uuid_equal(&region->reached.epoch, &cursor->epoch) &&
           region->reached.version >= cursor->version;
}

/* Each place without a region becomes one for every region. */
static int expand_places(const struct ask *ask, struct ask_question *question)
{
    size_t room = question->n_places * (ask->n_regions + 1);
    struct ask_place *places = calloc(room, sizeof(*places));
    size_t count = 0;

    if (places == NULL)
        return E_NO_MEMORY;
    for (size_t i = 0; i < question->n_places; i++) {
        bool every = question->places[i].region[0] == 0;

        for (unsigned region = 0; region < (every ? ask->n_regions : 1); region++) {
            places[count] = question->places[i];
            if (every)
                memcpy(places[count].region, ask->regions[region].source->region,
                       strlen(ask->regions[region].source->region) + 1);
            count++;
        }
    }
    free(question->places);
    question->places = places;
    question->n_places = count;
    return 0;
}

/* ---- the store ---- */

static enum ask_store_result ask_look(struct ask *ask, const struct asking *asking, size_t place,
                                      char **ret_text)
{
    const struct ask_question *question = asking->question;

    return ask_store_look(ask->store, &question->places[place], question->secret,
                          question->secret_size, ret_text);
}

static void digest_place(const struct ask *ask, const struct asking *asking, size_t place,
                         uint8_t digest[DIGEST_BYTES])
{
    const struct ask_question *question = asking->question;

    ask_cache_digest(ask->cache, &question->places[place], question->secret, question->secret_size,
                     digest);
}

/* The store knows the key, but is too old to say so. A miss that is kept from before the store
 * learned of it must not be the answer. */
static void drop_older_miss(struct ask *ask, const struct asking *asking, size_t place)
{
    const struct region *region = find_region(ask, asking->question->places[place].region);
    const struct ask_answer *kept;
    uint8_t digest[DIGEST_BYTES];

    digest_place(ask, asking, place, digest);
    kept = ask_cache_get(ask->cache, digest);
    if (kept != NULL && !kept->found && region != NULL && has_reached(region, &kept->cursor))
        ask_cache_drop(ask->cache, digest);
}

/* As a gateway's lookup: the first place that knows the key, if it may be given, is the answer. */
static bool finish_from_store(struct ask *ask, struct asking *asking)
{
    for (size_t i = 0; i < asking->question->n_places; i++) {
        char *text = NULL;
        enum ask_store_result result = ask_look(ask, asking, i, &text);

        if (result == ASK_STORE_STALE_FOUND)
            drop_older_miss(ask, asking, i);
        if (result == ASK_STORE_FOUND) {
            ask->metrics.from_store++;
            ask_finish(ask, asking, ASK_FOUND, text);
        }
        free(text);
        if (result != ASK_STORE_MISS)
            return result == ASK_STORE_FOUND;
    }
    return false;
}

/* ---- flights ---- */

/* The store has all that the answer was true of, and perhaps more: it says what holds. */
static enum ask_store_result settle_from_store(struct ask *ask, struct asking *asking,
                                               bool *ret_done)
{
    char *text = NULL;
    enum ask_store_result result = ask_look(ask, asking, asking->at, &text);

    *ret_done = result == ASK_STORE_FOUND || result == ASK_STORE_STALE_FOUND;
    if (*ret_done) {
        ask->metrics.from_store++;
        ask_finish(ask, asking, ASK_FOUND, text);
    }
    free(text);
    return result;
}

static void ask_take_answer(struct ask *ask, struct asking *asking, const struct ask_answer *answer,
                            bool overtaken)
{
    bool done = false;

    if (overtaken && settle_from_store(ask, asking, &done) != ASK_STORE_UNKNOWN) {
        if (done)
            return;
    } else if (answer->found) {
        ask->metrics.from_control_plane++;
        ask_finish(ask, asking, ASK_FOUND, answer->text);
        return;
    }
    asking->at++;
    if (asking->at == asking->question->n_places)
        ask->metrics.from_control_plane++;
    go_on(ask, asking);
}

/* Takes the flight out, with the list of those who waited. */
static void land(struct flight *flight, struct askings *ret_waiting)
{
    struct ask *ask = flight->ask;
    struct asking *asking;

    TAILQ_INIT(ret_waiting);
    TAILQ_CONCAT(ret_waiting, &flight->waiting, waiting);
    for (asking = TAILQ_FIRST(ret_waiting); asking != NULL; asking = TAILQ_NEXT(asking, waiting))
        asking->flight = NULL;
    LIST_REMOVE(flight, entry);
    ask->n_flights--;
    histogram_add(&ask->metrics.upstream_duration,
                  (double)(clock_boot_ms() - flight->started_ms) / 1000);
}

static void on_answered(void *context, const struct ask_answer *answer, unsigned url)
{
    struct flight *flight = context;
    struct ask *ask = flight->ask;
    struct region *region = find_region(ask, flight->region);
    bool overtaken = region != NULL && has_reached(region, &answer->cursor);
    struct askings waiting;
    struct asking *asking;

    if (region != NULL)
        region->url = url;
    /* A found answer that the store has reached is the store's; of a miss it is still worth knowing
     * that the control plane need not be asked again for a while. */
    if (region != NULL && (!answer->found || !overtaken))
        ask_cache_put(ask->cache, flight->digest, flight->region, answer);
    land(flight, &waiting);
    while ((asking = TAILQ_FIRST(&waiting)) != NULL) {
        TAILQ_REMOVE(&waiting, asking, waiting);
        ask_take_answer(ask, asking, answer, overtaken);
    }
    ask_publish(ask);
    arm(ask);
    free(flight);
}

static void on_failed(void *context, const struct error *err, bool is_outage)
{
    struct flight *flight = context;
    struct ask *ask = flight->ask;
    struct region *region = find_region(ask, flight->region);
    char text[LOG_LEFT_OUT_SIZE];
    struct askings waiting;
    struct asking *asking;
    unsigned left_out;

    if (region != NULL && is_outage)
        region->rests_until_ms = uv_now(ask->options.loop) + ask->options.limits.rest_ms;
    ask->metrics.upstream_failures++;
    if (log_pace_due(&ask->pace, LOG_INTERVAL_MS, &left_out))
        log_warning(ask->options.log,
                    "%s: a key could not be asked for: %s; gateways are told so%s", flight->region,
                    err->message, log_left_out(left_out, text));
    land(flight, &waiting);
    while ((asking = TAILQ_FIRST(&waiting)) != NULL) {
        TAILQ_REMOVE(&waiting, asking, waiting);
        ask_finish(ask, asking, ASK_UNAVAILABLE,
                   is_outage ? "the control plane could not be asked"
                             : "the control plane does not answer this question");
    }
    arm(ask);
    free(flight);
}

static struct flight *find_flight(const struct ask *ask, const uint8_t digest[DIGEST_BYTES])
{
    struct flight *flight = LIST_FIRST(&ask->flights);

    while (flight != NULL && memcmp(flight->digest, digest, DIGEST_BYTES) != 0)
        flight = LIST_NEXT(flight, entry);
    return flight;
}

static struct flight *start_flight(struct ask *ask, const struct asking *asking,
                                   const struct region *region, const uint8_t digest[DIGEST_BYTES],
                                   struct error *err)
{
    const struct ask_limits *limits = &ask->options.limits;
    struct flight *flight = calloc(1, sizeof(*flight));
    struct ask_upstream_events events = {on_answered, on_failed, flight};
    struct ask_upstream_options options = {
        .loop = ask->options.loop,
        .http = ask->options.http,
        .control_plane_id = ask->options.control_plane_id,
        .source = region->source,
        .first_url = region->url,
        .place = &asking->question->places[asking->at],
        .secret = asking->question->secret,
        .secret_size = asking->question->secret_size,
        .connect_ms = limits->connect_ms,
        .try_ms = limits->try_ms,
        .total_ms = limits->total_ms,
    };

    if (flight == NULL) {
        (void)error_set(err, E_NO_MEMORY, NULL);
        return NULL;
    }
    if (ask_upstream_start(&options, &events, &flight->upstream, err) != 0) {
        free(flight);
        return NULL;
    }
    flight->ask = ask;
    memcpy(flight->digest, digest, DIGEST_BYTES);
    memcpy(flight->region, region->source->region, strlen(region->source->region));
    flight->started_ms = clock_boot_ms();
    TAILQ_INIT(&flight->waiting);
    LIST_INSERT_HEAD(&ask->flights, flight, entry);
    ask->n_flights++;
    ask->metrics.upstream++;
    return flight;
}

/* Waits for the flight of its place, which is started when there is none. */
static void board_flight(struct ask *ask, struct asking *asking, const uint8_t digest[DIGEST_BYTES])
{
    const struct region *region = find_region(ask, asking->question->places[asking->at].region);
    struct flight *flight = find_flight(ask, digest);
    struct error err = ERROR_INIT;

    if (region == NULL) {
        ask_finish(ask, asking, ASK_UNAVAILABLE, "no source of this host has the region");
        return;
    }
    if (flight != NULL) {
        ask->metrics.joined++;
    } else if (uv_now(ask->options.loop) < region->rests_until_ms) {
        ask_finish(ask, asking, ASK_UNAVAILABLE, "the control plane has not answered just now");
        return;
    } else if (ask->n_flights >= ask->options.limits.flights_max) {
        ask_finish(ask, asking, ASK_UNAVAILABLE, "too many questions are under way");
        return;
    } else {
        flight = start_flight(ask, asking, region, digest, &err);
    }
    if (flight == NULL) {
        ask_finish(ask, asking, ASK_UNAVAILABLE, err.message);
        return;
    }
    asking->flight = flight;
    TAILQ_INSERT_TAIL(&flight->waiting, asking, waiting);
}

/* ---- the flow ---- */

/* From its place on: the cache, then the control plane. */
static void go_on(struct ask *ask, struct asking *asking)
{
    uint8_t digest[DIGEST_BYTES];

    for (; asking->at < asking->question->n_places; asking->at++) {
        const struct ask_answer *kept;

        digest_place(ask, asking, asking->at, digest);
        kept = ask_cache_get(ask->cache, digest);
        if (kept == NULL) {
            board_flight(ask, asking, digest);
            return;
        }
        ask->metrics.from_cache++;
        if (kept->found) {
            ask_finish(ask, asking, ASK_FOUND, kept->text);
            return;
        }
    }
    finish_not_found(ask, asking);
}

void ask_start(struct ask *ask, struct ask_question *question, ask_answer_fn answered,
               void *context)
{
    struct asking *asking = calloc(1, sizeof(*asking));

    if (asking == NULL || expand_places(ask, question) != 0) {
        free(asking);
        ask_question_destroy(question);
        ask->metrics.results[ASK_UNAVAILABLE]++;
        answered(context, ASK_UNAVAILABLE, "out of memory");
        return;
    }
    asking->question = question;
    asking->answered = answered;
    asking->context = context;
    asking->deadline_ms = uv_now(ask->options.loop) + ask->options.limits.total_ms;
    TAILQ_INSERT_TAIL(&ask->askings, asking, all);
    if (!grammar_may_be_secret(question->secret, question->secret_size))
        finish_not_found(ask, asking); /* no key is like that */
    else if (!finish_from_store(ask, asking))
        go_on(ask, asking);
    arm(ask);
}

/* ---- the feed ---- */

void ask_reached(struct ask *ask, const char *region, const struct model_cursor *cursor)
{
    struct region *place = find_region(ask, region);

    if (place == NULL || uuid_is_nil(&cursor->epoch))
        return;
    if (uuid_equal(&place->reached.epoch, &cursor->epoch))
        ask_cache_reached(ask->cache, region, cursor);
    else
        ask_cache_forget(ask->cache, region);
    place->reached = *cursor;
    ask_store_follow(ask->store);
    ask_publish(ask);
}

int ask_configure(struct ask *ask, const struct config_source *sources, unsigned count,
                  struct error *err)
{
    struct region *regions = calloc(count > 0 ? count : 1, sizeof(*regions));
    struct region *former = ask->regions;
    unsigned n_former = ask->n_regions;

    if (regions == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    for (unsigned i = 0; i < count; i++) {
        const struct region *known = find_region(ask, sources[i].region);

        regions[i].source = &sources[i];
        if (known != NULL)
            regions[i].reached = known->reached;
    }
    ask->regions = regions;
    ask->n_regions = count;
    for (unsigned i = 0; i < n_former; i++) {
        if (find_region(ask, former[i].source->region) == NULL)
            ask_cache_forget(ask->cache, former[i].source->region);
    }
    free(former);
    return 0;
}

/* ---- life ---- */

static void destroy(struct ask *ask)
{
    ask_cache_destroy(ask->cache);
    ask_store_destroy(ask->store);
    free(ask->regions);
    free(ask);
}

int ask_create(const struct ask_options *options, struct ask **ret, struct error *err)
{
    struct ask *ask = calloc(1, sizeof(*ask));
    int rc;

    if (ask == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    ask->options = *options;
    TAILQ_INIT(&ask->askings);
    LIST_INIT(&ask->flights);
    rc = ask_cache_create(options->limits.cache_bytes, &options->clock, &ask->cache, err);
    if (rc == 0) {
        ask->store = ask_store_create(options->store_dir, options->retention_ms, options->log);
        rc = ask->store != NULL ? 0 : error_set(err, E_NO_MEMORY, NULL);
    }
    if (rc != 0) {
        destroy(ask);
        return rc;
    }
    (void)uv_timer_init(options->loop, &ask->timer); /* never fails */
    ask->timer.data = ask;
    *ret = ask;
    return 0;
}

static void ask_on_timer_closed(uv_handle_t *handle)
{
    struct ask *ask = handle->data;
    void (*closed)(void *) = ask->closed;
    void *context = ask->closed_context;

    destroy(ask);
    closed(context);
}

void ask_close(struct ask *ask, void (*closed)(void *context), void *context)
{
    struct flight *flight = LIST_FIRST(&ask->flights);
    struct asking *asking = TAILQ_FIRST(&ask->askings);

    ask->closed = closed;
    ask->closed_context = context;
    while (asking != NULL) {
        struct asking *next = TAILQ_NEXT(asking, all);

        ask_finish(ask, asking, ASK_UNAVAILABLE, "the agent is stopping");
        asking = next;
    }
    while (flight != NULL) { /* none of them has anybody waiting any more */
        struct flight *next = LIST_NEXT(flight, entry);

        ask_upstream_cancel(flight->upstream);
        free(flight);
        flight = next;
    }
    uv_close((uv_handle_t *)&ask->timer, ask_on_timer_closed);
}
