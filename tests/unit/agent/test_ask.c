/* agent/ask.h: who answers a question on demand, with scripted control planes behind real HTTP and
 * a real store. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/ask.h"
#include "tests/lib/fake_source.h"
#include "tests/lib/store_fixture.h"

enum { GUARD_MS = 120 * 1000, PLANES = 2, RESULTS_MAX = 8 };

#define REALM    "01900000-0000-7000-8000-0000000002bc" /* fixture_uuid(700) */
#define EPOCH    "01900000-0000-7000-8000-000000000385" /* fixture_epoch() */
#define ID       "01900000-0000-7000-8000-00000000aaaa"
#define IN_REALM "[{\"type\":\"realm\",\"region\":\"us\",\"id\":\"" REALM "\"}]"

#define FOUND_AT(version)                                                                          \
    "{\"result\":\"found\",\"epoch\":\"" EPOCH "\",\"version\":" version                           \
    ",\"ttl\":10,\"negative_ttl\":10,\"realm_name\":\"prod\",\"consumer\":{\"id\":\"" ID           \
    "\",\"username\":\"new\",\"custom_id\":null,\"consumer_groups\":[\"gold\"]},"                  \
    "\"credential\":{\"id\":\"" ID "\",\"expires_at_ms\":0}}"
#define MISS_AT(version)                                                                           \
    "{\"result\":\"not_found\",\"epoch\":\"" EPOCH "\",\"version\":" version                       \
    ",\"ttl\":10,\"negative_ttl\":10}"

/* A control plane of the script's. */
struct plane {
    struct fake_source *source;
    const char *status; /* of the next answers */
    const char *body;
    enum fake_then then; /* FAKE_HOLD with body NULL: no answer */
    _Atomic unsigned asked;
    char seen[2048]; /* head and body of the last question */
};

struct result {
    bool done;
    enum ask_result result;
    char *text;
};

struct world {
    uv_loop_t loop;
    uv_timer_t guard;
    uv_async_t changed;
    bool late;
    struct log log;
    struct http_client *http;
    struct board *board;
    struct ask *ask;
    struct ask_options options;
    struct plane planes[PLANES];
    struct config_source sources[2];
    char *urls[2][PLANES];
    struct fixture store;
    struct result results[RESULTS_MAX];
    size_t n_results;
};

/* ---- the control planes ---- */

static void respond(void *context, const struct fake_request *request, struct fake_reply *reply)
{
    struct plane *plane = context;

    (void)snprintf(plane->seen, sizeof(plane->seen), "%s", request->head);
    plane->asked++;
    reply->then = plane->then;
    if (plane->body == NULL)
        return;
    fake_head(&reply->bytes, plane->status, "Content-Type: application/json\r\n");
    assert_int_equal(buffer_append_string(&reply->bytes, plane->body), 0);
}

static void script(struct plane *plane, const char *status, const char *body)
{
    plane->status = status;
    plane->body = body;
    plane->then = FAKE_CLOSE;
}

static void script_silence(struct plane *plane)
{
    plane->body = NULL;
    plane->then = FAKE_HOLD;
}

/* ---- life ---- */

static void on_changed(uv_async_t *async)
{
    (void)async;
}

static void on_guard(uv_timer_t *timer)
{
    struct world *world = timer->data;

    world->late = true;
}

static void ignore_closed(void *context)
{
    (void)context;
}

/* Source 0 is region "us" with both planes as its URLs, source 1 region "eu" with the second. */
static void make_sources(struct world *world)
{
    static char us[] = "us";
    static char eu[] = "eu";
    static char token[] = "token";

    for (size_t i = 0; i < PLANES; i++) {
        script(&world->planes[i], "200 OK", MISS_AT("1"));
        world->planes[i].source = fake_source_start(respond, &world->planes[i], &world->changed);
    }
    world->urls[0][0] = strdup(fake_source_url(world->planes[0].source));
    world->urls[0][1] = strdup(fake_source_url(world->planes[1].source));
    world->urls[1][0] = strdup(fake_source_url(world->planes[1].source));
    world->sources[0] = (struct config_source){
        .region = us, .token = token, .urls = world->urls[0], .urls_count = 2};
    world->sources[1] = (struct config_source){
        .region = eu, .token = token, .urls = world->urls[1], .urls_count = 1};
}

static int open_world(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    struct error err = ERROR_INIT;

    assert_non_null(world);
    assert_int_equal(uv_loop_init(&world->loop), 0);
    assert_int_equal(uv_timer_init(&world->loop, &world->guard), 0);
    assert_int_equal(uv_async_init(&world->loop, &world->changed, on_changed), 0);
    world->guard.data = world;
    world->log = (struct log){STDERR_FILENO, LOG_LEVEL_ERROR, LOG_FORMAT_TEXT};
    assert_int_equal(http_client_create(&world->loop, &world->http, &err), 0);
    fixture_init(&world->store);
    world->store.clock = clock_system;
    world->board = board_create(&(struct uuid){{1}}, "host", &(struct uuid){{7}});
    assert_non_null(world->board);
    make_sources(world);
    world->options = (struct ask_options){
        .loop = &world->loop,
        .http = world->http,
        .board = world->board,
        .log = &world->log,
        .store_dir = world->store.dir,
        .control_plane_id = fixture_control_plane(),
        .clock = clock_system,
        .limits = ask_limits_default,
    };
    world->options.limits.rest_ms = 0; /* a test of its own */
    *state = world;
    return 0;
}

static void start(struct world *world)
{
    struct error err = ERROR_INIT;

    assert_int_equal(ask_create(&world->options, &world->ask, &err), 0);
    assert_int_equal(ask_configure(world->ask, world->sources, 2, &err), 0);
}

/* A store with the people of the fixture at version 2; `heard`: it is current. */
static void start_with_store(struct world *world, bool heard)
{
    world->store.retention_ms = world->options.retention_ms = 100;
    fixture_open(&world->store);
    fixture_load_empty(&world->store);
    fixture_begin(&world->store);
    fixture_put_realm(world->store.source, 7);
    fixture_put_consumer(world->store.source, 7, 1, "alice");
    fixture_put_key(world->store.source, 7, 1, 11, "alice-key");
    fixture_commit(&world->store);
    if (heard)
        source_heard(world->store.source);
    start(world);
}

static void reach(struct world *world, const char *region, uint64_t version)
{
    struct model_cursor cursor = {fixture_epoch(), version};

    ask_reached(world->ask, region, &cursor);
}

static int close_world(void **state)
{
    struct world *world = *state;

    if (world->ask != NULL)
        ask_close(world->ask, ignore_closed, NULL);
    http_client_close(world->http, ignore_closed, NULL);
    for (size_t i = 0; i < PLANES; i++)
        fake_source_stop(world->planes[i].source);
    uv_close((uv_handle_t *)&world->changed, NULL);
    uv_close((uv_handle_t *)&world->guard, NULL);
    assert_int_equal(uv_run(&world->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&world->loop), 0);
    for (size_t i = 0; i < world->n_results; i++)
        free(world->results[i].text);
    free(world->urls[0][0]);
    free(world->urls[0][1]);
    free(world->urls[1][0]);
    board_destroy(world->board);
    fixture_finish(&world->store);
    free(world);
    return 0;
}

/* ---- questions ---- */

static void on_answer(void *context, enum ask_result result, const char *text)
{
    struct result *place = context;

    assert_false(place->done);
    place->done = true;
    place->result = result;
    place->text = strdup(text);
}

static struct result *ask_now(struct world *world, const char *secret, const char *sources)
{
    struct result *result = &world->results[world->n_results++];
    struct ask_question *question;
    struct error err = ERROR_INIT;
    char body[2048];

    assert_true(world->n_results <= RESULTS_MAX);
    (void)snprintf(body, sizeof(body), "{\"secret\":\"%s\",\"sources\":%s}", secret, sources);
    if (ask_question_parse(body, strlen(body), &question, &err) != 0)
        fail_msg("%s", err.message);
    ask_start(world->ask, question, on_answer, result);
    return result;
}

static void forget_results(struct world *world)
{
    for (size_t i = 0; i < world->n_results; i++)
        free(world->results[i].text);
    memset(world->results, 0, sizeof(world->results));
    world->n_results = 0;
}

static void turn_until(struct world *world, const bool *condition)
{
    world->late = false;
    assert_int_equal(uv_timer_start(&world->guard, on_guard, GUARD_MS, 0), 0);
    while (!*condition) {
        (void)uv_run(&world->loop, UV_RUN_ONCE);
        if (world->late)
            fail_msg("not within %d ms", GUARD_MS);
    }
    assert_int_equal(uv_timer_stop(&world->guard), 0);
}

static const struct result *ask_and_wait(struct world *world, const char *secret,
                                         const char *sources)
{
    struct result *result = ask_now(world, secret, sources);

    turn_until(world, &result->done);
    return result;
}

static void assert_says(const struct result *result, enum ask_result wanted, const char *part)
{
    if (result->result != wanted || strstr(result->text, part) == NULL)
        fail_msg("%d %s, not %d %s", (int)result->result, result->text, (int)wanted, part);
}

static struct ask_metrics figures(struct world *world)
{
    struct board_copy *copy = malloc(sizeof(*copy));
    struct ask_metrics ask;

    assert_non_null(copy);
    board_read(world->board, copy);
    ask = copy->ask;
    free(copy);
    return ask;
}

/* ---- the control plane's answers ---- */

static void control_planes_answer_is_given_and_kept(void **state)
{
    struct world *world = *state;
    const struct result *first;
    const struct result *second;

    start(world);
    script(&world->planes[0], "200 OK", FOUND_AT("5"));
    first = ask_and_wait(world, "key", IN_REALM);
    assert_says(first, ASK_FOUND, "\"username\":\"new\"");
    assert_says(first, ASK_FOUND, "\"region\":\"us\",\"id\":\"" REALM "\"");
    second = ask_and_wait(world, "key", IN_REALM);
    assert_string_equal(first->text, second->text);
    assert_int_equal(world->planes[0].asked, 1);
    assert_int_equal(figures(world).from_cache, 1);
    assert_non_null(strstr(world->planes[0].seen, "POST /v1/sync/auth HTTP/1.1"));
    assert_non_null(strstr(world->planes[0].seen, "Authorization: Bearer token"));
    assert_non_null(strstr(world->planes[0].seen, "\"realm_id\":\"" REALM "\""));
}

static void own_consumers_are_asked_for_without_a_realm(void **state)
{
    struct world *world = *state;

    start(world);
    assert_says(ask_and_wait(world, "key", "[{\"type\":\"cp\",\"region\":\"us\"}]"), ASK_NOT_FOUND,
                "not_found");
    assert_null(strstr(world->planes[0].seen, "realm_id"));
}

static void places_are_asked_in_order_until_one_knows_the_key(void **state)
{
    struct world *world = *state;

    start(world);
    script(&world->planes[1], "200 OK", FOUND_AT("5"));
    assert_says(
        ask_and_wait(world, "key", "[{\"type\":\"realm\",\"id\":\"" REALM "\"},{\"type\":\"cp\"}]"),
        ASK_FOUND, "\"type\":\"realm\",\"region\":\"eu\"");
    assert_int_equal(world->planes[0].asked, 1);
    assert_int_equal(world->planes[1].asked, 1);
}

static void unknown_region_is_no_answer(void **state)
{
    struct world *world = *state;

    start(world);
    assert_says(ask_and_wait(world, "key", "[{\"type\":\"cp\",\"region\":\"ap\"}]"),
                ASK_UNAVAILABLE, "region");
    assert_int_equal(world->planes[0].asked, 0);
}

static void keys_that_cannot_be_are_not_asked_for(void **state)
{
    struct world *world = *state;
    char secret[MODEL_SECRET_MAX + 2];

    start(world);
    memset(secret, 'x', sizeof(secret));
    secret[MODEL_SECRET_MAX + 1] = 0;
    assert_says(ask_and_wait(world, secret, IN_REALM), ASK_NOT_FOUND, "not_found");
    assert_says(ask_and_wait(world, "", IN_REALM), ASK_NOT_FOUND, "not_found");
    assert_int_equal(world->planes[0].asked, 0);
}

static void equal_questions_at_the_same_time_are_one(void **state)
{
    struct world *world = *state;
    const struct result *results[3];
    const struct result *other;

    start(world);
    script(&world->planes[0], "200 OK", FOUND_AT("5"));
    for (size_t i = 0; i < 3; i++)
        results[i] = ask_now(world, "key", IN_REALM);
    other = ask_now(world, "another", IN_REALM);
    for (size_t i = 0; i < 3; i++) {
        turn_until(world, &results[i]->done);
        assert_says(results[i], ASK_FOUND, "new");
    }
    turn_until(world, &other->done);
    assert_int_equal(world->planes[0].asked, 2);
    assert_int_equal(figures(world).joined, 2);
}

static void questions_over_the_limit_are_turned_away_at_once(void **state)
{
    struct world *world = *state;
    const struct result *first;

    world->options.limits.flights_max = 1;
    start(world);
    first = ask_now(world, "one", IN_REALM);
    assert_says(ask_and_wait(world, "two", IN_REALM), ASK_UNAVAILABLE, "too many");
    turn_until(world, &first->done);
    assert_says(first, ASK_NOT_FOUND, "not_found");
}

/* ---- trouble ---- */

static void next_url_is_asked_after_every_kind_of_trouble(void **state)
{
    static const struct {
        const char *status;
        const char *body;
        enum fake_then then;
    } rows[] = {
        {"200 OK", NULL, FAKE_RESET},
        {"200 OK", NULL, FAKE_CLOSE},
        {"401 Unauthorized", "", FAKE_CLOSE},
        {"403 Forbidden", "", FAKE_CLOSE},
        {"410 Gone", "", FAKE_CLOSE},
        {"429 Too Many Requests", "", FAKE_CLOSE},
        {"500 Internal Server Error", "", FAKE_CLOSE},
        {"503 Service Unavailable", "", FAKE_CLOSE},
        {"307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/", "", FAKE_CLOSE},
        {"200 OK", "", FAKE_CLOSE},
        {"200 OK", "[]", FAKE_CLOSE},
        {"200 OK", "{\"result\":\"found\"", FAKE_CLOSE},
        {"200 OK",
         "{\"result\":\"maybe\",\"epoch\":\"" EPOCH
         "\",\"version\":1,\"ttl\":1,\"negative_ttl\":1}",
         FAKE_CLOSE},
        {"200 OK",
         "{\"result\":\"found\",\"epoch\":\"" EPOCH
         "\",\"version\":1,\"ttl\":1,\"negative_ttl\":1}",
         FAKE_CLOSE},
        {"200 OK",
         "{\"result\":\"not_found\",\"epoch\":\"no\",\"version\":1,\"ttl\":1,\"negative_ttl\":1}",
         FAKE_CLOSE},
        {"200 OK", MISS_AT("-1"), FAKE_CLOSE},
        {"200 OK",
         "{\"result\":\"not_found\",\"epoch\":\"" EPOCH
         "\",\"version\":1,\"ttl\":1,\"negative_ttl\":-1}",
         FAKE_CLOSE},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct world *world;
        void *own = NULL;

        (void)state;
        (void)open_world(&own);
        world = own;
        start(world);
        world->planes[0].status = rows[i].status;
        world->planes[0].body = rows[i].body;
        world->planes[0].then = rows[i].then;
        script(&world->planes[1], "200 OK", FOUND_AT("5"));
        assert_says(ask_and_wait(world, "key", IN_REALM), ASK_FOUND, "new");
        assert_int_equal(world->planes[0].asked, 1);
        /* The one that answered is asked first from now on. */
        assert_says(ask_and_wait(world, "other", IN_REALM), ASK_FOUND, "new");
        assert_int_equal(world->planes[0].asked, 1);
        (void)close_world(&own);
    }
}

static void without_any_answer_the_question_is_unavailable_and_nothing_is_kept(void **state)
{
    struct world *world = *state;

    start(world);
    script(&world->planes[0], "500 Internal Server Error", "");
    script(&world->planes[1], "200 OK", "nonsense");
    assert_says(ask_and_wait(world, "key", IN_REALM), ASK_UNAVAILABLE, "control plane");
    assert_int_equal(world->planes[1].asked, 1);
    assert_int_equal(figures(world).upstream_failures, 1);
    script(&world->planes[0], "200 OK", FOUND_AT("5"));
    assert_says(ask_and_wait(world, "key", IN_REALM), ASK_FOUND, "new");
}

/* The others of the region wait for nothing; what is kept and other regions are as before. */
static void region_that_did_not_answer_is_left_alone_for_a_moment(void **state)
{
    struct world *world = *state;

    world->options.limits.rest_ms = GUARD_MS;
    start(world);
    script(&world->planes[1], "200 OK", FOUND_AT("5"));
    (void)ask_and_wait(world, "kept", IN_REALM);
    script(&world->planes[0], "500 Internal Server Error", "");
    script(&world->planes[1], "500 Internal Server Error", "");
    assert_says(ask_and_wait(world, "key", IN_REALM), ASK_UNAVAILABLE, "could not be asked");
    assert_int_equal(world->planes[1].asked, 1);
    assert_true(ask_now(world, "key", IN_REALM)->done);
    assert_says(&world->results[2], ASK_UNAVAILABLE, "just now");
    script(&world->planes[1], "200 OK", FOUND_AT("5"));
    assert_says(ask_and_wait(world, "key", "[{\"type\":\"cp\",\"region\":\"eu\"}]"), ASK_FOUND,
                "new");
    assert_int_equal(figures(world).upstream, 3);
}

/* Whoever sends keys must not be able to switch the questions of others off. */
static void refused_question_does_not_rest_the_region(void **state)
{
    static const struct {
        const char *status;
        const char *body;
    } refusals[] = {
        {"400 Bad Request", "{}"},
        {"404 Not Found", ""},
        {"413 Content Too Large", ""},
        {"422 Unprocessable Content", ""},
        {"200 OK", "{\"result\":\"found\"}"},
    };
    struct world *world = *state;

    world->options.limits.rest_ms = GUARD_MS;
    start(world);
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        char key[32];

        /* The other URL is away: the one that refused was there all the same. */
        script(&world->planes[0], refusals[i].status, refusals[i].body);
        script(&world->planes[1], "500 Internal Server Error", "");
        (void)snprintf(key, sizeof(key), "odd%zu", i);
        assert_says(ask_and_wait(world, key, IN_REALM), ASK_UNAVAILABLE, "this question");
        forget_results(world);
        script(&world->planes[0], "200 OK", FOUND_AT("5"));
        (void)snprintf(key, sizeof(key), "good%zu", i);
        assert_says(ask_and_wait(world, key, IN_REALM), ASK_FOUND, "new");
        forget_results(world);
    }
    script(&world->planes[0], "429 Too Many Requests", "");
    assert_says(ask_and_wait(world, "key", IN_REALM), ASK_UNAVAILABLE, "could not be asked");
    assert_says(ask_and_wait(world, "key2", IN_REALM), ASK_UNAVAILABLE, "just now");
}

static void bytes_that_no_key_has_are_not_found_without_a_question(void **state)
{
    static const char *const impossible[] = {"", "\\n", "a\x7f", "\\u0000", "a\\u001f"};
    struct world *world = *state;

    start(world);
    for (size_t i = 0; i < sizeof(impossible) / sizeof(impossible[0]); i++)
        assert_says(ask_and_wait(world, impossible[i], IN_REALM), ASK_NOT_FOUND, "not_found");
    assert_int_equal(world->planes[0].asked, 0);
}

static void endless_answer_is_refused(void **state)
{
    struct world *world = *state;
    size_t size = (size_t)2 * 1024 * 1024;
    char *body = malloc(size + 1);

    assert_non_null(body);
    memset(body, ' ', size);
    body[size] = 0;
    start(world);
    script(&world->planes[0], "200 OK", body);
    script(&world->planes[1], "200 OK", body);
    assert_says(ask_and_wait(world, "key", IN_REALM), ASK_UNAVAILABLE, "control plane");
    free(body);
}

static void silent_control_planes_cost_no_more_than_the_time_of_a_question(void **state)
{
    struct world *world = *state;

    world->options.limits.total_ms = 60;
    world->options.limits.try_ms = 10 * 1000;
    start(world);
    script_silence(&world->planes[0]);
    script_silence(&world->planes[1]);
    assert_says(ask_and_wait(world, "key", IN_REALM), ASK_UNAVAILABLE, "");
}

static void stopping_answers_what_is_under_way(void **state)
{
    struct world *world = *state;
    const struct result *result;

    start(world);
    script_silence(&world->planes[0]);
    result = ask_now(world, "key", IN_REALM);
    ask_close(world->ask, ignore_closed, NULL);
    world->ask = NULL;
    assert_true(result->done);
    assert_says(result, ASK_UNAVAILABLE, "stopping");
}

static void sources_may_change_while_a_question_is_under_way(void **state)
{
    struct world *world = *state;
    struct error err = ERROR_INIT;
    const struct result *result;

    start(world);
    script(&world->planes[0], "200 OK", FOUND_AT("5"));
    result = ask_now(world, "key", IN_REALM);
    assert_int_equal(ask_configure(world->ask, &world->sources[1], 1, &err), 0);
    turn_until(world, &result->done);
    assert_says(result, ASK_FOUND, "new");
    assert_says(ask_and_wait(world, "key", IN_REALM), ASK_UNAVAILABLE, "region"); /* not kept */
}

/* ---- the feed ---- */

static void kept_answer_goes_when_the_feed_has_its_version(void **state)
{
    struct world *world = *state;

    start(world);
    reach(world, "us", 3);
    script(&world->planes[0], "200 OK", FOUND_AT("5"));
    (void)ask_and_wait(world, "key", IN_REALM);
    reach(world, "us", 4);
    reach(world, "eu", 9);
    script(&world->planes[0], "200 OK", MISS_AT("6"));
    assert_says(ask_and_wait(world, "key", IN_REALM), ASK_FOUND, "new");
    reach(world, "us", 5);
    assert_says(ask_and_wait(world, "key", IN_REALM), ASK_NOT_FOUND, "not_found");
    assert_int_equal(world->planes[0].asked, 2);
}

/* The store (which cannot be read here) has version 5: the answer is given, but not kept. */
static void answer_that_the_feed_has_overtaken_is_not_kept(void **state)
{
    struct world *world = *state;

    start(world);
    reach(world, "us", 7);
    script(&world->planes[0], "200 OK", FOUND_AT("5"));
    assert_says(ask_and_wait(world, "key", IN_REALM), ASK_FOUND, "new");
    assert_says(ask_and_wait(world, "key", IN_REALM), ASK_FOUND, "new");
    assert_int_equal(world->planes[0].asked, 2);
}

/* ---- the store ---- */

static void current_store_answers_and_nobody_is_asked(void **state)
{
    struct world *world = *state;

    start_with_store(world, true);
    reach(world, "us", 2);
    assert_says(ask_and_wait(world, "alice-key", IN_REALM), ASK_FOUND, "\"username\":\"alice\"");
    assert_int_equal(world->planes[0].asked, 0);
    assert_int_equal(figures(world).from_store, 1);
}

static void stale_store_is_no_answer_and_the_control_plane_is_asked(void **state)
{
    struct world *world = *state;

    start_with_store(world, false);
    reach(world, "us", 2);
    script(&world->planes[0], "200 OK", MISS_AT("3"));
    assert_says(ask_and_wait(world, "alice-key", IN_REALM), ASK_NOT_FOUND, "not_found");
    assert_int_equal(world->planes[0].asked, 1);
}

static void answer_that_the_store_has_overtaken_is_the_stores(void **state)
{
    struct world *world = *state;

    start_with_store(world, false);
    reach(world, "us", 2);
    script(&world->planes[0], "200 OK", MISS_AT("1")); /* as of before the key was made */
    assert_says(ask_and_wait(world, "alice-key", IN_REALM), ASK_FOUND, "\"username\":\"alice\"");
    script(&world->planes[0], "200 OK", FOUND_AT("2")); /* as of before another was revoked */
    assert_says(ask_and_wait(world, "revoked", IN_REALM), ASK_NOT_FOUND, "not_found");
    assert_int_equal(world->planes[0].asked, 2);
}

/* A miss is kept; then the key is made, and the feed brings it; then the control plane is heard no
 * more, so that the store alone may not answer. */
static void kept_miss_does_not_hide_a_key_that_the_store_learned_later(void **state)
{
    struct world *world = *state;

    start_with_store(world, false);
    reach(world, "us", 2);
    script(&world->planes[0], "200 OK", MISS_AT("2"));
    assert_says(ask_and_wait(world, "late-key", IN_REALM), ASK_NOT_FOUND, "not_found");
    assert_says(ask_and_wait(world, "late-key", IN_REALM), ASK_NOT_FOUND, "not_found");
    assert_int_equal(world->planes[0].asked, 1);
    fixture_begin(&world->store);
    fixture_put_key(world->store.source, 7, 1, 12, "late-key");
    fixture_commit(&world->store);
    reach(world, "us", 3);
    script(&world->planes[0], "200 OK", FOUND_AT("3"));
    assert_says(ask_and_wait(world, "late-key", IN_REALM), ASK_FOUND, "\"username\":\"alice\"");
    assert_int_equal(world->planes[0].asked, 2);
}

/* ---- reading questions ---- */

static void questions_are_checked_and_the_secret_is_in_no_message(void **state)
{
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "\"s3cr3t\"",
        "{\"secret\":\"s3cr3t\"}",
        "{\"sources\":[{\"type\":\"cp\"}]}",
        "{\"secret\":null,\"sources\":[{\"type\":\"cp\"}]}",
        "{\"secret\":\"s3cr3t\",\"secret\":\"s3cr3t\",\"sources\":[{\"type\":\"cp\"}]}",
        "{\"secret\":\"s3cr3t\",\"sources\":{}}",
        "{\"secret\":\"s3cr3t\",\"sources\":[]}",
        "{\"secret\":\"s3cr3t\",\"sources\":[7]}",
        "{\"secret\":\"s3cr3t\",\"sources\":[{}]}",
        "{\"secret\":\"s3cr3t\",\"sources\":[{\"type\":\"consumer\"}]}",
        "{\"secret\":\"s3cr3t\",\"sources\":[{\"type\":\"realm\"}]}",
        "{\"secret\":\"s3cr3t\",\"sources\":[{\"type\":\"realm\",\"id\":\"s3cr3t\"}]}",
        "{\"secret\":\"s3cr3t\",\"sources\":[{\"type\":\"cp\",\"region\":\"\"}]}",
        "{\"secret\":\"s3cr3t\",\"sources\":[{\"type\":\"cp\",\"region\":7}]}",
        "{\"secret\":\"s3cr3t\xff\",\"sources\":[{\"type\":\"cp\"}]}",
        "{\"secret\":\"s3cr3t\",\"sources\":[{\"type\":\"cp\",\"region\":\"U\\u0000S\"}]}",
        "{\"secret\":\"s3cr3t\",\"sources\":[{\"type\":\"cp\"}]} trailing",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct ask_question *question;
        struct error err = ERROR_INIT;

        assert_int_equal(ask_question_parse(bad[i], strlen(bad[i]), &question, &err), E_INVALID);
        assert_true(err.message[0] != 0);
        assert_null(strstr(err.message, "s3cr3t"));
    }
}

static void long_regions_too_many_places_and_deep_nesting_are_refused(void **state)
{
    size_t room = 16 * 1024;
    char *text = malloc(room);
    struct ask_question *question;
    struct error err = ERROR_INIT;
    size_t used;

    (void)state;
    assert_non_null(text);
    (void)snprintf(text, room,
                   "{\"secret\":\"x\",\"sources\":[{\"type\":\"cp\",\"region\":\"%064d\"}]}", 0);
    assert_int_equal(ask_question_parse(text, strlen(text), &question, &err), E_INVALID);
    used = (size_t)snprintf(text, room, "{\"secret\":\"x\",\"sources\":[{\"type\":\"cp\"}");
    for (int i = 0; i < ASK_PLACES_MAX; i++)
        used += (size_t)snprintf(text + used, room - used, ",{\"type\":\"cp\"}");
    (void)snprintf(text + used, room - used, "]}");
    assert_int_equal(ask_question_parse(text, strlen(text), &question, &err), E_INVALID);
    memset(text, '[', room - 1);
    text[room - 1] = 0;
    assert_int_equal(ask_question_parse(text, strlen(text), &question, &err), E_INVALID);
    free(text);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)
    const struct CMUnitTest tests[] = {
        TEST(control_planes_answer_is_given_and_kept),
        TEST(own_consumers_are_asked_for_without_a_realm),
        TEST(places_are_asked_in_order_until_one_knows_the_key),
        TEST(unknown_region_is_no_answer),
        TEST(keys_that_cannot_be_are_not_asked_for),
        TEST(equal_questions_at_the_same_time_are_one),
        TEST(questions_over_the_limit_are_turned_away_at_once),
        cmocka_unit_test(next_url_is_asked_after_every_kind_of_trouble),
        TEST(without_any_answer_the_question_is_unavailable_and_nothing_is_kept),
        TEST(region_that_did_not_answer_is_left_alone_for_a_moment),
        TEST(refused_question_does_not_rest_the_region),
        TEST(bytes_that_no_key_has_are_not_found_without_a_question),
        TEST(endless_answer_is_refused),
        TEST(silent_control_planes_cost_no_more_than_the_time_of_a_question),
        TEST(stopping_answers_what_is_under_way),
        TEST(sources_may_change_while_a_question_is_under_way),
        TEST(kept_answer_goes_when_the_feed_has_its_version),
        TEST(answer_that_the_feed_has_overtaken_is_not_kept),
        TEST(current_store_answers_and_nobody_is_asked),
        TEST(stale_store_is_no_answer_and_the_control_plane_is_asked),
        TEST(answer_that_the_store_has_overtaken_is_the_stores),
        TEST(kept_miss_does_not_hide_a_key_that_the_store_learned_later),
        cmocka_unit_test(questions_are_checked_and_the_secret_is_in_no_message),
        cmocka_unit_test(long_regions_too_many_places_and_deep_nesting_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
