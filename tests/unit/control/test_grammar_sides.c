/* One grammar, three programs: for any bytes, what the control plane's REST API makes is what its
 * feed's decoder and the agent's configuration take, and a question about a key is never a fault.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "agent/ask_question.h"
#include "agent/config.h"
#include "base/grammar.h"
#include "base/utf8.h"
#include "sync/change.h"
#include "tests/lib/control_fixture.h"
#include "tests/lib/random.h"

enum { ROUNDS = 150, PIECES_MAX = 6, TEXT_SIZE = 64 };

#define CP "497f6eca-6276-4993-bfeb-53cbbbba6f08"

struct world {
    struct fixture *fixture;
    char realm[UUID_TEXT_SIZE];
    char consumer[UUID_TEXT_SIZE];
    char token[128];
    char config_path[128];
};

/* Every kind of trouble, and enough of what is good between. */
static const char *const pieces[] = {
    "a",
    "b7",
    "-",
    " ",
    ",",
    "\"",
    "\\",
    "\n",
    "\x01",
    "\x7f",
    "\xc3\xa4",
    "\xc2\x85",
    "\xc2\xa0",
    "\xe2\x80\xae",
    "\xff",
    "\xc0\xaf",
    "\xe2\x82",
    "\xed\xa0\x80",
    "\xe2\x80\xa8",
    "\xf0\x9f\x94\x91",
    "\xe3\x80\x80",
};

static void compose(uint64_t *seed, char text[TEXT_SIZE])
{
    size_t count = random_below(seed, PIECES_MAX + 1);
    /* Half of them of the harmless ones, so that both verdicts are met. */
    size_t choice = random_below(seed, 2) == 0 ? 5 : sizeof(pieces) / sizeof(pieces[0]);
    char *end = text;

    for (size_t i = 0; i < count; i++)
        end = stpcpy(end, pieces[random_below(seed, choice)]);
    *end = 0;
}

/* Bytes as they are, but for what JSON has to escape. */
static void quote(const char *text, char *ret)
{
    for (; *text != 0; text++) {
        unsigned char c = (unsigned char)*text;

        if (c == '"' || c == '\\' || c < 0x20)
            ret += sprintf(ret, "\\u%04x", c);
        else
            *ret++ = (char)c;
    }
    *ret = 0;
}

static long post(struct world *world, const char *token, const char *path, const char *before,
                 const char *text, const char *after)
{
    char quoted[TEXT_SIZE * 6];
    char body[1024];
    struct reply *reply;
    long status;

    quote(text, quoted);
    (void)snprintf(body, sizeof(body), "%s\"%s\"%s", before, quoted, after);
    reply = fixture_request(world->fixture, token, "POST", path, NULL, body, strlen(body));
    status = reply->status;
    reply_free(reply);
    return status;
}

static int open_world(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    FILE *file;

    world->fixture = fixture_start(NULL);
    fixture_make_realm(world->fixture, "prod", CP, world->realm);
    fixture_make_consumer(world->fixture, world->realm, "Alice", world->consumer);
    (void)snprintf(world->token, sizeof(world->token), "%s",
                   fixture_make_token(world->fixture, "data-plane", CP));
    (void)snprintf(world->config_path, sizeof(world->config_path), "%s/agent.yaml",
                   world->fixture->dir);
    file = fopen(world->config_path, "w");
    assert_non_null(file);
    (void)fprintf(file,
                  "store_dir: %s/store\ncontrol_plane_id: " CP "\nsources:\n  - region: us\n"
                  "    urls: [http://127.0.0.1:1]\n    token_file: %s/token\n",
                  world->fixture->dir, world->fixture->dir);
    assert_int_equal(fclose(file), 0);
    *state = world;
    return 0;
}

static void write_token(const struct world *world)
{
    char path[128];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/token", world->fixture->dir);
    file = fopen(path, "w");
    assert_non_null(file);
    (void)fputs("token\n", file);
    assert_int_equal(fclose(file), 0);
}

static int close_world(void **state)
{
    struct world *world = *state;

    unlink(world->config_path);
    fixture_stop(world->fixture);
    free(world);
    return 0;
}

static bool decoder_takes(const char *name, const char *label)
{
    struct model_strings labels = {&label, 1};
    struct change change = {.kind = CHANGE_CONSUMER,
                            .scope = 1,
                            .consumer = {.username = name, .custom_id = name, .groups = labels}};
    struct error err = ERROR_INIT;
    struct feed_line line;
    struct buffer out;
    struct arena arena;
    bool taken;

    change.consumer.id.bytes[0] = 1;
    buffer_init(&out, FEED_LINE_MAX_BYTES);
    arena_init(&arena, 1024 * 1024);
    assert_int_equal(change_encode(&change, &out), 0);
    taken = feed_line_decode((char *)out.data, out.size - 1, &arena, &line, &err) == 0;
    arena_finish(&arena);
    buffer_finish(&out);
    return taken;
}

static void names_and_labels_that_rest_makes_are_what_the_decoder_takes(void **state)
{
    struct world *world = *state;
    uint64_t seed = 1;
    unsigned made = 0;
    char path[128];

    (void)snprintf(path, sizeof(path), "/v1/realms/%s/consumers", world->realm);
    for (int round = 0; round < ROUNDS; round++) {
        char text[TEXT_SIZE];
        char before[64];
        bool name;
        bool label;

        compose(&seed, text);
        name = grammar_is(GRAMMAR_NAME, GRAMMAR_MADE, text);
        label = grammar_is(GRAMMAR_LABEL, GRAMMAR_MADE, text);
        assert_int_equal(post(world, FIXTURE_ADMIN, "/v1/tokens",
                              "{\"role\":\"viewer\",\"name\":", text, "}") == 201,
                         name);
        (void)snprintf(before, sizeof(before), "{\"username\":\"u%d\",\"consumer_groups\":[",
                       round);
        assert_int_equal(post(world, FIXTURE_ADMIN, path, before, text, "]}") == 201, label);
        if (name)
            assert_true(decoder_takes(text, "gold"));
        if (label)
            assert_true(decoder_takes("Alice", text));
        made += name;
    }
    assert_in_range(made, 1, ROUNDS - 1);
}

static void rows_of_a_former_control_plane_end_no_feed(void **state)
{
    (void)state;
    assert_true(decoder_takes("admin ", "x, gold"));
    assert_true(decoder_takes("a\xc2\x85", " \xe2\x80\xae"));
}

static void host_name_that_an_agent_takes_is_good_for_its_control_plane(void **state)
{
    struct world *world = *state;
    uint64_t seed = 2;
    unsigned good = 0;

    write_token(world);
    for (int round = 0; round < ROUNDS; round++) {
        char variable[TEXT_SIZE + 32];
        char *const environment[] = {variable, NULL};
        struct error err = ERROR_INIT;
        struct config *config = NULL;
        char text[TEXT_SIZE];
        bool agent;
        long status;

        do
            compose(&seed, text);
        while (text[0] == 0); /* not given: the machine's own name */
        (void)snprintf(variable, sizeof(variable), "REALM_AGENT_HOST_NAME=%s", text);
        agent = config_load(world->config_path, environment, &config, &err) == 0;
        config_free(config);
        status = post(
            world, world->token, "/v1/sync/ack",
            "{\"control_plane_id\":\"" CP "\",\"epoch\":\"" CP "\",\"version\":1,\"host\":", text,
            "}");
        assert_int_equal(agent, grammar_is(GRAMMAR_HOST, GRAMMAR_MADE, text));
        assert_int_equal(grammar_is(GRAMMAR_HOST, GRAMMAR_TAKEN, text), status != 400);
        if (agent) /* what an older one took may be wider */
            assert_int_not_equal(status, 400);
        good += agent;
    }
    assert_in_range(good, 1, ROUNDS - 1);
}

static bool agent_reads(const char *text)
{
    char quoted[TEXT_SIZE * 6];
    char body[1024];
    struct ask_question *question;
    struct error err = ERROR_INIT;
    bool read;

    quote(text, quoted);
    (void)snprintf(body, sizeof(body), "{\"secret\":\"%s\",\"sources\":[{\"type\":\"cp\"}]}",
                   quoted);
    read = ask_question_parse(body, strlen(body), &question, &err) == 0;
    if (read)
        ask_question_destroy(question);
    return read;
}

/* Only what is no text at all is no question: JSON cannot carry it, and no gateway asks for it. */
static void a_question_about_a_key_is_never_at_fault(void **state)
{
    struct world *world = *state;
    uint64_t seed = 3;
    char keys[160];
    char auth[128];

    (void)snprintf(auth, sizeof(auth), "/v1/realms/%s/auth", world->realm);
    (void)snprintf(keys, sizeof(keys), "/v1/realms/%s/consumers/%s/keys", world->realm,
                   world->consumer);
    for (int round = 0; round < ROUNDS; round++) {
        char text[TEXT_SIZE];
        bool is_text;
        bool is_made;
        long status;

        compose(&seed, text);
        is_text = utf8_valid(text, strlen(text), NULL);
        status = post(world, FIXTURE_ADMIN, keys, "{\"type\":\"legacy\",\"secret\":", text, "}");
        is_made = grammar_is(GRAMMAR_SECRET, GRAMMAR_MADE, text);
        assert_int_equal(status == 201 || status == 409, is_made);
        status = post(world, world->token, "/v1/sync/auth",
                      "{\"control_plane_id\":\"" CP "\",\"secret\":", text, "}");
        assert_int_equal(status, is_text ? 200 : 400);
        status = post(world, world->token, auth, "{\"secret\":", text, "}");
        assert_int_equal(status, !is_text ? 400 : is_made ? 200 : 404);
        assert_int_equal(agent_reads(text), is_text);
        if (is_made)
            assert_true(grammar_may_be_secret(text, strlen(text)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_labels_that_rest_makes_are_what_the_decoder_takes),
        cmocka_unit_test(rows_of_a_former_control_plane_end_no_feed),
        cmocka_unit_test(host_name_that_an_agent_takes_is_good_for_its_control_plane),
        cmocka_unit_test(a_question_about_a_key_is_never_at_fault),
    };

    return cmocka_run_group_tests(tests, open_world, close_world);
}
