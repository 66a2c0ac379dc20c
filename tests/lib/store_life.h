/* store_life.h - a writer in a process that may end at any of its writes, and what must hold then.
 *
 * What it does is told in memory that outlives it, and noted in the write log: the version that was
 * last made durable and the one that is being made. Contents tell their version: after a load one
 * consumer for each of some number beside alice, after a commit consumer 2's name. Whatever fails
 * is tried once more, where a test makes one call in all fail, or more often; or the writer ends
 * there.
 *
 * The functions of the writer end the process when the last attempt fails; the others assert
 * success (cmocka).
 */
#ifndef RS_TESTS_STORE_LIFE_H
#define RS_TESTS_STORE_LIFE_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/lib/store_fixture.h"

struct life_versions {
    uint32_t made;
    uint32_t next;
};
struct life_versions life_unpack(uint64_t packed);

struct life_told {
    _Atomic uint64_t versions; /* life_unpack() */
    _Atomic uint64_t writes;   /* life_end() */
    _Atomic uint64_t syncs;    /* the same */
};

struct life {
    struct fixture f;
    struct life_told *told; /* shared with children */
    uint64_t previous;      /* version of the generation to roll back to; 0: not known */
    bool gives_up;          /* at the first failure, with exit code 0 */
    unsigned attempts;      /* at what fails; 0: two */
    bool reopens;           /* after a sync that failed: as another agent would */
};

/* In memory where there is some: the syncs of thousands of openings cost nothing there. */
void life_init(struct life *life);
void life_finish(struct life *life);

/* ---- the writer ---- */

void life_open(struct life *life);
void life_load(struct life *life);
void life_commit(struct life *life, unsigned n);
void life_compact(struct life *life);
void life_upkeep(struct life *life);    /* may compact too */
void life_roll_back(struct life *life); /* life->previous is known */
void life_end(struct life *life);       /* closes, tells the writes */

/* ---- what must hold ---- */

/* A reader that comes before the agent gets a right answer or an error; the agent opens the store,
 * at one of the two versions; every record, reference and count is right, and the contents are
 * those of that version, which is given. `label` stands before what is wrong. */
uint64_t life_check(struct life *life, struct life_versions versions, const char *label);

#endif
