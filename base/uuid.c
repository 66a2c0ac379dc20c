/* uuid.c - see uuid.h. */
#include "base/uuid.h"

#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/hex.h"

/* Bytes before which the text form has a dash. */
static bool dash_before(size_t byte)
{
    return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

bool uuid_parse_n(const char *text, size_t length, struct uuid *ret)
{
    struct uuid parsed;
    size_t at = 0;

    if (length != UUID_TEXT_SIZE - 1)
        return false;
    for (size_t i = 0; i < UUID_BYTES; i++) {
        if (dash_before(i) && text[at++] != '-')
            return false;
        if (!hex_decode(text + at, 2, &parsed.bytes[i]))
            return false;
        at += 2;
    }
    *ret = parsed;
    return true;
}

bool uuid_parse(const char *text, struct uuid *ret)
{
    return uuid_parse_n(text, strlen(text), ret);
}

const char *uuid_format(const struct uuid *uuid, char text[UUID_TEXT_SIZE])
{
    static const struct {
        uint8_t from;
        uint8_t size;
        uint8_t at;
    } groups[] = {{0, 4, 0}, {4, 2, 9}, {6, 2, 14}, {8, 2, 19}, {10, 6, 24}};

    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
        hex_encode(uuid->bytes + groups[i].from, groups[i].size, text + groups[i].at);
        if (i > 0)
            text[groups[i].at - 1] = '-'; /* over the NUL of the former group */
    }
    return text;
}

int uuid_compare(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->bytes, b->bytes, UUID_BYTES);
}

bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
    return uuid_compare(a, b) == 0;
}

bool uuid_is_nil(const struct uuid *uuid)
{
    static const struct uuid nil;

    return uuid_equal(uuid, &nil);
}

static void mark(struct uuid *uuid, uint8_t version)
{
    uuid->bytes[6] = (uint8_t)((uuid->bytes[6] & 0x0f) | version << 4);
    uuid->bytes[8] = (uint8_t)((uuid->bytes[8] & 0x3f) | 0x80);
}

int uuid_random(struct uuid *ret)
{
    if (getrandom(ret->bytes, UUID_BYTES, 0) != UUID_BYTES)
        return E_IO;
    mark(ret, 4);
    return 0;
}

int uuid_generate(struct uuid *ret)
{
    int64_t now_ms = clock_wall_ms();

    if (getrandom(ret->bytes, UUID_BYTES, 0) != UUID_BYTES)
        return E_IO;
    for (int i = 0; i < 6; i++)
        ret->bytes[i] = (uint8_t)((uint64_t)now_ms >> (40 - 8 * i));
    mark(ret, 7);
    return 0;
}
