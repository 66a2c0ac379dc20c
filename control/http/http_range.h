/* http_range.h - which part of a file a request asks for (RFC 9110, section 14). */
#ifndef RS_CONTROL_HTTP_RANGE_H
#define RS_CONTROL_HTTP_RANGE_H

#include <stdint.h>

enum http_range {
    HTTP_RANGE_WHOLE, /* no range, or one that may be passed over: another unit, several, nonsense
                       */
    HTTP_RANGE_PART,  /* `*ret_first` to `*ret_last`, both included */
    HTTP_RANGE_UNSATISFIABLE
};

/* `range`: the header's value, or NULL. */
enum http_range http_range_read(const char *range, uint64_t size, uint64_t *ret_first,
                                uint64_t *ret_last);

#endif
