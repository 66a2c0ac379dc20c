/* A whole feed, cut into pieces by the input itself: the first byte says how. What comes out must
 * follow the rules that the reader promises: whole transactions, each from where the last one led.
 */
#include "tests/fuzz/fuzz.h"

#include "base/uuid.h"
#include "sync/feed.h"

struct world {
    uint64_t version;
    bool greeted;
};

static bool on_hello(void *context, const struct feed_line *line)
{
    struct world *world = context;

    FUZZ_REQUIRE(!world->greeted && line->kind == FEED_LINE_HELLO);
    world->greeted = true;
    return true;
}

static int on_transaction(void *context, struct feed_transaction *transaction, struct error *err)
{
    struct world *world = context;

    (void)err;
    FUZZ_REQUIRE(world->greeted && transaction->cursor.version > world->version);
    world->version = transaction->cursor.version;
    for (size_t i = 1; i < transaction->count; i++)
        FUZZ_REQUIRE(transaction->changes[i - 1].kind <= transaction->changes[i].kind);
    feed_transaction_destroy(transaction);
    return 0;
}

static void on_heartbeat(void *context, const struct feed_line *line)
{
    (void)line;
    FUZZ_REQUIRE(((struct world *)context)->greeted);
}

static void on_resync(void *context, enum feed_resync_reason reason,
                      const struct snapshot_name *snapshot)
{
    (void)snapshot;
    FUZZ_REQUIRE(((struct world *)context)->greeted && reason < FEED_RESYNC_REASONS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world world = {.version = 800};
    struct feed_expectation expect = {
        .region = "us", .cursor = {.version = 800}, .max_transaction_bytes = (size_t)1 << 20};
    struct feed_events events = {on_hello, on_transaction, on_heartbeat, on_resync, &world};
    struct error err = ERROR_INIT;
    struct feed_reader *reader;
    size_t step = size > 0 ? (size_t)data[0] + 1 : 1;

    (void)uuid_parse("497f6eca-6276-4993-bfeb-53cbbbba6f08", &expect.control_plane_id);
    (void)uuid_parse("01930000-0000-7000-8000-000000000001", &expect.cursor.epoch);
    FUZZ_REQUIRE(feed_reader_create(&expect, &events, &reader) == 0);
    for (size_t at = 1; at < size; at += step) {
        size_t piece = size - at < step ? size - at : step;

        if (feed_reader_take(reader, data + at, piece, &err) != 0) {
            FUZZ_REQUIRE(err.message[0] != 0);
            break;
        }
    }
    feed_reader_destroy(reader);
    return 0;
}
