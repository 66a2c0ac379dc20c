/* lmdb_code.h - LMDB's codes as ours, for all programs that use it. */
#ifndef RS_STORE_LMDB_CODE_H
#define RS_STORE_LMDB_CODE_H

/* An LMDB or errno code; 0 stays 0. */
int lmdb_code(int mdb_rc);

#endif
