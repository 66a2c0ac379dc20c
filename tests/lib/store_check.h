/* store_check.h - what `realmctl verify` would find, as an assertion. */
#ifndef RS_TESTS_STORE_CHECK_H
#define RS_TESTS_STORE_CHECK_H

#include <stdint.h>

#include "tools/sources.h"

/* The one source of a store that no agent has open is at this version, and every record, reference
 * and count of it is right. `label` stands before what is wrong; `look` (may be NULL) sees the
 * source then. Asserts (cmocka). */
void store_check(const char *dir, uint64_t version, const char *label,
                 void (*look)(const struct tool_source *source, uint64_t version));

#endif
