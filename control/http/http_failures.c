/* http_failures.c - failed authentication, by address, without a table that an attacker can fill.
 *
 * Each address has one cell in each of two rows, found by hashing; a cell is the time at which its
 * addresses would be through with all that they were granted (a token bucket in one number, GCRA).
 * Addresses can share a cell, so the emptier of the two counts. When an attacker with a great many
 * addresses fills them all, other people's *failures* are answered 429 too; what is valid never
 * comes here.
 */
#include <sys/random.h>

#include "control/http/http_internal.h"

enum { MS_PER_MINUTE = 60000 };

void http_failures_init(struct http_failures *failures, unsigned per_minute)
{
    pthread_mutex_init(&failures->mutex, NULL);
    failures->interval_ms = MS_PER_MINUTE / per_minute > 0 ? MS_PER_MINUTE / per_minute : 1;
    /* A minute's worth may come at once. */
    failures->burst_ms = failures->interval_ms * per_minute;
    /* Fails only while the kernel has no entropy: an attacker could then aim at cells. */
    (void)!getrandom(failures->seeds, sizeof(failures->seeds), GRND_NONBLOCK);
}

void http_failures_finish(struct http_failures *failures)
{
    pthread_mutex_destroy(&failures->mutex);
}

static int64_t *cell_of(struct http_failures *failures, unsigned row, const struct guest_key *from)
{
    return &failures->cells[row][guest_hash(from, failures->seeds[row]) % HTTP_FAILURE_CELLS];
}

static int64_t count(struct http_failures *failures, const struct guest_key *from, int64_t now_ms)
{
    int64_t *first = cell_of(failures, 0, from);
    int64_t *second = cell_of(failures, 1, from);
    int64_t through_ms = *first < *second ? *first : *second;
    int64_t wait_ms;

    failures->count++;
    if (through_ms < now_ms)
        through_ms = now_ms;
    wait_ms = through_ms + failures->interval_ms - failures->burst_ms - now_ms;
    if (wait_ms > 0) {
        failures->limited++;
        return wait_ms;
    }
    through_ms += failures->interval_ms;
    *first = *first > through_ms ? *first : through_ms;
    *second = *second > through_ms ? *second : through_ms;
    return 0;
}

int64_t http_failures_count(struct http_failures *failures, const struct guest_key *from,
                            int64_t now_ms)
{
    int64_t wait_ms;

    pthread_mutex_lock(&failures->mutex);
    wait_ms = count(failures, from, now_ms);
    pthread_mutex_unlock(&failures->mutex);
    return wait_ms;
}
