/* trees.c - see trees.h. */
#include "store/trees.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/bytes.h"
#include "store/files.h"

static int trees_damaged(struct error *err, const char *what)
{
    return error_set(err, E_CORRUPT, "%s is damaged: the file has rotted", what);
}

static int open_tables(struct trees *trees, const struct tree *unnamed, uint64_t txn_id)
{
    int rc = tree_open_free(unnamed, txn_id, &trees->free);

    if (rc == 0 && (trees->free.flags & ~(unsigned)TABLE_NO_SUBDIR) != TABLE_INTEGER_KEYS)
        rc = E_CORRUPT;

    for (int i = 0; i < TABLES && rc == 0; i++) {
        const char *name = env_table_name((enum table)i);

        trees->tables[i] = *unnamed;
        if (name != NULL)
            rc = tree_guard(unnamed, env_val(name, strlen(name)));
        if (rc == 0 && name != NULL)
            rc = tree_open_named(unnamed, name, &trees->tables[i]);
        if (rc == 0 && trees->tables[i].flags != env_table_flags((enum table)i))
            rc = E_CORRUPT; /* LMDB would take it for a table of another kind */
    }
    return rc == E_NOT_FOUND ? E_CORRUPT : rc;
}

/* The kept meta page is what the last commit wrote. */
static bool is_head_ours(const struct env *env, uint64_t txn_id)
{
    return env->head_lost || !env->head_known || bytes_get_u64(env->head + META_AT_TXN) != txn_id ||
           memcmp(env->map + env->head_at, env->head, sizeof(env->head)) == 0;
}

int trees_open(struct trees *trees, struct env *env, uint64_t txn_id, bool writes,
               struct error *err)
{
    struct tree unnamed;
    bool certain;
    int rc = env_view(env, err);

    if (rc != 0)
        return rc;
    memset(&trees->seen, 0, sizeof(trees->seen));
    trees->writes = writes;
    if (!is_head_ours(env, txn_id) ||
        tree_open(env->map, env->page_bytes, txn_id, &unnamed, &certain) != 0)
        return trees_damaged(err, "the store's head");
    unnamed.seen = &trees->seen;
    if (open_tables(trees, &unnamed, txn_id) != 0)
        return trees_damaged(err, "a page of the store");
    return 0;
}

int trees_open_snapshot(struct trees *trees, const struct tree *unnamed, uint64_t txn_id,
                        struct error *err)
{
    struct tree checked = *unnamed;

    memset(&trees->seen, 0, sizeof(trees->seen));
    trees->writes = false;
    checked.seen = &trees->seen;
    return open_tables(trees, &checked, txn_id) == 0 ? 0
                                                     : trees_damaged(err, "a page of the store");
}

/* ---- free pages ---- */

/* One record of LMDB's: how many, and their numbers, falling. */
static bool is_free_record_good(const struct tree *tree, const MDB_val *value, uint64_t *bitmap)
{
    enum { NUMBER_BYTES = sizeof(uint64_t), WORD_BITS = 64 };
    const unsigned char *at = value->mv_data;
    uint64_t room = value->mv_size / NUMBER_BYTES;
    uint64_t former = UINT64_MAX;

    if (room == 0 || value->mv_size % NUMBER_BYTES != 0 || bytes_get_u64(at) >= room)
        return false;
    for (uint64_t left = bytes_get_u64(at); left > 0; left--) {
        uint64_t page = bytes_get_u64(at += NUMBER_BYTES);

        if (page < META_PAGES || page >= tree->pages || page >= former ||
            (bitmap[page / WORD_BITS] & (uint64_t)1 << page % WORD_BITS) != 0)
            return false;
        bitmap[page / WORD_BITS] |= (uint64_t)1 << page % WORD_BITS;
        former = page;
    }
    return true;
}

static int check_free(const struct tree *tree, uint64_t *bitmap)
{
    struct tree_walk walk;
    int rc;

    for (rc = tree_walk_begin(&walk, tree, env_val("", 0)); rc == 0; rc = tree_walk_next(&walk)) {
        if (walk.key.mv_size != sizeof(uint64_t) || tree_guard(tree, walk.key) != 0 ||
            !is_free_record_good(tree, &walk.value, bitmap))
            return E_CORRUPT;
    }
    return rc == E_NOT_FOUND ? 0 : rc;
}

int trees_check_free(const struct trees *trees, struct error *err)
{
    uint64_t *bitmap;
    int rc;

    if (trees->free.depth == 0)
        return 0;
    bitmap = calloc(trees->free.pages / 64 + 1, sizeof(*bitmap));
    if (bitmap == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    rc = check_free(&trees->free, bitmap);
    free(bitmap);
    return rc == 0 ? 0 : trees_damaged(err, "the list of free pages");
}

/* ---- everything ---- */

static int check_table(const struct tree *tree)
{
    struct tree_walk walk;
    int rc;

    for (rc = tree_walk_begin(&walk, tree, env_val("", 0)); rc == 0; rc = tree_walk_next(&walk))
        continue;
    return rc == E_NOT_FOUND ? 0 : rc;
}

int trees_check_table(const struct trees *trees, enum table table, struct error *err)
{
    return check_table(&trees->tables[table]) == 0 ? 0 : trees_damaged(err, "a page of the store");
}

int trees_check_all(const struct trees *trees, struct error *err)
{
    int rc = trees_check_free(trees, err);

    for (int i = 0; i < TABLES && rc == 0; i++)
        rc = trees_check_table(trees, (enum table)i, err);
    return rc;
}

/* ---- before it is open ---- */

/* The head and the way to each table, and to the first thing that is read. */
static int check_map(const unsigned char *map, size_t bytes)
{
    const MDB_val key = env_val(layout_meta_key, sizeof(layout_meta_key));
    const size_t page_bytes = bytes_get_u32(map + META_AT_PAGE_SIZE);
    struct trees *trees = calloc(1, sizeof(*trees));
    struct tree unnamed;
    uint64_t txn_id;
    bool certain;
    int rc = trees != NULL ? 0 : E_NO_MEMORY;

    if (rc == 0 && (page_bytes == 0 || bytes / page_bytes < META_PAGES))
        rc = E_CORRUPT;
    if (rc == 0) {
        txn_id = bytes_get_u64(map + META_AT_TXN);
        if (bytes_get_u64(map + page_bytes + META_AT_TXN) > txn_id)
            txn_id = bytes_get_u64(map + page_bytes + META_AT_TXN);
        rc = tree_open(map, page_bytes, txn_id, &unnamed, &certain);
    }
    if (rc == 0 && unnamed.pages > bytes / page_bytes)
        rc = E_CORRUPT;
    if (rc == 0)
        rc = open_tables(trees, &unnamed, txn_id);
    if (rc == 0)
        rc = tree_guard(&trees->tables[TABLE_META], key);
    free(trees);
    return rc;
}

static int check_fd(int fd, const char *path, struct error *err)
{
    struct stat file;
    void *map;
    int rc;

    if (fstat(fd, &file) != 0)
        return error_set_errno(err, errno, "cannot stat %s", path);
    if ((size_t)file.st_size < META_BYTES)
        return error_set(err, E_CORRUPT, "%s is too short", path);
    map = mmap(NULL, (size_t)file.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return error_set_errno(err, errno, "cannot map %s", path);
    rc = check_map(map, (size_t)file.st_size);
    (void)munmap(map, (size_t)file.st_size); /* our own mapping */
    if (rc == 0 || rc == E_NO_MEMORY)
        return rc == 0 ? 0 : error_set(err, rc, NULL);
    return error_set(err, E_CORRUPT, "%s: a page with the names of its tables is damaged", path);
}

int trees_check_names(const char *dir, struct error *err)
{
    char path[PATH_MAX];
    int fd;
    int rc = files_join(path, dir, "data.mdb", err);

    if (rc != 0)
        return rc;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(err, errno, "cannot open %s", path);
    rc = check_fd(fd, path, err);
    (void)close(fd); /* nothing was written */
    return rc;
}
