/* probe.h - what the programs that look at running daemons from outside share.
 *
 * Lookups go through the public library, in a loop that gives its core away after each: the two
 * cores of the machine are also the server's and the agent's, and a reader that kept one would
 * measure the scheduler. Any failure ends the program: there is nothing to measure then.
 */
#ifndef RS_BENCH_PROBE_H
#define RS_BENCH_PROBE_H

#include <stddef.h>
#include <sys/types.h>

#include "realmstore.h"
#include "tests/lib/rest.h"

enum { PROBE_PATIENCE_S = 600 };

_Noreturn void probe_die(const char *what);
double probe_now_us(void);
/* Sorts the values. */
double probe_percentile(double *values, size_t count, double share);
/* The first line of a small file, without its end. */
void probe_read_line(const char *path, char *line, size_t size);

/* Looks until the answer is `wanted`; the microseconds since `start`. */
double probe_until_lookup(rs_store *store, const rs_source *source, const char *key, int wanted,
                          double start);

struct probe {
    struct rest_client *client; /* these are borrowed */
    rs_store *store;
    rs_source source;
    const char *realm;
    const char *consumer;
};
struct probe_times {
    double created_us; /* from the answer to the lookup that finds the key */
    double deleted_us; /* from the answer to the one that refuses it */
    double revoked_us; /* the same from the request on */
};
/* Makes a key and deletes it. */
struct probe_times probe_change(const struct probe *probe);

/* A process's own memory, as the kernel counts it; 0: there is none such. */
unsigned long probe_anonymous_kib(pid_t pid);

#endif
