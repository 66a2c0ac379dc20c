/* tls_files.h - whether certificates and keys are what they should be, before anything is started
 * with them: a program that would fail at its first connection fails at its check.
 *
 * All are PEM texts in memory; `path` is for the message alone.
 */
#ifndef RS_BASE_TLS_FILES_H
#define RS_BASE_TLS_FILES_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct tls_file {
    const char *path;
    const char *pem;
    size_t size;
};

/* What does not keep anything from starting; "" where there is nothing to say. */
struct tls_warning {
    char text[512];
};

/* Which end shows the certificate. */
enum tls_use { TLS_CLIENT, TLS_SERVER };

/* The chain's first certificate and the key belong together; the key has no passphrase, which
 * nobody could be asked for; certificate and key are what the other end takes: made for this use,
 * where they say what for, and of 112 bits of security (RSA 2048, SHA-256). E_CONFIG says which
 * file is at fault and what to do. *ret_warning: a certificate of the chain has expired, or is not
 * valid yet, at `wall_ms`. */
int tls_check_pair(const struct tls_file *chain, const struct tls_file *key, enum tls_use use,
                   int64_t wall_ms, struct tls_warning *ret_warning, struct error *err);

/* At least one certificate, and nothing broken. The warning says when all of them have expired. */
int tls_check_authorities(const struct tls_file *file, int64_t wall_ms,
                          struct tls_warning *ret_warning, struct error *err);

#endif
