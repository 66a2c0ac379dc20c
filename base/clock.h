/* clock.h - the two clocks in use, in milliseconds.
 *
 * Ages are differences of the boot clock, which no administrator sets and which counts through
 * suspend; calendar facts (creation, key expiry, commit time) are wall time. Code whose behaviour
 * depends on time takes a `struct clock`, so that tests can move it.
 */
#ifndef RS_BASE_CLOCK_H
#define RS_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

struct clock {
    int64_t (*wall_ms)(void *context); /* since 1970-01-01 UTC */
    int64_t (*boot_ms)(void *context); /* since the host's start */
    void *context;
};

/* The host's clocks; both are answered by the vDSO, without a system call. */
extern const struct clock clock_system;

int64_t clock_wall_ms(void);
int64_t clock_boot_ms(void);

/* ISO 8601 in UTC: "2026-11-24T08:02:57.123Z". */
enum { CLOCK_ISO_SIZE = 32 };
const char *clock_format_iso(int64_t wall_ms, char text[CLOCK_ISO_SIZE]);
/* Reads "YYYY-MM-DDThh:mm:ss[.fraction](Z|+hh:mm|-hh:mm)" (RFC 3339); 0 or E_INVALID. */
int clock_parse_iso(const char *text, int64_t *ret_wall_ms);

#endif
