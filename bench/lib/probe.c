/* probe.c - see probe.h. */
#include "bench/lib/probe.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PATH_SIZE = 512 };

double probe_now_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

void probe_die(const char *what)
{
    (void)fprintf(stderr, "bench: %s\n", what);
    exit(1);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

double probe_percentile(double *values, size_t count, double share)
{
    qsort(values, count, sizeof(*values), by_value);
    return values[(size_t)((double)(count - 1) * share)];
}

double probe_until_lookup(rs_store *store, const rs_source *source, const char *key, int wanted,
                          double start)
{
    for (;;) {
        rs_snapshot *snapshot;
        rs_consumer consumer;
        int rc = rs_begin(store, &snapshot);

        if (rc == 0) {
            rc = rs_lookup(snapshot, source, 1, key, strlen(key), &consumer);
            rs_end(snapshot);
        }
        if (rc == wanted)
            return probe_now_us() - start;
        if (rc < 0 && rc != RS_E_NOT_READY)
            probe_die(rs_strerror(rc));
        if (probe_now_us() - start > PROBE_PATIENCE_S * 1e6)
            probe_die("the change never became visible");
        (void)sched_yield(); /* cannot fail */
    }
}

void probe_read_line(const char *path, char *line, size_t size)
{
    FILE *file = fopen(path, "re");

    if (file == NULL || fgets(line, (int)size, file) == NULL)
        probe_die("cannot read a token or key file");
    line[strcspn(line, "\n")] = 0;
    (void)fclose(file);
}

struct probe_times probe_change(const struct probe *probe)
{
    struct probe_times times;
    char path[PATH_SIZE];
    json_t *key = NULL;
    const char *secret;
    double answered;
    double sent;

    (void)snprintf(path, sizeof(path), "/v1/realms/%s/consumers/%s/keys", probe->realm,
                   probe->consumer);
    if (rest_call(probe->client, "POST", path, json_pack("{s:s}", "type", "new"), &key) != 201)
        probe_die("cannot create a key");
    secret = json_string_value(json_object_get(key, "secret"));
    times.created_us =
        probe_until_lookup(probe->store, &probe->source, secret, RS_FOUND, probe_now_us());
    (void)snprintf(path, sizeof(path), "/v1/realms/%s/consumers/%s/keys/%s", probe->realm,
                   probe->consumer, json_string_value(json_object_get(key, "id")));
    sent = probe_now_us();
    if (rest_call(probe->client, "DELETE", path, NULL, NULL) != 204)
        probe_die("cannot delete a key");
    answered = probe_now_us();
    times.revoked_us = probe_until_lookup(probe->store, &probe->source, secret, RS_NOT_FOUND, sent);
    times.deleted_us = times.revoked_us - (answered - sent);
    json_decref(key);
    return times;
}

unsigned long probe_anonymous_kib(pid_t pid)
{
    unsigned long kib = 0;
    char path[64];
    char line[128];
    FILE *file;

    (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "RssAnon: %lu kB", &kib) == 1)
            break;
    }
    if (file != NULL)
        (void)fclose(file);
    return kib;
}
