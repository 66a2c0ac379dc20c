/* test_checksum.c - CRC-32C: RFC 3720's examples, and every way to compute it against the
 * definition and the others.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "store/checksum.h"

enum { MOST_BYTES = 600, ROUNDS = 3000 };

static const char *const names[CHECKSUM_WAYS] = {"table", "SSE4.2", "ARMv8"};

/* Bit by bit, as the polynomial says. */
static uint32_t by_definition(uint32_t former, const unsigned char *bytes, size_t size)
{
    uint32_t crc = ~former;

    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc & 1) != 0 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
    }
    return ~crc;
}

static uint32_t random_next(uint32_t *state)
{
    *state = *state * 1664525 + 1013904223;
    return *state >> 8;
}

static void known_values(void **state)
{
    unsigned char bytes[32];

    (void)state;
    memset(bytes, 0, sizeof(bytes));
    assert_int_equal(checksum(0, bytes, sizeof(bytes)), 0x8a9136aa);
    memset(bytes, 0xff, sizeof(bytes));
    assert_int_equal(checksum(0, bytes, sizeof(bytes)), 0x62a8ab43);
    for (unsigned i = 0; i < sizeof(bytes); i++)
        bytes[i] = (unsigned char)i;
    assert_int_equal(checksum(0, bytes, sizeof(bytes)), 0x46dd794e);
    assert_int_equal(checksum(0, "123456789", 9), 0xe3069283);
    assert_int_equal(checksum(0, "", 0), 0);
}

/* At every alignment and length, and in pieces. */
static void every_way_gives_the_same(void **state)
{
    static unsigned char bytes[MOST_BYTES + 16];
    unsigned ways = 0;
    uint32_t seed = 1;

    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (unsigned char)random_next(&seed);
    for (unsigned round = 0; round < ROUNDS; round++) {
        size_t at = random_next(&seed) % 16;
        size_t size = random_next(&seed) % MOST_BYTES;
        size_t cut = size > 0 ? random_next(&seed) % size : 0;
        uint32_t former = random_next(&seed);
        uint32_t expected = by_definition(former, bytes + at, size);

        assert_int_equal(checksum(former, bytes + at, size), expected);
        assert_int_equal(checksum(checksum(former, bytes + at, cut), bytes + at + cut, size - cut),
                         expected);
        ways = 0;
        for (enum checksum_way way = CHECKSUM_BY_TABLE; way < CHECKSUM_WAYS; way++) {
            uint32_t crc;

            if (!checksum_by(way, former, bytes + at, size, &crc))
                continue;
            ways++;
            if (crc != expected)
                fail_msg("%s: %zu bytes at %zu", names[way], size, at);
        }
    }
    print_message("%u ways\n", ways);
    assert_true(ways >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_values),
        cmocka_unit_test(every_way_gives_the_same),
    };

    return cmocka_run_group_tests_name("checksum", tests, NULL, NULL);
}
