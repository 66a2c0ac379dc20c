/* env_read.c - reading an environment's pages without LMDB; see env.h.
 *
 * LMDB opens the file, and begins and ends transactions, for which it reads the two meta pages
 * alone. Everything behind these is read through a mapping of our own, by code that checks each
 * number before it follows it (tree.h): a flipped bit, or a page that was used again, is an error
 * here and would be the end of the process there.
 */
#include <errno.h>
#include <sys/mman.h>

#include "store/env.h"
#include "store/tree.h"

int env_map_pages(struct env *env)
{
    mdb_filehandle_t fd;
    MDB_envinfo info;
    MDB_stat stat;
    void *map;

    /* These three fail for a NULL environment only. */
    (void)mdb_env_info(env->mdb, &info);
    (void)mdb_env_stat(env->mdb, &stat);
    (void)mdb_env_get_fd(env->mdb, &fd);
    map = mmap(NULL, info.me_mapsize, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return errno == ENOMEM ? E_NO_MEMORY : E_IO;
    env_close_view(env);
    env->map = map;
    env->view_bytes = info.me_mapsize;
    env->page_bytes = stat.ms_psize;
    return 0;
}

int env_begin_pages(const struct env *env, MDB_txn **ret, struct tree *ret_tree)
{
    enum { ATTEMPTS = 8 };
    struct tree_candidate former = {.version = 0};
    int rc = E_OVERTAKEN;

    for (int i = 0; i < ATTEMPTS && rc == E_OVERTAKEN; i++) {
        MDB_txn *txn;

        rc = lmdb_code(mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, &txn));
        if (rc != 0)
            return rc;
        rc = tree_open_begun(env->map, env->page_bytes, mdb_txn_id(txn), &former, ret_tree);
        if (rc == 0)
            *ret = txn;
        else
            mdb_txn_abort(txn);
    }
    return rc;
}

int env_read_meta_row(const struct tree *unnamed, struct layout_meta *ret)
{
    struct tree tree;
    MDB_val value;
    int rc = tree_open_named(unnamed, env_table_name(TABLE_META), &tree);

    if (rc == 0)
        rc = tree_get(&tree, env_val(layout_meta_key, sizeof(layout_meta_key)), &value);
    if (rc != 0)
        return rc == E_NOT_FOUND ? E_CORRUPT : rc;
    return layout_unpack_meta(value.mv_data, value.mv_size, ret);
}

int env_read_head(const struct tree *unnamed, struct layout_meta *ret)
{
    struct tree trees[TABLES];
    int rc = env_read_meta_row(unnamed, ret);

    for (enum table table = TABLE_REALMS; rc == 0 && table < TABLE_LOOKUP; table++) {
        rc = tree_open_named(unnamed, env_table_name(table), &trees[table]);
        if (rc == E_NOT_FOUND) /* what comes behind the consumers is younger than format 2 */
            rc = table > TABLE_CONSUMERS ? E_FORMAT : E_CORRUPT;
    }
    if (rc != 0)
        return rc;
    return trees[TABLE_REALMS].entries == ret->realms &&
                   trees[TABLE_REALM_IDS].entries == ret->realms &&
                   trees[TABLE_CONSUMERS].entries == ret->consumers + ret->keys
               ? 0
               : E_CORRUPT;
}
