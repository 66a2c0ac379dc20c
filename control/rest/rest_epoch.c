/* rest_epoch.c - /v1/epoch: which history hosts are given, and that it is meant.
 *
 * A host's guard refuses another history that drops too much. An operator of thousands of hosts
 * says here, once, that it is meant; hosts hear it when they connect.
 */
#include "control/rest/rest_entities.h"
#include "control/rest/rest_routes.h"

int rest_epoch_get(struct rest_call *call)
{
    struct repo_head head;
    int rc = repo_head(call->rest->repo, &head, &call->error);

    if (rc != 0)
        return rc;
    return rest_reply(
        call, REST_OK,
        json_pack("{s:o, s:I, s:o}", "epoch", json_of_uuid(&head.epoch), "version",
                  (json_int_t)head.version, "accepted_at",
                  head.accepted_ms != 0 ? json_of_time(head.accepted_ms) : json_null()));
}

struct accept_form {
    struct uuid epoch;
};

static const struct form_field accept_fields[] = {
    {"epoch", FORM_UUID, FORM_REQUIRED, 0, offsetof(struct accept_form, epoch), 0, 0, NULL},
};
static const struct form accept_form = {accept_fields,
                                        sizeof(accept_fields) / sizeof(accept_fields[0])};

/* Whose call it was: the administrator's token has no id. */
static void log_accepted(const struct rest_call *call, const struct uuid *epoch)
{
    char by[UUID_TEXT_SIZE] = "the administrator's";
    char text[UUID_TEXT_SIZE];

    if (!uuid_is_nil(&call->identity.token_id))
        (void)uuid_format(&call->identity.token_id, by);
    log_write(call->rest->log, LOG_LEVEL_WARNING,
              "epoch %s is accepted for every host, whatever it drops (token: %s)",
              uuid_format(epoch, text), by);
}

int rest_epoch_accept(struct rest_call *call)
{
    struct accept_form accept = {0};
    int rc;

    (void)form_read(call, &accept_form, false, &accept);
    rc = rest_verdict(call);
    if (rc == 0)
        rc = repo_epoch_accept(call->rest->repo, &accept.epoch, &call->error);
    if (rc != 0)
        return rc;
    log_accepted(call, &accept.epoch);
    feed_accept_epoch(call->rest->feed);
    return rest_epoch_get(call);
}
