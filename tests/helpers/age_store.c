/* age_store.c - makes a store older: moves when its sources were heard last into the past.
 *
 *   age_store DIR MILLISECONDS
 *
 * Tests of ttl, which counts in minutes, need no other clock then. Meant for stores that hear
 * nothing just now: a heartbeat would make them young again.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/status.h"

static void subtract(status_word *word, int64_t ms)
{
    atomic_store(word, (uint64_t)((int64_t)atomic_load(word) - ms));
}

int main(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    struct status status;
    char path[4096];
    int64_t ms = argc == 3 ? strtoll(argv[2], NULL, 10) : 0;
    int fd;

    if (ms <= 0) {
        (void)fprintf(stderr, "usage: age_store DIR MILLISECONDS\n");
        return 2;
    }
    (void)snprintf(path, sizeof(path), "%s/status", argv[1]);
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || status_map(fd, path, true, &status, &err) != 0) {
        (void)fprintf(stderr, "age_store: %s: %s\n", path, fd < 0 ? "cannot open" : err.message);
        return 1;
    }
    for (unsigned slot = 0; slot < STATUS_SLOTS; slot++) {
        status_word *at = status.words + status_slot_at(slot);

        if (atomic_load(&at[STATUS_AT_REGION]) == 0)
            continue;
        subtract(&at[STATUS_AT_HEARD_BOOT], ms);
        subtract(&at[STATUS_AT_HEARD_WALL], ms);
        status_seal(&status, slot);
    }
    status_close(&status);
    (void)close(fd);
    return 0;
}
