/* The log lines of a source. Transitions are said once; the same trouble again at most once a
 * minute, with the number of times it was left out. */
#include "agent/replica_internal.h"

#include <stdio.h>

#define SAY(replica, level, url, ...)                                                              \
    log_fields((replica)->options.log, (level),                                                    \
               (const struct log_field[]){{"region", (replica)->config.region}, {"url", (url)}},   \
               2, __VA_ARGS__)

void replica_log_opened(const struct replica *replica, const struct error *discarded)
{
    struct model_cursor cursor = source_visible(replica->source);
    struct source_counts counts = source_counts(replica->source);
    char epoch[UUID_TEXT_SIZE];

    if (discarded->code != 0)
        SAY(replica, LOG_LEVEL_ERROR, NULL,
            "the store's copy was set aside: %s; a new one is fetched", discarded->message);
    if (replica->config.token_is_public)
        SAY(replica, LOG_LEVEL_WARNING, NULL,
            "token_file %s can be read by every user of this host; make it mode 0640 or less",
            replica->config.token_file);
    if (replica->config.tls_warning.text[0] != 0)
        SAY(replica, LOG_LEVEL_WARNING, NULL, "%s", replica->config.tls_warning.text);
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
    struct model_cursor cursor = apply_durable(replica->apply);
    bool news = replica->trouble_pace.written_ms > replica->connected_pace.written_ms;
    char text[LOG_LEFT_OUT_SIZE];
    unsigned left_out;

    if (!log_pace_due(&replica->connected_pace, news ? 0 : REPLICA_LOG_INTERVAL_MS, &left_out))
        return;
    SAY(replica, LOG_LEVEL_INFO, NULL,
        "connected: the source is at version %" PRIu64 ", the store at %" PRIu64 "%s",
        hello->version, cursor.version, log_left_out(left_out, text));
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
    bool news = code != replica->trouble_code;
    char text[LOG_LEFT_OUT_SIZE];
    unsigned left_out;

    if (!log_pace_due(&replica->trouble_pace, news ? 0 : REPLICA_LOG_INTERVAL_MS, &left_out))
        return;
    replica->trouble_code = code;
    SAY(replica, act ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING, failure->url,
        "%s%s; the last good copy serves, retrying in %" PRIu32 " ms%s", failure->err->message,
        advice(code), failure->delay_ms, log_left_out(left_out, text));
}

void replica_log_resync(const struct replica *replica, enum session_resync reason)
{
    bool expected = reason == SESSION_RESYNC_NO_CURSOR || reason == SESSION_RESYNC_TOO_LARGE;

    SAY(replica, expected ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING, NULL,
        "fetching a snapshot (%s); what is there serves meanwhile", session_resync_text(reason));
}

static const char *fallback_text(enum source_fallback fallback)
{
    switch (fallback) {
    case SOURCE_FALLBACK_NONE:
        return "";
    case SOURCE_FALLBACK_KEPT:
        return "; the former copy is kept for `realmctl rollback`";
    case SOURCE_FALLBACK_DROPPED:
        return "; the former copy is not kept: the file system has too little free space";
    }
    return "";
}

void replica_log_loaded(const struct replica *replica, const struct apply_result *result)
{
    SAY(replica, LOG_LEVEL_INFO, NULL,
        "snapshot of version %" PRIu64 " published: %" PRIu64 " realms, %" PRIu64
        " consumers, %" PRIu64 " keys%s",
        result->visible.version, result->counts.realms, result->counts.consumers,
        result->counts.keys, fallback_text(result->fallback));
}

static const char *scope_text(uint32_t scope, char text[64])
{
    if (scope == MODEL_SCOPE_CP)
        return "the control plane's own consumers";
    (void)snprintf(text, 64, "realm number %" PRIu32, scope);
    return text;
}

void replica_log_mismatch(struct replica *replica, uint32_t scope, const char *found_by)
{
    char text[LOG_LEFT_OUT_SIZE];
    unsigned left_out;
    char name[64];

    if (log_pace_due(&replica->digest_pace, REPLICA_LOG_INTERVAL_MS, &left_out))
        SAY(replica, LOG_LEVEL_WARNING, NULL,
            "the copy of %s is not what it should be (found by %s); asking the control plane for "
            "what differs%s",
            scope_text(scope, name), found_by, log_left_out(left_out, text));
}

void replica_log_unanswered(struct replica *replica, bool given_up)
{
    char text[LOG_LEFT_OUT_SIZE];
    unsigned left_out;

    if (log_pace_due(&replica->unanswered_pace, given_up ? 0 : REPLICA_LOG_INTERVAL_MS, &left_out))
        SAY(replica, LOG_LEVEL_WARNING, NULL,
            "the control plane did not answer what was asked to compare or repair the copy; %s%s",
            given_up ? "the copy serves unverified, and is compared again in ten minutes at the "
                       "earliest; is the control plane older than this agent?"
                     : "asking again",
            log_left_out(left_out, text));
}

static const char *difference_text(enum source_difference_kind kind)
{
    switch (kind) {
    case SOURCE_MISSING:
        return "was missing";
    case SOURCE_EXTRA:
        return "should not have been there";
    case SOURCE_DIFFERENT:
        return "was damaged or different";
    }
    return "";
}

/* Ids, never digests of secrets. */
void replica_log_repaired(const struct replica *replica, const struct apply_compared *compared)
{
    uint64_t named = compared->repaired < APPLY_DIFFERENCES_MAX ? compared->repaired
                                                                : (uint64_t)APPLY_DIFFERENCES_MAX;
    char id[UUID_TEXT_SIZE];
    char name[64];

    for (uint64_t i = 0; i < named; i++) {
        const struct source_difference *difference = &compared->differences[i];

        SAY(replica, LOG_LEVEL_WARNING, NULL, "repaired: %s %s of %s %s",
            difference->is_realm ? "realm" : "consumer", uuid_format(&difference->id, id),
            scope_text(difference->scope, name), difference_text(difference->kind));
    }
    SAY(replica, LOG_LEVEL_WARNING, NULL,
        "repaired the copy: %" PRIu64 " realms and consumers differed%s", compared->repaired,
        compared->repaired > named ? ", the first ones are named above" : "");
}

void replica_log_mended(struct replica *replica)
{
    char text[LOG_LEFT_OUT_SIZE];
    unsigned left_out;

    if (log_pace_due(&replica->mended_pace, REPLICA_LOG_INTERVAL_MS, &left_out))
        SAY(replica, LOG_LEVEL_WARNING, NULL,
            "a damaged piece of the lookup table was taken out; what it held is fetched again when "
            "the records of its consumers are checked%s",
            log_left_out(left_out, text));
}

void replica_log_refused(const struct replica *replica, const struct error *err)
{
    SAY(replica, LOG_LEVEL_ERROR, NULL,
        "%s, and no deletes explain it: the former copy serves on; if it is meant, send SIGUSR1 to "
        "the agent",
        err->message);
}

void replica_log_accepted(const struct replica *replica, const char *who)
{
    SAY(replica, LOG_LEVEL_WARNING, NULL, "%s: the snapshot that was refused is accepted", who);
}

void replica_log_reader(struct replica *replica, const struct source_readers *readers)
{
    char text[LOG_LEFT_OUT_SIZE];
    unsigned left_out;

    if (readers->cleared > 0)
        SAY(replica, LOG_LEVEL_INFO, NULL, "cleared the slots of %u readers that died",
            readers->cleared);
    if (readers->oldest_lag_txns <= REPLICA_READER_LAG_MAX ||
        !log_pace_due(&replica->reader_pace, REPLICA_LOG_INTERVAL_MS, &left_out))
        return;
    SAY(replica, LOG_LEVEL_WARNING, NULL,
        "process %d keeps a snapshot open that is %" PRIu64
        " commits old; the store grows until it ends, or a compacted copy takes over%s",
        (int)readers->oldest_pid, readers->oldest_lag_txns, log_left_out(left_out, text));
}

void replica_log_room_again(const struct replica *replica)
{
    SAY(replica, LOG_LEVEL_INFO, NULL, "the store's file system has room again");
}

void replica_log_upkeep(struct replica *replica, const struct source_upkeep *upkeep,
                        const struct error *err)
{
    char text[LOG_LEFT_OUT_SIZE];
    unsigned left_out;

    if (upkeep->previous_dropped)
        SAY(replica, LOG_LEVEL_WARNING, NULL,
            "the disk is short (%" PRIu64 " bytes free): the previous copy was removed, `realmctl "
            "rollback` has nothing to go back to",
            upkeep->disk_free_bytes);
    if (upkeep->compacted)
        SAY(replica, LOG_LEVEL_WARNING, NULL,
            "a compacted copy of %" PRIu64 " bytes serves now instead of %" PRIu64
            " that process %" PRIu64 " kept in use; the old file goes when that process ends its "
            "snapshot",
            upkeep->file_bytes, upkeep->compacted_from_bytes, replica->metrics.reader_pid);
    if (err->code != 0 && log_pace_due(&replica->upkeep_pace, REPLICA_LOG_INTERVAL_MS, &left_out))
        SAY(replica, LOG_LEVEL_ERROR, NULL, "%s%s%s", err->message, advice(err->code),
            log_left_out(left_out, text));
}

void replica_log_waits(struct replica *replica)
{
    const uint64_t waits_ms = replica->metrics.commit_waits_ms;
    char text[LOG_LEFT_OUT_SIZE];
    unsigned left_out;

    if (waits_ms == 0)
        SAY(replica, LOG_LEVEL_INFO, NULL, "the store's writer goes on");
    else if (log_pace_due(&replica->waits_pace, REPLICA_LOG_INTERVAL_MS, &left_out))
        SAY(replica, LOG_LEVEL_ERROR, NULL,
            "the store's writer has been waiting for %" PRIu64
            " s: what is there serves, and no change arrives; look at the disk of the store "
            "directory (dmesg, iostat)%s",
            waits_ms / 1000, log_left_out(left_out, text));
}

void replica_log_closed(const struct replica *replica)
{
    SAY(replica, LOG_LEVEL_INFO, NULL, "stopped at version %" PRIu64,
        replica->metrics.cursor.version);
}

/* Once, however often the other one comes and goes. */
void replica_log_name_shared(struct replica *replica, bool shared)
{
    char text[LOG_LEFT_OUT_SIZE];
    char id[UUID_TEXT_SIZE];
    unsigned left_out;

    if (!shared) {
        SAY(replica, LOG_LEVEL_DEBUG, NULL, "no other host has this host's name any more");
    } else if (log_pace_due(&replica->name_pace, REPLICA_NAME_LOG_INTERVAL_MS, &left_out)) {
        SAY(replica, LOG_LEVEL_WARNING, NULL,
            "another host is connected as \"%s\" too (this one is instance %s): both count; give "
            "each "
            "agent a host_name of its own%s",
            replica->host_name, uuid_format(&replica->options.instance, id),
            log_left_out(left_out, text));
    }
}
