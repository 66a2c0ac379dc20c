/* The log lines of a source. Transitions are said once; the same trouble again at most once a
 * minute, with the number of times it was left out. */
#include "agent/replica_internal.h"

#include <stdio.h>

#include "base/clock.h"

/* Time for another line of this kind? *ret_left_out: how many were kept back since the last. */
static bool pace_due(struct log_pace *pace, bool news, unsigned *ret_left_out)
{
    int64_t now_ms = clock_boot_ms();

    if (!news && pace->written_ms != 0 && now_ms - pace->written_ms < REPLICA_LOG_INTERVAL_MS) {
        pace->left_out++;
        return false;
    }
    *ret_left_out = pace->left_out;
    *pace = (struct log_pace){.written_ms = now_ms};
    return true;
}

/* " (N more since the last line)" or nothing. */
static const char *left_out_text(unsigned left_out, char *text, size_t size)
{
    text[0] = 0;
    if (left_out > 0)
        (void)snprintf(text, size, " (%u more since the last such line)", left_out);
    return text;
}

#define SAY(replica, level, url, ...)                                                              \
    log_fields((replica)->options.log, (level),                                                    \
               (const struct log_field[]){{"region", (replica)->config.region}, {"url", (url)}},   \
               2, __VA_ARGS__)

void replica_log_opened(const struct replica *replica, const struct error *discarded)
{
    struct model_cursor cursor = source_cursor(replica->source);
    struct source_counts counts = source_counts(replica->source);
    char epoch[UUID_TEXT_SIZE];

    if (discarded->code != 0)
        SAY(replica, LOG_LEVEL_ERROR, NULL,
            "the store's copy was set aside: %s; a new one is fetched", discarded->message);
    if (replica->config.token_is_public)
        SAY(replica, LOG_LEVEL_WARNING, NULL,
            "token_file %s can be read by every user of this host; make it mode 0640 or less",
            replica->config.token_file);
    if (uuid_is_nil(&cursor.epoch))
        SAY(replica, LOG_LEVEL_INFO, NULL, "no copy yet; waiting for the control plane");
    else
        SAY(replica, LOG_LEVEL_INFO, NULL,
            "serving version %" PRIu64 " of epoch %s: %" PRIu64 " realms, %" PRIu64
            " consumers, %" PRIu64 " keys",
            cursor.version, uuid_format(&cursor.epoch, epoch), counts.realms, counts.consumers,
            counts.keys);
}

void replica_log_connected(struct replica *replica, const struct session_hello *hello)
{
    struct model_cursor cursor = apply_cursor(replica->apply);
    bool news = replica->trouble_pace.written_ms > replica->connected_pace.written_ms;
    char text[64];
    unsigned left_out;

    if (!pace_due(&replica->connected_pace, news, &left_out))
        return;
    SAY(replica, LOG_LEVEL_INFO, NULL,
        "connected: the source is at version %" PRIu64 ", the store at %" PRIu64 "%s",
        hello->version, cursor.version, left_out_text(left_out, text, sizeof(text)));
}

/* What an operator can do, for the failures that do not go away by themselves. */
static const char *advice(int code)
{
    switch (code) {
    case E_UNAUTHORIZED:
        return "; the control plane refuses this host: check the token or certificate and "
               "control_plane_id";
    case E_NO_SPACE:
        return "; make room on the store's file system";
    case E_CONFIG:
        return "; correct the configuration and reload";
    default:
        return "";
    }
}

void replica_log_trouble(struct replica *replica, const struct session_failure *failure)
{
    int code = failure->err->code;
    bool act = advice(code)[0] != 0;
    char text[64];
    unsigned left_out;

    if (!pace_due(&replica->trouble_pace, code != replica->trouble_code, &left_out))
        return;
    replica->trouble_code = code;
    SAY(replica, act ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING, failure->url,
        "%s%s; the last good copy serves, retrying in %" PRIu32 " ms%s", failure->err->message,
        advice(code), failure->delay_ms, left_out_text(left_out, text, sizeof(text)));
}

void replica_log_resync(const struct replica *replica, enum session_resync reason)
{
    bool expected = reason == SESSION_RESYNC_NO_CURSOR || reason == SESSION_RESYNC_TOO_LARGE;

    SAY(replica, expected ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING, NULL,
        "fetching a snapshot (%s); what is there serves meanwhile", session_resync_text(reason));
}

void replica_log_loaded(const struct replica *replica, const struct apply_result *result)
{
    SAY(replica, LOG_LEVEL_INFO, NULL,
        "snapshot of version %" PRIu64 " published: %" PRIu64 " realms, %" PRIu64
        " consumers, %" PRIu64 " keys",
        result->cursor.version, result->counts.realms, result->counts.consumers,
        result->counts.keys);
}

void replica_log_reader(struct replica *replica, const struct source_readers *readers)
{
    char text[64];
    unsigned left_out;

    if (readers->cleared > 0)
        SAY(replica, LOG_LEVEL_INFO, NULL, "cleared the slots of %u readers that died",
            readers->cleared);
    if (readers->oldest_lag_txns <= REPLICA_READER_LAG_MAX ||
        !pace_due(&replica->reader_pace, false, &left_out))
        return;
    SAY(replica, LOG_LEVEL_WARNING, NULL,
        "process %d keeps a snapshot open that is %" PRIu64
        " commits old; the store grows until it ends%s",
        (int)readers->oldest_pid, readers->oldest_lag_txns,
        left_out_text(left_out, text, sizeof(text)));
}

void replica_log_upkeep(struct replica *replica, const struct source_upkeep *upkeep,
                        const struct error *err)
{
    char text[64];
    unsigned left_out;

    if (upkeep->previous_dropped)
        SAY(replica, LOG_LEVEL_WARNING, NULL,
            "the disk is short (%" PRIu64 " bytes free): the previous generation was removed, "
            "`realmctl rollback` has nothing to go back to",
            upkeep->disk_free_bytes);
    if (upkeep->compacted)
        SAY(replica, LOG_LEVEL_WARNING, NULL,
            "a compacted copy serves now: %" PRIu64 " bytes instead of %" PRIu64
            " that a slow reader kept in use; the old file goes when that reader ends",
            upkeep->file_bytes, upkeep->compacted_from_bytes);
    if (err->code != 0 && pace_due(&replica->upkeep_pace, false, &left_out))
        SAY(replica, LOG_LEVEL_ERROR, NULL, "%s%s%s", err->message, advice(err->code),
            left_out_text(left_out, text, sizeof(text)));
}

void replica_log_closed(const struct replica *replica)
{
    SAY(replica, LOG_LEVEL_INFO, NULL, "stopped at version %" PRIu64,
        replica->metrics.cursor.version);
}
