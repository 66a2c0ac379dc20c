/* env_view.c - the writer's own look at its file; see env.h. LMDB keeps its map to itself. */
#include "store/env.h"

#include <errno.h>
#include <sys/mman.h>

void env_close_view(struct env *env)
{
    if (env->view_bytes > 0)
        (void)munmap((void *)(uintptr_t)env->map, env->view_bytes); /* our own mapping */
    env->view_bytes = 0;
    env->map = NULL;
}

int env_view(struct env *env, struct error *err)
{
    static const size_t spare_bytes = (size_t)16 << 20; /* so that growth does not map each time */
    mdb_filehandle_t fd;
    MDB_envinfo info;
    MDB_stat stat;
    size_t needed;
    void *map;
    int rc = env_cover_file(env, err); /* reading behind the file's end would be SIGBUS */

    if (rc != 0)
        return rc;
    (void)mdb_env_info(env->mdb, &info); /* these three fail for a NULL environment only */
    (void)mdb_env_stat(env->mdb, &stat);
    (void)mdb_env_get_fd(env->mdb, &fd);
    env->page_bytes = stat.ms_psize;
    needed = (info.me_last_pgno + 1) * env->page_bytes;
    if (needed <= env->view_bytes)
        return 0;
    env_close_view(env);
    needed += needed / 4 + spare_bytes;
    map = mmap(NULL, needed, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return error_set_errno(err, errno, "cannot map data.mdb");
    env->map = map;
    env->view_bytes = needed;
    return 0;
}
