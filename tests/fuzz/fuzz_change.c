/* One feed line: whatever is accepted can be written again and reads as the same. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "base/arena.h"
#include "sync/change.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = ERROR_INIT;
    struct feed_line line;
    struct feed_line again;
    struct arena arena;
    struct buffer out;
    struct buffer twice;
    int rc;

    arena_init(&arena, (size_t)64 << 20);
    buffer_init(&out, FEED_LINE_MAX_BYTES);
    buffer_init(&twice, FEED_LINE_MAX_BYTES);
    rc = feed_line_decode((const char *)data, size, &arena, &line, &err);
    FUZZ_REQUIRE(rc == 0 || err.message[0] != 0);
    if (rc == 0 && (line.kind == FEED_LINE_CHANGE || line.kind == FEED_LINE_DIGEST)) {
        FUZZ_REQUIRE(feed_line_encode(&line, &out) == 0);
        FUZZ_REQUIRE(feed_line_decode((const char *)out.data, out.size - 1, &arena, &again, &err) ==
                     0);
        FUZZ_REQUIRE(feed_line_encode(&again, &twice) == 0);
        FUZZ_REQUIRE(out.size == twice.size && memcmp(out.data, twice.data, out.size) == 0);
    }
    buffer_finish(&twice);
    buffer_finish(&out);
    arena_finish(&arena);
    return 0;
}
