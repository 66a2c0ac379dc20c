/* request_head_mhd.h - a request's head as libmicrohttpd has it, for request_head_fault().
 *
 * A header without a file beside it, because base/ is linked into programs that do not know the
 * library.
 */
#ifndef RS_BASE_REQUEST_HEAD_MHD_H
#define RS_BASE_REQUEST_HEAD_MHD_H

#include <string.h>

#include <microhttpd.h>

#include "base/request_head.h"

static inline enum MHD_Result request_head_add(void *context, enum MHD_ValueKind kind,
                                               const char *name, size_t name_size,
                                               const char *value, size_t value_size)
{
    struct request_head *head = context;

    (void)kind; /* headers alone, as asked */
    if (head->count == REQUEST_HEADERS_MAX) {
        head->too_many = true;
        return MHD_NO;
    }
    head->headers[head->count++] = (struct request_header){
        name, name_size, value != NULL ? value : name + name_size, value != NULL ? value_size : 0};
    return MHD_YES;
}

/* At the first call of the access handler. `target` was noted before, in
 * MHD_OPTION_URI_LOG_CALLBACK. */
static inline void request_head_read(struct request_head *head, struct MHD_Connection *connection,
                                     const struct request_target *target, const char *method,
                                     const char *version)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);

    memset(head, 0, sizeof(*head));
    head->target = *target;
    head->method = method;
    head->version = version;
    head->size = info != NULL ? info->header_size : 0;
    /* Later versions have a parser that is strict by itself, and move things. */
    head->in_place = strncmp(MHD_get_version(), "0.9.", strlen("0.9.")) == 0;
    (void)MHD_get_connection_values_n(connection, MHD_HEADER_KIND, request_head_add, head);
}

#endif
