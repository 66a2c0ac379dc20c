/* replica_internal.h - shared by replica.c (life and flow) and replica_log.c (what is said about
 * it). */
#ifndef RS_AGENT_REPLICA_INTERNAL_H
#define RS_AGENT_REPLICA_INTERNAL_H

#include <inttypes.h>

#include "agent/apply.h"
#include "agent/integrity.h"
#include "agent/replica.h"
#include "sync/session.h"

struct replica {
    struct replica_options options; /* its borrowed strings are replaced by the copies below */
    struct config_source config;    /* owned */
    char *host_name;                /* owned */
    struct source *source;          /* owned */
    struct apply *apply;            /* owned */
    struct session *session;        /* owned */
    struct source_metrics metrics;
    struct integrity integrity;
    struct model_cursor acknowledged; /* what the control plane was told is durable here */
    int64_t compared_ms;              /* boot time of the last comparison of everything */
    bool first_awaited;   /* no transaction has come on this connection, which wished for one */
    bool unanswered;      /* the connection did not answer its wish; acted on by the next step */
    int64_t answer_by_ms; /* boot time: a heartbeat after it says that no answer comes */
    bool whole_compared;  /* since the last doubt, all scopes were compared and equal */
    bool caught_up;       /* a heartbeat has come on this connection */
    int64_t heartbeat_ms; /* boot time of the last one */
    struct uuid loading_epoch; /* of the last snapshot that began */

    struct log_pace trouble_pace;
    int trouble_code; /* of the last trouble that was written */
    struct log_pace connected_pace;
    struct log_pace reader_pace;
    struct log_pace upkeep_pace;
    struct log_pace waits_pace;
    struct log_pace digest_pace;
    struct log_pace mended_pace;
    struct log_pace name_pace;
    struct log_pace unanswered_pace;

    void (*closed)(void *context);
    void *closed_context;
};

void replica_log_opened(const struct replica *replica, const struct error *discarded);
void replica_log_connected(struct replica *replica, const struct session_hello *hello);
void replica_log_trouble(struct replica *replica, const struct session_failure *failure);
void replica_log_resync(const struct replica *replica, enum session_resync reason);
void replica_log_loaded(const struct replica *replica, const struct apply_result *result);
void replica_log_mismatch(struct replica *replica, uint32_t scope, const char *found_by);
void replica_log_unanswered(struct replica *replica, bool given_up);
void replica_log_repaired(const struct replica *replica, const struct apply_compared *compared);
void replica_log_mended(struct replica *replica);
void replica_log_refused(const struct replica *replica, const struct error *err);
void replica_log_accepted(const struct replica *replica, const char *who);
void replica_log_reader(struct replica *replica, const struct source_readers *readers);
void replica_log_room_again(const struct replica *replica);
void replica_log_upkeep(struct replica *replica, const struct source_upkeep *upkeep,
                        const struct error *err);
void replica_log_name_shared(struct replica *replica, bool shared);
void replica_log_waits(struct replica *replica);
void replica_log_closed(const struct replica *replica);

#endif
