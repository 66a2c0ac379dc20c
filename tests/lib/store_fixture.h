/* store_fixture.h - a store in a temporary directory, clocks that tests move, and short ways to
 * fill it.
 *
 * Entities are numbered: fixture_uuid(n) is the UUID of number n. Every helper asserts success
 * (cmocka), unless its name says otherwise.
 */
#ifndef RS_TESTS_STORE_FIXTURE_H
#define RS_TESTS_STORE_FIXTURE_H

#include <limits.h>
#include <stdint.h>

#include "base/clock.h"
#include "realmstore.h"
#include "store/source.h"

struct fixture {
    char base[64];          /* made by mkdtemp(), removed at the end */
    char dir[PATH_MAX];     /* the store, inside it */
    const char *group;      /* reader group or NULL */
    size_t map_bytes;       /* 0: 64 GiB */
    uint64_t compact_bytes; /* as in store_options */
    uint64_t compact_lag_txns;
    unsigned retention_ms;
    int64_t wall_ms; /* what both clocks say */
    int64_t boot_ms;
    struct clock clock;    /* reads the two above */
    uint64_t version;      /* of the last commit */
    struct store *store;   /* NULL: closed */
    struct source *source; /* region "us" */
};

extern const uint8_t fixture_digest_key[DIGEST_KEY_BYTES];

void fixture_init(struct fixture *fixture);
void fixture_finish(struct fixture *fixture);
/* store_open() and source_open("us"); nothing may be discarded. */
void fixture_open(struct fixture *fixture);
void fixture_close(struct fixture *fixture);
struct store_options fixture_options(const struct fixture *fixture);
/* "dir/name" into static memory. */
const char *fixture_path(const struct fixture *fixture, const char *name);

struct uuid fixture_uuid(unsigned n);
struct uuid fixture_control_plane(void);
struct uuid fixture_epoch(void);
void fixture_digest(const char *secret, uint8_t digest[DIGEST_BYTES]);

/* Publishes a generation without records. */
void fixture_load_empty(struct fixture *fixture);
/* The same for another source. */
void fixture_load_empty_source(struct source *source, uint64_t version);
/* Realm 7 (UUID 700, ttl 10, negative_ttl 5, groups "gold", "eu"), consumer 1 "alice" in it with
 * key 11 "alice-key", consumer 2 "bob" in the control plane's scope with key 22 "bob-key"; heard
 * just now. */
void fixture_load_people(struct fixture *fixture);

/* Publishes a generation with realm 7, consumer 1 "alice" in it and key 11 "alice-key", as a
 * snapshot brings them, and `others` consumers of the control plane, numbered from FIXTURE_LOADED;
 * heard just now. Gives the code of what failed first; the load is aborted then. */
enum { FIXTURE_LOADED = 10000 };
int fixture_try_load(struct fixture *fixture, unsigned others, struct error *err);
/* Without others. */
void fixture_load_alice(struct fixture *fixture);

/* What the agent does now and then. */
struct source_upkeep fixture_upkeep(struct fixture *fixture);

/* Makes generation 1 of "us" what an agent of store format 1 left behind. Closed. */
void fixture_make_format_1(const struct fixture *fixture);

/* One transaction around `n` puts. */
void fixture_begin(struct fixture *fixture);
void fixture_commit(struct fixture *fixture);
void fixture_put_realm(struct source *source, uint32_t number);
void fixture_put_consumer(struct source *source, uint32_t scope, unsigned n, const char *username);
/* Gives the code of source_put_key(). */
int fixture_try_key(struct source *source, uint32_t scope, unsigned consumer, unsigned n,
                    const char *secret, int64_t expires_at_ms, struct error *err);
void fixture_put_key(struct source *source, uint32_t scope, unsigned consumer, unsigned n,
                     const char *secret);

/* Sources for lookups. */
rs_source fixture_realm_source(uint32_t number);
rs_source fixture_cp_source(void);

#endif
