/* One source at work. replica.h has the picture.
 *
 * Happy path: session events go to the apply queue, applied results go to the status page, the
 * figures and the acknowledgement.
 *
 * Failure: the session's own trouble is retried by the session; the store's is turned into
 * session_reject(), after which the same back-off leads on from the durable cursor, or to a
 * snapshot when the store says that it cannot go on from what it has.
 */
#include "agent/replica.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/replica_internal.h"
#include "base/clock.h"

/* ---- figures ---- */

static void replica_publish(struct replica *replica)
{
    struct source_metrics *metrics = &replica->metrics;

    metrics->queue_bytes = apply_queued_bytes(replica->apply);
    metrics->cursor = apply_visible(replica->apply);
    metrics->counts = apply_counts(replica->apply);
    metrics->complete = !uuid_is_nil(&metrics->cursor.epoch);
    board_publish(replica->options.board, metrics);
}

static void set_state(struct replica *replica, enum source_state state)
{
    struct model_cursor visible = apply_visible(replica->apply);

    if (uuid_is_nil(&visible.epoch) && state != SOURCE_STOPPED)
        state = SOURCE_EMPTY;
    if (state == replica->metrics.state)
        return;
    replica->metrics.state = state;
    source_set_state(replica->source, state);
}

static void heard(struct replica *replica)
{
    replica->metrics.heard_boot_ms = clock_boot_ms();
    source_heard(replica->source);
}

/* The upkeep tells the disk's room without delay. */
static void note_room(struct replica *replica, bool fits)
{
    if (replica->metrics.no_room == !fits)
        return;
    replica->metrics.no_room = !fits;
    if (fits)
        replica_log_room_again(replica);
    apply_upkeep(replica->apply);
}

static void tell_visible(const struct replica *replica, const struct model_cursor *cursor)
{
    if (replica->options.visible != NULL)
        replica->options.visible(replica->options.context, replica->config.region, cursor);
}

/* Everything that the control plane has said on this connection is visible: also the versions that
 * it named and that had nothing for us. */
static void note_current(struct replica *replica)
{
    struct model_cursor visible = apply_visible(replica->apply);

    if (!replica->caught_up || !apply_idle(replica->apply))
        return;
    heard(replica);
    note_room(replica, true); /* not sooner: a small part of what has come may find room */
    set_state(replica, SOURCE_LIVE);
    visible.version = replica->metrics.source_version;
    tell_visible(replica, &visible);
}

/* Tells the control plane what is durable here, and of it what is verified. */
static void acknowledge(struct replica *replica)
{
    replica->acknowledged = apply_durable(replica->apply);
    session_ack(replica->session, &replica->acknowledged, replica->metrics.verified);
}

/* ---- comparing with the source ---- */

static void take_step(struct replica *replica, enum integrity_step step)
{
    struct error err = ERROR_INIT;

    if (step == INTEGRITY_ASK) {
        session_reconnect(replica->session);
    } else if (step == INTEGRITY_SNAPSHOT) {
        (void)error_set(&err, E_CORRUPT,
                        "store: the copy differs from the source and repairs do not help");
        session_reject(replica->session, &err, SESSION_RESYNC_DIGEST);
    } else if (step == INTEGRITY_GIVE_UP) {
        replica->compared_ms = clock_boot_ms(); /* the next round is a while away */
    }
}

/* The connection's first transaction was no answer to its wish, or there was none for long. */
static void check_answered(struct replica *replica)
{
    enum integrity_step step;

    if (!replica->unanswered)
        return;
    replica->unanswered = false;
    step = integrity_unanswered(&replica->integrity);
    if (step == INTEGRITY_NOTHING)
        return;
    replica->metrics.unanswered++;
    replica_log_unanswered(replica, step == INTEGRITY_GIVE_UP);
    take_step(replica, step);
}

/* What the host holds may not be what it was told, until all of it is compared again. The control
 * plane hears it at once, or when it is connected again. */
static void doubt(struct replica *replica)
{
    replica->whole_compared = false;
    replica->metrics.verified = 0;
    acknowledge(replica);
}

/* Once all scopes were compared and equal, comparing those that a transaction touches keeps it so:
 * the others change on neither side. */
static void note_verified(struct replica *replica, const struct apply_result *result)
{
    const struct apply_compared *compared = &result->compared;

    if (compared->mismatches > 0 || compared->unseen > 0) {
        doubt(replica);
        return;
    }
    replica->whole_compared |= compared->answered == FEED_WISH_DIGESTS;
    if (!replica->whole_compared)
        return;
    replica->metrics.verified = result->visible.version;
    source_verified(replica->source, result->visible.version);
}

static void note_compared(struct replica *replica, const struct apply_compared *compared)
{
    struct source_metrics *metrics = &replica->metrics;

    metrics->digests_compared += compared->scopes;
    metrics->digest_mismatches += compared->mismatches;
    metrics->repairs += compared->answered == FEED_WISH_CONTENT;
    metrics->repaired += compared->repaired;
    if (compared->answered == FEED_WISH_DIGESTS)
        replica->compared_ms = clock_boot_ms();
    if (compared->repaired > 0)
        replica_log_repaired(replica, compared);
    if (compared->mismatches > 0)
        replica_log_mismatch(replica, compared->scope, "the control plane's digest");
    take_step(replica, integrity_applied(&replica->integrity, compared,
                                         apply_counts(replica->apply).consumers));
}

static void on_walked(void *context, const struct source_walked *walked)
{
    struct replica *replica = context;
    struct source_metrics *metrics = &replica->metrics;

    metrics->walked_records += walked->records;
    metrics->walk_rounds += walked->round_done;
    metrics->mended += walked->mended;
    metrics->digest_mismatches += walked->differs;
    if (walked->mended)
        replica_log_mended(replica);
    if (walked->differs || walked->mended)
        doubt(replica);
    if (walked->differs) {
        replica_log_mismatch(replica, walked->scope, "checking the file");
        take_step(replica, integrity_suspect(&replica->integrity, walked->scope));
    }
    if (walked->round_done && clock_boot_ms() - replica->compared_ms >= REPLICA_COMPARE_MS)
        take_step(replica, integrity_compare_all(&replica->integrity));
    replica_publish(replica);
}

/* ---- the session's sink ---- */

static void on_wish(void *context, struct feed_wish *ret)
{
    struct replica *replica = context;

    *ret = integrity_connect(&replica->integrity);
    replica->first_awaited = ret->kind != FEED_WISH_NONE;
}

static bool on_durable(void *context, struct model_cursor *ret)
{
    struct replica *replica = context;

    if (!apply_idle(replica->apply))
        return false;
    integrity_connected_without(&replica->integrity); /* on_wish() may follow */
    replica->first_awaited = replica->unanswered = false;
    *ret = replica->acknowledged = apply_durable(replica->apply);
    return true;
}

static bool on_full(void *context)
{
    struct replica *replica = context;

    return apply_full(replica->apply);
}

/* The guard has nothing to say about this epoch any more. */
static void accept_epoch(struct replica *replica, const struct uuid *epoch, const char *who)
{
    apply_accept_epoch(replica->apply, epoch);
    if (replica->metrics.refusing == 0)
        return;
    replica_log_accepted(replica, who);
    session_accept_epoch(replica->session);
}

static bool on_hello(void *context, const struct session_hello *hello)
{
    struct replica *replica = context;
    struct model_cursor durable = apply_durable(replica->apply);

    replica->caught_up = false;
    replica->answer_by_ms =
        clock_boot_ms() + (int64_t)hello->heartbeat_ms * REPLICA_ANSWER_HEARTBEATS;
    replica->metrics.connects++;
    replica->metrics.source_version = hello->version;
    replica_log_connected(replica, hello);
    if (hello->accepted)
        accept_epoch(replica, &hello->epoch, "the control plane's operator");
    set_state(replica, SOURCE_SYNCING);
    replica_publish(replica);
    return !uuid_equal(&durable.epoch, &hello->epoch) ||
           apply_has_digest_key(replica->apply, hello->digest_key);
}

static int on_transaction(void *context, struct feed_transaction *transaction, struct error *err)
{
    struct replica *replica = context;
    uint64_t version = transaction->cursor.version;
    int rc;

    replica->unanswered |= replica->first_awaited && !feed_transaction_answers(transaction);
    replica->first_awaited = false;
    rc = apply_transaction(replica->apply, transaction, err);

    if (rc == 0 && version > replica->metrics.source_version)
        replica->metrics.source_version = version;
    replica_publish(replica);
    return rc;
}

static void on_heartbeat(void *context, uint64_t version)
{
    struct replica *replica = context;

    replica->metrics.source_version = version;
    replica->caught_up = true;
    replica->heartbeat_ms = clock_boot_ms();
    replica->unanswered |= replica->heartbeat_ms >= replica->answer_by_ms;
    note_current(replica);
    replica_publish(replica);
}

static int on_snapshot_begin(void *context, const struct snapshot_header *header,
                             const uint8_t digest_key[DIGEST_KEY_BYTES], struct error *err)
{
    struct replica *replica = context;

    replica->loading_epoch = header->cursor.epoch;
    return apply_load_begin(replica->apply, header, digest_key, err);
}

static int on_snapshot_record(void *context, const struct snapshot_record *record,
                              struct error *err)
{
    struct replica *replica = context;

    return apply_load_record(replica->apply, record, err);
}

static int on_snapshot_end(void *context, struct error *err)
{
    struct replica *replica = context;

    return apply_load_end(replica->apply, err);
}

static void on_snapshot_abort(void *context)
{
    struct replica *replica = context;

    apply_load_abort(replica->apply);
}

static void on_state(void *context, enum session_state state)
{
    struct replica *replica = context;

    if (state != SESSION_STREAMING)
        replica->caught_up = false; /* local commits do not prove contact with the source */
    if (state == SESSION_BACKOFF)
        set_state(replica, SOURCE_DISCONNECTED);
    log_debug(replica->options.log, "%s: %s", replica->config.region, session_state_text(state));
    replica_publish(replica);
}

static void on_resync(void *context, enum session_resync reason)
{
    struct replica *replica = context;

    replica->metrics.resyncs[reason]++;
    replica_log_resync(replica, reason);
}

static void on_failed(void *context, const struct session_failure *failure)
{
    struct replica *replica = context;

    replica->metrics.failures++;
    replica_log_trouble(replica, failure);
}

static void on_received(void *context, size_t bytes)
{
    struct replica *replica = context;

    replica->metrics.received_bytes += bytes;
}

static void on_paused(void *context)
{
    struct replica *replica = context;

    replica->metrics.pauses++;
}

static void on_name_shared(void *context, bool shared)
{
    struct replica *replica = context;

    replica->metrics.name_shared = shared;
    replica_log_name_shared(replica, shared);
    replica_publish(replica);
}

/* ---- the apply queue's events ---- */

static double seconds_since(int64_t wall_ms)
{
    int64_t elapsed_ms = clock_wall_ms() - wall_ms;

    return elapsed_ms > 0 ? (double)elapsed_ms / 1000 : 0; /* clocks of two hosts differ */
}

static void on_applied(void *context, const struct apply_result *result)
{
    struct replica *replica = context;
    struct source_metrics *metrics = &replica->metrics;

    metrics->commits++;
    metrics->transactions += result->transactions;
    metrics->changes += result->changes;
    metrics->commit_time_ms = result->time_ms;
    histogram_add(&metrics->commit_duration, (double)result->duration_us / 1e6);
    histogram_add(&metrics->propagation, seconds_since(result->oldest_time_ms));
    if (clock_boot_ms() - result->received_ms <= REPLICA_FRESH_MS)
        heard(replica);
    tell_visible(replica, &result->visible);
    note_verified(replica, result);
    acknowledge(replica);
    note_current(replica);
    replica_publish(replica);
    note_compared(replica, &result->compared);
    check_answered(replica);
}

static void on_loaded(void *context, const struct apply_result *result)
{
    struct replica *replica = context;
    struct source_metrics *metrics = &replica->metrics;

    metrics->snapshots++;
    if (metrics->refusing != 0)
        session_accept_epoch(replica->session);
    metrics->refusing = 0;
    doubt(replica);
    metrics->commits++;
    metrics->changes += result->changes;
    metrics->commit_time_ms = result->time_ms;
    histogram_add(&metrics->commit_duration, (double)result->duration_us / 1e6);
    set_state(replica, SOURCE_SYNCING);
    tell_visible(replica, &result->visible);
    integrity_loaded(&replica->integrity);
    replica_publish(replica);
    replica_log_loaded(replica, result);
    apply_upkeep(replica->apply); /* what became of the disk's room, without delay */
}

/* Faults of the copy itself, which the same transaction would meet again. */
static bool needs_snapshot(int code)
{
    return code == E_CORRUPT || code == E_FORMAT || code == E_MISSING_REFERENCE ||
           code == E_PROTOCOL || code == E_NOT_READY || code == E_INVALID;
}

static void on_apply_failed(void *context, const struct error *err, bool loading)
{
    struct replica *replica = context;
    struct error told = *err;
    struct model_cursor visible = apply_visible(replica->apply);

    replica->metrics.apply_failures++;
    replica->metrics.repairs_failed += apply_was_repair(replica->apply);
    tell_visible(replica, &visible); /* it may be a sync alone that failed */
    if (err->code == E_NO_SPACE)
        note_room(replica, false); /* the session tells it as its trouble */
    (void)error_context(&told, "store");
    if (err->code == E_REFUSED) {
        replica->metrics.refusing = 1;
        replica_log_refused(replica, err);
        session_refuse(replica->session, &told);
        replica_publish(replica);
        return;
    }
    session_reject(replica->session, &told,
                   !loading && needs_snapshot(err->code) ? SESSION_RESYNC_STORE
                                                         : SESSION_RESYNC_NONE);
}

static void on_readers(void *context, const struct source_readers *readers)
{
    struct replica *replica = context;

    replica->metrics.readers = readers->in_use;
    replica->metrics.reader_lag = readers->oldest_lag_txns;
    replica->metrics.reader_pid = (uint64_t)readers->oldest_pid;
    replica->metrics.readers_cleared += readers->cleared;
    replica->metrics.retained = readers->retained;
    replica->metrics.retained_age_ms = readers->retained_age_ms;
    replica_log_reader(replica, readers);
    replica_publish(replica);
}

static void on_upkeep(void *context, const struct source_upkeep *upkeep, const struct error *err)
{
    struct replica *replica = context;
    struct source_metrics *metrics = &replica->metrics;

    metrics->file_bytes = upkeep->file_bytes;
    metrics->used_bytes = upkeep->used_bytes;
    metrics->map_bytes = upkeep->map_bytes;
    metrics->disk_free_bytes = upkeep->disk_free_bytes;
    metrics->previous = upkeep->previous != 0;
    metrics->compactions += upkeep->compacted;
    replica_log_upkeep(replica, upkeep, err);
    replica_publish(replica);
}

static void on_moved(void *context)
{
    struct replica *replica = context;
    struct model_cursor durable = apply_durable(replica->apply);

    if (!model_cursor_equal(&durable, &replica->acknowledged))
        acknowledge(replica); /* a sync that had failed was made good */

    /* A heartbeat may have met a slice of the walk, and not an idle queue. */
    if (clock_boot_ms() - replica->heartbeat_ms <= REPLICA_FRESH_MS)
        note_current(replica);
    session_resume(replica->session);
    replica_publish(replica);
}

/* ---- life ---- */

static int create_apply(struct replica *replica, struct error *err)
{
    struct apply_events events = {on_applied, on_loaded, on_apply_failed, on_readers,
                                  on_upkeep,  on_walked, on_moved,        replica};

    int rc = apply_create(replica->options.loop, replica->source, &events, &replica->apply, err);

    if (rc == 0)
        apply_set_guard(replica->apply, replica->options.guard_percent);
    return rc;
}

static int create_session(struct replica *replica, struct error *err)
{
    const struct config_source *config = &replica->config;
    struct session_options options = {
        .loop = replica->options.loop,
        .http = replica->options.http,
        .control_plane_id = replica->options.control_plane_id,
        .region = config->region,
        .host_name = replica->host_name,
        .instance = replica->options.instance,
        .urls = (const char *const *)config->urls,
        .n_urls = config->urls_count,
        .credentials = {config->token, config->client_cert_file, config->client_key_file,
                        config->ca_file},
        .limits = session_limits_default,
    };
    struct session_sink sink = {
        .durable = on_durable,
        .wish = on_wish,
        .full = on_full,
        .hello = on_hello,
        .transaction = on_transaction,
        .heartbeat = on_heartbeat,
        .snapshot_begin = on_snapshot_begin,
        .snapshot_record = on_snapshot_record,
        .snapshot_end = on_snapshot_end,
        .snapshot_abort = on_snapshot_abort,
        .state = on_state,
        .resync = on_resync,
        .failed = on_failed,
        .received = on_received,
        .paused = on_paused,
        .name_shared = on_name_shared,
        .context = replica,
    };

    return session_create(&options, &sink, &replica->session, err);
}

static int open_source(struct replica *replica, struct error *err)
{
    struct error discarded = ERROR_INIT;
    int rc = source_open(replica->options.store, replica->config.region, &replica->source,
                         &discarded, err);

    if (rc != 0)
        return error_context(err, "source \"%s\"", replica->config.region);
    replica_log_opened(replica, &discarded);
    return 0;
}

static void replica_finish(struct replica *replica)
{
    void (*closed)(void *) = replica->closed;
    void *context = replica->closed_context;

    source_close(replica->source);
    config_source_finish(&replica->config);
    free(replica->host_name);
    free(replica);
    closed(context);
}

static void on_apply_closed(void *context)
{
    replica_finish(context);
}

/* The session is gone; what it handed over is dropped, what is being committed is finished. */
static void on_session_closed(void *context)
{
    struct replica *replica = context;

    replica->session = NULL;
    if (replica->apply != NULL)
        apply_close(replica->apply, on_apply_closed, replica);
    else
        replica_finish(replica);
}

static void ignore_closed(void *context)
{
    (void)context; /* a replica that was never handed out has nobody to tell */
}

/* Lets go of whatever there is, in the order session, apply, source. */
static void close_parts(struct replica *replica)
{
    if (replica->session != NULL)
        session_close(replica->session, on_session_closed, replica);
    else
        on_session_closed(replica);
}

int replica_create(const struct replica_options *options, struct replica **ret, struct error *err)
{
    struct replica *replica = calloc(1, sizeof(*replica));
    struct model_cursor visible;

    if (replica == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    replica->options = *options;
    replica->closed = ignore_closed;
    replica->host_name = strdup(options->host_name);
    if (replica->host_name == NULL || config_source_copy(options->source, &replica->config) != 0)
        (void)error_set(err, E_NO_MEMORY, NULL);
    else if (open_source(replica, err) == 0 && create_apply(replica, err) == 0)
        (void)create_session(replica, err);
    if (replica->session == NULL) {
        close_parts(replica);
        return err->code;
    }
    (void)snprintf(replica->metrics.region, sizeof(replica->metrics.region), "%s",
                   replica->config.region);
    replica->metrics.state = SOURCE_STOPPED; /* so that the first state is told */
    set_state(replica, SOURCE_DISCONNECTED);
    visible = apply_visible(replica->apply);
    tell_visible(replica, &visible);
    (void)integrity_compare_all(&replica->integrity); /* asked for with the first connection */
    replica_publish(replica);
    session_start(replica->session);
    *ret = replica;
    return 0;
}

void replica_close(struct replica *replica, void (*closed)(void *context), void *context)
{
    replica->closed = closed;
    replica->closed_context = context;
    set_state(replica, SOURCE_STOPPED);
    replica_log_closed(replica);
    board_remove(replica->options.board, replica->config.region);
    close_parts(replica);
}

void replica_check_readers(struct replica *replica)
{
    apply_upkeep(replica->apply);
}

void replica_watch(struct replica *replica)
{
    int64_t waits_ms = apply_running_ms(replica->apply);
    uint64_t told_ms = waits_ms >= REPLICA_STUCK_MS ? (uint64_t)waits_ms : 0;

    if (told_ms == 0 && replica->metrics.commit_waits_ms == 0)
        return;
    replica->metrics.commit_waits_ms = told_ms;
    if (told_ms > 0 && replica->metrics.state == SOURCE_LIVE)
        set_state(replica, SOURCE_SYNCING); /* what has come since is not visible */
    replica_log_waits(replica);
    replica_publish(replica);
}

void replica_walk(struct replica *replica)
{
    check_answered(replica);
    apply_walk(replica->apply);
}

void replica_set_guard(struct replica *replica, unsigned percent)
{
    const bool higher = percent > replica->options.guard_percent;

    replica->options.guard_percent = percent;
    apply_set_guard(replica->apply, percent);
    if (higher && replica->metrics.refusing != 0)
        session_accept_epoch(replica->session);
}

void replica_accept_epoch(struct replica *replica)
{
    if (replica->metrics.refusing == 0)
        return;
    accept_epoch(replica, &replica->loading_epoch, "SIGUSR1");
}

const struct config_source *replica_config(const struct replica *replica)
{
    return &replica->config;
}
