/* env_copy.c - a compacted copy of an environment's newest version; see env.h. */
#include "store/env.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "store/files.h"

static int copy_to(const struct env *env, int fd, const char *path,
                   const struct env_copy_watch *watch, struct error *err)
{
    int rc;

    if (watch != NULL)
        watch->begin(watch->context, fd);
    rc = mdb_env_copyfd2(env->mdb, fd, MDB_CP_COMPACT);
    if (watch != NULL)
        watch->end(watch->context);
    if (rc != 0) {
        (void)env_error(err, rc, "copy the store");
        return error_context(err, "%s", path);
    }
    return fsync(fd) == 0 ? 0 : error_set_errno(err, errno, "cannot sync %s", path);
}

int env_copy(const struct env *env, const char *dir, gid_t gid, const struct env_copy_watch *watch,
             struct error *err)
{
    char path[PATH_MAX];
    int fd;
    int rc = files_join(path, dir, "data.mdb", err);

    if (rc != 0)
        return rc;
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, FILES_MODE_DATA);
    if (fd < 0)
        return error_set_errno(err, errno, "cannot create %s", path);
    rc = copy_to(env, fd, path, watch, err);
    if (close(fd) != 0 && rc == 0)
        rc = error_set_errno(err, errno, "cannot close %s", path);
    if (rc == 0)
        rc = files_own(path, FILES_MODE_DATA, gid, err);
    return rc == 0 ? files_sync_dir(dir, err) : rc;
}
