/* names.h - unique names, counters per scope, identifiers. */
#ifndef RS_CONTROL_REPO_LMDB_NAMES_H
#define RS_CONTROL_REPO_LMDB_NAMES_H

#include "control/repo/view.h"
#include "control/repo/lmdb/writer.h"

enum lmdb_name_kind {
    LMDB_NAME_USERNAME = 'u',
    LMDB_NAME_CUSTOM_ID = 'i',
    LMDB_NAME_REALM = 'r',
    LMDB_NAME_GROUP = 'g',
    LMDB_NAME_TOKEN = 't'
};
/* A namespace is a scope's key, or this one for what is unique in the whole organisation. */
struct lmdb_rowkey lmdb_namespace_organisation(void);

struct lmdb_name {
    struct lmdb_rowkey namespace;
    enum lmdb_name_kind kind;
    const char *text; /* NULL: no name, nothing to do */
};
/* E_CONFLICT with the kind's field when another entity has the name. */
int lmdb_name_take(const struct lmdb_txn *txn, const struct lmdb_name *name, const struct uuid *id,
                   struct error *err);
int lmdb_name_release(const struct lmdb_txn *txn, const struct lmdb_name *name, struct error *err);
/* From `before` to `after`; equal texts are left alone. */
int lmdb_name_change(const struct lmdb_txn *txn, const struct lmdb_name *before, const char *after,
                     const struct uuid *id, struct error *err);
/* E_NOT_FOUND without a message. */
int lmdb_name_find(const struct lmdb_txn *txn, const struct lmdb_name *name, struct uuid *ret,
                   struct error *err);
/* The index key of a name whose hash is known (access tokens). */
struct lmdb_rowkey lmdb_name_key(const struct lmdb_rowkey *namespace, enum lmdb_name_kind kind,
                                 const uint8_t hash[DIGEST_BYTES]);

int lmdb_counts_get(const struct lmdb_txn *txn, const struct repo_scope *scope,
                    struct repo_counts *ret, struct error *err);
int lmdb_counts_add(const struct lmdb_txn *txn, const struct repo_scope *scope, int64_t consumers,
                    int64_t keys, struct error *err);

/* A UUIDv7 above every one given before, so that order of ids is order of creation even within a
 * millisecond and after the clock was set back. */
int lmdb_new_id(struct lmdb_write *write, struct uuid *ret, struct error *err);

#endif
