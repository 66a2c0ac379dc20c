/* wipe.h - memory that may have held a secret is overwritten before it goes back.
 *
 * The daemons give these to the libraries that hold secrets on our behalf (jansson, libcurl,
 * OpenSSL), so that what such a library frees is overwritten too. They work on memory of the C
 * library's allocator and can be mixed with free().
 */
#ifndef RS_BASE_WIPE_H
#define RS_BASE_WIPE_H

#include <stddef.h>

/* Overwrites the whole block and frees it; NULL passes. */
void wipe_free(void *memory);
/* realloc() that leaves no copy behind. */
void *wipe_realloc(void *memory, size_t size);

/* OpenSSL's memory from now on: first thing in main(), before OpenSSL has allocated anything. */
void wipe_openssl(void);

#endif
