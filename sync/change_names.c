/* change_names.c - see change_names.h. */
#include "sync/change_names.h"

#include <assert.h>

#include "sync/change.h"

const char *change_consumer_type_text(enum model_consumer_type type)
{
    static const char *const texts[MODEL_CONSUMER_TYPES] = {
        [MODEL_CONSUMER_PROXY] = "proxy",
        [MODEL_CONSUMER_DEVELOPER] = "developer",
        [MODEL_CONSUMER_ADMIN] = "admin",
        [MODEL_CONSUMER_APPLICATION] = "application",
    };

    assert((unsigned)type < MODEL_CONSUMER_TYPES);
    return texts[type];
}

const char *feed_resync_reason_text(enum feed_resync_reason reason)
{
    static const char *const texts[FEED_RESYNC_REASONS] = {
        [FEED_RESYNC_NO_CURSOR] = "no_cursor", [FEED_RESYNC_UNKNOWN_EPOCH] = "unknown_epoch",
        [FEED_RESYNC_TOO_OLD] = "too_old",     [FEED_RESYNC_FUTURE_VERSION] = "future_version",
        [FEED_RESYNC_TOO_LARGE] = "too_large",
    };

    assert((unsigned)reason < FEED_RESYNC_REASONS);
    return texts[reason];
}
