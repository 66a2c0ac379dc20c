/* answer.c - see answer.h. */
#include "agent/answer.h"

#include <stdlib.h>

enum MHD_Result answer_queue(struct MHD_Connection *connection, unsigned status, const char *type,
                             const char *allow, bool last, struct buffer *body)
{
    size_t size;
    unsigned char *bytes = buffer_take(body, &size);
    struct MHD_Response *response =
        MHD_create_response_from_buffer(size, bytes, MHD_RESPMEM_MUST_FREE);
    enum MHD_Result result;

    if (response == NULL) {
        free(bytes);
        return MHD_NO;
    }
    /* Without memory for a header the answer goes without it. */
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    if (allow != NULL)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, allow);
    if (last)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}
