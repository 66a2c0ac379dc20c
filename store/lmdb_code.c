/* lmdb_code.c - see lmdb_code.h.
 *
 * A file that is no environment (MDB_INVALID) is damage: one of ours was there. MDB_PANIC is the
 * disk's failure to take a commit, not the file's; the environment is of no use afterwards.
 */
#include "store/lmdb_code.h"

#include <errno.h>
#include <lmdb.h>

#include "base/error.h"

int lmdb_code(int mdb_rc)
{
    switch (mdb_rc) {
    case 0:
        return 0;
    case MDB_NOTFOUND:
        return E_NOT_FOUND;
    case MDB_KEYEXIST:
        return E_CONFLICT;
    case MDB_MAP_FULL:
        return E_NO_SPACE;
    case MDB_TXN_FULL:
        return E_TOO_LARGE;
    case MDB_VERSION_MISMATCH:
        return E_FORMAT;
    case MDB_READERS_FULL:
        return E_READERS_FULL;
    case MDB_MAP_RESIZED:
        return E_MAP_RESIZED;
    case MDB_BAD_RSLOT:
    case EAGAIN: /* seen when a reader of another PID namespace has our pid */
        return E_PID_COLLISION;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_INCOMPATIBLE:
    case MDB_BAD_TXN:
    case MDB_BAD_DBI:
        return E_CORRUPT;
    case MDB_PANIC:
        return E_IO;
    default:
        return mdb_rc > 0 ? error_from_errno(mdb_rc) : E_IO;
    }
}
