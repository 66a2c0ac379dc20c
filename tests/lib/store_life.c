#include "tests/lib/store_life.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "store/files.h"
#include "store/source_internal.h"
#include "tests/interpose/write_log.h"
#include "tests/lib/store_check.h"

enum { NAME_SIZE = 32, OTHERS_MAX = 64 };

void life_init(struct life *life)
{
    struct fixture *f = &life->f;

    memset(life, 0, sizeof(*life));
    fixture_init(f);
    f->clock = clock_system;
    f->retention_ms = 4;
    if (access("/dev/shm", W_OK) == 0) {
        assert_int_equal(files_remove_tree(f->base, NULL), 0);
        (void)snprintf(f->base, sizeof(f->base), "/dev/shm/realmstore-test-XXXXXX");
        assert_non_null(mkdtemp(f->base));
        (void)snprintf(f->dir, sizeof(f->dir), "%s/store", f->base);
    }
    life->told =
        mmap(NULL, sizeof(*life->told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(life->told, MAP_FAILED);
}

void life_finish(struct life *life)
{
    assert_int_equal(munmap(life->told, sizeof(*life->told)), 0);
    fixture_finish(&life->f);
}

struct life_versions life_unpack(uint64_t packed)
{
    return (struct life_versions){(uint32_t)packed, (uint32_t)(packed >> 32)};
}

/* ---- the writer ---- */

/* f.version is acknowledged, `next` begins. */
static void note(struct life *life, uint64_t next)
{
    uint64_t packed = life->f.version | next << 32;

    atomic_store(&life->told->versions, packed);
    write_log_note(packed);
}

static void step(struct life *life, int (*attempt)(struct life *life), uint64_t next)
{
    unsigned left = life->attempts > 0 ? life->attempts : 2;

    note(life, next);
    while (attempt(life) != 0) {
        if (life->gives_up)
            _exit(0);
        if (--left == 0)
            _exit(1);
    }
    note(life, life->f.version);
}

static int try_open(struct life *life)
{
    struct fixture *f = &life->f;
    struct store_options options = fixture_options(f);
    struct error discarded = ERROR_INIT;
    struct error err = ERROR_INIT;
    int rc = store_open(&options, &f->store, &err);

    if (rc == 0)
        rc = source_open(f->store, "us", &f->source, &discarded, &err);
    if (rc == 0)
        return discarded.code;
    store_close(f->store);
    f->store = NULL;
    return rc;
}

static unsigned others_of(uint64_t version)
{
    return 1 + (unsigned)(version % OTHERS_MAX);
}

/* An attempt before may have failed when all but the last sync was done: that alone is made good
 * then. *ret_code is this attempt's. */
static bool was_visible(struct life *life, int *ret_code)
{
    struct source *source = life->f.source;
    uint64_t visible = source != NULL ? source_visible(source).version : 0;
    struct error err = ERROR_INIT;

    if (source == NULL) { /* the other agent could not open it */
        *ret_code = try_open(life);
    } else if (!source->unsettled || visible == life->f.version) {
        return false;
    } else if (life->reopens) {
        fixture_close(&life->f);
        *ret_code = try_open(life);
    } else {
        *ret_code = source_settle(source, &err);
    }
    if (*ret_code == 0)
        life->f.version = source_durable(life->f.source).version;
    return true;
}

static int try_load(struct life *life)
{
    struct error err = ERROR_INIT;
    int rc;

    if (was_visible(life, &rc))
        return rc;
    return fixture_try_load(&life->f, others_of(life->f.version + 1), &err);
}

static const char *name_of(uint64_t version, char name[NAME_SIZE])
{
    (void)snprintf(name, NAME_SIZE, "version-%" PRIu64, version);
    return name;
}

static int put_version(struct life *life, uint64_t version, struct error *err)
{
    char name[NAME_SIZE];
    struct model_consumer consumer = {.id = fixture_uuid(2), .username = name_of(version, name)};
    int rc = source_put_consumer(life->f.source, 7, &consumer, err);

    return rc == 0 ? fixture_try_key(life->f.source, 7, 2, 22, name, 0, err) : rc;
}

static int try_commit(struct life *life)
{
    struct fixture *f = &life->f;
    struct model_cursor cursor = {fixture_epoch(), f->version + 1};
    struct error err = ERROR_INIT;
    int rc;

    if (was_visible(life, &rc))
        return rc;
    rc = source_begin(f->source, &err);
    if (rc == 0)
        rc = put_version(life, cursor.version, &err);
    if (rc == 0)
        rc = source_commit(f->source, &cursor, 1, &err);
    else
        source_abort(f->source);
    f->version += rc == 0;
    return rc;
}

static int try_compact(struct life *life)
{
    struct error err = ERROR_INIT;

    return source_compact(life->f.source, &err);
}

static int try_rollback(struct life *life)
{
    struct error err = ERROR_INIT;
    struct source *source = life->f.source;
    int rc = source->unsettled ? 0 : source_rollback(source, &err); /* a second would go back */

    if (rc == 0)
        rc = source_settle(source, &err);
    if (rc == 0)
        life->f.version = source_visible(life->f.source).version;
    return rc;
}

static int try_upkeep(struct life *life)
{
    struct source_readers readers;
    struct source_upkeep upkeep;
    struct error err = ERROR_INIT;
    int rc = source_check_readers(life->f.source, &readers, &err);

    return rc == 0 ? source_upkeep(life->f.source, &readers, &upkeep, &err) : rc;
}

void life_open(struct life *life)
{
    step(life, try_open, life->f.version);
}

void life_load(struct life *life)
{
    uint64_t former = life->f.version;

    step(life, try_load, former + 1);
    life->previous = former;
}

void life_commit(struct life *life, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        step(life, try_commit, life->f.version + 1);
}

void life_compact(struct life *life)
{
    step(life, try_compact, life->f.version);
}

void life_upkeep(struct life *life)
{
    step(life, try_upkeep, life->f.version);
}

void life_roll_back(struct life *life)
{
    uint64_t former = life->f.version;

    step(life, try_rollback, life->previous);
    life->previous = former;
}

void life_end(struct life *life)
{
    fixture_close(&life->f);
    atomic_store(&life->told->writes, write_log_count());
    atomic_store(&life->told->syncs, write_log_syncs());
}

/* ---- what must hold ---- */

static void read_before_the_agent(const struct life *life, const char *label)
{
    const rs_source source = fixture_realm_source(7);
    rs_snapshot *snapshot;
    rs_consumer consumer;
    rs_store *store;
    int rc;

    if (rs_open(&store, life->f.dir, NULL) != 0)
        return; /* refused: the agent has not been there since */
    assert_int_equal(rs_begin(store, &snapshot), 0);
    rc = rs_lookup(snapshot, &source, 1, "alice-key", 9, &consumer);
    if (rc >= 0 && rs_consumer_id(&consumer) == NULL)
        fail_msg("%s: a reader misses alice (%s)", label, rs_strerror(rc));
    rs_end(snapshot);
    rs_close(store);
}

/* Gives the version. */
static uint64_t open_as_agent(struct life *life, struct life_versions versions, const char *label)
{
    struct fixture *f = &life->f;
    struct store_options options = fixture_options(f);
    struct error discarded = ERROR_INIT;
    struct error err = ERROR_INIT;
    uint64_t version;

    if (store_open(&options, &f->store, &err) != 0 ||
        source_open(f->store, "us", &f->source, &discarded, &err) != 0)
        fail_msg("%s: %s", label, err.message);
    if (versions.made > 0 && discarded.code != 0)
        fail_msg("%s: discarded: %s", label, discarded.message);
    version = source_visible(f->source).version;
    fixture_close(f);
    if (version != versions.made && version != versions.next)
        fail_msg("%s: version %" PRIu64 " instead of %u or %u", label, version, versions.made,
                 versions.next);
    return version;
}

/* store_check() tells the source only, and stops at the first fault. */
static void check_contents(const struct tool_source *source, uint64_t version)
{
    const struct tables tables = source_view_tables(source);
    const struct uuid id = fixture_uuid(2);
    struct record_consumer consumer;
    struct consumer_place place;
    char expected[NAME_SIZE];

    if (consumers_find(&tables, 7, &id, &place, NULL) != 0) {
        assert_int_equal(source->meta.consumers, 1 + others_of(version)); /* from a load */
        return;
    }
    assert_true(record_view_consumer(place.record.mv_data, place.record.mv_size, &consumer));
    assert_string_equal(consumer.username, name_of(version, expected));
}

uint64_t life_check(struct life *life, struct life_versions versions, const char *label)
{
    uint64_t version;

    read_before_the_agent(life, label);
    version = open_as_agent(life, versions, label);
    if (version > 0) {
        store_check(life->f.dir, version, label, check_contents);
        read_before_the_agent(life, label);
    }
    return version;
}
