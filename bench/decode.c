/* decode.c - a snapshot against the same records as NDJSON lines through jansson.
 *
 *     decode SNAPSHOT_FILE
 *
 * Both sides end with checked values in memory: zstd, frames and record_check() on one, the feed's
 * own line decoder on the other. The lines are made from the first records of the file, outside the
 * clock, as many as fit into LINES_MAX_BYTES.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "bench/lib/bench.h"
#include "control/repo/entity.h"
#include "store/record.h"
#include "sync/change.h"
#include "sync/snapshot.h"

enum { LINES_MAX_BYTES = 128 * 1024 * 1024, ARENA_MAX_BYTES = 4 * 1024 * 1024 };

struct decode {
    bool checking; /* else: the lines are made */
    uint64_t records;
    struct buffer lines;
    uint64_t n_lines;
};

static int take_header(void *context, const struct snapshot_header *header, struct error *err)
{
    (void)context;
    (void)header;
    (void)err;
    return 0;
}

static int add_line(struct decode *decode, const struct snapshot_record *record, struct error *err)
{
    const struct repo_record bytes = {record->bytes, record->size};
    struct change change = {.scope = record->scope};
    struct repo_labels labels;
    int rc = 0;

    if (record->kind == SNAPSHOT_REALM)
        return 0;
    if (record->kind == SNAPSHOT_CONSUMER) {
        change.kind = CHANGE_CONSUMER;
        rc = repo_consumer_borrow(&bytes, &labels, &change.consumer, err);
    } else {
        change.kind = CHANGE_KEY;
        rc = repo_key_borrow(&bytes, &labels, &change.key, err);
    }
    if (rc == 0)
        rc = change_encode(&change, &decode->lines);
    decode->n_lines += rc == 0;
    return rc;
}

static int take_record(void *context, const struct snapshot_record *record, struct error *err)
{
    struct decode *decode = context;

    if (!decode->checking)
        return add_line(decode, record, err);
    decode->records++;
    return record_check((enum record_kind)record->kind, record->bytes, record->size) ? 0
                                                                                     : E_CORRUPT;
}

/* E_TOO_LARGE when the lines are full. */
static int run(struct decode *decode, const unsigned char *bytes, size_t size)
{
    const struct snapshot_sink sink = {take_header, take_record, decode};
    struct snapshot_decoder *decoder;
    struct error err = ERROR_INIT;
    int rc = snapshot_decoder_create(&sink, &decoder);

    for (size_t at = 0; rc == 0 && at < size; at += 16384)
        rc =
            snapshot_decoder_feed(decoder, bytes + at, size - at < 16384 ? size - at : 16384, &err);
    snapshot_decoder_destroy(decoder);
    return rc;
}

static void decode_lines(const struct decode *decode)
{
    const char *at = (const char *)decode->lines.data;
    const char *end = at + decode->lines.size;
    struct error err = ERROR_INIT;
    struct feed_line line;
    struct arena arena;

    arena_init(&arena, ARENA_MAX_BYTES);
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));

        bench_check("a line", feed_line_decode(at, (size_t)(newline - at), &arena, &line, &err),
                    &err);
        arena_reset(&arena);
        at = newline + 1;
    }
    arena_finish(&arena);
}

int main(int argc, char **argv)
{
    struct decode decode = {.checking = false};
    struct error err = ERROR_INIT;
    const unsigned char *bytes;
    struct stat info;
    double lines_per_s;
    double records_per_s;
    uint64_t start;
    int fd = argc == 2 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1;
    int rc;

    if (fd < 0 || fstat(fd, &info) != 0) {
        (void)fprintf(stderr, "bench: usage: decode SNAPSHOT_FILE\n");
        return 2;
    }
    bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (bytes == MAP_FAILED)
        bench_die("the snapshot", "cannot be mapped");
    buffer_init(&decode.lines, LINES_MAX_BYTES);
    rc = run(&decode, bytes, (size_t)info.st_size);
    if (rc != E_TOO_LARGE)
        bench_check("the snapshot", rc, &err);
    start = bench_now_ns();
    decode_lines(&decode);
    lines_per_s = (double)decode.n_lines * 1e9 / (double)(bench_now_ns() - start);
    decode.checking = true;
    start = bench_now_ns();
    bench_check("the snapshot", run(&decode, bytes, (size_t)info.st_size), &err);
    records_per_s = (double)decode.records * 1e9 / (double)(bench_now_ns() - start);
    (void)printf("snapshot_records_per_ndjson_line %.1f (%.0f / %.0f a second, decoded and "
                 "checked)\n",
                 records_per_s / lines_per_s, records_per_s, lines_per_s);
    buffer_finish(&decode.lines);
    return 0;
}
