/* digest.h - the keyed digest under which API keys are stored: HMAC-SHA-256 (RFC 2104, FIPS 180-4).
 *
 * The padded key blocks are hashed once at creation; a digest then costs two short SHA-256 runs,
 * allocates nothing and makes no system call.
 */
#ifndef RS_BASE_DIGEST_H
#define RS_BASE_DIGEST_H

#include <stddef.h>
#include <stdint.h>
#include <openssl/sha.h>

enum { DIGEST_BYTES = 32, DIGEST_KEY_BYTES = 32 };

struct digest_key {
    SHA256_CTX inner; /* state after the inner pad */
    SHA256_CTX outer; /* state after the outer pad */
};

/* Prepares the key. Read-only afterwards: may be shared between threads. Wipe with
 * digest_key_wipe. */
void digest_key_init(struct digest_key *key, const uint8_t secret[DIGEST_KEY_BYTES]);
void digest_key_wipe(struct digest_key *key);

/* HMAC-SHA-256 of `size` bytes (an API key's secret). Clears its intermediate states. */
void digest_compute(const struct digest_key *key, const void *bytes, size_t size,
                    uint8_t digest[DIGEST_BYTES]);

/* Plain SHA-256, for names as index keys and for stored access tokens (256 random bits each). */
void digest_sha256(const void *bytes, size_t size, uint8_t digest[DIGEST_BYTES]);

/* The same of bytes that come in pieces. */
struct digest_stream {
    SHA256_CTX state;
};
void digest_stream_init(struct digest_stream *stream);
void digest_stream_add(struct digest_stream *stream, const void *bytes, size_t size);
void digest_stream_end(struct digest_stream *stream, uint8_t digest[DIGEST_BYTES]);

#endif
