/* OpenSSL 3 marks the SHA256_* calls deprecated in favour of EVP contexts, which live on the heap;
 * a state that can be copied by assignment is what makes the lookup path free of allocation. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "base/digest.h"

#include <endian.h>
#include <string.h>
#include <openssl/crypto.h>

enum {
    SHA256_BLOCK_BYTES = 64,
    SHA256_TAIL_BYTES = 9 /* behind the message: a one bit, zeros, the length in 64 bits */
};

static void digest_start(SHA256_CTX *state, const uint8_t secret[DIGEST_KEY_BYTES], uint8_t pad)
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
    digest_start(&key->inner, secret, 0x36); /* ipad and opad of RFC 2104 */
    digest_start(&key->outer, secret, 0x5c);
}

void digest_key_wipe(struct digest_key *key)
{
    OPENSSL_cleanse(key, sizeof(*key));
}

static void put_u32_be(uint8_t *at, uint32_t value)
{
    value = htobe32(value);
    memcpy(at, &value, sizeof(value));
}

/* Hashes `size` bytes, the start of `block`, behind one block that `state` has taken: the last
 * block of a message. Without SHA256_Final()'s bookkeeping this is a third faster. */
static void finish_in_one_block(SHA256_CTX *state, uint8_t block[SHA256_BLOCK_BYTES], size_t size,
                                uint8_t digest[DIGEST_BYTES])
{
    block[size] = 0x80;
    memset(block + size + 1, 0, SHA256_BLOCK_BYTES - size - 1);
    put_u32_be(block + SHA256_BLOCK_BYTES - 4, (uint32_t)(SHA256_BLOCK_BYTES + size) * 8);
    SHA256_Transform(state, block);
    for (size_t i = 0; i < DIGEST_BYTES / sizeof(uint32_t); i++)
        put_u32_be(digest + i * sizeof(uint32_t), state->h[i]);
}

void digest_compute(const struct digest_key *key, const void *bytes, size_t size,
                    uint8_t digest[DIGEST_BYTES])
{
    uint8_t block[SHA256_BLOCK_BYTES];
    SHA256_CTX state = key->inner;

    if (size <= SHA256_BLOCK_BYTES - SHA256_TAIL_BYTES) {
        memcpy(block, bytes, size);
        finish_in_one_block(&state, block, size, digest);
    } else {
        (void)SHA256_Update(&state, bytes, size);
        (void)SHA256_Final(digest, &state);
    }
    state = key->outer;
    memcpy(block, digest, DIGEST_BYTES);
    finish_in_one_block(&state, block, DIGEST_BYTES, digest);
    OPENSSL_cleanse(block, sizeof(block));
    OPENSSL_cleanse(&state, sizeof(state));
}

/* SHA256() looks the algorithm up in each call, which takes longer than to hash a record. */
void digest_sha256(const void *bytes, size_t size, uint8_t digest[DIGEST_BYTES])
{
    SHA256_CTX state;

    (void)SHA256_Init(&state); /* these three cannot fail with a fixed algorithm */
    (void)SHA256_Update(&state, bytes, size);
    (void)SHA256_Final(digest, &state);
    OPENSSL_cleanse(&state, sizeof(state));
}

/* As above: none of the three can fail. */
void digest_stream_init(struct digest_stream *stream)
{
    (void)SHA256_Init(&stream->state);
}

void digest_stream_add(struct digest_stream *stream, const void *bytes, size_t size)
{
    (void)SHA256_Update(&stream->state, bytes, size);
}

void digest_stream_end(struct digest_stream *stream, uint8_t digest[DIGEST_BYTES])
{
    (void)SHA256_Final(digest, &stream->state);
}
