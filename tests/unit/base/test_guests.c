/* Who has to go when room is needed, and when time is over. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <cmocka.h>

#include "base/guests.h"

enum { SOME = 300 };

/* A guest and the other end of its connection. */
struct visitor {
    struct guest guest;
    int peer;
};

static bool enter(struct guests *guests, struct visitor *visitor, uint64_t key, int64_t deadline_ms)
{
    const struct guest_key id = {0, key};
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    visitor->peer = fds[1];
    return guests_enter(guests, &visitor->guest, fds[0], key != 0 ? &id : NULL, deadline_ms);
}

static bool is_sent_away(const struct visitor *visitor)
{
    char byte;

    return recv(visitor->peer, &byte, 1, MSG_DONTWAIT) == 0;
}

static void leave(struct guests *guests, struct visitor *visitor)
{
    (void)guests_leave(guests, &visitor->guest);
    (void)close(visitor->guest.fd);
    (void)close(visitor->peer);
}

static void newcomer_takes_the_place_of_the_oldest_that_waits(void **state)
{
    const struct guest_limits limits = {.classes = 2, .max = {2, 2}};
    static struct guests guests;
    struct visitor all[4];

    (void)state;
    guests_init(&guests, &limits, 1000);
    for (int i = 0; i < 2; i++)
        assert_true(enter(&guests, &all[i], 0, 5000));
    guests_await(&guests, &all[0].guest, 6000); /* younger than the other now */
    assert_true(enter(&guests, &all[2], 0, 5000));
    assert_true(is_sent_away(&all[1]));
    assert_false(is_sent_away(&all[0]));
    guests_busy(&guests, &all[0].guest, GUEST_NO_DEADLINE);
    guests_busy(&guests, &all[2].guest, GUEST_NO_DEADLINE);
    assert_false(enter(&guests, &all[3], 0, 5000)); /* nobody waits */
    assert_int_equal(guests.displaced, 1);
    assert_int_equal(guests.refused, 1);
    assert_false(guests_leave(&guests, &all[1].guest));
    assert_true(guests_leave(&guests, &all[2].guest));
    for (int i = 0; i < 4; i++)
        leave(&guests, &all[i]);
    assert_int_equal(guests.count[0], 0);
    guests_finish(&guests);
}

static void key_that_has_its_share_pushes_out_its_own(void **state)
{
    const struct guest_limits limits = {.classes = 1, .max = {10}, .per_key = 2};
    static struct guests guests;
    struct visitor other;
    struct visitor greedy[3];

    (void)state;
    guests_init(&guests, &limits, 1000);
    assert_true(enter(&guests, &other, 7, 5000));
    for (int i = 0; i < 3; i++)
        assert_true(enter(&guests, &greedy[i], 8, 5000));
    assert_false(is_sent_away(&other));
    assert_true(is_sent_away(&greedy[0]));
    assert_false(is_sent_away(&greedy[1]));
    assert_int_equal(guests.count[0], 3);
    leave(&guests, &other);
    for (int i = 0; i < 3; i++)
        leave(&guests, &greedy[i]);
    for (int i = 0; i < GUEST_KEYS; i++)
        assert_null(LIST_FIRST(&guests.keys[i])); /* nothing is kept of those who are gone */
    guests_finish(&guests);
}

static void class_is_left_for_another_that_has_room(void **state)
{
    const struct guest_limits limits = {.classes = 2, .max = {4, 1}, .per_key = 1};
    static struct guests guests;
    struct visitor all[3];

    (void)state;
    guests_init(&guests, &limits, 1000);
    assert_true(enter(&guests, &all[0], 7, 5000));
    guests_busy(&guests, &all[0].guest, GUEST_NO_DEADLINE);
    assert_true(guests_classify(&guests, &all[0].guest, 1));
    assert_true(enter(&guests, &all[1], 7, 5000)); /* the first one is no stranger any more */
    guests_busy(&guests, &all[1].guest, GUEST_NO_DEADLINE);
    assert_false(guests_classify(&guests, &all[1].guest, 1));
    guests_await(&guests, &all[0].guest, 5000);
    assert_true(guests_classify(&guests, &all[1].guest, 1)); /* in the place of the idle one */
    assert_true(is_sent_away(&all[0]));
    assert_true(enter(&guests, &all[2], 7, 5000));
    assert_true(guests_classify(&guests, &all[1].guest, 0)); /* in the place of its own address */
    assert_true(is_sent_away(&all[2]));
    assert_int_equal(guests.count[0], 1);
    assert_int_equal(guests.count[1], 0);
    for (int i = 0; i < 3; i++)
        leave(&guests, &all[i]);
    guests_finish(&guests);
}

static void deadline_is_kept_to_the_second_wherever_it_lies(void **state)
{
    const struct guest_limits limits = {.classes = 1, .max = {SOME}};
    static struct guests guests;
    static struct visitor all[SOME];

    (void)state;
    guests_init(&guests, &limits, 1000);
    for (int i = 0; i < SOME; i++) /* more rounds of the wheel than one */
        assert_true(enter(&guests, &all[i], 0, 1000 + 1000 * (i + 1)));
    for (int i = 0; i < SOME; i++) {
        guests_expire(&guests, 1000 + 1000 * (i + 1) - 1);
        assert_false(is_sent_away(&all[i]));
        if (i < SOME / 2)
            guests_expire(&guests, 1000 + 1000 * (i + 1));
        else
            break;
    }
    for (int i = 0; i < SOME / 2; i++)
        assert_true(is_sent_away(&all[i]));
    guests_expire(&guests, 1000 + 1000 * (SOME + 500)); /* the host was suspended */
    for (int i = 0; i < SOME; i++)
        assert_true(is_sent_away(&all[i]));
    assert_int_equal(guests.expired, SOME);
    for (int i = 0; i < SOME; i++)
        leave(&guests, &all[i]);
    guests_finish(&guests);
}

static struct guest_key key_of(int family, const char *text, bool *ret_counts)
{
    struct sockaddr_storage address = {.ss_family = (sa_family_t)family};
    struct guest_key key;

    if (family == AF_INET)
        (void)inet_pton(family, text, &((struct sockaddr_in *)&address)->sin_addr);
    else
        (void)inet_pton(family, text, &((struct sockaddr_in6 *)&address)->sin6_addr);
    *ret_counts = guest_key_of((const struct sockaddr *)&address, &key);
    return key;
}

static bool same(const char *first, int first_family, const char *second, int second_family)
{
    bool counts;
    struct guest_key a = key_of(first_family, first, &counts);
    struct guest_key b = key_of(second_family, second, &counts);

    return a.high == b.high && a.low == b.low;
}

static void key_is_the_address_or_the_network_of_64_bits(void **state)
{
    bool counts;

    (void)state;
    assert_true(same("2001:db8::1", AF_INET6, "2001:db8::ffff:1", AF_INET6));
    assert_false(same("2001:db8::1", AF_INET6, "2001:db8:0:1::1", AF_INET6));
    assert_true(same("192.0.2.1", AF_INET, "::ffff:192.0.2.1", AF_INET6));
    assert_false(same("192.0.2.1", AF_INET, "192.0.2.2", AF_INET));
    (void)key_of(AF_INET, "127.9.9.9", &counts);
    assert_false(counts);
    (void)key_of(AF_INET6, "::1", &counts);
    assert_false(counts);
    (void)key_of(AF_INET, "192.0.2.1", &counts);
    assert_true(counts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(newcomer_takes_the_place_of_the_oldest_that_waits),
        cmocka_unit_test(key_that_has_its_share_pushes_out_its_own),
        cmocka_unit_test(class_is_left_for_another_that_has_room),
        cmocka_unit_test(deadline_is_kept_to_the_second_wherever_it_lies),
        cmocka_unit_test(key_is_the_address_or_the_network_of_64_bits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
