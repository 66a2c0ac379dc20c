/* OpenSSL 3 marks the SHA256_* calls deprecated in favour of EVP contexts, which live on the heap;
 * a state that can be copied by assignment is what makes the lookup path free of allocation. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "base/digest.h"

#include <string.h>
#include <openssl/crypto.h>

enum { SHA256_BLOCK_BYTES = 64 };

static void start(SHA256_CTX *state, const uint8_t secret[DIGEST_KEY_BYTES], uint8_t pad)
{
    uint8_t block[SHA256_BLOCK_BYTES];

    memset(block, pad, sizeof(block));
    for (size_t i = 0; i < DIGEST_KEY_BYTES; i++)
        block[i] ^= secret[i];
    (void)SHA256_Init(state); /* these three cannot fail with a fixed algorithm */
    (void)SHA256_Update(state, block, sizeof(block));
    OPENSSL_cleanse(block, sizeof(block));
}

void digest_key_init(struct digest_key *key, const uint8_t secret[DIGEST_KEY_BYTES])
{
    start(&key->inner, secret, 0x36); /* ipad and opad of RFC 2104 */
    start(&key->outer, secret, 0x5c);
}

void digest_key_wipe(struct digest_key *key)
{
    OPENSSL_cleanse(key, sizeof(*key));
}

void digest_compute(const struct digest_key *key, const void *bytes, size_t size,
                    uint8_t digest[DIGEST_BYTES])
{
    SHA256_CTX state = key->inner;

    (void)SHA256_Update(&state, bytes, size);
    (void)SHA256_Final(digest, &state);
    state = key->outer;
    (void)SHA256_Update(&state, digest, DIGEST_BYTES);
    (void)SHA256_Final(digest, &state);
    OPENSSL_cleanse(&state, sizeof(state));
}

void digest_sha256(const void *bytes, size_t size, uint8_t digest[DIGEST_BYTES])
{
    (void)SHA256(bytes, size, digest);
}
