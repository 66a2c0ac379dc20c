#include "tests/lib/store_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tools/verify.h"

static void on_fault(void *context, const struct tool_source *source, const char *table,
                     const char *fault)
{
    fail_msg("%s: %s: %s: %s", (const char *)context, source->region, table, fault);
}

void store_check(const char *dir, uint64_t version, const char *label,
                 void (*look)(const struct tool_source *source, uint64_t version))
{
    const struct verify_sink sink = {.fault = on_fault, .context = (void *)(uintptr_t)label};
    struct tool_sources sources;
    struct error err = ERROR_INIT;

    if (sources_open(dir, &sources, &err) != 0)
        fail_msg("%s: %s", label, err.message);
    if (sources.n != 1 || sources.items[0].meta.cursor.version != version)
        fail_msg("%s: not one source of version %llu", label, (unsigned long long)version);
    if (verify_source(&sources.items[0], &sink, &err) != 0)
        fail_msg("%s: %s", label, err.message);
    if (look != NULL)
        look(&sources.items[0], version);
    sources_close(&sources);
}
