#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "tests/lib/feed_client.h"

enum { PATIENCE_S = 10, ARENA_MAX = 4 * 1024 * 1024 };

static void wake(void *context)
{
    struct feed_client *client = context;

    pthread_mutex_lock(&client->lock);
    client->woken = true;
    client->wakes++;
    pthread_cond_signal(&client->wakeup);
    pthread_mutex_unlock(&client->lock);
}

static void cut(void *context)
{
    struct feed_client *client = context;

    pthread_mutex_lock(&client->lock);
    client->cuts++;
    pthread_mutex_unlock(&client->lock);
    wake(context);
}

void feed_client_connect(struct feed_client *client, struct feed *feed, const struct uuid *cp,
                         const char *host, const struct uuid *epoch, uint64_t version)
{
    struct follower_options options = {.control_plane_id = *cp,
                                       .host = host,
                                       .agent = "0.1.0",
                                       .wake = wake,
                                       .cut = cut,
                                       .context = client};
    struct error err = ERROR_INIT;

    options.wish = client->wish;
    options.instance = client->instance;
    options.credential = client->credential;
    options.former = client->former;
    *client = (struct feed_client){.read_max = client->read_max,
                                   .instance = client->instance,
                                   .credential = client->credential};
    pthread_mutex_init(&client->lock, NULL);
    pthread_cond_init(&client->wakeup, NULL);
    buffer_init(&client->input, 64 * (size_t)1024 * 1024);
    arena_init(&client->arena, ARENA_MAX);
    if (epoch != NULL)
        options.cursor = (struct model_cursor){.epoch = *epoch, .version = version};
    assert_int_equal(feed_follower_create(feed, &options, &client->follower, &err), 0);
}

void feed_client_disconnect(struct feed_client *client)
{
    if (client->follower == NULL)
        return;
    feed_follower_destroy(client->follower);
    client->follower = NULL;
    buffer_finish(&client->input);
    arena_finish(&client->arena);
    pthread_cond_destroy(&client->wakeup);
    pthread_mutex_destroy(&client->lock);
}

static void wait_for_wake(struct feed_client *client)
{
    struct timespec until;
    int rc = 0;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    pthread_mutex_lock(&client->lock);
    while (!client->woken && rc == 0)
        rc = pthread_cond_timedwait(&client->wakeup, &client->lock, &until);
    client->woken = false;
    pthread_mutex_unlock(&client->lock);
    assert_int_equal(rc, 0);
}

void feed_client_expect_nothing(struct feed_client *client)
{
    char byte;

    assert_int_equal(feed_follower_read(client->follower, &byte, sizeof(byte)), 0);
}

/* More bytes, in time; false: the end. */
static bool read_more(struct feed_client *client)
{
    const size_t max = client->read_max != 0 ? client->read_max : 4096;
    ssize_t count;

    for (;;) {
        char bytes[4096];

        count = feed_follower_read(client->follower, bytes, max);
        if (count > 0)
            assert_int_equal(buffer_append(&client->input, bytes, (size_t)count), 0);
        if (count != 0)
            return count > 0;
        wait_for_wake(client);
    }
}

bool feed_client_line(struct feed_client *client, struct feed_line *ret)
{
    struct error err = ERROR_INIT;
    const char *end;
    size_t length;
    int rc;

    while (client->input.size == 0 ||
           (end = memchr(client->input.data, '\n', client->input.size)) == NULL) {
        if (!read_more(client))
            return false;
    }
    length = (size_t)(end - (const char *)client->input.data);
    arena_reset(&client->arena);
    rc = feed_line_decode((const char *)client->input.data, length, &client->arena, ret, &err);
    if (rc != 0)
        print_error("%s: %.*s\n", err.message, (int)length, (const char *)client->input.data);
    assert_int_equal(rc, 0);
    buffer_consume(&client->input, length + 1);
    if (ret->kind == FEED_LINE_HELLO)
        client->feed = ret->hello.feed;
    return true;
}

struct feed_line feed_client_expect(struct feed_client *client, enum feed_line_kind kind)
{
    struct feed_line line;

    assert_true(feed_client_line(client, &line));
    assert_int_equal(line.kind, kind);
    return line;
}

struct feed_line feed_client_skip_to(struct feed_client *client, enum feed_line_kind kind)
{
    struct feed_line line;

    do {
        assert_true(feed_client_line(client, &line));
    } while (line.kind != kind);
    return line;
}

void feed_client_expect_end(struct feed_client *client)
{
    struct feed_line line;

    assert_false(feed_client_line(client, &line));
}
