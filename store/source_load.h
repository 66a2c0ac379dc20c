/* source_load.h - a full load under way: what source_load.c and source_load_records.c share. */
#ifndef RS_STORE_SOURCE_LOAD_H
#define RS_STORE_SOURCE_LOAD_H

#include "store/scope_hashes.h"
#include "store/sorter.h"
#include "store/source_internal.h"

/* A key whose lookup entry waits until its consumer's keys are counted. */
struct load_key {
    struct uuid id;
    int64_t expires_at_ms;
    uint8_t digest[DIGEST_BYTES];
};

struct load {
    char dir[PATH_MAX];
    struct generation next;
    struct tables tables;
    struct index index;    /* of `tables` */
    struct sorter *sorter; /* owned */
    unsigned in_txn;       /* records in the open transaction */
    uint32_t known_scope;  /* the last scope that was found to exist */
    bool finished;         /* load_finish_records() was called */

    bool has_consumer; /* what follows describes a consumer whose keys are still coming */
    uint32_t scope;
    struct uuid consumer_id;
    struct buffer consumer; /* its record */
    uint32_t n_keys;
    struct load_key waiting[ENTRY_INLINE_KEYS];

    uint32_t summed; /* the scope of */
    struct set_hash sums[SET_HASH_BUCKETS];
};

/* ---- source_load.c ---- */

/* Counts one more write; begins a new transaction now and then. */
int load_count(struct load *load, struct error *err);

/* ---- source_load_records.c ---- */

/* Takes a record that passed record_check(). */
int load_record(struct load *load, enum record_kind kind, uint32_t scope, MDB_val record,
                struct error *err);
/* After the last record: writes what waited, and the table `lookup`. A second call has no
 * effect. */
int load_finish_records(struct load *load, struct error *err);

#endif
