/* generation.c - see generation.h. */
#include "store/generation.h"

#include <stdio.h>
#include <string.h>
#include <openssl/crypto.h>

#include "store/files.h"
#include "store/tree.h"

const char *generation_name(uint32_t number, char name[GENERATION_NAME_SIZE])
{
    (void)snprintf(name, GENERATION_NAME_SIZE, "g-%06u", number);
    return name;
}

uint32_t generation_parse(const char *name)
{
    char again[GENERATION_NAME_SIZE];
    unsigned number;

    if (sscanf(name, "g-%10u", &number) != 1 || strcmp(generation_name(number, again), name) != 0)
        return 0;
    return number;
}

static int read_digest_key(const char *dir, struct generation *generation, struct error *err)
{
    uint8_t check[LAYOUT_CHECK_BYTES];
    size_t size;
    int rc = files_read(dir, "digest.key", generation->digest_key, DIGEST_KEY_BYTES, &size, err);

    if (rc == E_TOO_LARGE || (rc == 0 && size != DIGEST_KEY_BYTES))
        return error_set(err, E_CORRUPT, "%s/digest.key does not have %d bytes", dir,
                         DIGEST_KEY_BYTES);
    if (rc != 0)
        return rc;
    layout_key_check(generation->digest_key, check);
    if (memcmp(check, generation->meta.digest_key_check, sizeof(check)) != 0)
        return error_set(err, E_CORRUPT, "%s/digest.key is not the key of this store", dir);
    return 0;
}

/* The tables' own counts against the ones kept in meta: cheap, and finds a mixed-up file. */
static int check_counts(const struct env *env, MDB_txn *txn, const struct layout_meta *meta)
{
    static const enum table counted[] = {TABLE_REALMS, TABLE_REALM_IDS, TABLE_CONSUMERS};
    const uint64_t expected[] = {meta->realms, meta->realms, meta->consumers + meta->keys};

    for (size_t i = 0; i < sizeof(counted) / sizeof(counted[0]); i++) {
        MDB_stat stat;
        int rc = mdb_stat(txn, env->tables[counted[i]], &stat);

        if (rc != 0)
            return lmdb_code(rc);
        if (stat.ms_entries != expected[i])
            return E_CORRUPT;
    }
    return 0;
}

bool generation_counts_fit(const struct generation *generation)
{
    MDB_txn *txn;
    bool fit;

    if (mdb_txn_begin(generation->env.mdb, NULL, MDB_RDONLY, &txn) != 0)
        return false;
    fit = check_counts(&generation->env, txn, &generation->meta) == 0;
    mdb_txn_abort(txn);
    return fit;
}

/* A writer trusts LMDB, and opens what has other counts than its head says, to repair it. */
static int load_meta_of_writer(struct generation *generation)
{
    MDB_txn *txn;
    int rc = lmdb_code(mdb_txn_begin(generation->env.mdb, NULL, MDB_RDONLY, &txn));

    if (rc != 0)
        return rc;
    rc = env_read_meta(&generation->env, txn, &generation->meta);
    mdb_txn_abort(txn);
    return rc;
}

static int load_meta_of_reader(struct generation *generation)
{
    struct tree unnamed;
    MDB_txn *txn;
    int rc = env_begin_pages(&generation->env, &txn, &unnamed);

    if (rc != 0)
        return rc;
    rc = env_read_head(&unnamed, &generation->meta);
    mdb_txn_abort(txn);
    return rc;
}

enum role { READER, WRITER };

/* Reads and checks the head of a generation whose environment is open. */
static int load_meta(const char *dir, struct generation *generation, enum role role,
                     struct error *err)
{
    int rc = role == READER ? load_meta_of_reader(generation) : load_meta_of_writer(generation);

    if (rc != 0 && rc != E_FORMAT && rc != E_CORRUPT)
        return error_set(err, rc, "%s: cannot begin a snapshot: %s", dir, error_text(rc));
    if (rc == E_FORMAT)
        return error_set(err, rc,
                         "%s was written by another version of realm-agent: update, or let the "
                         "agent copy it again",
                         dir);
    if (rc != 0)
        return error_set(err, rc, "%s: its head is damaged or does not fit its contents", dir);
    return 0;
}

static int finish_open(const char *dir, uint32_t number, enum role role,
                       struct generation *generation, struct generation *ret, struct error *err)
{
    int rc;

    generation->number = number;
    rc = load_meta(dir, generation, role, err);
    if (rc == 0)
        rc = read_digest_key(dir, generation, err);
    if (rc != 0) {
        generation_close(generation);
        return rc;
    }
    *ret = *generation;
    OPENSSL_cleanse(generation->digest_key, DIGEST_KEY_BYTES);
    return 0;
}

int generation_open_reader(const char *source_dir, uint32_t number, struct generation *ret,
                           struct error *err)
{
    struct generation generation = {.number = 0};
    char name[GENERATION_NAME_SIZE];
    char dir[PATH_MAX];
    int rc = files_join(dir, source_dir, generation_name(number, name), err);

    if (rc == 0)
        rc = env_open_reader(dir, &generation.env, err);
    return rc != 0 ? rc : finish_open(dir, number, READER, &generation, ret, err);
}

int generation_open_retained(const char *source_dir, uint32_t number, struct generation *ret,
                             uint64_t *ret_txn_id, struct error *err)
{
    struct generation generation = {.number = 0};
    char name[GENERATION_NAME_SIZE];
    char dir[PATH_MAX];
    int rc = files_join(dir, source_dir, generation_name(number, name), err);

    *ret_txn_id = 0;
    if (rc == 0)
        rc = env_open_retained(dir, &generation.env, ret_txn_id, err);
    return rc != 0 ? rc : finish_open(dir, number, READER, &generation, ret, err);
}

int generation_open_writer(const char *source_dir, uint32_t number, size_t map_bytes, gid_t gid,
                           struct generation *ret, struct error *err)
{
    struct generation generation = {.number = 0};
    char name[GENERATION_NAME_SIZE];
    char dir[PATH_MAX];
    int rc = files_join(dir, source_dir, generation_name(number, name), err);

    if (rc == 0)
        rc = env_open_writer(dir, map_bytes, gid, &generation.env, err);
    return rc != 0 ? rc : finish_open(dir, number, WRITER, &generation, ret, err);
}

int generation_open_backup(const char *dir, struct generation *ret, struct error *err)
{
    struct generation generation = {.number = GENERATION_OF_BACKUP};
    int rc = env_open_frozen(dir, &generation.env, err);

    if (rc == 0)
        rc = load_meta(dir, &generation, READER, err);
    if (rc != 0) {
        generation_close(&generation);
        return rc;
    }
    *ret = generation;
    return 0;
}

void generation_close(struct generation *generation)
{
    env_close(&generation->env);
    OPENSSL_cleanse(generation->digest_key, DIGEST_KEY_BYTES);
    generation->number = 0;
}
