/* names.c - what must be unique, how much there is, and identifiers.
 *
 * One table holds every unique name: namespace (a scope, or the organisation), kind, SHA-256 of the
 * text -> id of the owner. The hash keeps keys short and evenly spread; two texts with one hash
 * would be a SHA-256 collision, so the text itself is not compared.
 *
 * Failure modes: a taken name is E_CONFLICT with its field; the message gives the owner's id, never
 * the text (a custom id can be personal data). Realms' names are unique in the organisation: to a
 * bound caller the message does not give the owner, which can be a realm that it may not see.
 */
#include "control/repo/lmdb/names.h"

#include <string.h>

#include "control/repo/errors.h"
#include "control/repo/lmdb/rowkey.h"
#include "control/repo/lmdb/rows.h"
#include "control/repo/lmdb/txn.h"
#include "control/repo/lmdb/writer.h"
#include "control/repo/view.h"

struct lmdb_rowkey lmdb_namespace_organisation(void)
{
    struct lmdb_rowkey key = {.bytes = {REPO_SCOPE_CP + 2}, .size = 1};
    static const struct uuid nil;

    return lmdb_rowkey_with_id(key, &nil);
}

struct lmdb_rowkey lmdb_name_key(const struct lmdb_rowkey *namespace, enum lmdb_name_kind kind,
                                 const uint8_t hash[DIGEST_BYTES])
{
    const uint8_t letter = (uint8_t)kind;
    struct lmdb_rowkey key = lmdb_rowkey_with(*namespace, &letter, sizeof(letter));

    return lmdb_rowkey_with(key, hash, DIGEST_BYTES);
}

static struct lmdb_rowkey name_key_of(const struct lmdb_name *name)
{
    uint8_t hash[DIGEST_BYTES];

    digest_sha256(name->text, strlen(name->text), hash);
    return lmdb_name_key(&name->namespace, name->kind, hash);
}

static const char *field_of(enum lmdb_name_kind kind)
{
    switch (kind) {
    case LMDB_NAME_USERNAME:
        return "username";
    case LMDB_NAME_CUSTOM_ID:
        return "custom_id";
    case LMDB_NAME_REALM:
    case LMDB_NAME_GROUP:
    case LMDB_NAME_TOKEN:
        break;
    }
    return "name";
}

static int read_owner(const MDB_val *value, struct uuid *ret, struct error *err)
{
    struct lmdb_reader reader = lmdb_reader_on(value);

    *ret = lmdb_read_uuid(&reader);
    return reader.ok ? 0 : repo_corrupt("a name's row is cut short", err);
}

int lmdb_name_take(const struct lmdb_txn *txn, const struct lmdb_name *name, const struct uuid *id,
                   struct error *err)
{
    char text[UUID_TEXT_SIZE];
    struct lmdb_rowkey key;
    struct uuid owner;
    MDB_val existing;
    int rc;

    if (name->text == NULL)
        return 0;
    key = name_key_of(name);
    rc = lmdb_put_new(txn, TABLE_NAMES, &key, id->bytes, UUID_BYTES, err);
    if (rc != E_CONFLICT)
        return rc;
    if (txn->actor != NULL && name->kind == LMDB_NAME_REALM)
        return error_set_field(err, E_CONFLICT, field_of(name->kind),
                               "this %s is taken in the organisation; choose another one",
                               field_of(name->kind));
    rc = lmdb_get(txn, TABLE_NAMES, &key, &existing, err);
    if (rc == 0)
        rc = read_owner(&existing, &owner, err);
    if (rc != 0)
        return rc;
    return error_set_field(err, E_CONFLICT, field_of(name->kind),
                           "this %s is taken by %s; choose another one", field_of(name->kind),
                           uuid_format(&owner, text));
}

int lmdb_name_release(const struct lmdb_txn *txn, const struct lmdb_name *name, struct error *err)
{
    struct lmdb_rowkey key;
    int rc;

    if (name->text == NULL)
        return 0;
    key = name_key_of(name);
    rc = lmdb_del(txn, TABLE_NAMES, &key, err);
    return rc == E_NOT_FOUND ? repo_corrupt("a name is missing in its index", err) : rc;
}

static bool names_same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

int lmdb_name_change(const struct lmdb_txn *txn, const struct lmdb_name *before, const char *after,
                     const struct uuid *id, struct error *err)
{
    const struct lmdb_name next = {
        .namespace = before->namespace, .kind = before->kind, .text = after};
    int rc;

    if (names_same_text(before->text, after))
        return 0;
    rc = lmdb_name_take(txn, &next, id, err);
    return rc == 0 ? lmdb_name_release(txn, before, err) : rc;
}

int lmdb_name_find(const struct lmdb_txn *txn, const struct lmdb_name *name, struct uuid *ret,
                   struct error *err)
{
    struct lmdb_rowkey key = name_key_of(name);
    MDB_val value;
    int rc = lmdb_get(txn, TABLE_NAMES, &key, &value, err);

    return rc == 0 ? read_owner(&value, ret, err) : rc;
}

/* ---- counters ---- */

int lmdb_counts_get(const struct lmdb_txn *txn, const struct repo_scope *scope,
                    struct repo_counts *ret, struct error *err)
{
    struct lmdb_rowkey key = lmdb_rowkey_scope(scope);
    struct lmdb_reader reader;
    MDB_val value;
    int rc = lmdb_get(txn, TABLE_COUNTS, &key, &value, err);

    *ret = (struct repo_counts){0};
    if (rc == E_NOT_FOUND)
        return 0;
    if (rc != 0)
        return rc;
    reader = lmdb_reader_on(&value);
    ret->consumers = lmdb_read_u64(&reader);
    ret->keys = lmdb_read_u64(&reader);
    return reader.ok ? 0 : repo_corrupt("a scope's counters are cut short", err);
}

static int counts_put(const struct lmdb_txn *txn, const struct repo_scope *scope,
                      const struct repo_counts *counts, struct error *err)
{
    struct lmdb_rowkey key = lmdb_rowkey_scope(scope);
    struct buffer out;
    int rc;

    buffer_init(&out, 256);
    rc = lmdb_append_u64(&out, counts->consumers);
    if (rc == 0)
        rc = lmdb_append_u64(&out, counts->keys);
    rc = rc == 0 ? lmdb_put(txn, TABLE_COUNTS, &key, out.data, out.size, err)
                 : repo_encode_error(rc, "the counters", err);
    buffer_finish(&out);
    return rc;
}

int lmdb_counts_add(const struct lmdb_txn *txn, const struct repo_scope *scope, int64_t consumers,
                    int64_t keys, struct error *err)
{
    struct lmdb_rowkey key = lmdb_rowkey_scope(scope);
    struct repo_counts counts;
    int rc = lmdb_counts_get(txn, scope, &counts, err);

    if (rc != 0)
        return rc;
    if ((consumers < 0 && (uint64_t)-consumers > counts.consumers) ||
        (keys < 0 && (uint64_t)-keys > counts.keys))
        return repo_corrupt("a scope's counters disagree with its rows", err);
    counts.consumers += (uint64_t)consumers;
    counts.keys += (uint64_t)keys;
    if (counts.consumers > 0 || counts.keys > 0)
        return counts_put(txn, scope, &counts, err);
    rc = lmdb_del(txn, TABLE_COUNTS, &key, err);
    return rc == E_NOT_FOUND ? 0 : rc;
}

/* ---- identifiers ---- */

/* The next greater identifier that is still a version 7 UUID: bytes 6 to 8 hold version, variant
 * and random bits that stay. */
static void successor(struct uuid *id)
{
    for (int i = UUID_BYTES - 1; i >= 0; i--) {
        if (i >= 6 && i <= 8)
            continue;
        if (++id->bytes[i] != 0)
            return;
    }
}

int lmdb_new_id(struct lmdb_write *write, struct uuid *ret, struct error *err)
{
    struct uuid id;

    if (uuid_generate(&id) != 0)
        return error_set(err, E_IO, "the system gives no random bytes");
    if (uuid_compare(&id, &write->state.last_id) <= 0) {
        id = write->state.last_id;
        successor(&id);
    }
    write->state.last_id = id;
    *ret = id;
    return 0;
}
