/* test_lmdb_code.c - one meaning for each of LMDB's codes, in all programs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <cmocka.h>
#include <lmdb.h>

#include "base/error.h"
#include "store/lmdb_code.h"

static void codes_are_translated(void **state)
{
    static const struct {
        int code;
        int ours;
    } rows[] = {
        {0, 0},
        {MDB_NOTFOUND, E_NOT_FOUND},
        {MDB_KEYEXIST, E_CONFLICT},
        {MDB_MAP_FULL, E_NO_SPACE},
        {MDB_TXN_FULL, E_TOO_LARGE},
        {MDB_VERSION_MISMATCH, E_FORMAT},
        {MDB_INVALID, E_CORRUPT},
        {MDB_CORRUPTED, E_CORRUPT},
        {MDB_PAGE_NOTFOUND, E_CORRUPT},
        {MDB_PANIC, E_IO},
        {MDB_MAP_RESIZED, E_MAP_RESIZED},
        {MDB_READERS_FULL, E_READERS_FULL},
        {MDB_BAD_RSLOT, E_PID_COLLISION},
        {EAGAIN, E_PID_COLLISION},
        {ENOSPC, E_NO_SPACE},
        {ENOMEM, E_NO_MEMORY},
        {EIO, E_IO},
        {MDB_KEYEXIST - 1, E_IO}, /* none of LMDB's */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (lmdb_code(rows[i].code) != rows[i].ours)
            fail_msg("%s: %d, not %d", mdb_strerror(rows[i].code), lmdb_code(rows[i].code),
                     rows[i].ours);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_are_translated),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
