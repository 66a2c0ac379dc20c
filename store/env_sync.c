/* env_sync.c - how a commit becomes durable; see env.h.
 *
 * A commit has two syncs. LMDB makes the first, of the pages; when it fails the transaction is
 * gone, and the next one writes all its pages anew. The second, of the meta page, is made here.
 *
 * Failure: Linux tells a failed write of a page once, and marks the page clean. Another sync then
 * succeeds and has written nothing; some file systems even drop what the page held, so that the map
 * shows the older one again. So the meta page's bytes are kept, and written again before the next
 * sync. Of those bytes the whole page becomes dirty again.
 */
#include "store/env.h"

#include <errno.h>
#include <unistd.h>

static mdb_filehandle_t fd_of(const struct env *env)
{
    mdb_filehandle_t fd;

    (void)mdb_env_get_fd(env->mdb, &fd); /* fails for NULL only */
    return fd;
}

/* LMDB writes the meta pages in turn. */
static int keep_head(struct env *env, struct error *err)
{
    MDB_envinfo info;
    MDB_stat stat;

    (void)mdb_env_info(env->mdb, &info); /* these two fail for a NULL environment only */
    (void)mdb_env_stat(env->mdb, &stat);
    env->head_at = (off_t)(info.me_last_txnid % META_PAGES * stat.ms_psize);
    if (pread(fd_of(env), env->head, sizeof(env->head), env->head_at) ==
        (ssize_t)sizeof(env->head)) {
        env->head_known = true;
        return 0;
    }
    env->head_known = false;
    return error_set_errno(err, errno, "cannot read the head of data.mdb");
}

static int write_head(const struct env *env, struct error *err)
{
    ssize_t written = pwrite(fd_of(env), env->head, sizeof(env->head), env->head_at);

    if (written == (ssize_t)sizeof(env->head))
        return 0;
    return error_set_errno(err, written < 0 ? errno : EIO, "cannot write the head of data.mdb");
}

static int sync_file(const struct env *env, const char *what, struct error *err)
{
    int rc = mdb_env_sync(env->mdb, 1);

    return rc == 0 ? 0 : env_error(err, rc, what);
}

int env_make_durable(struct env *env, struct error *err)
{
    int rc = mdb_env_set_flags(env->mdb, MDB_NOSYNC, 0);

    if (rc == 0)
        rc = mdb_env_set_flags(env->mdb, MDB_NOMETASYNC, 1);
    if (rc != 0)
        return env_error(err, rc, "sync the new generation");
    env_slots_announce(env);
    return sync_file(env, "sync the new generation", err);
}

int env_sync(struct env *env, struct error *err)
{
    int rc = env->head_lost ? write_head(env, err) : keep_head(env, err);

    if (rc != 0)
        return rc;
    rc = sync_file(env, "sync the commit", err);
    env->head_lost = rc != 0;
    return rc;
}

int env_settle(struct env *env, struct error *err)
{
    int rc = keep_head(env, err);

    env->head_lost = rc == 0;
    return rc == 0 ? env_sync(env, err) : rc;
}
